#!/usr/bin/env python3
"""./dev bench animals: the animal-photo service when a crowd comes, and what its database sees of it.

  spike     PHOTOS photos at once, by CLIENTS clients, on examples/animals and its classifier, both at zero: until the first
            answer, until the last, and each one's time; by restore from snapshots, and by init
  database  REQUESTS photos of PLACES places, with the feature store in PostgreSQL: how many times it is asked for features,
            with the read-through cache and without

Each answer is checked; one that fails ends the benchmark.
"""

import argparse
import concurrent.futures
import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "features"))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "wake"))
EXAMPLE = os.path.join(os.path.dirname(os.path.dirname(HERE)), "examples", "animals")
sys.path.insert(0, EXAMPLE)
import harness  # noqa: E402
import make_places  # noqa: E402
import servers  # noqa: E402
from ways import wait_for_zero  # noqa: E402

PLACES = 20
# pg_stat_statements counts by the text of the query, which names the table of rows.
COUNT = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query ILIKE '%SELECT%thaw_features%' AND query NOT ILIKE '%pg_stat%'"


def options():
    parser = argparse.ArgumentParser(prog="./dev bench animals", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=200, help="photos of a spike [200]")
    parser.add_argument("--clients", type=int, default=50, help="clients at once [50]")
    parser.add_argument("--rounds", type=int, default=5, help="spikes by each way [5]")
    parser.add_argument("--requests", type=int, default=1000, help="photos for the database's count [1000]")
    parser.add_argument("--quick", action="store_true", help="one round, 100 requests: does it work?")
    parser.add_argument("--check", action="store_true", help="exit status 1 when a target is missed")
    parser.add_argument("--json", action="store_true", help="all figures of every round as JSON")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.requests = 1, 100
    return chosen


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr)


