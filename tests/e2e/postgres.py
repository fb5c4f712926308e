"""A PostgreSQL server of a test's own: Debian's, on a free port of the loopback, in a folder that goes with it.

    with Postgres() as server:
        server.sql("CREATE TABLE animals (id int)")
        thaw.run("batch", ..., "--input", server.url)
        server.stop()   # it goes away ...
        server.start()  # ... and comes back with its data, on the same port
"""

import glob
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile

import harness

BINARIES = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(path.split("/")[4]))
START_S = 60


def missing():
    """Why there can be no server here; empty where there can."""
    if not BINARIES:
        return "PostgreSQL's server is not installed (Debian's postgresql)"
    return "" if server_user() else "there is no user to run PostgreSQL as: it refuses root"


def server_user():
    """The server refuses root, and initdb wants a user with a name."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            pass
    return None


class Postgres:
    def __init__(self):
        assert not missing(), missing()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="thaw-postgres-"))
        self.data = self.folder / "data"
        self.log_path = self.folder / "log"
        user = server_user()
        self.ids = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = None
        self.run_tool("initdb", "--pgdata", self.data, "--username", "thaw", "--auth", "trust", "--encoding", "UTF8",
                      "--locale", "C.UTF-8", "--no-sync")

    @property
    def url(self):
        return f"postgresql://thaw@127.0.0.1:{self.port}/postgres"

    def __enter__(self):
        return self.start()

    def __exit__(self, *failure):
        self.close()

    def run_tool(self, name, *words):
        done = subprocess.run([f"{BINARIES[-1]}/{name}", *map(str, words)], cwd=self.folder, env={"LANG": "C.UTF-8"},
                              capture_output=True, text=True, timeout=START_S, **self.ids)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [f"{BINARIES[-1]}/postgres", "-D", self.data, "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
                 "-c", f"unix_socket_directories={self.folder}", "-c", "fsync=off"],
                cwd=self.folder, env={"LANG": "C.UTF-8"}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.ids)

        def ready():
            assert self.process.poll() is None, f"PostgreSQL ended:\n{self.log_path.read_text()}"
            return subprocess.run([f"{BINARIES[-1]}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)],
                                  timeout=START_S).returncode == 0

        harness.wait_for(ready, "PostgreSQL to take connections", START_S)
        return self

    def stop(self):
        """At once: those who are connected lose their connection."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # "fast shutdown"
            self.process.wait(harness.HANG_S)
        self.process = None

    def close(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def sql(self, statements):
        """The rows' columns with tabs between them, one row a line, as psql prints them unaligned."""
        done = subprocess.run([f"{BINARIES[-1]}/psql", self.url, "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1",
                               "-f", "-"], input=statements, capture_output=True, text=True, timeout=harness.HANG_S)
        assert done.returncode == 0, done.stderr
        return done.stdout
