#!/usr/bin/env python3
"""What the gateway costs: wrk against one web function directly, through Thaw, and through nginx as reverse proxy.

The three ways take turns in each round, so that a noisy machine disturbs them alike:

  direct   wrk -> nginx on the host (the backend)
  thaw     wrk -> thaw serve -> the same nginx with the same configuration, inside an environment
  nginx    wrk -> nginx as reverse proxy, upstream connections kept alive -> the backend on the host

Both proxies have as many threads or workers as there are cores, and write their access log: Thaw its START, END and
REPORT lines, nginx its combined format, unbuffered as Debian ships it (--log buffered: gathered, as Thaw does).
CPU time is that of the proxy alone: all threads of thaw and thaw-spawner, all processes of the proxying nginx.
"""

import argparse
import http.client
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import harness  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
WAYS = ("direct", "thaw", "nginx")
BODY = b'{"answer":"red","score":0.9716,"start":37,"end":40,"context_bytes":40,"model":"static"}\n'

TARGETS = {"added_p50_us": 60, "cpu_ratio": 1.5}  # what a change must keep to
PROMISE = {"added_p50_us": 30, "added_p99_us": 200, "cpu_ratio": 1.2}  # where it is to get


def options():
    parser = argparse.ArgumentParser(prog="./dev bench gateway", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of all ways [7]")
    parser.add_argument("--seconds", type=int, default=4, help="length of one measurement [4]")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32], metavar="N",
                        help="connections at a time [1 32]")
    parser.add_argument("--log", choices=("plain", "buffered"), default="plain", help="nginx's access log [plain]")
    parser.add_argument("--core", type=int, metavar="N",
                        help="keep every process on core N: no wakes from core to core, whose cost varies")
    parser.add_argument("--body-bytes", type=int, default=0, metavar="N",
                        help="answers of N bytes, at most 200,000,000, from a file in memory [88 bytes]")
    parser.add_argument("--quick", action="store_true", help="one second, three rounds: does it work?")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    parser.add_argument("--json", action="store_true", help="all figures of all rounds as JSON")
    parser.add_argument("--hold", action="store_true", help="start everything, print where it is, wait for ctrl-C")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.seconds = 3, 1
    if chosen.core is not None:
        os.sched_setaffinity(0, {chosen.core})  # inherited by all that is started from here
    return chosen


class Nginx:
    """One nginx of the host, master and workers."""

    def __init__(self, folder, config):
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "nginx.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        self.messages = os.path.join(folder, "messages")
        with open(self.messages, "wb") as messages:
            self.process = subprocess.Popen(
                [harness.need_program("nginx", "nginx-light"), "-e", "stderr", "-p", folder, "-c", path],
                stdin=subprocess.DEVNULL, stdout=messages, stderr=messages)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()

    def pids(self):
        return list(harness.descendants(self.process.pid))