def request(port, method, path, body=None, kind="application/json"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def places():
    """PLACES cells on land, the same ones each time, as (cell, latitude, longitude)."""
    draw = random.Random(1)
    cells = [one for one in make_places.cells() if make_places.within(make_places.REGIONS["africa"], *one[1:])]
    return draw.sample(cells, PLACES)


def load(daemon, chosen_places):
    columns = ("geohash", "animals", "weights", "count", "event_timestamp")
    rows = list(make_places.rows(list(make_places.animals()), chosen_places))
    frame = {name: [row[at] for row in rows] for at, name in enumerate(columns)}
    with open(os.path.join(EXAMPLE, "features.toml"), "rb") as file:
        definitions = file.read()
    calls = [("/thaw/v1/features", definitions, "application/toml"),
             ("/write-to-online-store", json.dumps({"feature_view_name": "places", "df": frame}), "application/json")]
    for path, body, kind in calls:
        status, told = request(daemon.port, "POST", path, body, kind)
        if status != 200:
            raise harness.BenchError(f"{path} answered {status}: {told[:500]!r}")


def deploy(daemon):
    """animals:1 and the classifier:1 that it asks start from snapshots; animals and its classifier by init."""
    root = os.path.dirname(os.path.dirname(EXAMPLE))
    daemon.cli("deploy", os.path.join(root, "models", "animals"), "--name", "classifier", "--set", "snapshot=true",
               "--set", "idle_s=1")
    daemon.cli("publish", "classifier")
    daemon.cli("deploy", EXAMPLE, "--name", "animals", "--set", "idle_s=1", "--set", "environment.CLASSIFIER=classifier:1")
    daemon.cli("publish", "animals")
    daemon.cli("deploy", EXAMPLE, "--name", "animals", "--set", "idle_s=1")


def identify(port, function, photo, place):
    """Seconds that an answer took."""
    began = time.perf_counter()
    status, body = request(port, "POST", f"/fn/{function}/identify?lat={place[1]}&lon={place[2]}", photo, "image/jpeg")
    took = time.perf_counter() - began
    told = json.loads(body) if status == 200 else {}
    if status != 200 or "panda" not in json.dumps(told["animals"]) or told["place"]["geohash"] != place[0]:
        raise harness.BenchError(f"{function} answered {status}: {body[:300]!r}")
    return took


def crowd(port, function, photo, chosen_places, count, clients):
    """Seconds until each answer since the crowd came, and each one's own."""
    began = time.perf_counter()
    ends, lock = [], threading.Lock()

    def one(number):
        took = identify(port, function, photo, chosen_places[number % len(chosen_places)])
        with lock:
            ends.append(time.perf_counter() - began)
        return took

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        own = list(pool.map(one, range(count)))
    return {"first_s": min(ends), "last_s": max(ends), "each_s": sorted(own)}


def measure_spikes(daemon, chosen, photo, chosen_places):
    found = {"restore": [], "init": []}
    for number in range(chosen.rounds):
        for way, function in (("restore", "animals:1"), ("init", "animals")):
            progress(f"spike by {way}, {number + 1} of {chosen.rounds}")
            wait_for_zero(daemon)
            found[way].append(crowd(daemon.port, function, photo, chosen_places, chosen.photos, chosen.clients))
    return found


def psql(postgres, sql):
    done = subprocess.run(["psql", postgres.url, "-Atc", sql], capture_output=True, text=True)
    if done.returncode != 0:
        raise harness.BenchError("psql: " + done.stderr)
    return done.stdout.strip()


def measure_database(folder, chosen, photo, chosen_places):
    found = {}
    with servers.Postgres(folder, "-c", "shared_preload_libraries=pg_stat_statements") as postgres:
        psql(postgres, "CREATE EXTENSION pg_stat_statements")
        for cache_mb in (64, 0):
            flags = ["--features-online-store", postgres.url, "--features-cache-mb", str(cache_mb)]
            with harness.Daemon(os.path.join(folder, f"database-{cache_mb}"), flags) as daemon:
                load(daemon, chosen_places)
                deploy(daemon)
                before = int(psql(postgres, COUNT))
                name = "with the cache" if cache_mb else "without"
                progress(f"database, {name}")
                crowd(daemon.port, "animals:1", photo, chosen_places, chosen.requests, 16)
                found[name] = int(psql(postgres, COUNT)) - before
    return found


def report(chosen, spikes, queries):
    rows = [["spike from zero", "first answer, s", "last, s", "p50, s", "p99, s", "photos/s"]]
    for way, rounds in spikes.items():
        middle = {name: harness.median([one[name] for one in rounds]) for name in ("first_s", "last_s")}
        each = sorted(took for one in rounds for took in one["each_s"])
        rows.append([f"by {way}", f"{middle['first_s']:.2f}", f"{middle['last_s']:.2f}", f"{each[len(each) // 2]:.2f}",
                     f"{each[int(len(each) * 0.99)]:.2f}", f"{chosen.photos / middle['last_s']:.0f}"])
    print(harness.table(rows) + "\n")
    print(harness.table([["database", "requests", "places", "queries"],
                         *[[name, str(chosen.requests), str(PLACES), str(count)] for name, count in queries.items()]]))
    return queries["with the cache"] > PLACES * 1.5


def run():
    chosen = options()
    about = {**harness.machine(), "thaw": harness.thaw_version()}
    with open(os.path.join(EXAMPLE, "photos", "panda.jpg"), "rb") as file:
        photo = file.read()
    chosen_places = places()
    with harness.Folder() as folder:
        with harness.Daemon(os.path.join(folder, "spike")) as daemon:
            load(daemon, chosen_places)
            deploy(daemon)
            spikes = measure_spikes(daemon, chosen, photo, chosen_places)
        queries = measure_database(folder, chosen, photo, chosen_places)
    progress("")
    if chosen.json:
        harness.print_json({"machine": about, "spikes": spikes, "queries": queries})
        return 0
    print(harness.machine_line(about) + f"\nthaw {about['thaw']}\n")
    missed = report(chosen, spikes, queries)
    print(f"\nTarget, about {PLACES} queries with the cache: " + ("missed" if missed else "met"))
    return 1 if chosen.check and missed else 0


if __name__ == "__main__":
    harness.main(run)
