"""A web function that asks others at THAW_URL.

POST /ask {"method", "path", "body", "headers"} answers what came of that request, over one kept connection; the other
paths are for what `ask` alone cannot show.
"""

import http.client
import http.server
import json
import os
import socket
import sys
import threading
import time
import urllib.parse

URL = os.environ.get("THAW_URL", "")
kept = None
asked = 0  # by the connection that is kept
session = None
later = []  # what calls in the background have brought


def connection():
    global kept, asked
    if kept is None:
        asked = 0
        kept = http.client.HTTPConnection(urllib.parse.urlsplit(URL).netloc, timeout=15)
    return kept


def ask(method="GET", path="/", body=None, headers=None):
    """Nothing is tried again: a connection that turns out to be dead is an error."""
    global kept, asked
    link = connection()
    asked += 1
    try:
        link.request(method, path, body=body, headers=headers or {})
        answer = link.getresponse()
        text = answer.read().decode()
        port = link.sock.getsockname()[1] if link.sock else None
        return {"status": answer.status, "headers": dict(answer.headers), "body": text, "port": port, "asked": asked}
    except (OSError, http.client.HTTPException) as error:
        kept = None
        return {"error": repr(error)}


def ask_by_requests(path):
    global session
    import requests  # where a test asks for it

    if session is None:
        session = requests.Session()
        session.trust_env = False
        session.asked = 0
    session.asked += 1
    answer = session.get(URL + path, timeout=15)
    return {"status": answer.status_code, "body": answer.text, "asked": session.asked}


def listeners():
    """Ports of this network namespace that are listened on."""
    ports = set()
    for line in open("/proc/net/tcp").read().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A":
            ports.add(int(words[1].split(":")[1], 16))
    return sorted(ports)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def say(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def read(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        if path == "/state":
            return self.say({"url": os.environ.get("THAW_URL"), "listeners": listeners()})
        if path == "/later":
            return self.say(later)
        if path == "/headers":
            return self.say(dict(self.headers))
        if path == "/own":  # calls itself for ever
            link = http.client.HTTPConnection(urllib.parse.urlsplit(URL).netloc, timeout=60)
            link.request("GET", f"/fn/{os.environ['AWS_LAMBDA_FUNCTION_NAME']}/own")
            answer = link.getresponse()
            body = answer.read().decode()
            link.close()
            inner = json.loads(body) if answer.status == 200 else {"status": answer.status, "body": body}
            return self.say({"depth": inner.get("depth", 0) + 1, "end": inner.get("end", inner)})
        if path == "/slow":
            print("slow began", flush=True)
            time.sleep(float(self.headers.get("X-Seconds", 10)))  # whoever waits for longer goes away
            return self.say("slow")
        if path == "/hold":  # a call that takes long
            print("hold began", flush=True)
            return self.say(ask(path=f"/fn/{self.headers['X-Callee']}/slow"))
        if path == "/die":  # in the midst of a call
            link = connection()
            link.request("GET", f"/fn/{self.headers['X-Callee']}/slow")
            time.sleep(1)
            os.abort()
        if path == "/stream":  # passes on what another one streams, piece by piece, with the time of each
            link = connection()
            link.request("GET", self.headers["X-Path"])
            answer = link.getresponse()
            pieces = []
            while piece := answer.read1(65536):
                pieces.append(piece.decode())
                if self.headers.get("X-Next"):  # and has the next one sent, once this one is here
                    other = http.client.HTTPConnection(urllib.parse.urlsplit(URL).netloc, timeout=15)
                    other.request("POST", self.headers["X-Next"], body=b"")
                    other.getresponse().read()
                    other.close()
            return self.say(pieces)
        return self.say("here")

    def do_POST(self):
        body = self.read()
        if self.path == "/ask":
            return self.say(ask(**json.loads(body)))
        if self.path == "/requests":
            return self.say(ask_by_requests(**json.loads(body)))
        if self.path == "/later":
            threading.Thread(target=lambda: later.append(ask(**json.loads(body)))).start()
            return self.say("begun")
        if self.path == "/many":  # connections at a time
            links = []
            for _ in range(json.loads(body)):
                link = socket.create_connection((urllib.parse.urlsplit(URL).hostname, urllib.parse.urlsplit(URL).port))
                link.settimeout(5)
                links.append(link)
            answered = 0
            for link in links:
                try:
                    link.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                    answered += link.recv(100).startswith(b"HTTP/1.1 200")
                except OSError:
                    pass
            for link in links:
                link.close()
            return self.say(answered)
        return self.say({"echo": body.decode()})

    def log_message(self, *args):
        pass


print("up", file=sys.stderr)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
