"""A Redis server of a test's own: Debian's, on a free port of the loopback, in a folder that goes with it.

    with RedisServer() as server:
        serve(features_online_store=server.url)
        server.stop()    # it goes away ...
        server.start()   # ... and comes back with what it acknowledged, on the same port
        server.calls("mget")
"""

import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess
import tempfile

import harness

PROGRAM = shutil.which("redis-server")


def missing():
    """Why there can be no server here; empty where there can."""
    return "" if PROGRAM else "redis-server is not installed (Debian's redis-server)"


class RedisServer:
    def __init__(self, *options):
        assert not missing(), missing()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="thaw-redis-"))
        self.options = options
        nobody = pwd.getpwnam("nobody")
        self.ids = {}
        if os.geteuid() == 0:
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self.ids = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self):
        return self.start()

    def __exit__(self, *failure):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        """What is acknowledged is on disk: appendfsync always."""
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--appendonly", "yes",
                 "--appendfsync", "always", "--save", "", *self.options],
                cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.ids)

        def ready():
            assert self.process.poll() is None, f"Redis ended:\n{(self.folder / 'log').read_text()}"
            try:
                return self.ask("PING").startswith("+PONG")
            except OSError:
                return False

        harness.wait_for(ready, "Redis to answer", harness.HANG_S)
        return self

    def stop(self):
        """At once, as a crash would."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(harness.HANG_S)
        self.process = None

    def ask(self, *words):
        """The raw answer to one command, whose values hold no line feed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=harness.HANG_S) as connection:
            parts = [f"*{len(words)}\r\n"] + [f"${len(word)}\r\n{word}\r\n" for word in words]
            connection.sendall("".join(parts).encode())
            with connection.makefile("rb") as answer:
                line = answer.readline()
                if line.startswith(b"$") and int(line[1:]) >= 0:
                    line += answer.read(int(line[1:]))
                return line.decode()

    def calls(self, command):
        """How often the command was run since the start."""
        found = re.search(rf"^cmdstat_{command}:calls=(\d+)", self.ask("INFO", "commandstats"), re.M)
        return int(found[1]) if found else 0
