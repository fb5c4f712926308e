#!/usr/bin/env python3
"""What Lambda's Invoke costs: an echo in Python, Node.js and C++, warm and from zero.

  warm      one connection that stays, one event after the other; all ways take turns
  rate      events a second by wrk over 8 connections
  zero      the first answer of a function at zero: by init ($LATEST), and by restore (a version with a snapshot)

Peers: npm's serverless-offline, with the same Python and Node.js handlers; AWS's runtime interface emulator before the
same C++ runtime where aws-lambda-rie is on PATH.
"""

import argparse
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "wake"))
sys.path.insert(0, HERE)
import harness  # noqa: E402
import peers  # noqa: E402
from report import quantile, two  # noqa: E402
from ways import wait_for_zero  # noqa: E402

LANGUAGES = ("python", "node", "cpp")
TARGET_MS = 25  # Python, from zero by restore, over a warm event
BLOCK = 50      # events of one way before it is the next one's turn
CONNECTIONS = 8
WRK = """wrk.method = "POST"
wrk.body = '{event}'
wrk.headers["Content-Type"] = "application/json"
"""
# A function that fails answers 200 as well: the body tells.
WRK_CHECK = """
local threads, report = {}, done
wrong = 0
function setup(thread) table.insert(threads, thread) end
function response(status, headers, body)
  if not body:find("forty-two", 1, true) or body:find("errorType", 1, true) then wrong = wrong + 1 end
end
function done(...)
  report(...)
  local all = 0
  for _, thread in ipairs(threads) do all = all + thread:get("wrong") end
  io.write("WRONG " .. all .. "\\n")
end
"""


def options():
    parser = argparse.ArgumentParser(prog="./dev bench invoke", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2000, help="warm events of each way [2000]")
    parser.add_argument("--seconds", type=int, default=4, help="length of one measurement of the rate [4]")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of the rate [3]")
    parser.add_argument("--samples", type=int, default=100, help="restores from zero [100]; inits: a fifth")
    parser.add_argument("--quick", action="store_true", help="few of each: does it work?")
    parser.add_argument("--no-peers", action="store_true", help="Thaw alone: no npm packages are fetched")
    parser.add_argument("--check", action="store_true", help="exit status 1 when the target is missed")
    parser.add_argument("--json", action="store_true", help="all figures of every sample as JSON")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.events, chosen.seconds, chosen.rounds, chosen.samples = 200, 1, 1, 5
    return chosen


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr)


