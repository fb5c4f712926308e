"""Functions that call others at THAW_URL: what is served there, what is not, and where it ends."""

import json
import os
import time

import pytest

import harness

INVOKE = "/2015-03-31/functions/{}/invocations"


@pytest.fixture(scope="module")
def shared_caller(shared_daemon):
    function = shared_daemon.deploy(harness.FUNCTIONS / "calls", "calls_caller", concurrency=4)
    yield function
    function.delete()


@pytest.fixture
def caller(daemon, shared_caller):
    return shared_caller


@pytest.fixture(scope="module")
def shared_doubler(shared_daemon):
    function = shared_daemon.deploy(harness.FUNCTIONS / "calls_event", "calls_doubler", calls="false")
    yield function
    function.delete()


@pytest.fixture
def doubler(daemon, shared_doubler):
    return shared_doubler


def ask(function, path, method="GET", **more):
    """What came of a request that the function made."""
    answer = function.request("POST", "/ask", json={"method": method, "path": path, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_a_web_function_calls_another_one(caller, kit):
    came = ask(caller, f"{kit.path}/")
    assert came["status"] == 200 and came["headers"]["x-amzn-requestid"], came
    came = ask(caller, f"{caller.path}/echo", "POST", body="to myself")
    assert json.loads(came["body"]) == {"echo": "to myself"}
    assert ask(caller, f"{kit.path}:7/")["status"] == 404
    assert ask(caller, "/fn/calls_nobody/")["status"] == 404


def test_a_qualifier_and_a_name_in_the_host_are_taken(caller, kit):
    assert ask(caller, f"{kit.path}:$LATEST/")["status"] == 200
    assert ask(caller, "/", headers={"Host": f"{kit.name}.localhost"})["status"] == 200


def test_a_web_function_invokes_an_event_function(caller, doubler):
    came = ask(caller, INVOKE.format(doubler.name), "POST", body='{"number": 21}')
    assert (came["status"], json.loads(came["body"])) == (200, {"number": 42})
    assert came["headers"]["X-Amz-Executed-Version"] == "$LATEST"
    assert ask(caller, f"{doubler.path}/")["status"] == 502  # an HTTP event, which it makes nothing of


def test_events_are_accepted_for_later(caller, doubler):
    came = ask(
        caller,
        INVOKE.format(doubler.name),
        "POST",
        body='{"print": "came later"}',
        headers={"X-Amz-Invocation-Type": "Event"},
    )
    assert came["status"] == 202, came
    doubler.wait_log("came later")


def test_an_event_function_calls_too(daemon, deploy, kit, doubler):
    function = deploy("calls_event")
    for event, wanted in [
        ({"path": f"{kit.path}/"}, 200),
        ({"method": "POST", "path": INVOKE.format(doubler.name), "body": '{"number": 4}'}, 200),
        ({"path": "/2015-03-31/functions"}, 403),
    ]:
        answer = daemon.request("POST", INVOKE.format(function.name), data=json.dumps(event)).json()
        assert answer["status"] == wanted, answer


def test_openais_api_and_health_are_there(caller):
    assert json.loads(ask(caller, "/v1/models")["body"])["object"] == "list"
    refused = ask(caller, "/v1/chat/completions", "POST", body='{"model": "calls_nobody", "messages": []}')
    assert refused["status"] == 404 and "calls_nobody" in refused["body"]
    assert json.loads(ask(caller, "/healthz")["body"]) == {"status": "ok"}


def test_features_are_written_and_read_and_not_defined(daemon, caller):
    view = {"name": "calls_stats", "entities": [{"name": "id", "type": "Int64"}], "features": [{"name": "n", "type": "Int64"}]}
    assert daemon.request("POST", "/thaw/v1/features", json={"feature_view": [view]}).status_code == 200
    rows = {"id": [7], "n": [70], "event_timestamp": ["2026-01-31T12:00:00Z"]}
    written = ask(
        caller, "/write-to-online-store", "POST", body=json.dumps({"feature_view_name": "calls_stats", "df": rows})
    )
    assert written["status"] == 200, written
    read = {"features": ["calls_stats:n"], "entities": {"id": [7]}}
    # As deep as calls go: nothing is called on from here.
    came = ask(caller, "/get-online-features", "POST", body=json.dumps(read), headers={"Thaw-Hops": "8"})
    assert json.loads(came["body"])["results"][1]["values"] == [70], came
    assert ask(caller, "/thaw/v1/features")["status"] == 403
    assert ask(caller, "/thaw/v1/features/views/calls_stats", "DELETE")["status"] == 403
    daemon.request("DELETE", "/thaw/v1/features/views/calls_stats")


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/2015-03-31/functions"),
        ("POST", "/2015-03-31/functions"),
        ("GET", "/2015-03-31/functions/calls_caller"),
        ("DELETE", "/2015-03-31/functions/calls_caller"),
        ("PUT", "/2015-03-31/functions/calls_caller/code"),
        ("PUT", "/2015-03-31/functions/calls_caller/configuration"),
        ("POST", "/2015-03-31/functions/calls_caller/versions"),
        ("POST", "/2015-03-31/functions/a/b/invocations"),
        ("GET", "/thaw/v1/status"),
        ("GET", "/thaw/v1/functions/calls_caller/logs"),
        ("PUT", "/thaw/v1/functions/calls_caller/package"),
        ("GET", "/2018-10-31/layers"),
        ("POST", "/2021-11-15/functions/calls_caller/response-streaming-invocations"),
    ],
)
def test_the_control_api_is_refused(caller, method, path):
    came = ask(caller, path, method, body="" if method in ("POST", "PUT") else None)
    assert came["status"] == 403, came
    assert came["headers"]["x-amzn-ErrorType"] == "AccessDeniedException"
    assert "the control API is not for functions" in json.loads(came["body"])["message"]


