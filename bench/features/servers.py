"""The stores and peers of the feature benchmark: PostgreSQL, Redis, Feast's own feature server in Python."""

import os
import pwd
import shutil
import subprocess
import sys
import time
import urllib.request

import harness

# Feast needs pandas and more, half a gigabyte: it is fetched into a virtual environment that stays.
# Its server calls MessageToDict() with an argument that protobuf 6 has no more.
FEAST = ["feast[redis]==0.54.0", "protobuf<6"]
FEAST_FOLDER = os.path.join(harness.ROOT, "build", "bench", "feast")
POSTGRES_USER = "postgres"
START_S = 120


def wait_for(ready, process, log, what):
    deadline = time.monotonic() + START_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            with open(log, encoding="utf-8", errors="replace") as file:
                raise harness.BenchError(f"{what} did not start:\n{file.read()[-2000:]}")
        time.sleep(0.05)


class Server:
    """A process that ends with the `with`."""

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Redis(Server):
    def __init__(self, folder):
        self.port, self.folder = harness.free_port(), folder

    def __enter__(self):
        program = harness.need_program("redis-server", "redis-server")
        log = os.path.join(self.folder, "redis.log")
        with open(log, "wb") as out:
            self.process = subprocess.Popen([program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                                             "--dir", self.folder], stdout=out, stderr=out)
        wait_for(lambda: b"Ready to accept" in open(log, "rb").read(), self.process, log, "redis-server")
        return self

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"


class Postgres(Server):
    """As Debian configures it, but on a port and in a folder of its own."""

    def __init__(self, folder, *flags):
        self.port, self.folder, self.flags = harness.free_port(), os.path.join(folder, "postgres"), flags

    def __enter__(self):
        binaries = sorted(path for path in ("/usr/lib/postgresql/%d/bin" % number for number in range(12, 30))
                          if os.path.exists(path + "/postgres"))
        if not binaries:
            raise harness.BenchError("postgres is missing: apt-get install postgresql")
        user = pwd.getpwnam(POSTGRES_USER)
        os.makedirs(self.folder)
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        ids = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": self.folder}
        made = subprocess.run([binaries[-1] + "/initdb", "-D", "data", "-U", "thaw", "--auth", "trust"],
                              capture_output=True, text=True, **ids)
        if made.returncode != 0:
            raise harness.BenchError("initdb: " + made.stderr)
        log = os.path.join(self.folder, "log")
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [binaries[-1] + "/postgres", "-D", "data", "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
                 "-c", f"unix_socket_directories={self.folder}", *self.flags], stdout=out, stderr=out, **ids)
        wait_for(lambda: b"ready to accept connections" in open(log, "rb").read(), self.process, log, "postgres")
        return self

    @property
    def url(self):
        return f"postgresql://thaw@127.0.0.1:{self.port}/postgres"


DEFINITIONS = """
from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

driver = Entity(name="driver_id", join_keys=["driver_id"], value_type=ValueType.INT64)
stats = FeatureView(
    name="stats", entities=[driver], ttl=timedelta(0),
    schema=[Field(name=f"f{{i}}", dtype=Float64) for i in range({features})],
    source=FileSource(path="rows.parquet", timestamp_field="event_timestamp"), online=True)
"""
LOADER = """
import json, sys
import pandas
from feast import FeatureStore
rows = pandas.DataFrame(json.load(open("rows.json")))
rows["event_timestamp"] = pandas.to_datetime(rows["event_timestamp"], utc=True)
rows.to_parquet("rows.parquet")
import definitions
store = FeatureStore(".")
store.apply([definitions.driver, definitions.stats])
store.write_to_online_store("stats", rows)
"""


class Feast(Server):
    """Feast's Python feature server on an online store in Redis, with the rows of rows.json."""

    def __init__(self, folder, redis_port, features):
        self.folder, self.redis_port, self.features = os.path.join(folder, "feast"), redis_port, features
        self.port = harness.free_port()

    @staticmethod
    def fetch():
        """None, or why it cannot be had here."""
        program = os.path.join(FEAST_FOLDER, "bin", "feast")
        if os.access(program, os.X_OK):
            return None
        shutil.rmtree(FEAST_FOLDER, ignore_errors=True)
        print(f"fetching {FEAST[0]}, half a gigabyte", file=sys.stderr)
        for command in ([sys.executable, "-m", "venv", FEAST_FOLDER],
                        [os.path.join(FEAST_FOLDER, "bin", "pip"), "install", "--quiet", *FEAST]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                shutil.rmtree(FEAST_FOLDER, ignore_errors=True)
                return (done.stderr.strip() or done.stdout.strip()).splitlines()[-1]
        return None

    def __enter__(self):
        binaries = os.path.join(FEAST_FOLDER, "bin")
        with open(os.path.join(self.folder, "definitions.py"), "w", encoding="utf-8") as file:
            file.write(DEFINITIONS.format(features=self.features))
        with open(os.path.join(self.folder, "feature_store.yaml"), "w", encoding="utf-8") as file:
            file.write("project: bench\nprovider: local\nregistry: registry.db\nentity_key_serialization_version: 3\n"
                       f"online_store:\n  type: redis\n  connection_string: 127.0.0.1:{self.redis_port},db=1\n")
        quiet = {**os.environ, "FEAST_USAGE": "False"}
        loaded = subprocess.run([os.path.join(binaries, "python"), "-c", LOADER], cwd=self.folder, env=quiet,
                                capture_output=True, text=True)
        if loaded.returncode != 0:
            raise harness.BenchError("feast: " + loaded.stderr[-2000:])
        log = os.path.join(self.folder, "log")
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [os.path.join(binaries, "feast"), "serve", "--host", "127.0.0.1", "--port", str(self.port),
                 "--no-access-log", "--workers", "1", "--registry_ttl_sec", "3600"],
                cwd=self.folder, env=quiet, stdout=out, stderr=out)
        wait_for(self.answers, self.process, log, "feast serve")
        return self

    def answers(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False
