"""External extensions: processes beside the runtime, which layers bring; and the end of environments."""

import io
import json
import time
import zipfile

import boto3
import botocore.config
import harness
import pytest

EXTENSIONS = harness.FUNCTIONS / "extensions"
WATCHER = """#!/usr/bin/python3
import http.client, json, os, sys, time

what = os.environ.get("WATCHER", "")
name = os.path.basename(sys.argv[0])
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])


def say(*words):
    # One write a line: others write to the same pipe.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())


def call(method, path, body=None, headers=None):
    api.request(method, "/2020-01-01/extension/" + path, body, headers or {})
    answer = api.getresponse()
    return answer.getheader("Lambda-Extension-Identifier"), answer.read()


if what == "silent":
    time.sleep(3600)
if what == "broken":
    sys.exit(7)
time.sleep(0.5)
say(name, "registers")
events = ["INVOKE", "SHUTDOWN"]
identity, _ = call("POST", "register", json.dumps({"events": events}), {"Lambda-Extension-Name": name})
while True:
    event = json.loads(call("GET", "event/next", headers={"Lambda-Extension-Identifier": identity})[1])
    left_ms = event["deadlineMs"] - time.time() * 1000
    say(name, "saw", event["eventType"], event.get("shutdownReason", event.get("requestId")))
    if what == "crash":
        os.abort()
    if event["eventType"] == "SHUTDOWN" and what != "stubborn":
        say(name, "has time:", 0 < left_ms <= 2000)
        sys.exit(0)
"""


def client(daemon):
    return boto3.client(
        "lambda",
        region_name="us-east-1",
        endpoint_url=daemon.url,
        aws_access_key_id="any",
        aws_secret_access_key="thing",
        config=botocore.config.Config(retries={"max_attempts": 0}),
    )


