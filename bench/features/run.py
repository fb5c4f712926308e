#!/usr/bin/env python3
"""./dev bench features: reads of the feature store through Feast's HTTP API, /get-online-features.

What is read: 1 x 250, the 250 features of one entity, and 100 x 50, fifty features of a hundred entities; another
entity, or hundred, each time, of ENTITIES. What reads it: wrk over one connection (latency) and over eight (per second).

Ways: Thaw on its embedded store, on PostgreSQL, on Redis, each without a cache ("cache off") and with it; Feast's own
feature server in Python on the same Redis, where PyPI has it. An answer is checked before each round is measured.
"""

import argparse
import contextlib
import json
import os
import random
import re
import subprocess
import sys
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.path.insert(0, HERE)
import harness  # noqa: E402
import servers  # noqa: E402

FEATURES = 250
ENTITIES = 1000
WHEN = "2026-01-01T00:00:00Z"
SHAPES = {"1 x 250": (1, 250), "100 x 50": (100, 50)}
TARGETS_MS = {("embedded, cache off", "1 x 250"): 0.3, ("redis, cache off", "1 x 250"): 1.3}
CONNECTIONS = 8
# The bodies are made before the first request: what wrk does for one is to pick it.
WRK = """
local bodies = {}
for line in io.lines("{bodies}") do bodies[#bodies + 1] = line end
local at = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  at = at % #bodies + 1
  return wrk.format(nil, "/get-online-features", nil, bodies[at])
end
"""


def options():
    parser = argparse.ArgumentParser(prog="./dev bench features", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=4, help="length of one measurement [4]")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; figures are their medians [5]")
    parser.add_argument("--quick", action="store_true", help="one round of a second: does it work?")
    parser.add_argument("--no-peers", action="store_true", help="Thaw alone: nothing is fetched from PyPI")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    parser.add_argument("--json", action="store_true", help="all figures of every round as JSON")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seconds, chosen.rounds = 1, 1
    return chosen


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr)


