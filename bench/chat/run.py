#!/usr/bin/env python3
"""A chat model of about 1 GB: from zero to the first token, tokens per second, and memory, with Thaw and without.

The model is made by tests/models/make_gguf.py: Qwen2-1.5B's shape in Q4_0 with random weights. It is deployed with
snapshot = true and published. In turn, in one run, to the first token at the client:

  restore   Thaw, from zero, the published version
  init      Thaw, from zero, $LATEST
  warm      Thaw, a restored environment that has answered before
  cold      llama-server started for the question: its process, its load of the model, its first token
  asleep    llama-server woken from --sleep-idle-seconds, which unloads the model and keeps the process

Then tokens per second of one stream and of four, through Thaw and from llama-server itself with the same options, taking
turns; then the memory of one environment and of four. All files are in memory throughout.

The default takes about half an hour. For a look: --quick.
"""

import argparse
import os
import pathlib
import socket
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(1, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "wake"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import clones  # noqa: E402
import harness  # noqa: E402
import llama  # noqa: E402
import ways  # noqa: E402
from report import quantile  # noqa: E402

NAME = "chat"
SLOTS = 4
TOKENS_FIRST = 4  # of an answer of which the first token counts
TOKENS = 64  # of an answer whose speed counts
PARTS = ("first", "speed", "memory")
STREAMS = (1, 4)
ENVIRONMENTS = (1, 4)
TWO_CORES_MB = 3538
SETTLE_S = 0.3  # from the end of the last environment: what it was made of is cleared then
AGREE_LEAST = 0.9  # of the questions, how many get the same first character by every way


def words(text):
    chosen = text.split(",")
    for word in chosen:
        if word not in PARTS:
            raise argparse.ArgumentTypeError(f"'{word}' is none of {', '.join(PARTS)}")
    return chosen


def options():
    parser = argparse.ArgumentParser(prog="./dev bench chat", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=words, default=list(PARTS), help=f"some of {','.join(PARTS)} [all]")
    parser.add_argument("--samples", type=int, default=200, help="restores [200]; starts by init and without Thaw: a tenth")
    parser.add_argument("--rounds", type=int, default=20, help="answers of each kind whose speed is measured [20]")
    parser.add_argument("--type", choices=("q4_0", "q4_k"), default="q4_0", help="of the model's weights [q4_0]")
    parser.add_argument("--quick", action="store_true", help="5 samples, 2 rounds: does it work?")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    parser.add_argument("--json", action="store_true", help="all figures of every sample as JSON")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.samples, chosen.rounds = 5, 2
    return chosen


class Function:
    """The model as a function of a daemon, deployed and published. What ways.Deployed needs of a function."""

    def __init__(self, daemon, model, *settings):
        self.daemon = daemon
        self.version, self.latest = f"/fn/{NAME}:1", f"/fn/{NAME}"
        given = [word for setting in ("snapshot=true", "idle_s=1", f"memory_mb={TWO_CORES_MB}", f"concurrency={SLOTS}",
                                    *settings)
                 for word in ("--set", setting)]
        began = time.monotonic()
        daemon.cli("deploy", model, "--name", NAME, *given)
        self.deploy_s = time.monotonic() - began
        began = time.monotonic()
        daemon.cli("publish", NAME)
        self.publish_s = time.monotonic() - began
        # A look at how Thaw starts it: what it is compared with gets the same options.
        self.ask(self.version, "first")
        self.options = llama.options_of(daemon)
        if "no snapshot" in (log := daemon.cli("logs", NAME)):
            raise harness.BenchError("no snapshot was made:\n" + log[-2000:])

    def ask(self, prefix, number, tokens=TOKENS_FIRST):
        return llama.ask(self.daemon.port, prefix, llama.prompt(number), tokens)


# ---- From zero to the first token ------------------------------------------------------------------------------------


class FirstToken:
    WAYS = ("restore", "init", "cold", "asleep")

    def __init__(self, function, model, group, sleeper):
        self.function, self.model, self.group, self.sleeper = function, model, group, sleeper
        self.log = ways.LogReader(function.daemon)
        self.samples = {way: [] for way in (*self.WAYS, "warm")}
        self.number = 0

    def from_zero(self, prefix):
        daemon = self.function.daemon
        ways.wait_for_zero(daemon)
        time.sleep(SETTLE_S)
        self.log.skip()
        one = self.function.ask(prefix, self.number)
        one.update(self.log.start())
        if one.pop("fell_back"):
            raise harness.BenchError(f"a restore failed; see {daemon.log_path}")
        return one

    def restore(self):
        one = self.from_zero(self.function.version)
        # The first answer after a start still touches memory for the first time; the one after that is a warm one.
        self.function.ask(self.function.version, 3000 + self.number)
        self.samples["warm"].append(self.function.ask(self.function.version, 6000 + self.number))
        return one

    def init(self):
        return self.from_zero(self.function.latest)

    def cold(self):
        with llama.Bare(self.group, self.model, *self.function.options) as bare:
            ready = bare.wait_ready()
            one = llama.ask(bare.port, "", llama.prompt(self.number), TOKENS_FIRST, bare.began)
            return one | {"running_ms": ready}

    def asleep(self):
        self.sleeper.wait_asleep()
        return llama.ask(self.sleeper.port, "", llama.prompt(self.number), TOKENS_FIRST)

    def check_texts(self):
        """Whoever answers a question, the likeliest token is the same, but for what rounding decides."""
        texts = {}
        for way in self.WAYS:
            for one in self.samples[way]:
                texts.setdefault(one["number"], []).append(one["text"][:1])
        compared = [found for found in texts.values() if len(found) > 1]
        agree = sum(len(set(found)) == 1 for found in compared)
        if agree < AGREE_LEAST * len(compared):
            raise harness.BenchError(f"the ways gave one answer to {agree} of {len(compared)} questions alone")

    def run(self, counts):
        rounds = max(counts.values())
        for index in range(rounds):
            self.number = 1000 + index  # as many digits for all, and as many tokens
            for way in self.WAYS:
                if index * counts[way] // rounds != (index + 1) * counts[way] // rounds:
                    self.samples[way].append(getattr(self, way)() | {"number": self.number})
            if sys.stderr.isatty():
                print(f"\rfirst token: {index + 1} of {rounds} rounds    ", end="", file=sys.stderr)
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr)
        self.check_texts()


