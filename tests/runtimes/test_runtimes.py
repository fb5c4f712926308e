"""The managed runtimes as processes, against a Runtime API that hands out one event after another over HTTP."""

import http.server
import json
import os
import pathlib
import queue
import subprocess
import threading
import time

import pytest

RUNTIMES = pathlib.Path(__file__).resolve().parents[2] / "runtimes"
COMMANDS = {
    "python": ["/usr/bin/python3", str(RUNTIMES / "python/bootstrap.py")],
    "node": ["node", str(RUNTIMES / "node/bootstrap.mjs")],
}


class Api(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.events, self.posts, self.connections = queue.Queue(), queue.Queue(), set()


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.server.connections.add(self.client_address)
        if self.path.endswith("/restore/next"):
            self.server.posts.put((self.path, None, {}))
            return self.answer(200, b"", {})
        number, body = self.server.events.get()
        self.answer(200, body, {
            "Lambda-Runtime-Aws-Request-Id": f"id-{number}",
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 30000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:f",
        })

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posts.put((self.path, body, dict(self.headers)))
        self.answer(202, b'{"status":"OK"}', {})

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Run:
    def __init__(self, folder, api, language, files, handler, env):
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        self.api, self.sent = api, 0
        self.process = subprocess.Popen(
            COMMANDS[language], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}", "_HANDLER": handler,
                 "LAMBDA_TASK_ROOT": str(folder), "AWS_LAMBDA_FUNCTION_NAME": "f", **env})

    def post(self):
        path, body, headers = self.api.posts.get(timeout=30)
        return path.removeprefix("/2018-06-01/runtime"), body, headers

    def invoke(self, event):
        self.sent += 1
        self.api.events.put((self.sent, json.dumps(event).encode()))
        return self.post()

    def output(self):
        self.process.kill()
        return self.process.communicate()[0].decode()


@pytest.fixture
def start(tmp_path):
    api, runs = Api(), []
    threading.Thread(target=api.serve_forever, daemon=True).start()

    def run(language, files, handler, **env):
        runs.append(Run(tmp_path, api, language, files, handler, env))
        return runs[-1]

    yield run
    for one in runs:
        one.process.kill()
        one.process.wait()
    api.shutdown()
    api.server_close()


PYTHON = """
import logging
logging.getLogger().setLevel("INFO")
def handler(event, context):
    logging.info("got it")
    if event == "fail":
        raise ValueError("no luck")
    if event == "odd":
        return object()
    return [event, context.aws_request_id, context.function_name, context.get_remaining_time_in_millis() > 0]
"""


@pytest.mark.parametrize("handler", ["a/b.handler", "a.b.handler"])
def test_python_answers_and_fails_over_one_connection(start, handler):
    run = start("python", {"a/b.py": PYTHON}, handler)
    path, body, _ = run.invoke({"x": "é"})
    assert (path, json.loads(body)) == ("/invocation/id-1/response", [{"x": "é"}, "id-1", "f", True])
    path, body, _ = run.invoke("fail")
    error = json.loads(body)
    assert path == "/invocation/id-2/error"
    assert (error["errorType"], error["errorMessage"], error["requestId"]) == ("ValueError", "no luck", "id-2")
    assert len(error["stackTrace"]) == 1 and "a/b.py" in error["stackTrace"][0]
    assert json.loads(run.invoke("odd")[1])["errorType"] == "Runtime.MarshalError"
    assert run.invoke(1)[0] == "/invocation/id-4/response"
    assert len(run.api.connections) == 1
    output = run.output()
    assert "\tid-1\tgot it" in output and "[ERROR] ValueError: no luck" in output


@pytest.mark.parametrize("text, handler, kind", [
    ("import nothing_like_it", "m.handler", "Runtime.ImportModuleError"),
    ("x = 1", "m.handler", "Runtime.HandlerNotFound"),
    ("def (", "m.handler", "Runtime.UserCodeSyntaxError"),
    ("x = 1", "m", "Runtime.MalformedHandlerName"),
])
def test_python_that_does_not_load(start, text, handler, kind):
    run = start("python", {"m.py": text}, handler)
    path, body, _ = run.post()
    assert (path, json.loads(body)["errorType"]) == ("/init/error", kind)
    assert run.process.wait(30) == 1


