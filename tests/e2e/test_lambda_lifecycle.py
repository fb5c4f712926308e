"""The life of an event function's environment: what its runtime is given, its inits, its end."""

import json
import re

import harness
import pytest

LIFECYCLE = harness.FUNCTIONS / "lifecycle"
REPORT = r"^REPORT RequestId: {}\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 256 MB\tMax Memory Used: \d+ MB\t"


def ask(daemon, name, event=None, **fields):
    headers = {"X-Amz-" + key.replace("_", "-"): value for key, value in fields.items()}
    return daemon.request(
        "POST", f"/2015-03-31/functions/{name}/invocations", data=json.dumps(event or {}).encode(), headers=headers
    )


def assert_report(function, request_id, ending):
    log = function.wait_log(f"REPORT RequestId: {request_id}")
    assert re.search(REPORT.format(request_id) + ending + "$", log, re.M), log
    assert log.count(f"START RequestId: {request_id} ") == log.count(f"END RequestId: {request_id}\n") == 1
    return log


def test_the_variables_are_those_of_lambda(daemon):
    daemon.deploy(LIFECYCLE, "variables")
    first = ask(daemon, "variables").json()["environment"]
    for name, value in {
        "_HANDLER": "any.thing",
        "AWS_EXECUTION_ENV": "AWS_Lambda_provided.al2023",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
        "AWS_LAMBDA_FUNCTION_NAME": "variables",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/variables",
        "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LD_LIBRARY_PATH": "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
        "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin",
        "TZ": ":UTC",
    }.items():
        assert first[name] == value, name
    assert first["AWS_REGION"] == first["AWS_DEFAULT_REGION"]
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", first["AWS_LAMBDA_LOG_STREAM_NAME"])
    daemon.deploy(LIFECYCLE, "variables", environment__TZ="Asia/Tokyo")
    second = ask(daemon, "variables").json()["environment"]
    assert second["TZ"] == "Asia/Tokyo"
    assert second["AWS_LAMBDA_LOG_STREAM_NAME"] != first["AWS_LAMBDA_LOG_STREAM_NAME"]


def test_each_event_has_a_trace(daemon):
    daemon.deploy(LIFECYCLE, "trace")
    traces = [ask(daemon, "trace").json()["fields"]["lambda-runtime-trace-id"] for _ in range(2)]
    for trace in traces:
        assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0", trace)
    assert traces[0] != traces[1]


def test_an_init_that_takes_too_long_is_tried_again_in_the_time_of_the_event(daemon):
    function = daemon.deploy(LIFECYCLE, "slow-init", environment__INIT="sleep 2", init_timeout_s=1, timeout_s=30)
    answer = ask(daemon, "slow-init", {"n": 1})
    assert "X-Amz-Function-Error" not in answer.headers
    assert answer.json()["event"] == {"n": 1}
    log = assert_report(function, answer.headers["x-amzn-requestid"], "")
    assert re.search(r"^INIT_REPORT Init Duration: [\d.]+ ms\tPhase: init\tStatus: timeout$", log, re.M)
    assert log.count("INIT_REPORT") == 1
    assert log.count("INIT_START Runtime Version: provided.al2023\n") == log.count("init begins\n") == 2
    assert ask(daemon, "slow-init").json()["count"] == 2


def test_an_init_without_end_takes_the_time_of_the_event(daemon):
    function = daemon.deploy(LIFECYCLE, "no-init", environment__INIT="sleep 3600", init_timeout_s=1, timeout_s=2)
    answer = ask(daemon, "no-init")
    assert (answer.status_code, answer.headers["X-Amz-Function-Error"]) == (200, "Unhandled")
    request_id = answer.headers["x-amzn-requestid"]
    message = f"RequestId: {request_id} Error: Task timed out after 2.00 seconds"
    assert answer.json() == {"errorType": "Sandbox.Timedout", "errorMessage": message}
    log = assert_report(function, request_id, "Status: timeout\tError Type: Sandbox.Timedout")
    phases = re.findall(r"^INIT_REPORT Init Duration: [\d.]+ ms\tPhase: (\w+)\tStatus: timeout$", log, re.M)
    assert phases == ["init", "invoke"]
    assert f"{request_id} Task timed out after 2.00 seconds\n" in log


def test_what_the_runtime_says_of_its_init_is_the_answer(daemon):
    function = daemon.deploy(LIFECYCLE, "init-says", environment__INIT="error")
    answer = ask(daemon, "init-says")
    assert (answer.status_code, answer.headers["X-Amz-Function-Error"]) == (200, "Unhandled")
    assert answer.json() == {
        "errorType": "Runtime.ImportModuleError",
        "errorMessage": "no such module",
        "stackTrace": ["line 1", "line 2"],
    }
    log = assert_report(
        function, answer.headers["x-amzn-requestid"], "Status: error\tError Type: Runtime.ImportModuleError"
    )
    lines = re.findall(r"^INIT_REPORT .*\tPhase: (\w+)\tStatus: error\tError Type: Runtime.ImportModuleError$", log, re.M)
    assert lines == ["init", "invoke"]


def test_a_runtime_that_exits_in_its_init_is_named_as_lambda_names_it(daemon):
    function = daemon.deploy(LIFECYCLE, "init-exits", environment__INIT="exit 3")
    answer = ask(daemon, "init-exits")
    request_id = answer.headers["x-amzn-requestid"]
    message = f"RequestId: {request_id} Error: Runtime exited with error: exit status 3"
    assert answer.json() == {"errorType": "Runtime.ExitError", "errorMessage": message}
    log = assert_report(function, request_id, "Status: error\tError Type: Runtime.ExitError")
    assert f"\n{message}\nRuntime.ExitError\n" in log
    assert log.count("\tStatus: error\tError Type: Runtime.ExitError\n") == 3  # two inits, and the REPORT line


def test_a_runtime_that_is_killed_is_named_as_lambda_names_it(daemon):
    function = daemon.deploy(LIFECYCLE, "aborts")
    answer = ask(daemon, "aborts", {"do": "abort"})
    request_id = answer.headers["x-amzn-requestid"]
    message = f"RequestId: {request_id} Error: Runtime exited with error: signal: aborted"
    assert answer.json() == {"errorType": "Runtime.ExitError", "errorMessage": message}
    assert f"\n{message}\nRuntime.ExitError\n" in function.wait_log(f"REPORT RequestId: {request_id}")


@pytest.mark.parametrize(
    "mode, message",
    [
        (None, "Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]"),
        (0o644, "Error: fork/exec /var/task/bootstrap: permission denied"),
        (0o755, "Error: fork/exec /var/task/bootstrap: exec format error"),
    ],
)
def test_a_bootstrap_that_cannot_run_is_named(daemon, tmp_path, mode, message):
    (tmp_path / "thaw.toml").write_text('runtime = "provided.al2023"\nhandler = "any.thing"\n')
    if mode is not None:
        (tmp_path / "bootstrap").write_text("no program\n")
        (tmp_path / "bootstrap").chmod(mode)
    name = f"bootstrap-{mode or 0}"
    daemon.deploy(tmp_path, name)
    answer = ask(daemon, name)
    assert answer.headers["X-Amz-Function-Error"] == "Unhandled"
    expected = f"RequestId: {answer.headers['x-amzn-requestid']} {message}"
    assert answer.json() == {"errorType": "Runtime.InvalidEntrypoint", "errorMessage": expected}
