#!/usr/bin/env python3
"""What thousands of deployed functions cost while nobody calls them.

Deploys web functions, each its own package with its own thaw.toml, through the control socket, and measures the
daemon at rest: processes, memory (PSS: shared pages count by their share), CPU time over some seconds, `thaw list`.
Then the same after a restart, and after one of the functions has been called and has gone back to zero.
"""

import argparse
import concurrent.futures
import http.client
import io
import os
import subprocess
import sys
import threading
import time
import zipfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import harness  # noqa: E402

TARGETS = {"memory_mb": 100, "function_processes": 0}
DEPLOYS_AT_ONCE = 4

SERVER = """\
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b"number %d\\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
"""


def options():
    parser = argparse.ArgumentParser(prog="./dev bench idle", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", type=int, default=10000, help="functions to deploy [10000]")
    parser.add_argument("--seconds", type=float, default=10, help="how long rest is watched [10]")
    parser.add_argument("--quick", action="store_true", help="200 functions, 2 seconds: does it work?")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    parser.add_argument("--json", action="store_true", help="all figures as JSON")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.functions, chosen.seconds = 200, 2
    return chosen


def name_of(number):
    return f"fn-{number:05d}"


def package(number):
    manifest = f'name = "{name_of(number)}"\ncommand = ["python3", "server.py"]\nmemory_mb = 256\nidle_s = 1\n'
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("thaw.toml", manifest)
        archive.writestr("server.py", SERVER % number)
    return data.getvalue()


def deploy_all(daemon, count):
    local = threading.local()

    def deploy(number):
        if not hasattr(local, "connection"):
            local.connection = daemon.control()
        local.connection.request("PUT", f"/thaw/v1/functions/{name_of(number)}/package", body=package(number))
        answer = local.connection.getresponse()
        body = answer.read()
        if answer.status != 201:
            raise harness.BenchError(f"deploy of {name_of(number)}: {answer.status} {body[:300]!r}")

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(DEPLOYS_AT_ONCE) as executor:
        for done, _ in enumerate(executor.map(deploy, range(count)), 1):
            if done % 100 == 0 and sys.stderr.isatty():
                print(f"\rdeployed {done} of {count} ", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    return time.monotonic() - began


def at_rest(daemon, seconds):
    """The daemon's figures while nobody asks it anything."""
    before = daemon.processes()
    own = daemon.own_pids()
    cpu = harness.cpu_s(before)
    time.sleep(seconds)
    cpu = harness.cpu_s(before) - cpu
    processes = daemon.processes()
    by_name = {}
    for pid, name in processes.items():
        figures = by_name.setdefault(name, {"processes": 0, "pss_bytes": 0})
        figures["processes"] += 1
        figures["pss_bytes"] += harness.pss_bytes(pid)
    return {"memory_mb": sum(one["pss_bytes"] for one in by_name.values()) / 1e6,
            "server_mb": sum(harness.pss_bytes(pid) for pid in own[:1]) / 1e6,
            "processes": len(processes),
            "function_processes": sum(1 for name in processes.values() if name not in harness.OWN_PROGRAMS),
            "by_name": by_name, "cpu_percent": 100 * cpu / seconds}


def list_s(daemon, expected):
    times = []
    for _ in range(5):
        began = time.monotonic()
        text = daemon.cli("list", "--quiet")
        times.append(time.monotonic() - began)
        if len(text.split()) != expected:
            raise harness.BenchError(f"thaw list named {len(text.split())} functions, not {expected}")
    return harness.median(times)


def call(daemon, number):
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    began = time.monotonic()
    connection.request("GET", f"/fn/{name_of(number)}/")
    answer = connection.getresponse()
    body = answer.read()
    took = time.monotonic() - began
    connection.close()
    if answer.status != 200 or body != b"number %d\n" % number:
        raise harness.BenchError(f"{name_of(number)} answered {answer.status}: {body[:300]!r}")
    return took


def wait_for_zero(daemon, wait_s=60):
    deadline = time.monotonic() + wait_s
    while any(name not in harness.OWN_PROGRAMS for name in daemon.processes().values()):
        if time.monotonic() > deadline:
            raise harness.BenchError("the function's processes did not go away")
        time.sleep(0.1)


def folder_bytes(path):
    return int(subprocess.run(["du", "-sk", path], capture_output=True, text=True, check=True).stdout.split()[0]) << 10


def run():
    chosen = options()
    about = harness.machine()
    about["thaw"] = harness.thaw_version()
    phases = {}
    with harness.Folder() as folder, harness.Daemon(folder + "/thaw") as daemon:
        phases["no function"] = at_rest(daemon, min(chosen.seconds, 3))
        deploy_s = deploy_all(daemon, chosen.functions)
        time.sleep(1)
        phases["deployed"] = at_rest(daemon, chosen.seconds)
        listed_s = list_s(daemon, chosen.functions)
        daemon.stop()
        began = time.monotonic()
        daemon.start()
        restart_s = time.monotonic() - began
        time.sleep(1)
        phases["restarted"] = at_rest(daemon, chosen.seconds)
        called_s = call(daemon, chosen.functions // 2)
        wait_for_zero(daemon)
        phases["called once"] = at_rest(daemon, min(chosen.seconds, 3))
        disk = folder_bytes(daemon.data)
    about["load_after"] = round(os.getloadavg()[0], 2)
    worst = {key: max(one[key] for one in phases.values()) for key in TARGETS}
    missed = any(worst[key] > bound for key, bound in TARGETS.items())
    result = {"machine": about, "functions": chosen.functions, "phases": phases, "deploy_s": deploy_s,
              "list_s": listed_s, "restart_s": restart_s, "first_call_s": called_s, "disk_bytes": disk}
    if chosen.json:
        harness.print_json(result)
    else:
        print_result(result, worst)
    return 1 if chosen.check and missed else 0


def print_result(result, worst):
    about = result["machine"]
    print(harness.machine_line(about) + f", after {about['load_after']}")
    print(f"thaw {about['thaw']}, {result['functions']} functions, each with its own package\n")
    rows = [["at rest", "memory MB", "server half MB", "processes", "of functions", "CPU %"]]
    for phase, one in result["phases"].items():
        rows.append([phase, f"{one['memory_mb']:.1f}", f"{one['server_mb']:.1f}", str(one["processes"]),
                     str(one["function_processes"]), f"{one['cpu_percent']:.2f}"])
    print(harness.table(rows))
    names = ", ".join(f"{name} {one['processes']} x {one['pss_bytes'] / one['processes'] / 1e6:.1f} MB"
                      for name, one in sorted(result["phases"]["deployed"]["by_name"].items()))
    print(f"\nprocesses: {names}")
    print(f"deploy: {result['deploy_s'] / result['functions'] * 1000:.1f} ms a function, {DEPLOYS_AT_ONCE} at a time; "
          f"on disk {result['disk_bytes'] / result['functions'] / 1e3:.1f} kB a function")
    print(f"thaw list: {result['list_s'] * 1000:.0f} ms; restart until it serves: {result['restart_s'] * 1000:.0f} ms; "
          f"first call after it: {result['first_call_s'] * 1000:.0f} ms")
    for key, bound in TARGETS.items():
        print(f"{key} {worst[key]:.1f}; target {bound}: {'met' if worst[key] <= bound else 'missed'}")


if __name__ == "__main__":
    harness.main(run)
