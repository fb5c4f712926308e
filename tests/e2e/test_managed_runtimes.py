"""What the managed runtimes do beside answering: logs as JSON, callbacks, errors that nobody catches, clients' contexts."""

import base64
import json
import shutil

import harness
import pytest

needs_node = pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not installed")


@pytest.fixture
def deploy_source(daemon, tmp_path):
    def make(name, runtime, source, **settings):
        file = "app.py" if runtime.startswith("python") else "app.mjs"
        (tmp_path / file).write_text(source)
        (tmp_path / "thaw.toml").write_text(f'runtime = "{runtime}"\nhandler = "app.handler"\nmemory_mb = 512\n')
        return daemon.deploy(tmp_path, name, **settings)

    return make


def ask(daemon, name, event, **headers):
    path = f"/2015-03-31/functions/{name}/invocations"
    return daemon.request("POST", path, data=json.dumps(event).encode(), headers=headers)


def json_lines(function, text):
    """The lines of the log that are JSON, once one of them holds the text."""
    return [json.loads(line) for line in function.wait_log(text).splitlines() if line.startswith("{")]


PYTHON_LOGS = """
import logging
def handler(event, context):
    logging.getLogger("tea").debug("cold")
    logging.getLogger("tea").warning("hot %s", event["n"])
    try:
        raise ValueError("spilt")
    except ValueError:
        logging.getLogger("tea").exception("oh")
    return context.client_context.custom if context.client_context else None
"""


def test_python_logs_json_with_the_request_id_from_its_level_on(daemon, deploy_source):
    function = deploy_source("py-json", "python3.11", PYTHON_LOGS, log_format="JSON", log_level="WARN")
    context = base64.b64encode(json.dumps({"custom": {"a": "b"}}).encode()).decode()
    answer = ask(daemon, "py-json", {"n": 7}, **{"X-Amz-Client-Context": context})
    assert answer.json() == {"a": "b"}
    lines = json_lines(function, "spilt")
    assert [line["message"] for line in lines] == ["hot 7", "oh"]
    assert {line["requestId"] for line in lines} == {answer.headers["x-amzn-RequestId"]}
    assert (lines[0]["level"], lines[0]["logger"]) == ("WARNING", "tea")
    assert (lines[1]["errorType"], lines[1]["errorMessage"]) == ("ValueError", "spilt")


def test_python_logs_text_with_the_request_id(daemon, deploy_source):
    function = deploy_source("py-text", "python3.11", PYTHON_LOGS)
    answer = ask(daemon, "py-text", {"n": 8})
    log = function.wait_log("hot 8")
    assert f"\t{answer.headers['x-amzn-RequestId']}\thot 8" in log and "[WARNING]\t" in log and "cold" not in log


NODE = """
export const handler = (event, context, callback) => {
  console.warn('hot', event.n);
  if (event.do === 'done') return void context.done(null, 'done');
  if (event.do === 'succeed') return void context.succeed('succeeded');
  if (event.do === 'fail') return void context.fail(new RangeError('failed'));
  if (event.do === 'throw later') return void setTimeout(() => { throw new TypeError('late'); }, 1);
  if (event.do === 'reject') { Promise.reject(new TypeError('alone')); return; }
  if (event.do === 'slow callback') return void setTimeout(() => callback(null, 'slow'), 20);
  callback(null, 'called');
};
"""


@needs_node
def test_node_takes_the_old_ways_of_answering(daemon, deploy_source):
    deploy_source("node-old", "nodejs20.x", NODE)
    for event, said in (("done", "done"), ("succeed", "succeeded"), ("slow callback", "slow"), ("", "called")):
        assert ask(daemon, "node-old", {"do": event}).json() == said
    failed = ask(daemon, "node-old", {"do": "fail"})
    assert (failed.json()["errorType"], failed.json()["errorMessage"]) == ("RangeError", "failed")
    assert ask(daemon, "node-old", {}).json() == "called"


@needs_node
@pytest.mark.parametrize("what, kind, said", [
    ("throw later", "TypeError", "late"),
    ("reject", "Runtime.UnhandledPromiseRejection", "TypeError: alone"),
])
def test_what_nobody_catches_in_node_is_the_answer_and_ends_the_runtime(daemon, deploy_source, what, kind, said):
    function = deploy_source("node-crash", "nodejs20.x", NODE)
    answer = ask(daemon, "node-crash", {"do": what})
    assert answer.headers["X-Amz-Function-Error"] == "Unhandled"
    assert answer.json()["errorType"] == kind and answer.json()["errorMessage"].startswith(said)
    harness.wait_for(lambda: not function.processes(), "the runtime to end")
    assert ask(daemon, "node-crash", {}).json() == "called"


@needs_node
def test_node_logs_json(daemon, deploy_source):
    function = deploy_source("node-json", "nodejs20.x", NODE, log_format="JSON")
    answer = ask(daemon, "node-json", {"n": 9})
    (line,) = json_lines(function, "hot 9")
    assert (line["level"], line["requestId"], line["message"]) == ("WARN", answer.headers["x-amzn-RequestId"], "hot 9")
