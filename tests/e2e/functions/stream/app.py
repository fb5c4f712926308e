"""A web function that streams, and goes on only when it is told to.

Plain standard library. Every path is taken below / and below /v1/ alike; framing=chunked (default), close or length says how
a response tells its end.
"""

import http.server
import json
import os
import select
import socket
import threading
import urllib.parse
import uuid

INSTANCE = uuid.uuid4().hex
EVENTS_BYTES = 1 << 16
go_on = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, body):
        body = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def start(self, length=None):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.framing = self.query.get("framing", "chunked")
        if self.framing == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif self.framing == "length":
            self.send_header("Content-Length", str(length or EVENTS_BYTES))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()

    def write(self, piece):
        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self.framing == "chunked" else piece)

    def end(self):
        if self.framing == "chunked":
            self.wfile.write(b"0\r\n\r\n")

    def is_gone(self):
        """Whether the other side has closed, without waiting, as llama-server asks."""
        if not select.select([self.connection], [], [], 0)[0]:
            return False
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def on_events(self):
        """One event; the second when /go was asked for."""
        go_on.clear()
        self.start()
        self.write(b"data: one\n\n")
        while not go_on.wait(0.005):
            if self.is_gone():
                print("THE CLIENT HAS GONE", flush=True)
                self.close_connection = True
                return
        self.write(b"data: two\n\n")
        self.end()

    def on_go(self):
        go_on.set()
        self.answer({"instance": INSTANCE})

    def on_flood(self):
        """As much as is taken, up to mb."""
        size, block = int(self.query.get("mb", 1024)) << 20, bytes(EVENTS_BYTES)
        written = 0
        self.start(size)
        try:
            while written < size:
                self.write(block)
                written += len(block)
            self.end()
        except OSError:
            self.close_connection = True
            print("CUT OFF AFTER", written, flush=True)

    def serve(self):
        url = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(url.query))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        handler = getattr(self, "on_" + url.path.removeprefix("/v1").strip("/"), None)
        handler() if handler else self.answer({"instance": INSTANCE})

    do_GET = do_POST = serve


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
