"""A web function for batches: what an input's "do" says is done with it. Each input that it gets is on its log."""

import http.server
import json
import os
import threading
import time

lock = threading.Lock()
released = threading.Event()
met = 0
now = 0
most = 0


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, body, status=200, content_type="application/json", **fields):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(b"{}")

    def do_POST(self):
        global met, now, most
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with lock:
            met += 1
            now += 1
            most = max(most, now)
        try:
            self.react(body)
        finally:
            with lock:
                now -= 1

    def react(self, body):
        if not self.headers["Content-Type"].startswith("application/json"):
            seen = {"bytes": len(body), "type": self.headers["Content-Type"], "path": self.path}
            return self.answer(json.dumps(seen).encode())
        value = json.loads(body)
        with lock:
            print(f"GOT {value.get('n')}", flush=True)
        if self.path == "/row":
            return self.answer(json.dumps({"row": value}).encode())
        if "sleep_ms" in value:
            time.sleep(value["sleep_ms"] / 1000)
        do = value.get("do", "echo")
        if do == "fail" or (do == "fail unless mended" and not os.environ.get("MENDED")):
            return self.answer(json.dumps({"message": f"{value['n']} cannot be done"}).encode(), status=422)
        if do == "wait":
            released.wait()
            released.clear()
        if do == "release":
            released.set()
        if do == "text":
            return self.answer("Grüße\nvon hier".encode(), content_type="text/plain")
        if do == "bytes":
            return self.answer(bytes(range(256)), content_type="application/octet-stream")
        if do == "nothing":
            return self.answer(b"")
        if do == "number":
            return self.answer(b'{ "exact" : 12345678901234567890123.10,\n "text": " a \\" b " }')
        if do == "busy once" and met < 3:
            return self.answer(b"", status=503, Retry_After="1")
        if do == "exit":
            os._exit(3)
        if do == "big":
            return self.answer(b"x" * (17 << 20), content_type="text/plain")
        self.answer(json.dumps({"n": value.get("n"), "most_at_once": most, "path": self.path}).encode())


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("", int(os.environ["PORT"])), Handler).serve_forever()