def read(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


def check_answer(url, expected, wait_s=30):
    """The way answers with the expected bytes; waits for a server that is just starting."""
    host, path = url.removeprefix("http://").split("/", 1)
    deadline = time.monotonic() + wait_s
    while True:
        connection = http.client.HTTPConnection(host, timeout=wait_s)
        try:
            connection.request("GET", "/" + path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 200 and body == expected:
                return
            raise harness.BenchError(f"{url} answered {answer.status}: {body[:300]!r}")
        except ConnectionError as error:
            if time.monotonic() > deadline:
                raise harness.BenchError(f"{url}: {error}") from error
            time.sleep(0.02)
        finally:
            connection.close()


class Bench:
    def __init__(self, chosen, daemon, proxy, urls, expected):
        self.chosen, self.daemon, self.proxy, self.urls, self.expected = chosen, daemon, proxy, urls, expected
        self.wrk = harness.need_program("wrk", "wrk")

    def proxy_pids(self, way):
        return {"direct": list, "thaw": self.daemon.own_pids, "nginx": self.proxy.pids}[way]()

    def measure(self, way, connections, seconds):
        pids = self.proxy_pids(way)
        before = harness.cpu_s(pids)
        done = subprocess.run([self.wrk, "-t", str(min(2, connections)), "-c", str(connections),
                               "-d", f"{seconds}s", "-s", os.path.join(HERE, "report.lua"), self.urls[way]],
                              capture_output=True, text=True)
        time.sleep(0.05)  # lines that are still gathered are written now, and count
        cpu = harness.cpu_s(pids) - before
        lines = [line for line in done.stdout.splitlines() if line.startswith("WRK ")]
        if done.returncode != 0 or not lines:
            raise harness.BenchError(f"wrk against {way}: {done.stdout}{done.stderr}")
        figures = json.loads(lines[0].removeprefix("WRK "))
        errors = {key: value for key, value in figures.items() if key.startswith("errors_") and value}
        if errors or not figures["requests"]:
            raise harness.BenchError(f"{way}, {connections} connections: {figures['requests']:.0f} requests, {errors}")
        figures["requests_per_s"] = figures["requests"] / (figures["duration_us"] / 1e6)
        figures["cpu_us"] = cpu * 1e6 / figures["requests"]
        return figures

    def series(self, connections):
        for way in WAYS:
            self.measure(way, connections, 1)
        rounds = []
        for number in range(self.chosen.rounds):
            rounds.append({way: self.measure(way, connections, self.chosen.seconds) for way in WAYS})
            if sys.stderr.isatty():
                progress = f"{connections} connections: round {number + 1} of {self.chosen.rounds}"
                print(f"\r{progress} ", end="", file=sys.stderr)
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr)
        for way in WAYS:
            check_answer(self.urls[way], self.expected)
        return rounds


def summary(rounds):
    """Medians over the rounds; differences and ratios are taken within a round, then their median."""
    result = {way: {key: harness.median([one[way][key] for one in rounds])
                    for key in ("requests_per_s", "mean", "p10", "p50", "p90", "p99", "cpu_us")} for way in WAYS}
    for way in ("thaw", "nginx"):
        for key in ("mean", "p50", "p99"):
            low, middle, high = harness.spread([one[way][key] - one["direct"][key] for one in rounds])
            result[way][f"added_{key}_us"] = middle
            result[way][f"added_{key}_us_range"] = [low, high]
        for base in WAYS:
            result[way][f"throughput_of_{base}"] = harness.median(
                [one[way]["requests_per_s"] / one[base]["requests_per_s"] for one in rounds])
    low, middle, high = harness.spread([one["thaw"]["cpu_us"] / max(one["nginx"]["cpu_us"], 1e-9) for one in rounds])
    result["cpu_ratio"], result["cpu_ratio_range"] = middle, [low, high]
    return result


def print_series(connections, figures, rounds):
    print(f"\n{connections} connection{'s' if connections > 1 else ''}, median of {rounds} rounds")
    rows = [["way", "requests/s", "of direct", "p50 us", "p99 us", "added p50", "(rounds)", "added p99",
             "CPU us/request"]]
    for way in WAYS:
        one = figures[way]
        if way == "direct":
            added = ["", "", "", "", ""]
        else:
            low, high = one["added_p50_us_range"]
            added = [f"{one['throughput_of_direct']:.2f}", f"{one['added_p50_us']:+.0f}", f"{low:+.0f}..{high:+.0f}",
                     f"{one['added_p99_us']:+.0f}", f"{one['cpu_us']:.1f}"]
        rows.append([way, f"{one['requests_per_s']:.0f}", added[0], f"{one['p50']:.0f}", f"{one['p99']:.0f}",
                     *added[1:]])
    print(harness.table(rows))
    low, high = figures["cpu_ratio_range"]
    print(f"thaw / nginx: throughput {figures['thaw']['throughput_of_nginx']:.2f}, "
          f"CPU per request {figures['cpu_ratio']:.2f} ({low:.2f}..{high:.2f})")


def verdicts(series):
    """Added latency is judged at one connection, CPU time at the largest number of several."""
    measured = {}
    if 1 in series:
        measured = {key: series[1]["thaw"][key] for key in ("added_p50_us", "added_p99_us")}
    if max(series) > 1:
        measured["cpu_ratio"] = series[max(series)]["cpu_ratio"]
    lines, missed = [], False
    for key, value in measured.items():
        words = [f"{key} {value:.2f}"]
        for title, bounds in (("target", TARGETS), ("promise", PROMISE)):
            if key in bounds:
                met = value <= bounds[key]
                missed |= title == "target" and not met
                words.append(f"{title} {bounds[key]}: {'met' if met else 'missed'}")
        lines.append("; ".join(words))
    return lines, missed


def run():
    chosen = options()
    harness.need_program("wrk", "wrk")
    about = harness.machine()
    about["thaw"] = harness.thaw_version()
    about["nginx"] = harness.version_of([harness.need_program("nginx", "nginx-light"), "-v"], r"nginx/(\S+)")
    about["wrk"] = harness.version_of(["wrk", "-v"], r"wrk (\S+)")
    about["nginx_log"] = chosen.log
    about["threads"] = len(os.sched_getaffinity(0))
    backend_port, proxy_port = harness.free_port(), harness.free_port()
    proxy_config = read("proxy.conf.in")
    for name, value in {"WORKERS": len(os.sched_getaffinity(0)), "BACKEND_PORT": backend_port, "PORT": proxy_port,
                        "LOG_BUFFER": " buffer=64k flush=20ms" if chosen.log == "buffered" else ""}.items():
        proxy_config = proxy_config.replace(f"@{name}@", str(value))
    backend_config = read("function/nginx.conf").replace("LISTEN_PORT", str(backend_port))
    with harness.Folder() as folder, Nginx(folder + "/backend", backend_config), \
            Nginx(folder + "/proxy", proxy_config) as proxy, harness.Daemon(folder + "/thaw") as daemon:
        daemon.cli("deploy", os.path.join(HERE, "function"), "--env", f"BODY_BYTES={chosen.body_bytes}")
        expected = bytes(chosen.body_bytes) or BODY
        with open(folder + "/backend/body", "wb") as file:
            file.write(expected)
        path = "body" if chosen.body_bytes else ""
        urls = {"direct": f"http://127.0.0.1:{backend_port}/{path}", "thaw": f"{daemon.url}/fn/static/{path}",
                "nginx": f"http://127.0.0.1:{proxy_port}/fn/static/{path}"}
        for way in WAYS:
            check_answer(urls[way], expected)
        if chosen.hold:
            print(json.dumps({"urls": urls, "thaw_pid": daemon.process.pid, "nginx_pid": proxy.process.pid,
                              "folder": folder}), flush=True)
            while True:
                time.sleep(3600)
        bench = Bench(chosen, daemon, proxy, urls, expected)
        rounds = {connections: bench.series(connections) for connections in chosen.connections}
        lines_missing = "lines are missing here" in daemon.cli("logs", "static", "-n", "100000")
        about["load_after"] = round(os.getloadavg()[0], 2)
    series = {connections: summary(one) for connections, one in rounds.items()}
    lines, missed = verdicts(series) if not chosen.body_bytes else ([], False)  # the targets are for small answers
    if chosen.json:
        harness.print_json({"machine": about, "seconds": chosen.seconds, "rounds": rounds, "summary": series,
                            "verdicts": lines, "log_lines_missing": lines_missing})
    else:
        print(harness.machine_line(about) + f", after {about['load_after']}")
        print(f"thaw {about['thaw']}, nginx {about['nginx']} (access log {chosen.log}), wrk {about['wrk']}, "
              f"{chosen.seconds} s a measurement" +
              (f", answers of {chosen.body_bytes} bytes" if chosen.body_bytes else "") +
              (", all on one core" if chosen.core is not None else ""))
        for connections, figures in series.items():
            print_series(connections, figures, chosen.rounds)
        print("\n" + "\n".join(lines))
        if lines_missing:
            print("note: the function's log says that lines are missing: logging did not keep up")
    return 1 if chosen.check and missed else 0


if __name__ == "__main__":
    harness.main(run)
