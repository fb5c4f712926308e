#!/usr/bin/env python3
"""How long a function at zero takes to its first answer, and what its clones cost.

Each function is deployed with snapshot = true and published; $LATEST starts by init, the version by restore. The ways
take turns in one run: init and restore with everything in memory, both again after the daemon was restarted and the files
were dropped from the page cache, and a warm request. All times are taken at the client, from opening a connection to
the answer's first byte. Beside them: the pool's clock until the process runs again, the spawner's with its steps, the same
servers in gVisor (runsc restore), memory of 1, 4 and 32 clones, and a burst from 0 to 100 clones of the FastAPI app.

The default takes about an hour. For a look: --quick, or --functions qa --samples 30.
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import clones  # noqa: E402
import functions  # noqa: E402
import gvisor  # noqa: E402
import harness  # noqa: E402
import report  # noqa: E402
import ways  # noqa: E402

PARTS = ("ways", "gvisor", "memory", "burst")


def words(known):
    def parse(text):
        chosen = text.split(",")
        for word in chosen:
            if word not in known:
                raise argparse.ArgumentTypeError(f"'{word}' is none of {', '.join(known)}")
        return chosen

    return parse


def options():
    parser = argparse.ArgumentParser(prog="./dev bench wake", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", type=words(functions.BUILDERS), default=list(functions.BUILDERS),
                        help=f"some of {','.join(functions.BUILDERS)} [all]")
    parser.add_argument("--parts", type=words(PARTS), default=list(PARTS), help=f"some of {','.join(PARTS)} [all]")
    parser.add_argument("--samples", type=int, default=200, help="restores of each kind [200]; inits: a fifth of it")
    parser.add_argument("--rounds", type=int, default=10, help="bursts, and restores by runsc [10]")
    parser.add_argument("--quick", action="store_true", help="5 samples, 2 bursts: does it work?")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    parser.add_argument("--json", action="store_true", help="all figures of every sample as JSON")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.samples, chosen.rounds = 5, 2
    return chosen


def measure_ways(folder, function, samples):
    cold = ways.Cold()
    # Each start's time by step is in the log at this level; it is one line a start.
    with harness.Daemon(f"{folder}/ways-{function.name}", ["--log-level", "debug"]) as daemon:
        deployed = ways.Deployed(daemon, function)
        refusal = deployed.refusal()
        measurement = ways.Measurement(deployed, cold)
        inits = max(samples // 5, 3)
        restores = 0 if refusal else samples
        measurement.run({"init": inits, "init_cold": inits, "restore": restores, "restore_cold": restores})
        image_bytes = sum(image.stat().st_size for image in deployed.images())
    return {"samples": measurement.samples, "refusal": refusal, "image_bytes": image_bytes, "cold": cold.how}


def measure_gvisor(folder, function, rounds):
    lacks = gvisor.Gvisor.lacks()
    if lacks:
        return {"refusal": lacks}
    if not function.peer_command:
        return {"refusal": function.peer_refusal}
    with gvisor.Gvisor(folder, function) as peer:
        image_bytes = peer.checkpoint()
        return {"samples": [peer.restore() for _ in range(rounds)], "image_bytes": image_bytes, "refusal": ""}


def measure(chosen, folder):
    results = {}
    for name in chosen.functions:
        try:
            function = functions.BUILDERS[name](folder)
        except functions.Unavailable as lack:
            results[name] = {"skipped": str(lack)}
            continue
        one = results[name] = {}
        if "ways" in chosen.parts:
            one["ways"] = measure_ways(folder, function, chosen.samples)
        if "gvisor" in chosen.parts:
            one["gvisor"] = measure_gvisor(folder, function, chosen.rounds)
        if "memory" in chosen.parts:
            with harness.Daemon(f"{folder}/memory-{name}") as daemon:
                one["memory"] = clones.measure_memory(daemon, function, clones.CLONES)
        if "burst" in chosen.parts and name == "fastapi-hello":
            with harness.Daemon(f"{folder}/burst-{name}") as daemon:
                one["burst"] = clones.measure_burst(daemon, function, chosen.rounds)
    return results


def run():
    chosen = options()
    about = harness.machine()
    with harness.Folder() as folder:
        results = measure(chosen, folder)
    about["load_after"] = round(os.getloadavg()[0], 2)
    about["thaw"] = harness.thaw_version()
    about["runsc"] = harness.version_of(["runsc", "--version"], r"runsc version (\S+)")
    checks = report.targets(results)
    if chosen.json:
        harness.print_json({"machine": about, "functions": results, "targets": checks})
    else:
        report.print_all(about, results, checks)
    return 1 if chosen.check and any(check["met"] is False for check in checks) else 0


if __name__ == "__main__":
    harness.main(run)
