"""Event functions: a real custom runtime on the Runtime API, invoked through Lambda's Invoke."""

import base64
import concurrent.futures
import json
import re
import shutil

import amazon_clients
import harness
import pytest

EVENTS = harness.FUNCTIONS / "events"
PAYLOAD_MAX = 6291556


def invoke(daemon, name, payload=b"{}", **fields):
    headers = {"X-Amz-" + key.replace("_", "-"): value for key, value in fields.items()}
    return daemon.request("POST", f"/2015-03-31/functions/{name}/invocations", data=payload, headers=headers)


def ask(daemon, name, event):
    return invoke(daemon, name, json.dumps(event).encode())


def test_an_event_goes_to_the_runtime_and_its_response_comes_back(daemon):
    function = daemon.deploy(EVENTS, "echo")
    context = {"client": {"installation_id": "7"}}
    answer = invoke(
        daemon,
        "echo",
        json.dumps({"text": "Grüße", "n": [1, 2.5, None]}).encode(),
        Client_Context=base64.b64encode(json.dumps(context).encode()).decode(),
    )
    assert answer.status_code == 200
    assert answer.headers["X-Amz-Executed-Version"] == "$LATEST"
    assert "X-Amz-Function-Error" not in answer.headers
    seen = answer.json()
    assert seen["event"] == {"text": "Grüße", "n": [1, 2.5, None]}
    assert seen["environment"]["AWS_LAMBDA_FUNCTION_NAME"] == "echo"
    assert seen["environment"]["_HANDLER"] == "any.thing"
    assert 0 < seen["left_ms"] <= 2000
    assert seen["fields"]["lambda-runtime-aws-request-id"] == answer.headers["x-amzn-requestid"]
    assert seen["fields"]["lambda-runtime-invoked-function-arn"].endswith(":function:echo")
    assert json.loads(seen["fields"]["lambda-runtime-client-context"]) == context
    log = function.wait_log("REPORT RequestId")
    assert re.search(harness.REPORT_LINE, log)
    assert f"handles {answer.headers['x-amzn-requestid']}" in log


def test_the_runtime_stays_across_a_freeze(daemon):
    function = daemon.deploy(EVENTS, "frozen")
    assert ask(daemon, "frozen", {}).json()["count"] == 1
    harness.wait_for(lambda: function.environments("frozen"), "the environment to freeze")
    assert ask(daemon, "frozen", {}).json()["count"] == 2


def test_events_at_once_have_environments_of_their_own(daemon):
    daemon.deploy(EVENTS, "many")
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: ask(daemon, "many", {"n": n}), range(40)))
    assert [answer.json()["event"]["n"] for answer in answers] == list(range(40))


def test_an_error_of_the_function_is_its_own_json(daemon):
    daemon.deploy(EVENTS, "fails")
    answer = ask(daemon, "fails", {"do": "fail"})
    assert (answer.status_code, answer.headers["X-Amz-Function-Error"]) == (200, "Unhandled")
    assert answer.json() == {"errorType": "Oops", "errorMessage": "as asked", "stackTrace": []}
    assert ask(daemon, "fails", {}).json()["count"] == 2


@pytest.mark.parametrize("status, message", [(0, "without providing a reason"), (9, "exit status 9")])
def test_a_runtime_that_exits_is_started_again(daemon, status, message):
    daemon.deploy(EVENTS, "exits")
    answer = ask(daemon, "exits", {"do": "exit", "status": status})
    assert answer.headers["X-Amz-Function-Error"] == "Unhandled"
    assert answer.json()["errorType"] == "Runtime.ExitError"
    assert message in answer.json()["errorMessage"]
    assert ask(daemon, "exits", {}).json()["count"] == 1


