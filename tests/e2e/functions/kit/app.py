"""A web function with a path for each thing that the tests want a function to do.

Plain standard library, so that it starts fast. INIT in its environment says how its init goes wrong.
"""

import hashlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid

INSTANCE = uuid.uuid4().hex
STARTED = time.time()
served = 0
ticks = 0
ticking = None


def go_wrong_in_init():
    mode = os.environ.get("INIT", "")
    print("a secret that only the log may show", file=sys.stderr)
    if mode == "slow":
        time.sleep(float(os.environ["INIT_S"]))
    elif mode == "silent":
        time.sleep(3600)
    elif mode == "exit":
        sys.exit(7)
    elif mode == "abort":
        os.abort()
    elif mode == "oom":
        hoard(4096)


def hoard(megabytes):
    blocks = []
    for _ in range(megabytes):
        blocks.append(b"x" * (1 << 20))
    return blocks


def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.005)


def count_processes():
    return sum(name.isdigit() for name in os.listdir("/proc"))


def try_to(action):
    """None when it works, else the error's name."""
    try:
        action()
        return None
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def connect(address):
    socket.create_connection(address, timeout=2).close()


def write_to(path):
    with open(path, "w") as file:
        file.write("x")


def inside():
    status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\t" in line)
    return {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": os.getgroups(),
        "pid": os.getpid(),
        "parent": os.getppid(),
        "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "capabilities": {key: status[key].strip() for key in ("CapEff", "CapPrm", "CapBnd", "CapAmb")},
        "no_new_privs": status["NoNewPrivs"].strip(),
        "seccomp": status["Seccomp"].strip(),
        "root": sorted(os.listdir("/")),
        "etc": sorted(os.listdir("/etc")),
        "task": sorted(os.listdir("/var/task")),
        "interfaces": sorted(name for _, name in socket.if_nameindex()),
        "hostname": socket.gethostname(),
        "cwd": os.getcwd(),
        "descriptors": [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if try_to(lambda: os.readlink(f"/proc/self/fd/{fd}")) is None],
        "environment": dict(os.environ),
        "errors": {
            "write_task": try_to(lambda: write_to("/var/task/new")),
            "write_usr": try_to(lambda: write_to("/usr/new")),
            "write_root": try_to(lambda: write_to("/new")),
            "write_etc": try_to(lambda: write_to("/etc/new")),
            "write_tmp": try_to(lambda: write_to("/tmp/new")),
            "read_shadow": try_to(lambda: open("/etc/shadow").read()),
            "list_home": try_to(lambda: os.listdir("/home")),
            "list_root_home": try_to(lambda: os.listdir("/root")),
            "list_run": try_to(lambda: os.listdir("/run")),
            "connect_out": try_to(lambda: connect(("1.1.1.1", 80))),
            "mount": None if subprocess.run(["mount", "-t", "tmpfs", "none", "/tmp"], capture_output=True).returncode == 0 else "refused",
            "unshare": None if subprocess.run(["unshare", "--user", "true"], capture_output=True).returncode == 0 else "refused",
            "kill_1": try_to(lambda: os.kill(1, signal.SIGKILL)),
        },
    }


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def pieces(self):
        """The request's body as it comes."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                left = size
                while left:
                    piece = self.rfile.read1(min(left, 65536))
                    if not piece:
                        raise ConnectionError("the body ended early")
                    left -= len(piece)
                    yield piece
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            piece = self.rfile.read1(min(left, 65536))
            if not piece:
                raise ConnectionError("the body ended early")
            left -= len(piece)
            yield piece

    def answer(self, body, status=200, content_type="application/json"):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        if status not in (204, 304):
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Kit", "kit")
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)

    def start_chunked(self, content_type):
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, piece):
        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def serve(self):
        global served, ticking
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if self.headers.get("User-Agent") == "thaw-readiness":
            return self.answer(b"ready\n", content_type="text/plain")
        served += 1
        # Below /v1 as well, where OpenAI's API leads.
        name = url.path.removeprefix("/v1").strip("/").replace("-", "_") or "home"
        handler = getattr(self, "on_" + name, None)
        if handler is None:
            return self.on_echo(query)
        handler(query)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = serve

    def on_home(self, query):
        for _ in self.pieces():
            pass
        self.answer({"instance": INSTANCE, "served": served, "started": STARTED, "version": os.environ.get("VERSION", "")})

    def on_echo(self, query):
        digest, length, text = hashlib.sha256(), 0, b""
        for piece in self.pieces():
            digest.update(piece)
            length += len(piece)
            if length <= 65536:
                text += piece
        self.answer(
            {
                "instance": INSTANCE,
                "method": self.command,
                "path": self.path,
                "headers": [[name, value] for name, value in self.headers.items()],
                "length": length,
                "sha256": digest.hexdigest(),
                "text": text.decode("latin-1"),
            }
        )

    def on_first_piece(self, query):
        """Says at once, on the log, that the first bytes of the body are here."""
        pieces = self.pieces()
        first = next(pieces)
        print(f"FIRST PIECE {len(first)} bytes", flush=True)
        self.answer({"length": len(first) + sum(len(piece) for piece in pieces)})

    def on_early(self, query):
        """Answers without reading the body, and closes."""
        self.close_connection = True
        self.answer({"early": True}, status=int(query.get("status", 403)))

    def on_events(self, query):
        self.start_chunked("text/event-stream")
        for number in range(int(query.get("count", 5))):
            if number:
                time.sleep(int(query.get("gap_ms", 200)) / 1000)
            self.chunk(b"data: %d %.6f\n\n" % (number, time.time()))
        self.chunk(b"")

    def on_endless(self, query):
        """Streams until the client has gone, and says on the log that it noticed."""
        self.start_chunked("text/plain")
        try:
            while True:
                self.chunk(b"on and on\n")
                time.sleep(0.02)
        except OSError:
            print("THE CLIENT HAS GONE", flush=True)
            self.close_connection = True

    def on_big(self, query):
        size = int(query["mb"]) << 20
        block = bytes(range(256)) * 256
        if query.get("chunked"):
            self.start_chunked("application/octet-stream")
            for _ in range(size // len(block)):
                self.chunk(block)
            self.chunk(b"")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        for _ in range(size // len(block)):
            self.wfile.write(block)

    def on_status(self, query):
        self.answer(b"the body\n", status=int(query["code"]), content_type="text/plain")

    def on_sleep(self, query):
        time.sleep(int(query["ms"]) / 1000)
        self.answer({"instance": INSTANCE, "slept_ms": int(query["ms"])})

    def on_abort(self, query):
        print("a secret that only the log may show", file=sys.stderr, flush=True)
        os.abort()

    def on_exit(self, query):
        print("a secret that only the log may show", file=sys.stderr, flush=True)
        os._exit(int(query.get("code", 3)))

    def on_allocate(self, query):
        self.answer({"blocks": len(hoard(int(query["mb"])))})

    def on_close(self, query):
        self.close_connection = True

    def on_garbage(self, query):
        self.close_connection = True
        self.wfile.write(b"this is not HTTP\r\n\r\n")

    def on_half(self, query):
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")

    def on_then_close(self, query):
        """Promises to keep the connection, and closes it."""
        self.answer({"instance": INSTANCE, "length": sum(len(piece) for piece in self.pieces())})
        self.close_connection = True

    def on_many_fields(self, query):
        self.send_response(200)
        for number in range(int(query.get("count", 3))):
            self.send_header("Set-Cookie", f"c{number}=" + "x" * int(query.get("bytes", 1)))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def on_hints(self, query):
        self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        self.answer({})

    def on_upgrade(self, query):
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nfree bytes")

    def on_disagree(self, query):
        """Two framings at once."""
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")

    def on_noise(self, query):
        """Output that is no text, and a line longer than any bound."""
        sys.stdout.buffer.write(bytes(range(256)) * 4 + b"\n" + b"long " * 100000 + b"\nafter the noise\n")
        sys.stdout.flush()
        self.answer({})

    def on_http_1_0(self, query):
        """A body that lasts until the connection's end."""
        self.close_connection = True
        self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end\n")

    def on_ticks(self, query):
        global ticking
        if ticking is None:
            ticking = threading.Thread(target=tick, daemon=True)
            ticking.start()
        self.answer({"instance": INSTANCE, "ticks": ticks, "cpu_s": time.process_time()})

    def on_spin(self, query):
        """How much of a CPU it gets."""
        began, cpu = time.monotonic(), time.process_time()
        while time.monotonic() - began < int(query["ms"]) / 1000:
            pass
        self.answer({"wall_s": time.monotonic() - began, "cpu_s": time.process_time() - cpu})

    def on_fork(self, query):
        children = [subprocess.Popen(["sleep", "3600"]).pid for _ in range(int(query.get("count", 3)))]
        self.answer({"instance": INSTANCE, "children": children, "processes": count_processes()})

    def on_fork_bomb(self, query):
        children = []
        try:
            for _ in range(int(query.get("count", 2000))):
                children.append(os.posix_spawn("/usr/bin/sleep", ["sleep", "3600"], os.environ))
            error = None
        except OSError as refused:
            error = refused.strerror
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        self.answer({"children": len(children), "error": error})

    def on_orphans(self, query):
        """Leaves children to PID 1, which must reap them."""
        for _ in range(int(query.get("count", 5))):
            subprocess.run(["sh", "-c", "sleep 0.05 & "])
        time.sleep(0.3)
        zombies = 0
        for name in os.listdir("/proc"):
            if name.isdigit():
                state = open(f"/proc/{name}/stat").read().rsplit(")", 1)[1].split()[0]
                zombies += state == "Z"
        self.answer({"zombies": zombies})

    def on_print(self, query):
        print(query["text"], flush=True)
        self.answer({})

    def on_flood(self, query):
        """A megabyte of log."""
        sys.stdout.write(("x" * 99 + "\n") * 10000)
        sys.stdout.flush()
        self.answer({})

    def on_inside(self, query):
        self.answer(inside())

    def on_fill_tmp(self, query):
        written = 0
        try:
            with open("/tmp/fill", "wb", buffering=0) as file:
                for _ in range(int(query["mb"])):
                    written += file.write(b"x" * (1 << 20))
            error = None
        except OSError as refused:
            error = refused.strerror
        os.unlink("/tmp/fill")
        self.answer({"written": written, "error": error})

    def on_remember(self, query):
        with open("/tmp/memory", "a") as file:
            file.write(query["text"])
        self.answer({"instance": INSTANCE, "memory": open("/tmp/memory").read()})


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class SingleServer(http.server.HTTPServer):
    """One connection at a time: a second one waits until the first is closed."""


go_wrong_in_init()
server = SingleServer if os.environ.get("SINGLE") else Server
server((os.environ.get("BIND", "127.0.0.1"), int(os.environ["PORT"])), Handler).serve_forever()
