"""Memory of many clones that have answered, and a burst from zero to a hundred of them."""

import json
import os
import re
import select
import socket
import subprocess
import time

import harness
from ways import Deployed, wait_for_zero

CLONES = (1, 4, 32)
BURST = 100
HOLD_S = 60  # at most; the benchmark ends it when it has looked
# So that 32 of each function are admitted on a machine with 20 GB.
MEMORY_SETTINGS = ("concurrency=1", "memory_mb=512", "idle_s=3")
# A burst is admitted by what its environments may use, not by what they do: a hundred times memory_mb must fit.
BURST_SETTINGS = ("environments_max=100", "concurrency=1", "memory_mb=128", "ephemeral_mb=16")


# ---- Memory ----------------------------------------------------------------------------------------------------------


def memory_group(pid):
    """The file that holds what the memory cgroup of the process is charged with, version 1 or 2; None without one."""
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
        text = file.read()
    if found := re.search(r"^\d+:(?:\w+,)*memory(?:,\w+)*:(.+)$", text, re.M):
        return f"/sys/fs/cgroup/memory{found.group(1)}/memory.usage_in_bytes"
    if found := re.search(r"^0::(.+)$", text, re.M):
        for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
            if os.path.exists(path := f"{root}{found.group(1)}/memory.current"):
                return path
    return None


def environments_of(daemon):
    """The processes of each environment that runs a function: lists of pids, by memory group."""
    found = {}
    for pid, name in daemon.processes().items():
        if name not in harness.OWN_PROGRAMS:
            try:
                found.setdefault(memory_group(pid), []).append(pid)
            except (FileNotFoundError, ProcessLookupError):
                pass
    return found


def memory(daemon):
    """Bytes in all, over the environments that live: PSS of their processes, PID 1 included, and of their groups."""
    pss, charged = 0, 0
    environments = environments_of(daemon)
    for group, pids in environments.items():
        for pid in pids:
            try:
                pss += harness.pss_bytes(pid)
            except (FileNotFoundError, ProcessLookupError):
                raise harness.BenchError("an environment ended while its memory was read") from None
        if group is not None:
            with open(group, encoding="ascii") as file:
                charged += int(file.read())
    return {"environments": len(environments), "pss_bytes": pss, "cgroup_bytes": charged}


def busy(daemon):
    connection = daemon.control()
    connection.request("GET", "/thaw/v1/status")
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer["Environments"]["Busy"]


class Held:
    """Requests whose last byte is kept back: each holds an environment of its own, because concurrency is 1."""

    def __init__(self, deployed, count):
        self.deployed = deployed
        request = deployed.function.bytes_for(deployed.version, held=True)
        self.last = request[-1:]
        self.sockets = []
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", deployed.daemon.port), timeout=60)
            connection.sendall(request[:-1])
            self.sockets.append(connection)

    def answer(self, wait_s=25):
        """Once each holds an environment, lets them all go on; every answer is checked to be one."""
        deadline = time.monotonic() + wait_s
        while (now := busy(self.deployed.daemon)) < len(self.sockets):
            if time.monotonic() > deadline:
                raise harness.BenchError(f"{now} of {len(self.sockets)} environments came up in {wait_s} s")
            time.sleep(0.02)
        for connection in self.sockets:
            connection.sendall(self.last)
        for connection in self.sockets:
            text = b""
            while piece := connection.recv(65536):
                text += piece
            connection.close()
            if not text.startswith(b"HTTP/1.1 20"):
                raise harness.BenchError(f"a wrong answer: {text[:400]!r}")


def measure_memory(daemon, function, counts):
    """Memory of so many clones that have each answered once and are at rest."""
    deployed = Deployed(daemon, function, (f"environments_max={max(counts)}", *MEMORY_SETTINGS))
    results = []
    if deployed.refusal():
        return results
    for count in counts:
        wait_for_zero(daemon)
        Held(deployed, count).answer()
        time.sleep(0.5)  # idle environments are frozen after 100 ms
        one = memory(daemon)
        if one["environments"] != count:
            raise harness.BenchError(f"{one['environments']} environments live, not {count}")
        results.append(one)
    wait_for_zero(daemon)
    return results


# ---- Burst -----------------------------------------------------------------------------------------------------------


def burst_once(daemon, deployed, count):
    """`count` connections at once to a function at zero, each answered by an environment of its own.

    The app is examples/fastapi-hello as it is. /events begins its answer at once and goes on with it for a minute, so
    whoever has answered stays busy; with concurrency 1 no environment can answer twice before all have answered. The
    number of busy environments is read as well. The time is that of the last answer's first byte.
    """
    client = os.path.join(harness.bin_folder(), "thaw_bench_burst")
    path = f"{deployed.version}/events?count=2&every_ms={HOLD_S * 1000}"
    process = subprocess.Popen([client, str(daemon.port), str(count), path, str(HOLD_S * 1000)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        ready, _, _ = select.select([process.stdout], [], [], 120)
        if not ready or process.stdout.readline() != "begun\n":
            raise harness.BenchError("the burst's client did not come to its end")
        at_work = busy(daemon)
        one = memory(daemon)
        out, _ = process.communicate("\n", timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    said = json.loads(out)
    if any(status != 200 for status in said["status"]) or said["ended_early"] or min(said["begun_ms"]) < 0:
        raise harness.BenchError(f"not all of {count} connections were answered: {sorted(set(said['status']))}, "
                                 f"{said['ended_early']} ended early")
    if at_work != count or one["environments"] != count:
        raise harness.BenchError(f"{at_work} environments are busy and {one['environments']} live, not {count}")
    answered = sorted(said["begun_ms"])
    return {"all_ms": answered[-1], "first_ms": answered[0], "half_ms": harness.median(answered),
            "client_cpu_ms": said["client_cpu_ms"], **one}


def measure_burst(daemon, function, rounds, count=BURST):
    deployed = Deployed(daemon, function, BURST_SETTINGS)
    refusal = deployed.refusal()
    if refusal:
        raise harness.BenchError(f"no burst without a snapshot: {refusal}")
    results = []
    for _ in range(rounds):
        wait_for_zero(daemon)
        time.sleep(1)
        results.append(burst_once(daemon, deployed, count))
    wait_for_zero(daemon)
    return results
