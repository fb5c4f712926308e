"""From zero to the first answer: the ways that take turns, and what each sample is made of."""

import os
import pathlib
import re
import socket
import sys
import time

import harness

READY = re.compile(r"environment_ready function=(\S+) version=(\S+) id=(\d+) init_ms=([0-9.]+)")
STARTED = re.compile(r"environment_started id=(\d+) took_us=(\d+)((?: \w+_us=\d+)*)")
# Before each sample the machine comes to rest: what the spawner prepares ahead is there again.
REST_S = 0.15


def ask(port, request, expected):
    """Milliseconds from opening a connection to the answer's first byte and to its last; checks the answer."""
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request)
        text = connection.recv(65536)
        first = time.perf_counter()
        while piece := connection.recv(65536):
            text += piece
        last = time.perf_counter()
    if not text.startswith(b"HTTP/1.1 20") or expected not in text:
        raise harness.BenchError(f"a wrong answer: {text[:400]!r}")
    return {"first_ms": (first - began) * 1e3, "last_ms": (last - began) * 1e3}


def wait_for_zero(daemon, wait_s=60):
    deadline = time.monotonic() + wait_s
    known = harness.OWN_PROGRAMS + ("thaw-stub",)
    while left := {pid: name for pid, name in daemon.processes().items() if name not in known}:
        if time.monotonic() > deadline:
            raise harness.BenchError(f"the function's processes did not go away: {left}")
        time.sleep(0.02)
    time.sleep(REST_S)


def drop_file(path):
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fdatasync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError:
        pass  # a pipe or a device among what a process has mapped
    finally:
        os.close(fd)


class Cold:
    """Makes the machine forget: the daemon is restarted, and files are dropped from the page cache.

    Where /proc/sys/vm/drop_caches can be written, everything that nobody maps is dropped, with directory entries and
    inodes. Elsewhere: the image, the package, and every file that the function has mapped, by posix_fadvise; a
    script's modules, which are read and not mapped, stay, and the output says so.
    """

    def __init__(self):
        self.whole = os.access("/proc/sys/vm/drop_caches", os.W_OK)
        self.how = ("/proc/sys/vm/drop_caches" if self.whole
                    else "posix_fadvise on the image, the package and mapped files (drop_caches cannot be written)")
        self.mapped = set()

    def learn_mapped_files(self, daemon):
        """Remembers what the processes of environments have mapped, by the host's paths."""
        for pid, name in daemon.processes().items():
            if name in harness.OWN_PROGRAMS:
                continue
            try:
                with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
                    paths = {line.split(None, 5)[5].strip() for line in file if line.count("/") > 0}
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
            self.mapped.update(path for path in paths if os.path.isfile(path))

    def forget(self, daemon):
        daemon.stop()
        for folder in ("snapshots", "packages"):
            for path in pathlib.Path(daemon.data, folder).rglob("*"):
                if path.is_file():
                    drop_file(path)
        if self.whole:
            os.sync()
            with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
                file.write("3\n")
        else:
            for path in self.mapped:
                drop_file(path)
        daemon.start()
        # The daemon's own way of a request is in memory again; the function's is not.
        connection = daemon.control()
        connection.request("GET", "/thaw/v1/status")
        connection.getresponse().read()
        connection.close()
        time.sleep(REST_S)


class LogReader:
    """What the daemon's log says of the starts since the last look."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.offset = 0

    def skip(self):
        self.offset = os.path.getsize(self.daemon.log_path)

    def start(self, wait_s=5):
        """The one start since skip(): pool's and spawner's clocks in ms, and the spawner's steps in us."""
        deadline = time.monotonic() + wait_s
        while True:
            with open(self.daemon.log_path, encoding="utf-8", errors="replace") as log:
                log.seek(self.offset)
                text = log.read()
            ready = READY.findall(text)
            if ready:
                break
            if time.monotonic() > deadline:
                raise harness.BenchError("the daemon's log names no start:\n" + text[-2000:])
            time.sleep(0.01)
        if len(ready) != 1:
            raise harness.BenchError(f"{len(ready)} environments were started for one request:\n{text[-2000:]}")
        found = {"running_ms": float(ready[0][3])}
        for number, took, steps in STARTED.findall(text):
            if number == ready[0][2]:
                found["spawner_ms"] = int(took) / 1e3
                found["steps_us"] = {name: int(us) for name, us in re.findall(r"(\w+)_us=(\d+)", steps)}
        found["fell_back"] = "restore_failed" in text
        return found


class Deployed:
    """A function that is deployed and published, with its snapshot made; the daemon runs."""

    def __init__(self, daemon, function, settings=()):
        self.daemon, self.function = daemon, function
        words = ["--set", "snapshot=true"]
        for setting in ("idle_s=1", *function.settings, *settings):
            words += ["--set", setting]
        daemon.cli("deploy", function.package, "--name", function.name, *words)
        self.version, self.latest = f"/fn/{function.name}:1", f"/fn/{function.name}"
        self.failure = ""
        try:
            daemon.cli("publish", function.name)
        except harness.BenchError as error:
            self.failure = str(error)  # what cannot be frozen is measured by init alone, and the output says why
            return
        self.ask(self.version)

    def ask(self, prefix):
        return ask(self.daemon.port, self.function.bytes_for(prefix), self.function.expected)

    def images(self):
        return sorted(pathlib.Path(self.daemon.data, "snapshots").glob("*.img"))

    def refusal(self):
        """Why there is no snapshot, in the function's log; empty when there is one."""
        if self.images():
            return ""
        if self.failure:
            return self.failure
        found = re.search(r"no snapshot, so this version starts by init: (.*)", self.daemon.cli("logs", self.function.name))
        return found.group(1) if found else "no snapshot was made, and the log does not say why"


WAYS = ("init", "restore", "init_cold", "restore_cold")


class Measurement:
    def __init__(self, deployed, cold):
        self.deployed, self.cold = deployed, cold
        self.log = LogReader(deployed.daemon)
        self.samples = {way: [] for way in WAYS}
        self.samples["warm"] = []

    def sample(self, way):
        daemon = self.deployed.daemon
        wait_for_zero(daemon)
        if way.endswith("_cold"):
            self.cold.forget(daemon)
        prefix = self.deployed.latest if way.startswith("init") else self.deployed.version
        self.log.skip()
        one = self.deployed.ask(prefix)
        one.update(self.log.start())
        if one.pop("fell_back"):
            raise harness.BenchError(f"a restore of {self.deployed.function.name} failed; see {daemon.log_path}")
        self.samples[way].append(one)
        # The same environment, once more; the first answer after a start still touches memory for the first time.
        self.deployed.ask(prefix)
        if way == "restore":
            self.samples["warm"].append(self.deployed.ask(prefix))
        self.cold.learn_mapped_files(daemon)

    def run(self, counts):
        """Ways take turns; the rarer ones are spread evenly over the rounds."""
        rounds = max(counts.values())
        for number in range(rounds):
            for way in WAYS:
                if number * counts[way] // rounds != (number + 1) * counts[way] // rounds:
                    self.sample(way)
            if sys.stderr.isatty():
                print(f"\r{self.deployed.function.name}: {number + 1} of {rounds} rounds    ", end="", file=sys.stderr)
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr)
        wait_for_zero(daemon=self.deployed.daemon)
