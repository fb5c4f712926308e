"""An object store of the tests' own: S3's protocol over files in memory, which checks every signature, and which
misbehaves as a test says. It shares no code with what it tests."""

import hashlib
import hmac
import http.server
import re
import threading
import urllib.parse
import xml.sax.saxutils

ACCESS_KEY, SECRET_KEY = "TESTKEY", "test/secret+key"


class ObjectServer:
    """Objects are in `objects`: "bucket/key" to bytes, "bucket/key@version" an older one. A test's `misbehave(handler, name)` answers in place of the server
    when it returns something true."""

    def __init__(self):
        self.objects = {}
        self.etags = {}
        self.requests = []  # (method, path, headers)
        self.misbehave = None
        self.region = "us-east-1"
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                try:
                    outer.answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            do_HEAD = do_GET

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def put(self, name, contents, etag=None):
        self.objects[name] = contents
        self.etags[name] = etag or '"' + hashlib.md5(contents).hexdigest() + '"'

    def ranges(self, name):
        """The Range fields that were asked for an object."""
        return [fields["range"] for method, path, fields in self.requests if method == "GET" and path == "/" + name and "range" in fields]

    # ---- Answers

    def answer(self, handler):
        path, _, query = handler.path.partition("?")
        fields = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append((handler.command, urllib.parse.unquote(path), fields))
        name = urllib.parse.unquote(path)[1:]
        if self.misbehave and self.misbehave(handler, name):
            return
        if error := self.signature_error(handler.command, path, query, fields):
            return self.error(handler, 403, error)
        bucket, _, key = name.partition("/")
        if bucket not in {one.partition("/")[0] for one in self.objects}:
            return self.error(handler, 404, "NoSuchBucket")
        if not key:
            return self.list(handler, bucket, dict(urllib.parse.parse_qsl(query)))
        if version := dict(urllib.parse.parse_qsl(query)).get("versionId"):
            name += "@" + version
        if name not in self.objects:
            return self.error(handler, 404, "NoSuchVersion" if version else "NoSuchKey")
        if fields.get("if-match", self.etags[name]) != self.etags[name]:
            return self.error(handler, 412, "PreconditionFailed")
        self.send_object(handler, name, fields)

    def send_object(self, handler, name, fields):
        contents = self.objects[name]
        status, extra, body = 200, {}, contents
        if match := re.fullmatch(r"bytes=(\d+)-(\d+)", fields.get("range", "")):
            first, last = int(match[1]), min(int(match[2]), len(contents) - 1)
            if first > last:
                return self.error(handler, 416, "InvalidRange")
            status, body = 206, memoryview(contents)[first : last + 1]
            extra["Content-Range"] = f"bytes {first}-{last}/{len(contents)}"
        self.send(handler, status, body, {"ETag": self.etags[name], **extra})

    def list(self, handler, bucket, query):
        names = sorted(one.partition("/")[2] for one in self.objects if one.startswith(bucket + "/"))
        names = [one for one in names if one.startswith(query.get("prefix", ""))]
        after = query.get("continuation-token", "")
        rest = [one for one in names if one > after]
        page = rest[: min(3, int(query.get("max-keys", 1000)))]
        items = "".join(
            f"<Contents><Key>{xml.sax.saxutils.escape(one)}</Key><Size>{len(self.objects[f'{bucket}/{one}'])}</Size>"
            f"<ETag>{xml.sax.saxutils.escape(self.etags[f'{bucket}/{one}'])}</ETag></Contents>"
            for one in page
        )
        more = len(page) < len(rest)
        token = f"<NextContinuationToken>{xml.sax.saxutils.escape(page[-1])}</NextContinuationToken>" if more else ""
        text = f'<?xml version="1.0"?><ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{items}</ListBucketResult>'
        self.send(handler, 200, text.encode(), {"Content-Type": "application/xml"})

    def error(self, handler, status, code):
        text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>about {code}</Message></Error>'
        self.send(handler, status, text.encode(), {"Content-Type": "application/xml"})

    def send(self, handler, status, body, fields):
        handler.send_response(status)
        for name, value in fields.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    # ---- Signature Version 4, as Amazon's page describes the server's side

    def signature_error(self, method, path, query, fields):
        match = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request,\s*SignedHeaders=([^,]+),\s*Signature=([0-9a-f]{64})",
            fields.get("authorization", ""),
        )
        if not match:
            return "AccessDenied"
        access_key, day, region, signed, signature = match.groups()
        if access_key != ACCESS_KEY:
            return "InvalidAccessKeyId"
        names = signed.split(";")
        if "host" not in names or any(one.startswith("x-amz-") and one not in names for one in fields):
            return "AccessDenied"
        pairs = sorted(part.partition("=")[::2] for part in query.split("&") if part)
        canonical = "\n".join(
            [method, path, "&".join(f"{a}={b}" for a, b in pairs), *(f"{one}:{fields[one].strip()}" for one in names), "", signed,
             fields["x-amz-content-sha256"]]
        )  # fmt: skip
        scope = f"{day}/{region}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", fields["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + SECRET_KEY).encode()
        for part in (day, region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        if hmac.new(key, text.encode(), hashlib.sha256).hexdigest() != signature:
            return "SignatureDoesNotMatch"
        return None