def measure_warm(ways, events):
    samples = {way.name: [] for way in ways}
    for way in ways:
        for _ in range(5):
            way.ask()
    for block in range(max(events // BLOCK, 1)):
        progress(f"warm: {block * BLOCK} of {events} events")
        for way in ways:
            # What has been idle meanwhile is frozen: the first event of a block thaws it, and is not counted.
            way.ask()
            samples[way.name] += [way.ask() for _ in range(min(BLOCK, events))]
    for way in ways:
        way.close()
    return samples


def measure_rate(ways, seconds, rounds, folder):
    script = os.path.join(folder, "post.lua")
    with open(script, "w", encoding="utf-8") as file, open(os.path.join(HERE, "..", "gateway", "report.lua"),
                                                           encoding="utf-8") as report:
        file.write(WRK.format(event=peers.EVENT.decode()) + report.read() + WRK_CHECK)
    wrk = harness.need_program("wrk", "wrk")
    rates = {way.name: [] for way in ways}
    for number in range(rounds):
        for way in ways:
            progress(f"rate: {way.name}, round {number + 1} of {rounds}")
            done = subprocess.run([wrk, "-t", "1", "-c", str(CONNECTIONS), "-d", f"{seconds}s", "-s", script,
                                   f"http://127.0.0.1:{way.port}{way.path}"], capture_output=True, text=True)
            found = re.search(r"^WRK (.*)$", done.stdout, re.M)
            if found is None:
                raise harness.BenchError(f"wrk against {way.name}: {done.stdout}{done.stderr}")
            one = json.loads(found.group(1))
            wrong = int(re.search(r"^WRONG (\d+)$", done.stdout, re.M).group(1))
            if wrong:
                raise harness.BenchError(f"{way.name} answered {wrong} of {one['requests']} events wrongly under load")
            if one["errors_status"] or one["errors_timeout"]:
                raise harness.BenchError(f"{way.name} failed {one['errors_status']:.0f} events under load")
            rates[way.name].append(one["requests"] / one["duration_us"] * 1e6)
    return rates


def measure_zero(folder, language, samples):
    """Milliseconds to the first answer, and to the warm one that follows it, of init and of restore."""
    found = {"init": [], "restore": [], "warm": []}
    with harness.Daemon(f"{folder}/zero-{language}/data") as daemon:
        daemon.cli("deploy", peers.package(f"{folder}/zero-{language}", language), "--name", "echo",
                   "--set", "snapshot=true", "--set", "idle_s=1")
        daemon.cli("publish", "echo")
        ways = {"init": peers.Way(language, daemon.port, "echo"), "restore": peers.Way(language, daemon.port, "echo:1")}
        ways["restore"].ask()
        for number in range(samples):
            for name, way in ways.items():
                if name == "init" and number % 5 != 0:
                    continue
                progress(f"from zero: {language}, {number + 1} of {samples}")
                way.close()
                wait_for_zero(daemon)
                found[name].append(way.ask())
                if name == "restore":
                    way.ask()
                    found["warm"].append(way.ask())
        for way in ways.values():
            way.close()
        if "restore_failed" in daemon.log_text():
            raise harness.BenchError(f"a restore failed; see {daemon.log_path}")
    return found


def measure(chosen, folder):
    results = {"skipped": []}
    servers = []
    try:
        with harness.Daemon(f"{folder}/warm/data") as daemon:
            ways = []
            for language in LANGUAGES:
                daemon.cli("deploy", peers.package(f"{folder}/warm", language), "--name", "echo-" + language,
                           "--set", f"environments_max={CONNECTIONS}")
                ways.append(peers.Way("thaw " + language, daemon.port, "echo-" + language))
            if not chosen.no_peers:
                server, port = peers.offline(f"{folder}/offline")
                servers.append(server)
                ways += [peers.Way("offline " + language, port, "peer-dev-" + language) for language in ("python", "node")]
                emulator = peers.emulator(folder)
                if emulator is None:
                    results["skipped"].append("AWS's runtime interface emulator: aws-lambda-rie is not on PATH")
                else:
                    servers.append(emulator[0])
                    ways.append(peers.Way("emulator cpp", emulator[1], "function"))
            results["warm"] = measure_warm(ways, chosen.events)
            # The emulator takes one event at a time and refuses others.
            several = [way for way in ways if not way.name.startswith("emulator")]
            results["rate"] = measure_rate(several, chosen.seconds, chosen.rounds, folder)
    finally:
        for server in servers:
            server.stop()
    results["zero"] = {language: measure_zero(folder, language, chosen.samples) for language in LANGUAGES}
    progress("")
    return results


def over_warm(results, language):
    zero = results["zero"][language]
    return harness.median(zero["restore"]) - harness.median(zero["warm"])


def print_all(about, results):
    print(harness.machine_line(about))
    print(f"thaw {about['thaw']}, Node.js {about['node']}, Python {about['python']}\n")
    rows = [["", "warm ms, p50 / p99", "events/s", "of the peer's"]]
    for name, samples in results["warm"].items():
        rate = results["rate"].get(name)
        peer = results["warm"].get(name.replace("thaw", "offline")) if name.startswith("thaw") else None
        ratio = f"{harness.median(samples) / harness.median(peer):.2f}x time" if peer else "-"
        rows.append([name, f"{harness.median(samples):.2f} / {quantile(samples, 0.99):.2f}",
                     f"{harness.median(rate):.0f}" if rate else "-", ratio])
    print(harness.table(rows) + "\n")
    rows = [["from zero, ms", "init p50 / p99", "restore p50 / p99", "warm then", "restore over warm", "init to restore"]]
    for language, zero in results["zero"].items():
        rows.append([language, two(zero["init"]), two(zero["restore"]), two(zero["warm"]), f"{over_warm(results, language):.1f}",
                     f"{harness.median(zero['init']) / harness.median(zero['restore']):.1f}x"])
    print(harness.table(rows))
    for lack in results["skipped"]:
        print(f"left out: {lack}")
    print(f"\nPython from zero by restore over warm, p50: {over_warm(results, 'python'):.1f} ms; wanted: at most {TARGET_MS}")


def run():
    chosen = options()
    about = harness.machine()
    with harness.Folder() as folder:
        for part in ("warm", *("zero-" + language for language in LANGUAGES)):
            os.makedirs(os.path.join(folder, part))
        results = measure(chosen, folder)
    about["thaw"] = harness.thaw_version()
    about["node"] = harness.version_of(["node", "--version"], r"v(\S+)")
    about["python"] = harness.version_of(["/usr/bin/python3", "--version"], r"Python (\S+)")
    if chosen.json:
        harness.print_json({"machine": about, **results})
    else:
        print_all(about, results)
    return 1 if chosen.check and over_warm(results, "python") > TARGET_MS else 0


if __name__ == "__main__":
    harness.main(run)