def test_a_function_that_hangs_times_out_and_the_next_event_is_served(daemon):
    daemon.deploy(EVENTS, "hangs")
    answer = ask(daemon, "hangs", {"do": "hang"})
    assert answer.headers["X-Amz-Function-Error"] == "Unhandled"
    assert answer.json()["errorType"] == "Sandbox.Timedout"
    assert "Task timed out after 2.00 seconds" in answer.json()["errorMessage"]
    assert ask(daemon, "hangs", {}).json()["count"] == 1


def test_a_runtime_that_breaks_the_protocol_gets_errors_and_harms_nobody(daemon):
    function = daemon.deploy(EVENTS, "breaks")
    seen = ask(daemon, "breaks", {"do": "misbehave"}).json()
    assert seen == {"wrong id": 400, "no such path": 404, "late init error": 403}
    harness.wait_for(lambda: "second answer: 400" in function.log(), "the second answer to be refused")
    answer = ask(daemon, "breaks", {"do": "large"})
    assert answer.json()["errorType"] == "Function.ResponseSizeTooLarge"
    assert ask(daemon, "breaks", {}).json()["count"] == 3


@pytest.mark.parametrize(
    "init, error_type, message",
    [
        ("error", "Runtime.ImportModuleError", "no such module"),
        ("exit", "Runtime.ExitError", "Error: Runtime exited with error: exit status 3"),
        ("hang", "Sandbox.Timedout", "Error: Task timed out after 2.00 seconds"),
    ],
)
def test_an_init_that_fails_is_an_error_of_the_function(daemon, init, error_type, message):
    daemon.deploy(EVENTS, "init-" + init, environment__INIT=init, init_timeout_s=1)
    answer = ask(daemon, "init-" + init, {})
    assert (answer.status_code, answer.headers["X-Amz-Function-Error"]) == (200, "Unhandled")
    assert answer.json()["errorType"] == error_type
    assert message in answer.json()["errorMessage"]


def test_bad_requests_are_refused_by_name(daemon):
    daemon.deploy(EVENTS, "strict")
    for answer, status, kind in [
        (invoke(daemon, "strict", b"{"), 400, "InvalidRequestContentException"),
        (invoke(daemon, "strict", Client_Context="{}"), 400, "InvalidRequestContentException"),
        (invoke(daemon, "strict", Client_Context="A" * 3584), 400, "InvalidParameterValueException"),
        (invoke(daemon, "strict", Invocation_Type="Maybe"), 400, "InvalidParameterValueException"),
        (invoke(daemon, "nobody"), 404, "ResourceNotFoundException"),
        (invoke(daemon, "strict:7"), 404, "ResourceNotFoundException"),
        (invoke(daemon, "strict", b'"' + b"x" * PAYLOAD_MAX + b'"'), 413, "RequestTooLargeException"),
    ]:
        assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (status, kind), answer.text
    assert invoke(daemon, "strict", Invocation_Type="DryRun").status_code == 204
    assert invoke(daemon, "strict", b"").json()["event"] == {}


def test_garbage_for_an_event_does_no_harm(daemon):
    daemon.deploy(EVENTS, "sturdy")
    for size in (1, 100, 10_000):
        assert invoke(daemon, "sturdy", bytes(range(256)) * size).status_code == 400
    deep = b"[" * 400 + b"]" * 400
    assert invoke(daemon, "sturdy", deep).status_code == 200
    assert invoke(daemon, "sturdy", b"[" * 100_000).status_code == 400
    assert ask(daemon, "sturdy", {"fine": True}).json()["event"] == {"fine": True}


def test_a_function_out_of_memory_says_so(daemon):
    daemon.deploy(EVENTS, "hungry", timeout_s=30)
    answer = ask(daemon, "hungry", {"do": "eat"})
    assert answer.headers["X-Amz-Function-Error"] == "Unhandled"
    assert answer.json()["errorType"] == "Runtime.OutOfMemory"


def test_a_slow_function_among_many_answers_to_one_event_harms_nobody(daemon):
    daemon.deploy(EVENTS, "flood")
    assert ask(daemon, "flood", {"do": "flood"}).json() == {"202": 1, "400": 19}
    assert ask(daemon, "flood", {}).json()["count"] == 2


