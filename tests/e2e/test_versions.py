"""Published versions and aliases: what they serve, who goes when, and the shapes of Lambda's API."""

import collections

import pytest

import harness

API = "/2015-03-31/functions"
APP = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = ("CODE " + os.environ["AWS_LAMBDA_FUNCTION_VERSION"] + " " + self.path).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


class Versions:
    """A function whose answer names the code and the version that gave it."""

    def __init__(self, daemon, folder, name):
        self.daemon, self.folder, self.name = daemon, folder, name
        self.target = f"{API}/{name}"
        folder.mkdir(exist_ok=True)

    def deploy(self, code, **settings):
        (self.folder / "thaw.toml").write_text('command = ["python3", "app.py"]\nconcurrency = 8\n')
        (self.folder / "app.py").write_text(APP.replace("CODE", code))
        return self.daemon.deploy(self.folder, self.name, **settings)

    def get(self, qualifier="", path="/"):
        response = self.daemon.get(f"/fn/{self.name}{':' + qualifier if qualifier else ''}{path}")
        assert response.status_code == 200, response.text
        return response.text

    def api(self, method, path="", **body):
        return self.daemon.request(method, self.target + path, json=body or None)

    def publish(self, **body):
        response = self.api("POST", "/versions", **body)
        assert response.status_code == 201, response.text
        return response.json()["Version"]

    def alias(self, name, version, **body):
        response = self.api("POST", "/aliases", Name=name, FunctionVersion=version, **body)
        assert response.status_code == 201, response.text
        return response.json()

    def environments(self, qualifier):
        return self.api("GET", f"?Qualifier={qualifier}").json()["Thaw"]["Environments"]


@pytest.fixture
def versions(daemon, tmp_path, request):
    function = Versions(daemon, tmp_path / "app", "v-" + str(abs(hash(request.node.name)) % 10**9))
    yield function
    function.api("DELETE")


def assert_refused(response, status, error_type, words=""):
    assert response.status_code == status, response.text
    assert response.headers["x-amzn-ErrorType"] == error_type
    assert words in response.json()["Message"]


def test_a_version_serves_on_when_the_function_is_deployed_again(versions):
    versions.deploy("one")
    assert versions.publish() == "1"
    assert versions.get("1", "/a?b=c:d") == "one 1 /a?b=c:d"
    versions.deploy("two")
    assert versions.get() == "two $LATEST /"
    assert versions.get("1") == "one 1 /"
    assert versions.get("$LATEST") == "two $LATEST /"
    assert versions.get("%24LATEST") == "two $LATEST /"
    assert versions.publish() == "2"
    assert versions.get("2") == "two 2 /"
    log = harness.wait_for(
        lambda: (text := versions.daemon.get(f"/thaw/v1/functions/{versions.name}/logs?bytes=100000").text)
        and "Version: 2\n" in text
        and text,
        "the START line of version 2",
    )
    assert "Version: 1\n" in log and "Version: $LATEST\n" in log
