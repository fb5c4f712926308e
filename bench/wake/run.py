#!/usr/bin/env python3
"""How long a function at zero takes to its first answer: by init, and by restore from a snapshot.

Each function is deployed with snapshot = true and published. $LATEST starts by init; the version starts from its
snapshot, once with the image in the page cache and once with the image dropped from it. All times are taken at the client: connection,
request, first answer whole. A warm request to the same function is the floor.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import harness  # noqa: E402

QUESTION = {"question": "What is the color of my car now?", "context": "My car used to be blue but I painted red"}
FUNCTIONS = {
    "qa": ("models/qa", "POST", "/question", json.dumps(QUESTION)),
    "fastapi-hello": ("examples/fastapi-hello", "GET", "/", None),
}
TARGETS = {"restore p50 ms": 5, "restore p99 ms": 10, "first answer over warm p50 ms": 10,
           "first answer over warm p99 ms": 30}


def options():
    parser = argparse.ArgumentParser(prog="./dev bench wake", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=200, help="restores of each kind [200]; inits: a tenth of it")
    parser.add_argument("--quick", action="store_true", help="10 samples: does it work?")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    parser.add_argument("--json", action="store_true", help="all figures as JSON")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.samples = 10
    return chosen


def quantile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def ask(daemon, url, method, path, body):
    """Milliseconds from opening a connection to the whole answer."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    connection.request(method, url + path, body, {"Content-Type": "application/json"} if body else {})
    answer = connection.getresponse()
    text = answer.read()
    took = (time.perf_counter() - began) * 1000
    connection.close()
    if answer.status != 200:
        raise harness.BenchError(f"{url}{path} answered {answer.status}: {text[:300]!r}")
    return took


def wait_for_zero(daemon, wait_s=60):
    deadline = time.monotonic() + wait_s
    while any(name not in harness.OWN_PROGRAMS + ("thaw-stub",) for name in daemon.processes().values()):
        if time.monotonic() > deadline:
            raise harness.BenchError("the function's processes did not go away")
        time.sleep(0.02)
    time.sleep(0.1)  # what the spawner prepares ahead is there again


def drop_from_cache(folder):
    for image in pathlib.Path(folder).glob("*.img"):
        fd = os.open(image, os.O_RDONLY)
        os.fdatasync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def measure(daemon, name, samples):
    package, method, path, body = FUNCTIONS[name]
    daemon.cli("deploy", os.path.join(harness.ROOT, package), "--name", name, "--set", "snapshot=true",
               "--set", "idle_s=1")
    daemon.cli("publish", name)
    version, latest = f"/fn/{name}:1", f"/fn/{name}"
    ask(daemon, version, method, path, body)
    figures = {"warm": [ask(daemon, version, method, path, body) for _ in range(samples)]}
    snapshots = os.path.join(daemon.data, "snapshots")
    ways = {"init": (latest, max(samples // 10, 3)), "restore": (version, samples), "restore, disk": (version, samples)}
    for way, (url, count) in ways.items():
        figures[way] = []
        for number in range(count):
            wait_for_zero(daemon)
            if way == "restore, disk":
                drop_from_cache(snapshots)
            figures[way].append(ask(daemon, url, method, path, body))
            if sys.stderr.isatty():
                print(f"\r{name}, {way}: {number + 1} of {count}    ", end="", file=sys.stderr)
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr)
    wait_for_zero(daemon)
    log = daemon.cli("logs", f"{name}")
    figures["restore duration"] = [float(ms) for ms in re.findall(r"RESTORE_REPORT Restore Duration: ([0-9.]+)", log)]
    figures["image bytes"] = sum(image.stat().st_size for image in pathlib.Path(snapshots).glob("*.img"))
    return figures


def run():
    chosen = options()
    about = harness.machine()
    results = {}
    for name in FUNCTIONS:
        with harness.Folder() as folder, harness.Daemon(folder + "/thaw") as daemon:
            results[name] = measure(daemon, name, chosen.samples)
    about["load_after"] = round(os.getloadavg()[0], 2)
    if chosen.json:
        harness.print_json({"machine": about, "thaw": harness.thaw_version(), "functions": results})
    missed = report(about, results, quiet=chosen.json)
    return 1 if chosen.check and missed else 0


def report(about, results, quiet):
    rows = [["ms to the first answer", "warm p50", "init p50", "restore p50", "p99", "disk p50", "p99", "init / restore"]]
    worst = dict.fromkeys(TARGETS, 0.0)
    for name, one in results.items():
        warm = harness.median(one["warm"])
        rows.append([name, *(f"{value:.1f}" for value in (
            warm, harness.median(one["init"]), harness.median(one["restore"]), quantile(one["restore"], 0.99),
            harness.median(one["restore, disk"]), quantile(one["restore, disk"], 0.99),
            harness.median(one["init"]) / harness.median(one["restore"])))])
        for key, value in (("restore p50 ms", harness.median(one["restore duration"])),
                           ("restore p99 ms", quantile(one["restore duration"], 0.99)),
                           ("first answer over warm p50 ms", harness.median(one["restore"]) - warm),
                           ("first answer over warm p99 ms", quantile(one["restore"], 0.99) - warm)):
            worst[key] = max(worst[key], value)
    if not quiet:
        print(harness.machine_line(about) + f", after {about['load_after']}")
        print(f"thaw {harness.thaw_version()}\n\n{harness.table(rows)}\n")
        for name, one in results.items():
            print(f"{name}: image {one['image bytes'] / 1e6:.1f} MB")
        for key, bound in TARGETS.items():
            print(f"{key} {worst[key]:.1f} at worst; target {bound}: {'met' if worst[key] <= bound else 'missed'}")
    return any(worst[key] > bound for key, bound in TARGETS.items())


if __name__ == "__main__":
    harness.main(run)
