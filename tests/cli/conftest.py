"""The thaw program under test, and a stand-in for the daemon.

The stand-in answers with what a test gives it, on a Unix socket: error bodies, broken connections and odd JSON that a
real daemon would not produce on demand. It keeps every request that it got. tests/e2e runs the program against the
real daemon.
"""

import http.server
import json
import os
import pathlib
import socketserver
import subprocess
import threading

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]


def find_binary():
    if "THAW_BINARY" in os.environ:
        return os.environ["THAW_BINARY"]
    for preset in ("dev", "release"):
        path = SOURCE / "build" / preset / "bin" / "thaw"
        if path.exists():
            return str(path)
    pytest.exit("build thaw first: ./dev build, or name it in THAW_BINARY")


class Runner:
    """Runs thaw in an environment of its own."""

    def __init__(self, home):
        self.binary = find_binary()
        self.home = home
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "THAW_DATA": str(home / "data"),
            "THAW_CONFIG": str(home / "thaw.toml"),
        }
        (home / "thaw.toml").write_text("")

    def __call__(self, *args, env=None, stdin="", cwd=None):
        return subprocess.run(
            [self.binary, *map(str, args)],
            env={**self.env, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=cwd or self.home,
        )

    def start(self, *args, **kwargs):
        return subprocess.Popen([self.binary, *map(str, args)], env=self.env, cwd=self.home, **kwargs)


@pytest.fixture
def thaw(tmp_path):
    return Runner(tmp_path)


class Recorded:
    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body


class StandIn(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path):
        self.requests = []
        self.answers = {}
        self.partial = threading.Event()  # set when a first piece of a chunked body is here
        self.may_read = threading.Event()  # cleared: no more of the body is read
        self.may_read.set()
        self.broken = threading.Event()  # set when a client went away within a request
        super().__init__(path, Handler)

    def answer(self, method, path, status=200, body=b"", headers=None):
        """What METHOD PATH (without its query) gets from now on."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.answers[(method, path)] = (status, body, headers or {})


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "unix"

    def log_message(self, *args):
        pass

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = bytearray()
            while True:
                line = self.rfile.readline()
                if not line:
                    raise ConnectionError("the client went away within the body")
                size = int(line, 16)
                if size == 0:
                    self.rfile.readline()
                    return bytes(body)
                body += self.rfile.read(size)
                self.server.partial.set()
                self.server.may_read.wait(timeout=60)
                self.rfile.readline()
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (ValueError, ConnectionError):
            self.close_connection = True
            self.server.broken.set()

    def serve(self):
        body = self.read_body()
        self.server.requests.append(Recorded(self.command, self.path, dict(self.headers), body))
        status, answer, headers = self.server.answers.get(
            (self.command, self.path.split("?")[0]),
            (404, b'{"Type":"User","Message":"no such thing"}', {"x-amzn-ErrorType": "ResourceNotFoundException"}),
        )
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = serve


@pytest.fixture
def daemon(thaw):
    folder = thaw.home / "data"
    folder.mkdir()
    server = StandIn(str(folder / "control.sock"))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def function(name, **thaw_fields):
    """A FunctionConfiguration as the daemon gives it."""
    fields = {
        "Engine": "",
        "Task": "",
        "Command": ["python3", "app.py"],
        "Concurrency": 1,
        "EnvironmentsMax": 10,
        "QueueMax": 1000,
        "IdleSeconds": 300,
        "InitTimeoutSeconds": 60,
        "ReadinessPath": "/",
        "Port": 8080,
        "Url": f"http://127.0.0.1:8080/fn/{name}/",
        "HostUrl": f"http://{name}.localhost:8080/",
    }
    fields.update(thaw_fields)
    return {
        "FunctionName": name,
        "FunctionArn": f"arn:aws:lambda:local:000000000000:function:{name}",
        "CodeSize": 1234567,
        "CodeSha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "Timeout": 30,
        "MemorySize": 512,
        "LastModified": "2026-01-31T12:00:00.000+0000",
        "Version": "$LATEST",
        "RevisionId": "b5a9a6a0-0000-4000-8000-000000000000",
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "Environment": {"Variables": {"TOKEN": "s3cret"}},
        "Thaw": fields,
    }