def measure_first(folder, model, samples):
    few = max(3, samples // 10)
    with harness.Daemon(f"{folder}/first", ["--log-level", "debug"]) as daemon:
        function = Function(daemon, model)
        with (llama.CpuGroup(daemon) as group,
              llama.Bare(group, model, *function.options, "--sleep-idle-seconds", "1") as sleeper):
            sleeper.wait_ready()
            measured = FirstToken(function, model, group, sleeper)
            measured.run({"restore": samples, "init": few, "cold": few, "asleep": few})
        images = sum(path.stat().st_size for path in pathlib.Path(daemon.data, "snapshots").glob("*.img"))
        return {"samples": measured.samples, "image_bytes": images, "deploy_s": function.deploy_s,
                "publish_s": function.publish_s}


# ---- Tokens per second -----------------------------------------------------------------------------------------------


def measure_speed(folder, model, rounds):
    found = {streams: {"thaw": [], "bare": []} for streams in STREAMS}
    with harness.Daemon(f"{folder}/speed") as daemon:
        function = Function(daemon, model, "idle_s=600")
        with (llama.CpuGroup(daemon) as group,
              llama.Bare(group, model, *function.options) as bare):
            bare.wait_ready()
            both = {"thaw": llama.Streams(daemon.port, function.version), "bare": llama.Streams(bare.port, "")}
            for streams in STREAMS:
                for one in both.values():
                    one.run("warm-up", streams, 8)
            for number in range(rounds):
                for streams in STREAMS:
                    # Who goes first changes from round to round.
                    for name in sorted(both, reverse=number % 2 == 1):
                        found[streams][name].append(both[name].run(number, streams, TOKENS))
    return found


# ---- Memory ----------------------------------------------------------------------------------------------------------


def measure_memory(folder, model):
    """PSS of 1 and of 4 environments that are all in the middle of an answer."""
    results = []
    with harness.Daemon(f"{folder}/memory") as daemon:
        # One stream an environment; the model is not counted in memory_mb.
        function = Function(daemon, model, "concurrency=1", "memory_mb=2048")
        for count in ENVIRONMENTS:
            ways.wait_for_zero(daemon)
            requests = [llama.request_bytes(function.version, llama.prompt(f"held {i}"), 2000) for i in range(count)]
            held = [socket.create_connection(("127.0.0.1", daemon.port), timeout=120) for _ in requests]
            try:
                for connection, request in zip(held, requests):
                    connection.sendall(request)
                for connection in held:
                    if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
                        raise harness.BenchError("a stream did not begin")
                time.sleep(5)  # some tokens each
                one = clones.memory(daemon)
            finally:
                for connection in held:
                    connection.close()
            if one["environments"] != count:
                raise harness.BenchError(f"{one['environments']} environments live, not {count}")
            results.append(one)
        ways.wait_for_zero(daemon)
    return results


# ---- What is printed -------------------------------------------------------------------------------------------------


def of(samples, way, key="first_ms"):
    return [one[key] for one in samples[way] if key in one]


def targets(results):
    checks = []

    def check(what, measured, bound, unit, at_least=False):
        met = bool(measured >= bound if at_least else measured <= bound)
        checks.append({"what": what, "measured": measured, "bound": bound, "unit": unit, "at_least": at_least, "met": met})

    if "first" in results:
        samples = results["first"]["samples"]
        warm = harness.median(of(samples, "warm"))
        over = [value - warm for value in of(samples, "restore")]
        running = of(samples, "restore", "running_ms")
        check("runs again, p50", harness.median(running), 5, "ms")
        check("first token over a warm one, p50", harness.median(over), 20, "ms")
        check("first token over a warm one, p99", quantile(over, 0.99), 60, "ms")
        check("init to restore, until it runs", harness.median(of(samples, "init", "running_ms")) / harness.median(running),
              100, "x", True)
    for streams, both in results.get("speed", {}).items():
        check(f"tokens per second over bare, {streams} stream{'s' if streams > 1 else ''}, median", speed_ratios(both)[1],
              0.99, "x", True)
    if "memory" in results:
        one, four = results["memory"]
        check("PSS of four environments over one", four["pss_bytes"] / one["pss_bytes"], 1.2, "x")
    return checks


def speed_ratios(both):
    ratios = [thaw["tokens_per_s"] / bare["tokens_per_s"] for thaw, bare in zip(both["thaw"], both["bare"])]
    return min(ratios), harness.median(ratios), quantile(ratios, 0.99)


def print_first(first):
    samples = first["samples"]
    rows = [["ms", "first token p50", "p99", "it runs p50", "p99", "samples"]]
    names = {"restore": "Thaw, restore", "init": "Thaw, init", "warm": "Thaw, warm", "cold": "llama-server, cold start",
             "asleep": "llama-server, asleep"}
    for way, name in names.items():
        values, running = of(samples, way), of(samples, way, "running_ms")
        rows.append([name, f"{harness.median(values):,.1f}", f"{quantile(values, 0.99):,.1f}",
                     f"{harness.median(running):,.1f}" if running else "-",
                     f"{quantile(running, 0.99):,.1f}" if running else "-", str(len(values))])
    print(harness.table(rows))
    print(f"\nImage {first['image_bytes'] / 1e6:,.0f} MB, deployed in {first['deploy_s']:.1f} s, "
          f"published in {first['publish_s']:.1f} s\n")


def print_speed(speed):
    rows = [["tokens/s", "Thaw", "llama-server", "ratio median", "least", "p99"]]
    for streams, both in speed.items():
        least, middle, most = speed_ratios(both)
        rows.append([f"{streams} stream{'s' if streams > 1 else ''}",
                     *(f"{harness.median(one['tokens_per_s'] for one in both[name]):.2f}" for name in ("thaw", "bare")),
                     f"{middle:.3f}", f"{least:.3f}", f"{most:.3f}"])
    print(harness.table(rows) + "\n")


def print_memory(memory):
    rows = [["environments", "PSS, MB", "charged to their groups, MB"]]
    rows += [[str(one["environments"]), f"{one['pss_bytes'] / 1e6:,.0f}", f"{one['cgroup_bytes'] / 1e6:,.0f}"]
             for one in memory]
    print(harness.table(rows) + "\n")


def print_targets(checks):
    rows = [["target", "bound", "measured", ""]]
    for check in checks:
        rows.append([check["what"], f"{'at least' if check['at_least'] else 'at most'} {check['bound']} {check['unit']}",
                     f"{check['measured']:.3g}", "met" if check["met"] else "MISSED"])
    print(harness.table(rows))


def run():
    chosen = options()
    about = harness.machine()
    model = llama.model(chosen.type)
    results = {}
    with harness.Folder() as folder:
        if "first" in chosen.parts:
            results["first"] = measure_first(folder, model, chosen.samples)
        if "speed" in chosen.parts:
            results["speed"] = measure_speed(folder, model, chosen.rounds)
        if "memory" in chosen.parts:
            results["memory"] = measure_memory(folder, model)
    about |= {"load_after": round(os.getloadavg()[0], 2), "thaw": harness.thaw_version(), "llama_cpp": llama.version()}
    checks = targets(results)
    if chosen.json:
        harness.print_json({"machine": about, "results": results, "targets": checks})
    else:
        print(f"{harness.machine_line(about)}, {about['load_after']} after\nthaw {about['thaw']}, llama.cpp "
              f"{about['llama_cpp']}, {os.path.basename(model)}, memory_mb = {TWO_CORES_MB}, concurrency = {SLOTS}\n")
        for part, show in (("first", print_first), ("speed", print_speed), ("memory", print_memory)):
            if part in results:
                show(results[part])
        print_targets(checks)
    return 1 if chosen.check and not all(check["met"] for check in checks) else 0


if __name__ == "__main__":
    harness.main(run)
