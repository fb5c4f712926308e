"""Lambda's Invoke beyond payload and answer: the end of the log."""

import base64
import json

import amazon_clients
import harness
import pytest

EVENTS = harness.FUNCTIONS / "events"
TAIL_MAX = 4096


@pytest.fixture
def amazon(daemon):
    return amazon_clients.client(daemon)


def invoke(amazon, name, event, log_type="Tail"):
    return amazon.invoke(FunctionName=name, LogType=log_type, Payload=json.dumps(event).encode())


def tail_of(answer):
    return base64.b64decode(answer["LogResult"], validate=True).decode()


# ---- LogType Tail


def test_the_tail_is_the_log_of_the_one_invocation(daemon, amazon):
    daemon.deploy(EVENTS, "tail")
    for count in (1, 2):
        answer = invoke(amazon, "tail", {})
        request_id = answer["ResponseMetadata"]["RequestId"]
        lines = tail_of(answer).splitlines()
        assert lines[0] == f"START RequestId: {request_id} Version: $LATEST"
        assert lines[1:-2] == [f"handles {request_id}"]
        assert lines[-2] == f"END RequestId: {request_id}"
        report = harness.REPORT_LINE.fullmatch(lines[-1])
        assert report["id"] == request_id and bool(report["init"]) == (count == 1)


def test_without_it_there_is_no_tail(daemon, amazon):
    daemon.deploy(EVENTS, "no-tail")
    assert "LogResult" not in invoke(amazon, "no-tail", {}, log_type="None")
    refused = daemon.request(
        "POST", "/2015-03-31/functions/no-tail/invocations", data="{}", headers={"X-Amz-Log-Type": "Head"}
    )
    assert refused.status_code == 400 and "X-Amz-Log-Type" in refused.json()["Message"]


def test_of_a_long_log_the_tail_has_the_last_4_kb(daemon, amazon):
    function = daemon.deploy(EVENTS, "chatty")
    answer = invoke(amazon, "chatty", {"do": "chat", "lines": 2000})
    tail = tail_of(answer)
    assert len(tail) == TAIL_MAX and "START" not in tail
    assert "line 1999\nEND RequestId: " in tail
    function.wait_log("REPORT RequestId")
    assert function.log().endswith(tail)


@pytest.mark.parametrize(
    "event, error, said",
    [
        ({"do": "fail"}, "Oops", "Status: error\tError Type: Oops"),
        ({"do": "exit", "status": 9}, "Runtime.ExitError", "Status: error\tError Type: Runtime.ExitError"),
        ({"do": "hang"}, "Sandbox.Timedout", "Task timed out after 2.00 seconds"),
    ],
    ids=["error", "exit", "timeout"],
)
def test_the_tail_of_a_failure_tells_it(daemon, amazon, event, error, said):
    daemon.deploy(EVENTS, "sad")
    answer = invoke(amazon, "sad", event)
    assert answer["FunctionError"] == "Unhandled" and json.load(answer["Payload"])["errorType"] == error
    tail = tail_of(answer)
    assert tail.startswith("START RequestId: ") and said in tail and "\nREPORT RequestId: " in tail


def test_the_tail_of_an_init_that_failed_tells_it(daemon, amazon):
    daemon.deploy(EVENTS, "stillborn", environment__INIT="exit")
    answer = invoke(amazon, "stillborn", {})
    assert answer["FunctionError"] == "Unhandled"
    assert "exit status 3" in tail_of(answer) and "\nREPORT RequestId: " in tail_of(answer)