def test_several_events_at_a_time_in_one_environment(daemon):
    function = daemon.deploy(EVENTS, "wide", concurrency=4, environments_max=1, environment__THREADS=4)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda n: ask(daemon, "wide", {"do": "meet", "of": 4}), range(4)))
    assert [answer.json() for answer in answers] == [{"met": 4}] * 4
    assert len(function.environments()) == 1


def test_the_command_invokes_it_and_says_how(daemon):
    daemon.deploy(EVENTS, "cli")
    done = daemon.run("invoke", "cli", "-d", '{"n": 1}')
    assert (done.returncode, json.loads(done.stdout)["event"]) == (0, {"n": 1})
    done = daemon.run("invoke", "cli", "-d", '{"do": "fail"}')
    assert (done.returncode, done.stdout) == (1, "")
    assert "as asked" in done.stderr and "thaw logs cli" in done.stderr
    done = daemon.run("invoke", "cli", "/path")
    assert done.returncode == 1 and "takes events" in done.stderr
    assert "provided.al2023" in daemon.run("list").stdout
    described = daemon.run("describe", "cli").stdout
    assert "provided.al2023 (any.thing)" in described
    assert "readiness" not in described and "/fn/cli/" in described
    assert "cli" not in daemon.get("/v1/models").text


PYTHON = """
import os, random, sys, time
print("loaded once", flush=True)
count = 0

class Refused(Exception):
    pass

def handler(event, context):
    global count
    count += 1
    print("handles", context.aws_request_id)
    if event.get("fail"):
        raise Refused("no " + event["fail"])
    return {
        "event": event, "count": count, "name": context.function_name, "arn": context.invoked_function_arn,
        "left_ms": context.get_remaining_time_in_millis(), "task": os.environ["LAMBDA_TASK_ROOT"],
        "version": sys.version_info[0],
    }
"""
NODE = """
let count = 0;
exports.handler = async (event, context) => {
  count += 1;
  console.log('handles', context.awsRequestId);
  if (event.fail) { const error = new Error('no ' + event.fail); error.name = 'Refused'; throw error; }
  return { event, count, name: context.functionName, arn: context.invokedFunctionArn,
           left_ms: context.getRemainingTimeInMillis(), task: process.env.LAMBDA_TASK_ROOT };
};
"""


@pytest.mark.parametrize(
    "runtime, file, source", [("python3.11", "app.py", PYTHON), ("nodejs18.x", "app.js", NODE)], ids=["python", "node"]
)
def test_a_handler_written_for_lambda_runs_as_it_is(daemon, tmp_path, runtime, file, source):
    if runtime.startswith("nodejs") and not shutil.which("node"):
        pytest.skip("Node.js is not installed")
    package = tmp_path / "package"
    package.mkdir()
    (package / file).write_text(source)
    (package / "thaw.toml").write_text(f'runtime = "{runtime}"\nhandler = "app.handler"\nmemory_mb = 512\n')
    name = "managed-" + runtime[:4]
    function = daemon.deploy(package, name)
    answer = ask(daemon, name, {"text": "Grüße"})
    seen = answer.json()
    assert (seen["event"], seen["count"], seen["name"], seen["task"]) == ({"text": "Grüße"}, 1, name, "/var/task")
    assert seen["arn"].endswith(":function:" + name) and 0 < seen["left_ms"] <= 30000
    failed = ask(daemon, name, {"fail": "bread"})
    assert failed.headers["X-Amz-Function-Error"] == "Unhandled"
    assert (failed.json()["errorType"], failed.json()["errorMessage"]) == ("Refused", "no bread")
    harness.wait_for(lambda: function.environments("frozen"), "the environment to freeze")
    assert ask(daemon, name, {}).json()["count"] == 3
    function.wait_log("handles")


