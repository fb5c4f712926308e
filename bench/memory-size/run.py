#!/usr/bin/env python3
"""How fast a chat model of about 1 GB answers at each memory size, and what an answer is billed.

The CPU share of a function follows memory_mb (1,769 MB are one vCPU), so prompt tokens and generated tokens per second
do too. The model of `./dev bench chat` is deployed at the memory sizes of Lambda's published table for a GGUF chatbot
("Inference performance at different memory sizes": 2,048 to 10,240 MB in steps of 1,024) as far as this machine's cores
go, and at the size that gives all of them. The sizes take turns; each answer is checked for its length. Billed
GB-seconds are REPORT's Billed Duration times the memory size, as Lambda bills them. The environments are warm, so no
initialisation is in it.
"""

import argparse
import os
import re
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(1, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "chat"))
import harness  # noqa: E402
import llama  # noqa: E402

TABLE_MB = tuple(range(2048, 10241, 1024))
VCPU_MB = 1769
REPORT = re.compile(r"Duration: [\d.]+ ms\tBilled Duration: (\d+) ms\tMemory Size: (\d+) MB\tMax Memory Used: (\d+) MB")


def sizes(cores):
    """The table's sizes below the one that gives all cores, and that one."""
    most = min(cores * VCPU_MB, TABLE_MB[-1])
    return [size for size in TABLE_MB if size < most] + [most]


def options():
    parser = argparse.ArgumentParser(prog="./dev bench memory-size", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="answers at each size [5]")
    parser.add_argument("--prompt-words", type=int, default=200, help="about as many tokens [200]")
    parser.add_argument("--tokens", type=int, default=128, help="generated for each answer [128]")
    parser.add_argument("--quick", action="store_true", help="1 round of 16 tokens: does it work?")
    parser.add_argument("--json", action="store_true", help="all figures of every answer as JSON")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.tokens = 1, 16
    return chosen


def reports(daemon, name):
    return [tuple(map(int, found)) for found in REPORT.findall(daemon.cli("logs", name, "--lines", "1000"))]


def answer(daemon, name, number, chosen):
    """One answer of the function: its speeds, and what it is billed."""
    before = reports(daemon, name)
    one = llama.ask(daemon.port, f"/fn/{name}", llama.prompt(number, chosen.prompt_words), chosen.tokens)
    deadline = time.monotonic() + 10
    while (found := reports(daemon, name)) == before:
        if time.monotonic() > deadline:
            raise harness.BenchError(f"the log of {name} has no REPORT line of its answer")
        time.sleep(0.05)
    billed_ms, size_mb, used_mb = found[-1]
    timings = one["timings"]
    return {"prompt_tokens": timings["prompt_n"], "prompt_per_s": timings["prompt_per_second"],
            "generated_per_s": timings["predicted_per_second"], "billed_ms": billed_ms, "used_mb": used_mb,
            "gb_s": billed_ms / 1e3 * size_mb / 1024}


def measure(chosen, folder, model):
    found = {size: [] for size in sizes(os.cpu_count())}
    with harness.Daemon(f"{folder}/data") as daemon:
        for size in found:
            daemon.cli("deploy", model, "--name", f"chat-{size}", "--set", f"memory_mb={size}", "--set", "concurrency=1",
                       "--set", "idle_s=3600")
            answer(daemon, f"chat-{size}", "warm-up", chosen)
        for number in range(chosen.rounds):
            for size, answers in found.items():
                answers.append(answer(daemon, f"chat-{size}", number, chosen))
                if sys.stderr.isatty():
                    print(f"\rround {number + 1} of {chosen.rounds}, {size} MB    ", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    return found


def print_all(found):
    rows = [["memory, MB", "vCPU", "prompt tokens/s", "generated tokens/s", "billed, ms", "GB-seconds", "used, MB"]]
    for size, answers in found.items():
        middle = {key: harness.median([one[key] for one in answers]) for key in answers[0]}
        rows.append([f"{size:,}", f"{size / VCPU_MB:.2f}", f"{middle['prompt_per_s']:.2f}",
                     f"{middle['generated_per_s']:.2f}", f"{middle['billed_ms']:,.0f}", f"{middle['gb_s']:.2f}",
                     f"{middle['used_mb']:,.0f}"])
    print(harness.table(rows))


def run():
    chosen = options()
    about = harness.machine()
    model = llama.model()
    with harness.Folder() as folder:
        found = measure(chosen, folder, model)
    about |= {"load_after": round(os.getloadavg()[0], 2), "thaw": harness.thaw_version(), "llama_cpp": llama.version()}
    if chosen.json:
        harness.print_json({"machine": about, "sizes": found})
        return 0
    print(f"{harness.machine_line(about)}, {about['load_after']} after\nthaw {about['thaw']}, llama.cpp "
          f"{about['llama_cpp']}, {os.path.basename(model)}; medians of {chosen.rounds} answers of {chosen.tokens} tokens\n")
    print_all(found)
    return 0


if __name__ == "__main__":
    harness.main(run)