def publish_layer(daemon, name, files):
    """A layer of executable files. Its ARN."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, content in files.items():
            info = zipfile.ZipInfo(path)
            info.external_attr = 0o100755 << 16
            archive.writestr(info, content)
    return client(daemon).publish_layer_version(LayerName=name, Content={"ZipFile": out.getvalue()})["LayerVersionArn"]


def deploy(daemon, name, layer=None, **settings):
    """The function with two external extensions, or with another layer."""
    layer = layer or publish_layer(daemon, "two", {f"extensions/{one}": WATCHER for one in ("first", "second")})
    function = daemon.deploy(EXTENSIONS, name, **settings)
    client(daemon).update_function_configuration(FunctionName=name, Layers=[layer])
    return function


def ask(daemon, name, event=None):
    return daemon.request("POST", f"/2015-03-31/functions/{name}/invocations", data=json.dumps(event or {}).encode())


def in_order(text, *pieces):
    at = [text.find(piece) for piece in pieces]
    assert -1 not in at and at == sorted(at), text


def gone(function):
    harness.wait_for(lambda: not function.environments() and not function.processes(), "the environment to end")


def test_extensions_are_there_before_the_runtime_and_hear_of_events_and_of_the_end(daemon):
    function = deploy(daemon, "external", idle_s=1)
    answer = ask(daemon, "external", {"n": 1})
    assert answer.json() == {"n": 1}
    request_id = answer.headers["x-amzn-requestid"]
    function.wait_log(f"REPORT RequestId: {request_id}")
    gone(function)
    log = function.log()
    for name in ("first", "second"):
        in_order(
            log,
            f"{name} registers\n",
            "the runtime starts\n",
            f"{name} saw INVOKE {request_id}\n",
            "the runtime got signal 15\n",
            f"{name} saw SHUTDOWN SPINDOWN\n",
            f"{name} has time: True\n",
        )


def test_a_new_configuration_ends_the_old_environments_in_order(daemon):
    function = deploy(daemon, "replaced")
    assert ask(daemon, "replaced", {"n": 1}).json() == {"n": 1}
    harness.wait_for(lambda: function.environments("frozen"), "the environment to freeze")
    client(daemon).update_function_configuration(FunctionName="replaced", Timeout=19)
    assert ask(daemon, "replaced", {"n": 2}).json() == {"n": 2}
    function.wait_log("second saw SHUTDOWN SPINDOWN\n")
    assert ask(daemon, "replaced", {"n": 3}).json() == {"n": 3}


def test_the_daemons_end_is_theirs_too(serve):
    daemon = serve()
    function = deploy(daemon, "stopped")
    assert ask(daemon, "stopped", {"n": 1}).json() == {"n": 1}
    daemon.stop()
    daemon.start()
    log = function.log()
    assert "first saw SHUTDOWN SPINDOWN\n" in log and "the runtime got signal 15\n" in log


def test_whoever_does_not_end_is_killed(daemon):
    function = deploy(daemon, "stubborn", idle_s=1, environment__STUBBORN="yes", environment__WATCHER="stubborn")
    assert ask(daemon, "stubborn", {"n": 1}).json() == {"n": 1}
    gone(function)
    assert "second saw SHUTDOWN SPINDOWN\n" in function.log()


def test_a_timeout_is_told_to_extensions(daemon):
    function = deploy(daemon, "times-out", timeout_s=2)
    answer = ask(daemon, "times-out", {"do": "hang"})
    assert answer.json()["errorType"] == "Sandbox.Timedout"
    function.wait_log("first saw SHUTDOWN TIMEOUT\n")
    gone(function)


@pytest.mark.parametrize(
    "watcher, error_type, message",
    [
        ("broken", "Extension.Crash", "exited: exit status 7"),
        ("silent", "Sandbox.Timedout", "Task timed out after 2.00 seconds"),
        ("crash", "Extension.Crash", "exited: signal: Aborted"),
    ],
)
def test_an_extension_that_fails_fails_the_function(daemon, watcher, error_type, message):
    function = deploy(daemon, "with-" + watcher, environment__WATCHER=watcher, init_timeout_s=2, timeout_s=2)
    answer = ask(daemon, "with-" + watcher, {"do": "hang"})
    assert answer.headers["X-Amz-Function-Error"] == "Unhandled"
    assert answer.json()["errorType"] == error_type
    assert message in answer.json()["errorMessage"]
    gone(function)


def test_more_than_ten_extensions_are_refused(daemon):
    layer = publish_layer(daemon, "eleven", {f"extensions/{number}": WATCHER for number in range(11)})
    deploy(daemon, "too-many", layer)
    assert ask(daemon, "too-many").json()["errorType"] == "Extension.TooManyExtensions"


def test_an_internal_extension_gives_the_runtime_its_sigterm(daemon):
    function = daemon.deploy(EXTENSIONS, "internal-end", environment__INTERNAL="inside", idle_s=1)
    assert ask(daemon, "internal-end", {"n": 1}).json() == {"n": 1}
    function.wait_log("the runtime got signal 15\n")
    gone(function)


def test_without_extensions_there_is_no_sigterm(daemon):
    function = daemon.deploy(EXTENSIONS, "plain-end", idle_s=1)
    assert ask(daemon, "plain-end", {"n": 1}).json() == {"n": 1}
    gone(function)
    time.sleep(0.2)
    assert "the runtime got signal" not in function.log()


def test_a_layer_brings_the_runtime(daemon, tmp_path):
    (tmp_path / "thaw.toml").write_text((EXTENSIONS / "thaw.toml").read_text())
    daemon.deploy(tmp_path, "layered-runtime")
    layer = publish_layer(daemon, "runtime", {"bootstrap": (EXTENSIONS / "bootstrap").read_text()})
    client(daemon).update_function_configuration(FunctionName="layered-runtime", Layers=[layer])
    assert ask(daemon, "layered-runtime", {"n": 1}).json() == {"n": 1}