@pytest.mark.parametrize("runtime, file, source", [("python3.99", "app.py", PYTHON), ("nodejs99.x", "app.js", NODE)])
def test_a_version_that_the_machine_lacks_is_said_in_the_log(daemon, tmp_path, runtime, file, source):
    if runtime.startswith("nodejs") and not shutil.which("node"):
        pytest.skip("Node.js is not installed")
    (tmp_path / file).write_text(source)
    (tmp_path / "thaw.toml").write_text(f'runtime = "{runtime}"\nhandler = "app.handler"\nmemory_mb = 512\n')
    function = daemon.deploy(tmp_path, "lacks-" + runtime[:4])
    assert ask(daemon, function.name, {}).json()["count"] == 1
    function.wait_log(f"the machine has no {runtime}: this runs on {runtime[:4]}")


def test_a_handler_that_is_not_there_is_named(daemon, tmp_path):
    (tmp_path / "app.py").write_text("x = 1\n")
    (tmp_path / "thaw.toml").write_text('runtime = "python3.11"\nhandler = "app.nothing"\n')
    daemon.deploy(tmp_path, "no-handler")
    answer = ask(daemon, "no-handler", {})
    assert answer.headers["X-Amz-Function-Error"] == "Unhandled"
    assert answer.json()["errorType"] == "Runtime.HandlerNotFound"
    assert "nothing" in answer.json()["errorMessage"]


@pytest.fixture
def amazon(daemon):
    return amazon_clients.client(daemon)


def test_boto3_invokes_functions_versions_and_aliases(daemon, amazon):
    daemon.deploy(EVENTS, "boto")
    answer = amazon.invoke(FunctionName="boto", Payload=b'{"n": 1}', ClientContext=base64.b64encode(b"{}").decode())
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST") and "FunctionError" not in answer
    assert json.load(answer["Payload"])["event"] == {"n": 1}
    assert amazon.invoke(FunctionName="boto", InvocationType="DryRun")["StatusCode"] == 204
    version = amazon.publish_version(FunctionName="boto")["Version"]
    amazon.create_alias(FunctionName="boto", Name="live", FunctionVersion=version)
    answer = amazon.invoke(FunctionName="boto", Qualifier="live", Payload=b"{}")
    seen = json.load(answer["Payload"])
    assert answer["ExecutedVersion"] == version == seen["environment"]["AWS_LAMBDA_FUNCTION_VERSION"]
    assert seen["fields"]["lambda-runtime-invoked-function-arn"].endswith(":function:boto:live")
    failed = amazon.invoke(FunctionName="boto", Payload=b'{"do": "fail"}')
    assert failed["FunctionError"] == "Unhandled" and json.load(failed["Payload"])["errorType"] == "Oops"
    configuration = amazon.get_function_configuration(FunctionName="boto")
    assert (configuration["Runtime"], configuration["Handler"]) == ("provided.al2023", "any.thing")
    with pytest.raises(amazon.exceptions.InvalidRequestContentException):
        amazon.invoke(FunctionName="boto", Payload=b"{")
    with pytest.raises(amazon.exceptions.ResourceNotFoundException):
        amazon.invoke(FunctionName="nobody")
    with pytest.raises(amazon.exceptions.RequestTooLargeException):
        amazon.invoke(FunctionName="boto", Payload=b'"' + b"x" * PAYLOAD_MAX + b'"')


def test_the_aws_command_invokes_a_function(daemon, tmp_path):
    daemon.deploy(EVENTS, "aws-cli")
    out = tmp_path / "out.json"
    words = ["invoke", "--function-name", "aws-cli", "--cli-binary-format", "raw-in-base64-out", "--payload", '{"n": 2}']
    assert amazon_clients.output(amazon_clients.run(daemon, [*words, str(out)]))["StatusCode"] == 200
    assert json.loads(out.read_text())["event"] == {"n": 2}
