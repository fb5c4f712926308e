"""A NATS server with JetStream of a test's own: Debian's, on a free port of the loopback, in a folder that goes with it.

    with NatsServer() as server:
        daemon = serve(**server.queue())
        server.kill()   # kill -9 ...
        server.start()  # ... and it comes back with what it stored, on the same port
"""

import itertools
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

import harness

PROGRAM = "/usr/sbin/nats-server"


def missing():
    """Why there can be no server here; empty where there can."""
    return "" if os.path.exists(PROGRAM) else "NATS's server is not installed (Debian's nats-server)"


class NatsServer:
    def __init__(self, settings="max_payload: 10MB"):
        assert not missing(), missing()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="thaw-nats-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (self.folder / "conf").write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream: {{store_dir: "{self.folder}/store"}}\n{settings}\n')
        self.process = None
        self.names = (f"T{n}" for n in itertools.count(1))

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.port}"

    def queue(self):
        """Settings of a daemon with a queue here that nobody else has."""
        return {"events_queue": self.url, "events_stream": next(self.names)}

    def __enter__(self):
        return self.start()

    def __exit__(self, *failure):
        self.close()

    def start(self):
        self.process = subprocess.Popen([PROGRAM, "-c", self.folder / "conf", "-l", self.folder / "log"],
                                        stdin=subprocess.DEVNULL)

        def ready():
            assert self.process.poll() is None, f"nats-server ended:\n{(self.folder / 'log').read_text()}"
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        harness.wait_for(ready, "nats-server to listen")
        return self

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait(harness.HANG_S)
        self.process = None

    def close(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
