#!/usr/bin/env python3
"""How fast a model comes from S3 into memory: by Thaw, by boto3 with a thread pool, by aws s3 cp, by bare sockets.

The server is nginx, which answers S3's HEAD and ranged GET for a file on a tmpfs and costs little beside the clients.
Two links: one that gives each connection at most 90 MB/s, as S3 does ("Best practices design patterns: optimizing Amazon
S3 performance": a connection for each 85-90 MB/s), and loopback without a bound, where the processor is the limit.

The ways take turns in each round:
  thaw    POST /thaw/v1/models, until the model is published: verified by size and ETag, and digested
  boto3   ranged gets of 100 MB by a thread for each core into a memfd; without the interpreter's start and imports
  aws     `aws s3 cp` to a file on a tmpfs, with its start
  link    ranges read by as many bare sockets as Thaw has, and thrown away: what the link gives
"""

import argparse
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import harness  # noqa: E402

TARGETS = {"times_boto3": 3.0, "share_of_link": 0.9}  # either is enough
KEY = "bench/model.bin"
CONNECTIONS = 16  # Thaw's
LINK_PART = 8 << 20

NGINX = """\
worker_processes auto;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  sendfile_max_chunk 512k;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=512;
    root {folder}/root;
    default_type application/octet-stream;
    limit_rate {rate};
  }}
}}
"""

# As the article on Lambda, SnapStart and llama.cpp does it, chunks of 100 MB and a thread for each core.
BOTO3 = """\
import multiprocessing, os, sys, time
from concurrent.futures import ThreadPoolExecutor
import boto3

def download(bucket, key, chunk=100 * 1024 * 1024):
    s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    size = s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
    fd = os.memfd_create("model")
    os.ftruncate(fd, size)
    def part(start):
        end = min(start + chunk, size) - 1
        os.pwrite(fd, s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-{end}")["Body"].read(), start)
    with ThreadPoolExecutor(max_workers=multiprocessing.cpu_count()) as pool:
        list(pool.map(part, range(0, size, chunk)))
    return fd, size

began = time.perf_counter()
fd, size = download(sys.argv[1], sys.argv[2])
took = time.perf_counter() - began
print(took, size)
"""


def options():
    parser = argparse.ArgumentParser(prog="./dev bench fetch", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="rounds for each link [10]")
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the model [1000]")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 100 MB: does it work?")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    parser.add_argument("--json", action="store_true", help="all figures as JSON")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.megabytes = 2, 100
    return chosen


class Nginx:
    def __init__(self, folder, rate):
        self.port = harness.free_port()
        self.folder = os.path.join(folder, "nginx")
        os.makedirs(self.folder, exist_ok=True)
        if not os.path.islink(os.path.join(self.folder, "root")):
            os.symlink(os.path.join(folder, "root"), os.path.join(self.folder, "root"))
        self.config = os.path.join(self.folder, "nginx.conf")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(NGINX.format(folder=self.folder, port=self.port, rate=rate))

    def __enter__(self):
        nginx = harness.need_program("nginx", "nginx-light")
        self.process = subprocess.Popen([nginx, "-c", self.config, "-p", self.folder], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                time.sleep(0.01)
        raise harness.BenchError("nginx did not start")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)


def python_with_boto3():
    for python in (sys.executable, shutil.which("python3"), "/usr/bin/python3"):
        if python and subprocess.run([python, "-c", "import boto3"], capture_output=True).returncode == 0:
            return python
    return None


# ---- The ways: each gives seconds ------------------------------------------------------------------------------------


def by_thaw(daemon, uri, model):
    control = daemon.control()
    began = time.perf_counter()
    control.request("POST", "/thaw/v1/models", json.dumps({"Uri": uri}), {"Content-Type": "application/json"})
    answer = control.getresponse()
    answer.read()
    while True:
        control.request("GET", "/thaw/v1/models?uri=" + urllib.parse.quote(uri, safe=""))
        state = json.loads(control.getresponse().read())
        if state["Pull"]["State"] == "failed":
            raise harness.BenchError("thaw: " + state["Pull"]["Error"])
        if state["Pull"]["State"] == "ready":
            break
        time.sleep(0.002)
    took = time.perf_counter() - began
    found = [one for one in state["Models"] if one["State"] == "ready"]
    path = os.path.join(daemon.data, "memory", "models", found[0]["Id"], "files", found[0]["File"])
    if model.digest is not None and sha256_of(path) != model.digest:
        raise harness.BenchError("thaw fetched other bytes than the model's")
    daemon.cli("models", "rm", uri)
    return took