def test_python_hooks_of_a_snapshot(start):
    text = """
from snapshot_restore_py import register_after_restore as after, register_before_snapshot as before
calls = []
for n in (1, 2):
    before(calls.append, f"before {n}")
    after(calls.append, f"after {n}")
def handler(event, context):
    return calls
"""
    run = start("python", {"m.py": text}, "m.handler", AWS_LAMBDA_INITIALIZATION_TYPE="snap-start")
    assert run.post()[0] == "/restore/next"
    assert json.loads(run.invoke(0)[1]) == ["before 2", "before 1", "after 1", "after 2"]


NODE = """
HEAD async (event, context) => {
  console.log('got it');
  if (event === 'fail') throw new TypeError('no luck');
  return [event, context.awsRequestId, context.functionName, context.getRemainingTimeInMillis() > 0];
};
"""


@pytest.mark.parametrize("name, head", [
    ("a/b.js", "exports.handler ="), ("a/b.mjs", "export const handler ="), ("a/b.cjs", "exports.handler =")])
def test_node_answers_and_fails_over_one_connection(start, name, head):
    run = start("node", {name: NODE.replace("HEAD", head)}, "a/b.handler")
    path, body, _ = run.invoke({"x": "é"})
    assert (path, json.loads(body)) == ("/invocation/id-1/response", [{"x": "é"}, "id-1", "f", True])
    path, body, _ = run.invoke("fail")
    error = json.loads(body)
    assert (path, error["errorType"], error["errorMessage"]) == ("/invocation/id-2/error", "TypeError", "no luck")
    assert error["trace"][0] == "TypeError: no luck"
    assert run.invoke(1)[0] == "/invocation/id-3/response"
    assert len(run.api.connections) == 1
    assert "\tid-1\tINFO\tgot it" in run.output()


def test_node_callbacks_wait_for_what_is_left_unless_told_not_to(start):
    text = """
let late = 0;
exports.handler = (event, context, callback) => {
  context.callbackWaitsForEmptyEventLoop = event.wait;
  setTimeout(() => { late += 1; }, event.wait ? 50 : 60000);
  const result = { get late() { return late; } };
  callback(event.fail ? new RangeError('far') : null, result);
};
"""
    run = start("node", {"m.js": text}, "m.handler")
    assert json.loads(run.invoke({"wait": True})[1]) == {"late": 1}
    assert json.loads(run.invoke({"wait": False, "fail": True})[1])["errorType"] == "RangeError"
    assert json.loads(run.invoke({"wait": False})[1]) == {"late": 1}


def test_node_streams_with_a_prelude(start):
    text = """
exports.handler = awslambda.streamifyResponse(async (event, out, context) => {
  out = awslambda.HttpResponseStream.from(out, { statusCode: 201 });
  out.write('one ');
  out.write('two');
  out.end();
});
"""
    run = start("node", {"m.js": text}, "m.handler")
    path, body, headers = run.invoke(0)
    assert (path, body) == ("/invocation/id-1/response", b'{"statusCode":201}' + bytes(8) + b"one two")
    assert headers["Lambda-Runtime-Function-Response-Mode"] == "streaming"
    assert headers["Content-Type"] == "application/vnd.awslambda.http-integration-response"


@pytest.mark.parametrize("text, handler, kind", [
    ("require('nothing-like-it')", "m.handler", "Runtime.ImportModuleError"),
    ("exports.x = 1", "m.handler", "Runtime.HandlerNotFound"),
    ("function (", "m.handler", "Runtime.UserCodeSyntaxError"),
    ("", "missing.handler", "Runtime.ImportModuleError"),
    ("", "m", "Runtime.MalformedHandlerName"),
])
def test_node_that_does_not_load(start, text, handler, kind):
    run = start("node", {"m.js": text}, handler)
    path, body, _ = run.post()
    assert (path, json.loads(body)["errorType"]) == ("/init/error", kind)
    assert run.process.wait(30) == 1


def test_node_reports_a_rejection_that_nothing_handles(start):
    text = "exports.handler = () => new Promise(() => { Promise.reject(new Error('lost')); });"
    run = start("node", {"m.js": text}, "m.handler")
    path, body, _ = run.invoke(0)
    assert (path, json.loads(body)["errorType"]) == ("/invocation/id-1/error", "Runtime.UnhandledPromiseRejection")
    assert run.process.wait(30) == 129