def post(port, path, body, kind="application/json"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        raise harness.BenchError(f"{path} answered {error.code}: {error.read()[:500]!r}") from None


def make_rows():
    draw = random.Random(1)
    rows = {"driver_id": list(range(ENTITIES)), "event_timestamp": [WHEN] * ENTITIES}
    for number in range(FEATURES):
        rows[f"f{number}"] = [round(draw.uniform(-1000, 1000), 6) for _ in range(ENTITIES)]
    return rows


def slice_of(rows, first, count):
    return {name: values[first:first + count] for name, values in rows.items()}


def load(port, rows):
    names = ", ".join(f'{{name = "f{number}", type = "Float64"}}' for number in range(FEATURES))
    view = f'[[feature_view]]\nname = "stats"\nentities = [{{name = "driver_id", type = "Int64"}}]\nfeatures = [{names}]\n'
    post(port, "/thaw/v1/features", view.encode(), "application/toml")
    for first in range(0, ENTITIES, 100):
        post(port, "/write-to-online-store", {"feature_view_name": "stats", "df": slice_of(rows, first, 100)})


def bodies_of(shape, folder):
    entities, features = SHAPES[shape]
    names = [f"stats:f{number}" for number in range(features)]
    draw = random.Random(2)
    lines = [json.dumps({"features": names, "entities": {"driver_id": draw.sample(range(ENTITIES), entities)}})
             for _ in range(200)]
    path = os.path.join(folder, f"bodies-{entities}")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path, lines


class Way:
    def __init__(self, name, port):
        self.name, self.port = name, port

    def check(self, shape, body, rows):
        told = post(self.port, "/get-online-features", body.encode())
        asked = json.loads(body)["entities"]["driver_id"]
        columns = dict(zip(told["metadata"]["feature_names"], told["results"]))
        for number in range(SHAPES[shape][1]):
            if columns[f"f{number}"]["values"] != [rows[f"f{number}"][entity] for entity in asked]:
                raise harness.BenchError(f"{self.name}, {shape}: f{number} is wrong: {columns[f'f{number}']}"[:500])

    def measure(self, script, connections, seconds):
        wrk = harness.need_program("wrk", "wrk")
        done = subprocess.run([wrk, "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "10s", "-s",
                               script, f"http://127.0.0.1:{self.port}"], capture_output=True, text=True)
        found = re.search(r"^WRK (.*)$", done.stdout, re.M)
        if found is None:
            raise harness.BenchError(f"wrk against {self.name}: {done.stdout}{done.stderr}")
        one = json.loads(found.group(1))
        if one["errors_status"] or one["errors_timeout"] or not one["requests"]:
            raise harness.BenchError(f"{self.name} failed {one['errors_status']:.0f} requests, "
                                     f"{one['errors_timeout']:.0f} took over 10 s")
        return one


def scripts_of(folder):
    with open(os.path.join(HERE, "..", "gateway", "report.lua"), encoding="utf-8") as file:
        report = file.read()
    found = {}
    for shape in SHAPES:
        path, lines = bodies_of(shape, folder)
        script = path + ".lua"
        with open(script, "w", encoding="utf-8") as file:
            file.write(WRK.replace("{bodies}", path) + report)
        found[shape] = (script, lines)
    return found


def start_ways(stack, chosen, folder, rows):
    """Every way with its rows, and what was left out."""
    redis = stack.enter_context(servers.Redis(folder))
    postgres = stack.enter_context(servers.Postgres(folder))
    ways, left_out = [], []
    for store, url in (("embedded", "embedded"), ("postgresql", postgres.url), ("redis", redis.url)):
        for cache in (0, 64):
            name = f"{store}, {'cache' if cache else 'cache off'}"
            flags = ["--features-online-store", url, "--features-cache-mb", str(cache)]
            daemon = stack.enter_context(harness.Daemon(os.path.join(folder, name.replace(", ", "-").replace(" ", "-")), flags))
            progress(f"loading {name}")
            load(daemon.port, rows)
            ways.append(Way(name, daemon.port))
    missing = "--no-peers" if chosen.no_peers else servers.Feast.fetch()
    if missing is None:
        feast = servers.Feast(folder, redis.port, FEATURES)
        os.makedirs(feast.folder)
        with open(os.path.join(feast.folder, "rows.json"), "w", encoding="utf-8") as file:
            json.dump(rows, file)
        progress("loading Feast")
        stack.enter_context(feast)
        ways.append(Way("Feast (Python), redis", feast.port))
    else:
        left_out.append(f"Feast's Python server: {missing}")
    return ways, left_out


def measure(chosen, folder):
    rows = make_rows()
    scripts = scripts_of(folder)
    results = {}
    with contextlib.ExitStack() as stack:
        ways, left_out = start_ways(stack, chosen, folder, rows)
        for number in range(chosen.rounds):
            for shape, (script, lines) in scripts.items():
                for way in ways:
                    progress(f"{shape}: {way.name}, round {number + 1} of {chosen.rounds}")
                    way.check(shape, lines[number % len(lines)], rows)
                    way.measure(script, 1, 1)  # not counted: connections, caches
                    found = results.setdefault(shape, {}).setdefault(way.name, {"latency": [], "rate": []})
                    found["latency"].append(way.measure(script, 1, chosen.seconds))
                    found["rate"].append(way.measure(script, CONNECTIONS, chosen.seconds))
    return results, left_out


def figures(found):
    rate = harness.median([one["requests"] / one["duration_us"] * 1e6 for one in found["rate"]])
    return {"p50_ms": harness.median([one["p50"] for one in found["latency"]]) / 1e3,
            "p99_ms": harness.median([one["p99"] for one in found["latency"]]) / 1e3, "per_s": rate}


def report(results):
    missed = []
    for shape, ways in results.items():
        peer = next((figures(found) for name, found in ways.items() if name.startswith("Feast")), None)
        rows = [[shape, "p50, ms", "p99, ms", "per second", "Feast's p99 to its"]]
        for name, found in ways.items():
            one = figures(found)
            ratio = f"{peer['p99_ms'] / one['p99_ms']:.0f}x" if peer else "-"
            rows.append([name, f"{one['p50_ms']:.3f}", f"{one['p99_ms']:.3f}", f"{one['per_s']:.0f}", ratio])
            target = TARGETS_MS.get((name, shape))
            if target is not None and one["p99_ms"] > target:
                missed.append(f"{name}, {shape}: p99 of {one['p99_ms']:.3f} ms; wanted: at most {target}")
        print(harness.table(rows) + "\n")
    return missed


def run():
    chosen = options()
    about = {**harness.machine(), "thaw": harness.thaw_version()}
    with harness.Folder() as folder:
        results, left_out = measure(chosen, folder)
    progress("")
    if chosen.json:
        harness.print_json({"machine": about, "results": results, "left_out": left_out})
        return 0
    print(harness.machine_line(about) + f"\nthaw {about['thaw']}\n")
    missed = report(results)
    for line in left_out:
        print("left out: " + line)
    print("\n".join("missed: " + line for line in missed) or
          "Targets met: p99 of 1 x 250 at most 0.3 ms embedded, 1.3 ms on Redis, both without a cache")
    return 1 if chosen.check and missed else 0


if __name__ == "__main__":
    harness.main(run)