def by_boto3(python, environment, bytes_in_all):
    done = subprocess.run([python, "-c", BOTO3, "models", KEY], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise harness.BenchError("boto3: " + done.stderr[-500:])
    took, size = done.stdout.split()
    if int(size) != bytes_in_all:
        raise harness.BenchError("boto3 fetched another size")
    return float(took)


def by_aws(aws, environment, folder, bytes_in_all):
    target = os.path.join(folder, "copied.bin")
    began = time.perf_counter()
    done = subprocess.run([aws, "--endpoint-url", environment["AWS_ENDPOINT_URL"], "s3", "cp", "--quiet", f"s3://models/{KEY}", target],
                          env=environment, capture_output=True, text=True)
    took = time.perf_counter() - began
    if done.returncode != 0 or os.path.getsize(target) != bytes_in_all:
        raise harness.BenchError("aws s3 cp: " + done.stderr[-500:])
    os.unlink(target)
    return took


def by_link(port, bytes_in_all):
    offsets = iter(range(0, bytes_in_all, LINK_PART))
    lock = threading.Lock()
    failed = []

    def read_ranges():
        buffer = bytearray(1 << 20)
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while True:
            with lock:
                offset = next(offsets, None)
            if offset is None:
                return
            last = min(offset + LINK_PART, bytes_in_all) - 1
            connection.request("GET", f"/models/{KEY}", headers={"Range": f"bytes={offset}-{last}"})
            answer = connection.getresponse()
            got = 0
            while count := answer.readinto(buffer):
                got += count
            if got != last - offset + 1:
                failed.append(offset)

    began = time.perf_counter()
    threads = [threading.Thread(target=read_ranges) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise harness.BenchError("the bare sockets read another size")
    return time.perf_counter() - began


# ---- The run ---------------------------------------------------------------------------------------------------------


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


class Model:
    def __init__(self, folder, megabytes):
        self.bytes = megabytes * 1_000_000
        path = os.path.join(folder, "root", "models", KEY)
        os.makedirs(os.path.dirname(path))
        with open(path, "wb") as file:
            for _ in range(megabytes):
                file.write(os.urandom(1_000_000))
        self.digest = sha256_of(path)


def measure(folder, chosen, model, rate, tools):
    samples = {"thaw": [], "link": [], **{name: [] for name in tools}}
    with Nginx(folder, rate) as nginx:
        environment = {**os.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{nginx.port}", "AWS_ACCESS_KEY_ID": "bench",
                       "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": "/dev/null",
                       "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
        os.environ.update({key: value for key, value in environment.items() if key.startswith("AWS_")})
        data = os.path.join(folder, f"data-{rate}")
        os.makedirs(data)
        with harness.Daemon(data) as daemon:
            for _ in range(chosen.rounds):
                samples["thaw"].append(by_thaw(daemon, f"s3://models/{KEY}", model))
                if "boto3" in tools:
                    samples["boto3"].append(by_boto3(tools["boto3"], environment, model.bytes))
                if "aws" in tools:
                    samples["aws"].append(by_aws(tools["aws"], environment, folder, model.bytes))
                samples["link"].append(by_link(nginx.port, model.bytes))
    return samples


def percentile(values, share):
    """The nearest rank: with few rounds the 99th percentile is the slowest."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * share // 100) - 1))]


def summary(samples, bytes_in_all):
    result = {}
    for way, took in samples.items():
        # Ratios within a round, so that a busy machine disturbs both alike.
        ratios = [other / thaw for other, thaw in zip(took, samples["thaw"])]
        result[way] = {"seconds": took, "median_s": harness.median(took), "p99_s": percentile(took, 99),
                       "mb_per_s": bytes_in_all / harness.median(took) / 1e6, "thaw_is_times_faster": harness.median(ratios)}
    return result


def run():
    chosen = options()
    tools = {"boto3": python_with_boto3(), "aws": shutil.which("aws")}
    for name in [name for name, found in tools.items() if found is None]:
        print(f"left out: {name} is missing (apt-get install {'python3-boto3' if name == 'boto3' else 'awscli'})", file=sys.stderr)
        del tools[name]
    about = harness.machine()
    # On a tmpfs, all of it: disks are not what is measured.
    folder = os.path.join("/dev/shm", f"thaw-bench-fetch-{os.getpid()}")
    os.makedirs(folder)
    os.chmod(folder, 0o755)
    try:
        model = Model(folder, chosen.megabytes)
        links = {"90 MB/s a connection": "90m", "loopback": "0"}
        results = {name: summary(measure(folder, chosen, model, rate, tools), model.bytes) for name, rate in links.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    met = {}
    for name, result in results.items():
        times = result["boto3"]["thaw_is_times_faster"] if "boto3" in result else None
        share = result["link"]["thaw_is_times_faster"]
        met[name] = (times is not None and times >= TARGETS["times_boto3"]) or share >= TARGETS["share_of_link"]
    if chosen.json:
        harness.print_json({"machine": about, "thaw": harness.thaw_version(), "megabytes": chosen.megabytes, "links": results,
                            "targets_met": met})
    else:
        print(harness.machine_line(about))
        print(f"thaw {harness.thaw_version()}, {chosen.megabytes} MB, {chosen.rounds} rounds")
        for name, result in results.items():
            rows = [[name, "median, s", "p99, s", "MB/s", "time / thaw's"]]
            rows += [[way, f"{one['median_s']:.2f}", f"{one['p99_s']:.2f}", f"{one['mb_per_s']:.0f}",
                      f"{one['thaw_is_times_faster']:.2f}"] for way, one in result.items()]
            print("\n" + harness.table(rows))
            print(f"target (3 times boto3's way, or 90 % of the link): {'met' if met[name] else 'missed'}")
    return 1 if chosen.check and not all(met.values()) else 0


if __name__ == "__main__":
    harness.main(run)