def test_other_paths_are_not_there(caller):
    for path in ("/", "/docs", "/fn", "/metrics"):
        assert ask(caller, path)["status"] == 404, path


def test_without_the_key_nothing_listens(caller, deploy):
    state = caller.get("/state").json()
    assert state["url"] == "http://127.0.0.1:9002" and 9002 in state["listeners"]
    off = deploy("calls", calls="false").get("/state").json()
    assert off["url"] is None and 9002 not in off["listeners"]


def test_the_functions_own_port_is_another(daemon):
    done = daemon.run("deploy", harness.FUNCTIONS / "calls", "--name", "calls_port", "--set", "port=9002")
    assert done.returncode != 0 and "port 9002 is that of THAW_URL" in done.stderr


def test_a_stream_comes_piece_by_piece(caller, deploy):
    stream = deploy("stream")
    # The second piece is sent only after the first one has come through.
    pieces = caller.get("/stream", headers={"X-Path": f"{stream.path}/events", "X-Next": f"{stream.path}/go"}).json()
    assert pieces == ["data: one\n\n", "data: two\n\n"]


def test_a_function_that_calls_itself_for_ever_ends(deploy):
    function = deploy("calls", environments_max=12, memory_mb=128)
    answer = function.get("/own", timeout=60).json()
    assert answer["depth"] == 9, answer  # the one from outside, and eight calls
    assert answer["end"]["status"] == 508
    said = json.loads(answer["end"]["body"])
    assert said["code"] == "Calls.LoopDetected" and "a chain of 8 calls" in said["message"]
    assert function.get("/state").status_code == 200


@pytest.mark.parametrize("settings", [{"environments_max": 2}, {"environments_max": 1, "concurrency": 2}])
def test_a_function_whose_places_all_wait_for_its_call_hears_so_at_once(deploy, settings):
    function = deploy("calls", memory_mb=128, timeout_s=60, **settings)
    began = time.monotonic()
    answer = function.get("/own", timeout=60).json()
    assert answer["depth"] == 2 and answer["end"]["status"] == 429, answer
    assert json.loads(answer["end"]["body"])["code"] == "Calls.NoPlace"
    assert time.monotonic() - began < 30  # a queue would have let it wait for 60 s
    assert ask(function, f"{function.path}/state")["status"] in (200, 429)


def test_an_event_function_whose_places_all_wait_for_its_call_hears_so_at_once(daemon, deploy):
    function = deploy("calls_event", environments_max=1, timeout_s=60)
    event = {"method": "POST", "path": INVOKE.format(function.name), "body": '{"number": 1}'}
    answer = daemon.request("POST", INVOKE.format(function.name), data=json.dumps(event), timeout=50).json()
    assert answer["status"] == 429 and "wait for this call" in answer["body"], answer


def test_hops_are_counted_however_the_function_speaks_of_them(caller):
    assert "Thaw-Hops" not in caller.get("/headers", headers={"Thaw-Hops": "5"}).json()
    for said, seen in [(None, "1"), ("0", "1"), ("4", "5"), ("-3", "1"), ("none", "1")]:
        headers = {} if said is None else {"Thaw-Hops": said}
        assert json.loads(ask(caller, f"{caller.path}/headers", headers=headers)["body"])["Thaw-Hops"] == seen, said
    for path, method in [(f"{caller.path}/", "GET"), (INVOKE.format("calls_doubler"), "POST"), ("/v1/models", "GET")]:
        came = ask(caller, path, method, headers={"Thaw-Hops": "99999999999" if path == "/" else "8"})
        assert came["status"] == 508 and "a chain of 8 calls" in came["body"], path


