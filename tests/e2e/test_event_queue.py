"""Asynchronous invocations: Lambda's Invoke with InvocationType Event, the durable queue, retries, crashes."""

import json
import re
import subprocess

import harness
import pytest

EVENTS = harness.FUNCTIONS / "events"
PAYLOAD_MAX = 1 << 20
QUICK = {"events_retry_ms": 200, "events_backoff_ms": 50}


def send(daemon, name, event, **fields):
    headers = {"X-Amz-Invocation-Type": "Event", **{"X-Amz-" + k.replace("_", "-"): v for k, v in fields.items()}}
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return daemon.request("POST", f"/2015-03-31/functions/{name}/invocations", data=body, headers=headers)


def accepted(answer):
    assert answer.status_code == 202, answer.text
    assert answer.content == b""
    return answer.headers["x-amzn-RequestId"]


def starts(function, request_id):
    return function.log().count(f"START RequestId: {request_id}")


def events(daemon):
    return daemon.status()["Events"]


def wait_empty(daemon):
    harness.wait_for(lambda: (e := events(daemon))["Waiting"] == e["Running"] == 0, "the queue to be empty")


@pytest.fixture(scope="module")
def quick():
    daemon = harness.Daemon(**QUICK)
    try:
        yield daemon.start()
    finally:
        daemon.close()


def test_an_event_is_accepted_and_runs_under_its_request_id(quick):
    function = quick.deploy(EVENTS, "queued")
    request_id = accepted(send(quick, "queued", {"n": 1}))
    assert re.fullmatch(harness.UUID, request_id)
    function.wait_log(f"handles {request_id}")
    wait_empty(quick)
    assert starts(function, request_id) == 1
    assert "events" in quick.run("status").stdout


def test_the_qualifier_is_kept_and_looked_up_when_it_runs(quick):
    function = quick.deploy(EVENTS, "versions")
    assert quick.run("publish", "versions").returncode == 0
    assert quick.run("alias", "set", "versions", "live", "1").returncode == 0
    request_id = accepted(send(quick, "versions:live", {}))
    log = function.wait_log(f"handles {request_id}")
    assert f"START RequestId: {request_id} Version: 1" in log
    assert send(quick, "versions:7", {}).status_code == 404


def test_an_error_of_the_function_is_tried_twice_more(quick):
    function = quick.deploy(EVENTS, "failing")
    before = events(quick)
    request_id = accepted(send(quick, "failing", {"do": "fail"}))
    harness.wait_for(lambda: f"event_given_up function=failing request_id={request_id} attempts=3" in quick.log(),
                     "the event to be given up")
    assert starts(function, request_id) == 3
    after = events(quick)
    assert after["GivenUp"] == before["GivenUp"] + 1 and after["Retried"] == before["Retried"] + 2
    wait_empty(quick)


def test_an_event_of_a_deleted_function_is_dead(quick):
    function = quick.deploy(EVENTS, "deleted")
    accepted(send(quick, "deleted", {"do": "fail"}))
    harness.wait_for(lambda: "END RequestId" in function.log(), "the first try")
    assert function.delete().status_code == 204
    harness.wait_for(lambda: "there is no function arn:aws:lambda" in quick.log(), "the event to be dead")
    wait_empty(quick)
    assert events(quick)["Dead"] == 1


def test_payloads_have_lambdas_limit(quick):
    quick.deploy(EVENTS, "bounded")
    fits = b'"' + b"x" * (PAYLOAD_MAX - 2) + b'"'
    accepted(send(quick, "bounded", fits))
    for answer, status, kind in [
        (send(quick, "bounded", fits + b" "), 413, "RequestTooLargeException"),
        (send(quick, "bounded", b"{"), 400, "InvalidRequestContentException"),
        (send(quick, "nobody", {}), 404, "ResourceNotFoundException"),
    ]:
        assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (status, kind), answer.text
    wait_empty(quick)


def test_a_full_queue_says_so_and_takes_events_again(serve):
    daemon = serve(events_max=3, events_parallel_max=1, **QUICK)
    daemon.deploy(EVENTS, "slow", timeout_s=1)
    answers = [send(daemon, "slow", {"do": "hang"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert answers[3].headers["x-amzn-ErrorType"] == "TooManyRequestsException"
    assert "queue of events is full" in answers[3].json()["Message"]
    wait_empty(daemon)
    accepted(send(daemon, "slow", {}))


def test_slow_functions_do_not_keep_others_waiting(serve):
    daemon = serve(events_parallel_max=4, **QUICK)
    daemon.deploy(EVENTS, "stuck", timeout_s=60)
    nimble = daemon.deploy(EVENTS, "nimble")
    for _ in range(20):
        accepted(send(daemon, "stuck", {"do": "hang"}))
    for request_id in [accepted(send(daemon, "nimble", {"n": n})) for n in range(3)]:
        nimble.wait_log(f"handles {request_id}")
    assert events(daemon)["Waiting"] >= 19
    daemon.kill()


def test_what_was_accepted_runs_after_a_kill(serve):
    daemon = serve(**QUICK)
    function = daemon.deploy(EVENTS, "survives", timeout_s=3, environments_max=2)
    ids = [accepted(send(daemon, "survives", {"do": "hang"} if n < 2 else {"n": n})) for n in range(10)]
    harness.wait_for(lambda: starts(function, ids[0]) and starts(function, ids[1]), "the first two to run")
    daemon.kill()
    daemon.start()
    wait_empty(daemon)
    for request_id in ids:
        function.wait_log(f"START RequestId: {request_id}")
    assert events(daemon)["RunAgain"] >= 2
    assert f"event_runs_again request_id={ids[0]}" in daemon.log()


def test_a_stop_in_good_order_keeps_what_waits(serve):
    daemon = serve(drain_s=1, **QUICK)
    function = daemon.deploy(EVENTS, "resumes", timeout_s=60, environments_max=1)
    ids = [accepted(send(daemon, "resumes", {"do": "hang"})), accepted(send(daemon, "resumes", {"n": 2}))]
    harness.wait_for(lambda: starts(function, ids[0]), "the first to run")
    assert daemon.stop() == 0
    daemon.start()
    harness.wait_for(lambda: starts(function, ids[0]) == 2, "the first to run again")


def test_a_damaged_queue_is_named(serve):
    daemon = serve()
    assert daemon.stop() == 0
    for name in ("events.db", "events.db-wal"):
        (daemon.data / name).write_bytes(b"x" * 8192)
    daemon.process = subprocess.Popen(daemon.command(), env=daemon.environment(), stderr=subprocess.PIPE, text=True)
    _, said = daemon.process.communicate(timeout=harness.HANG_S)
    assert daemon.process.returncode == 1
    assert "events.db" in said


def test_boto3_sends_events(quick):
    import boto3

    amazon = boto3.client("lambda", endpoint_url=quick.url, region_name="us-east-1", aws_access_key_id="any",
                          aws_secret_access_key="thing")
    function = quick.deploy(EVENTS, "boto")
    answer = amazon.invoke(FunctionName="boto", InvocationType="Event", Payload=b'{"n": 1}')
    assert answer["StatusCode"] == 202
    function.wait_log("handles " + answer["ResponseMetadata"]["RequestId"])
    with pytest.raises(amazon.exceptions.RequestTooLargeException):
        amazon.invoke(FunctionName="boto", InvocationType="Event", Payload=b'"' + b"x" * PAYLOAD_MAX + b'"')
