"""Asynchronous invocations: Lambda's Invoke with InvocationType Event, the durable queue, retries, crashes.

Each test runs with every queue: SQLite's, and one in NATS JetStream.
"""

import collections
import http.server
import itertools
import json
import os
import random
import re
import sqlite3
import subprocess
import threading
import time

import amazon_clients
import harness
import nats_server
import pytest
import requests

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


@pytest.fixture(scope="module", params=["sqlite", "nats"])
def queue(request):
    """Makes the settings of a daemon with a queue of its own."""
    if request.param == "sqlite":
        yield dict
        return
    if why := nats_server.missing():
        pytest.skip(why)
    with nats_server.NatsServer() as server:
        yield server.queue


@pytest.fixture(scope="module")
def quick(queue):
    daemon = harness.Daemon(**queue(), **QUICK)
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


def test_a_full_queue_says_so_and_takes_events_again(serve, queue):
    daemon = serve(events_max=3, events_parallel_max=1, **queue(), **QUICK)
    daemon.deploy(EVENTS, "slow", timeout_s=1)
    answers = [send(daemon, "slow", {"do": "hang"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
    assert answers[3].headers["x-amzn-ErrorType"] == "TooManyRequestsException"
    assert "queue of events is full" in answers[3].json()["Message"]
    wait_empty(daemon)
    accepted(send(daemon, "slow", {}))


def test_slow_functions_do_not_keep_others_waiting(serve, queue):
    daemon = serve(events_parallel_max=4, **queue(), **QUICK)
    daemon.deploy(EVENTS, "stuck", timeout_s=60)
    nimble = daemon.deploy(EVENTS, "nimble")
    for _ in range(20):
        accepted(send(daemon, "stuck", {"do": "hang"}))
    for request_id in [accepted(send(daemon, "nimble", {"n": n})) for n in range(3)]:
        nimble.wait_log(f"handles {request_id}")
    assert events(daemon)["Waiting"] >= 19
    daemon.kill()


def test_what_was_accepted_runs_after_a_kill(serve, queue):
    daemon = serve(**queue(), **QUICK)
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


def test_a_stop_in_good_order_keeps_what_waits(serve, queue):
    daemon = serve(drain_s=1, **queue(), **QUICK)
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
    amazon = amazon_clients.client(quick)
    function = quick.deploy(EVENTS, "boto")
    answer = amazon.invoke(FunctionName="boto", InvocationType="Event", Payload=b'{"n": 1}')
    assert answer["StatusCode"] == 202
    function.wait_log("handles " + answer["ResponseMetadata"]["RequestId"])
    with pytest.raises(amazon.exceptions.RequestTooLargeException):
        amazon.invoke(FunctionName="boto", InvocationType="Event", Payload=b'"' + b"x" * PAYLOAD_MAX + b'"')


# ---- Destinations


class Receiver:
    """An HTTP server that keeps the records that it is sent; it may refuse some first."""

    def __init__(self):
        self.records, self.refuse, self.lock = [], 0, threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                record = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with receiver.lock:
                    refused, receiver.refuse = receiver.refuse > 0, max(0, receiver.refuse - 1)
                    if not refused:
                        receiver.records.append(record)
                self.send_response(503 if refused else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/records"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def of(self, request_id):
        with self.lock:
            return [record for record in self.records if record["requestContext"]["requestId"] == request_id]

    def wait(self, request_id):
        return harness.wait_for(lambda: self.of(request_id), f"the record of {request_id}")[0]


@pytest.fixture
def receiver():
    one = Receiver()
    yield one
    one.close()


def configure(daemon, name, qualifier=None, **config):
    sides = {side: {"Destination": target} for side, target in config.pop("to", {}).items()}
    body = {**config, **({"DestinationConfig": sides} if sides else {})}
    query = f"?Qualifier={qualifier}" if qualifier else ""
    answer = daemon.request("PUT", f"/2019-09-25/functions/{name}/event-invoke-config{query}", json=body)
    assert answer.status_code == 200, answer.text


def test_records_of_success_and_failure_are_lambdas(quick, receiver):
    quick.deploy(EVENTS, "recorded")
    configure(quick, "recorded", MaximumRetryAttempts=1, to={"OnSuccess": receiver.url, "OnFailure": receiver.url})
    request_id = accepted(send(quick, "recorded", {"n": 7}))
    record = receiver.wait(request_id)
    assert record["version"] == "1.0"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["timestamp"])
    arn = record["requestContext"].pop("functionArn")
    assert arn.endswith(":function:recorded:$LATEST")
    assert record["requestContext"] == {"requestId": request_id, "condition": "Success", "approximateInvokeCount": 1}
    assert record["requestPayload"] == {"n": 7}
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert record["responsePayload"]["event"] == {"n": 7}
    request_id = accepted(send(quick, "recorded", {"do": "fail"}))
    record = receiver.wait(request_id)
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["requestContext"]["approximateInvokeCount"] == 2
    assert record["responseContext"]["functionError"] == "Unhandled"
    assert record["responsePayload"]["errorType"] == "Oops"


def test_a_destination_that_is_away_is_tried_again(quick, receiver):
    quick.deploy(EVENTS, "patient")
    configure(quick, "patient", to={"OnSuccess": receiver.url})
    receiver.refuse = 3
    receiver.wait(accepted(send(quick, "patient", {})))
    assert quick.log().count("event_record_not_delivered") >= 3
    wait_empty(quick)


def test_the_configuration_is_that_of_the_qualifier(quick, receiver):
    quick.deploy(EVENTS, "qualified")
    quick.run("publish", "qualified")
    quick.run("alias", "set", "qualified", "live", "1")
    configure(quick, "qualified", qualifier="live", to={"OnSuccess": receiver.url})
    silent = accepted(send(quick, "qualified", {}))
    told = accepted(send(quick, "qualified:live", {}))
    assert receiver.wait(told)["requestContext"]["functionArn"].endswith(":function:qualified:live")
    wait_empty(quick)
    assert receiver.of(silent) == []


def test_another_function_gets_the_record_as_its_event(quick, receiver):
    quick.deploy(EVENTS, "first")
    quick.deploy(EVENTS, "second")
    configure(quick, "first", to={"OnSuccess": "arn:aws:lambda:us-east-1:000000000000:function:second"})
    configure(quick, "second", to={"OnSuccess": receiver.url})
    request_id = accepted(send(quick, "first", {"n": 1}))
    harness.wait_for(lambda: receiver.records, "the second function's record")
    record = receiver.records[0]
    assert record["requestContext"]["functionArn"].endswith(":function:second:$LATEST")
    assert record["requestPayload"]["requestContext"]["requestId"] == request_id


def test_a_loop_of_functions_is_stopped(quick, tmp_path):
    # It answers shortly: each record holds those before it.
    (tmp_path / "app.py").write_text("def handler(event, context):\n    return 'ok'\n")
    (tmp_path / "thaw.toml").write_text('runtime = "python3.11"\nhandler = "app.handler"\n')
    function = quick.deploy(tmp_path, "loops")
    configure(quick, "loops", to={"OnSuccess": "arn:aws:lambda:us-east-1:000000000000:function:loops"})
    dead = events(quick)["Dead"]
    accepted(send(quick, "loops", {}))
    harness.wait_for(lambda: events(quick)["Dead"] == dead + 1, "the loop to be stopped")
    wait_empty(quick)
    assert len(harness.END_LINE.findall(function.log())) == 17
    assert "a loop is stopped here" in quick.log()


def test_records_become_files_and_objects(quick):
    quick.deploy(EVENTS, "filed")
    configure(quick, "filed", to={"OnSuccess": "file:records/done"})
    request_id = accepted(send(quick, "filed", {"n": 3}))
    folder = quick.data / "objects" / "records" / "done" / "filed"
    file = harness.wait_for(lambda: list(folder.rglob(f"{request_id}-success.json")), "the record's file")[0]
    assert json.loads(file.read_text())["requestPayload"] == {"n": 3}
    configure(quick, "filed", to={"OnSuccess": "file:/etc/records"})
    accepted(send(quick, "filed", {}))
    harness.wait_for(lambda: "lies below none of the daemon's folders" in quick.log(), "the delivery to be refused")


def test_an_event_that_is_too_old_is_not_run(serve, receiver):
    daemon = serve(**QUICK)
    function = daemon.deploy(EVENTS, "aged")
    configure(daemon, "aged", MaximumEventAgeInSeconds=60, to={"OnFailure": receiver.url})
    request_id = accepted(send(daemon, "aged", {"do": "hang"}))
    harness.wait_for(lambda: starts(function, request_id), "the event to run")
    daemon.kill()
    with sqlite3.connect(daemon.data / "events.db") as database:
        database.execute("UPDATE events SET accepted_ms = accepted_ms - 61000")
    database.close()
    daemon.start()
    record = receiver.wait(request_id)
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert record["requestContext"]["approximateInvokeCount"] == 0 and "responsePayload" not in record
    assert starts(function, request_id) <= 1, "of the first run, whose lines the kill may have taken"


# ---- Kills

KILLS = int(os.environ.get("THAW_TEST_KILLS", "100"))


def test_no_accepted_event_is_lost_in_a_hundred_kills(serve, receiver, queue):
    seed = int(os.environ.get("THAW_TEST_SEED", str(random.randrange(1 << 32))))
    choose = random.Random(seed)
    settings = queue()
    kills = KILLS // 5 if settings else KILLS  # what a node had comes back after 10 s only
    daemon = serve(events_retry_ms=100, events_backoff_ms=20, **settings)
    daemon.deploy(EVENTS, "flooded", environments_max=2, timeout_s=10)
    configure(daemon, "flooded", to={"OnSuccess": receiver.url})
    sent, over = {}, threading.Event()

    def flood(thread):
        for n in itertools.count():
            if over.wait(0.01):
                return
            try:
                url = f"{daemon.url}/2015-03-31/functions/flooded/invocations"
                headers = {"X-Amz-Invocation-Type": "Event"}
                answer = requests.post(url, json={"thread": thread, "n": n}, headers=headers, timeout=5)
            except requests.RequestException:
                continue  # killed before the answer: nothing was promised
            if answer.status_code == 202:
                sent[answer.headers["x-amzn-RequestId"]] = (thread, n)

    threads = [threading.Thread(target=flood, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(kills):
            time.sleep(choose.uniform(0.05, 0.6))
            daemon.kill()
            daemon.start()
    finally:
        over.set()
        for thread in threads:
            thread.join(harness.HANG_S)
    harness.wait_for(lambda: (e := events(daemon))["Waiting"] == e["Running"] == 0, "the queue to be empty", 180)
    again = daemon.log().count("event_runs_again")
    seen = collections.Counter(record["requestContext"]["requestId"] for record in receiver.records)
    missing = [request_id for request_id in sent if request_id not in seen]
    duplicates = sum(seen.values()) - len(seen)
    print(f"seed {seed}: {kills} kills, {len(sent)} events accepted, {len(missing)} lost, {len(seen)} recorded, "
          f"{duplicates} records twice, {again} events taken again")
    assert len(sent) > kills
    assert missing == [], f"seed {seed}"
    for record in receiver.records:
        if (asked := sent.get(record["requestContext"]["requestId"])) is not None:
            assert record["requestPayload"] == {"thread": asked[0], "n": asked[1]}
            assert record["responsePayload"]["event"] == record["requestPayload"]