def test_events_that_beget_events_end(daemon, deploy):
    function = deploy("calls_event")
    daemon.request(
        "POST",
        INVOKE.format(function.name),
        data=json.dumps({"again": 0}),
        headers={"X-Amz-Invocation-Type": "Event"},
    )
    log = function.wait_log("refused")
    assert "again 8" in log and "again 9" not in log


def test_a_kept_connection_outlives_a_freeze(deploy, kit):
    function = deploy("calls")
    first = ask(function, f"{kit.path}/")
    harness.wait_for(lambda: function.environments("frozen"), "the environment to be frozen")
    pids = function.processes()
    before = [harness.cpu_s(pid) for pid in pids]
    time.sleep(1)
    assert [harness.cpu_s(pid) for pid in pids] == before
    second = ask(function, f"{kit.path}/")
    assert first["status"] == second["status"] == 200
    assert second["port"] == first["port"]  # of its end: the connection is the same


def test_connections_are_bounded(deploy):
    function = deploy("calls")
    answered = function.request("POST", "/many", data="200").json()
    assert 60 <= answered <= 66, answered  # 64, and two for its one invocation at a time
    assert ask(function, "/healthz")["status"] == 200


def test_what_a_dead_environment_has_called_is_cancelled(daemon, deploy):
    callee = deploy("calls", calls="false", timeout_s=60)
    caller = deploy("calls", timeout_s=60)
    callee.get("/state")
    assert caller.get("/die", headers={"X-Callee": callee.name}).status_code == 502
    callee.wait_log("slow began")
    # It takes one invocation at a time, and still works for somebody who is gone: it ends, long before its 10 s.
    began = time.monotonic()
    harness.wait_for(lambda: not callee.environments("busy"), "the called environment to end", 8)
    assert time.monotonic() - began < 8


def test_nothing_is_left_of_environments_and_their_calls(daemon, deploy):
    callee = deploy("calls", calls="false", concurrency=8)
    caller = deploy("calls")
    for _ in range(2):
        assert ask(caller, f"{callee.path}/")["status"] == 200
        caller.get("/die", headers={"X-Callee": callee.name})

    def settled():
        return not callee.environments("busy") and not caller.environments()

    pid = daemon.process.pid
    harness.wait_for(settled, "what was called to end", 20)
    time.sleep(1)
    before = descriptors(pid)
    for _ in range(8):
        assert ask(caller, f"{callee.path}/")["status"] == 200
        caller.get("/die", headers={"X-Callee": callee.name})
    harness.wait_for(settled, "what was called to end", 20)
    harness.wait_for(lambda: descriptors(pid) <= before + 3, f"descriptors to be {before} again", 20)


def test_calls_need_no_signature_where_others_do(tmp_path, serve):
    credentials = tmp_path / "credentials"
    credentials.write_text("[default]\naws_access_key_id = AKIATHAWTEST\naws_secret_access_key = secret\n")
    credentials.chmod(0o600)
    daemon = serve(aws_credentials=credentials)
    caller = daemon.deploy(harness.FUNCTIONS / "calls", "caller")
    doubler = daemon.deploy(harness.FUNCTIONS / "calls_event", "doubler")
    assert daemon.request("POST", INVOKE.format("doubler"), data="{}").status_code == 403
    came = ask(caller, INVOKE.format("doubler"), "POST", body='{"number": 2}')
    assert (came["status"], json.loads(came["body"])) == (200, {"number": 4})
    assert ask(caller, "/2015-03-31/functions")["status"] == 403
    assert doubler.name == "doubler"


def test_a_daemon_stops_while_calls_are_under_way(serve):
    daemon = serve(drain_s=1)
    callee = daemon.deploy(harness.FUNCTIONS / "calls", "callee")
    caller = daemon.deploy(harness.FUNCTIONS / "calls", "caller")
    with daemon.connect() as connection:
        connection.sendall(f"GET {caller.path}/hold HTTP/1.1\r\nHost: x\r\nX-Callee: callee\r\n\r\n".encode())
        callee.wait_log("slow began")
        assert daemon.stop() == 0
    daemon.assert_nothing_left()
