"""Snapshots of functions that call others: what becomes of their connections to THAW_URL."""

import json
import shutil

import harness
import pytest

from test_snapshots import Version

CALLS = harness.FUNCTIONS / "calls"


@pytest.fixture
def callee(daemon, deploy):
    return deploy("calls", "snap_callee", calls="false", concurrency=4)


@pytest.fixture
def version(daemon):
    made = []

    def make(name, path=CALLS, **settings):
        made.append(Version(daemon, name, path, **settings))
        return made[-1]

    yield make
    for one in made:
        one.function.delete()


def warm_up(path, body):
    return f"[{{path = {json.dumps(path)}, body = {json.dumps(json.dumps(body))}}}]"


def post(version, path, value):
    answer = version.daemon.request("POST", version.url + path, json=value)
    assert answer.status_code == 200, answer.text
    return answer.json()


def restored(version):
    return version.function.wait_log("RESTORE_REPORT")


def test_a_kept_connection_is_as_good_in_a_clone(callee, version):
    # http.client tries nothing again: the first request over a connection that is not there any more would be an error.
    own = version("snap_kept", warm_up=warm_up("/ask", {"path": f"{callee.path}/state"}))
    assert own.snapshot()["NoneBecause"] == "", own.snapshot()
    for asked in (2, 3):
        came = post(own, "/ask", {"path": f"{callee.path}/state"})
        assert (came.get("status"), came.get("asked")) == (200, asked), came
    restored(own)


def test_a_session_of_requests_goes_on_in_every_clone(callee, version):
    own = version(
        "snap_session",
        warm_up=warm_up("/requests", {"path": f"{callee.path}/state"}),
        strict_connections="true",  # connections to THAW_URL are none of those that it is about
        environments_max=3,
    )
    assert own.snapshot()["NoneBecause"] == "", own.snapshot()
    for _ in range(3):
        came = post(own, "/requests", {"path": f"{callee.path}/state"})
        assert (came["status"], came["asked"]) == (200, 2), came
        own.kill_processes()
        own.wait_zero()
    restored(own)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_fetch_goes_on_in_a_clone(callee, version):
    body = {"path": f"{callee.path}/state"}
    own = version("snap_node", harness.FUNCTIONS / "calls_node", warm_up=warm_up("/ask", body), init_timeout_s=30)
    assert own.snapshot()["NoneBecause"] == "", own.snapshot()
    for asked in (2, 3):
        came = post(own, "/ask", body)
        assert (came.get("status"), came.get("asked")) == (200, asked), came
    restored(own)


def test_an_event_function_calls_from_a_clone(daemon, callee, version):
    own = version("snap_event", harness.FUNCTIONS / "calls_event")
    assert own.snapshot()["NoneBecause"] == "", own.snapshot()
    path = f"/2015-03-31/functions/{own.name}/invocations?Qualifier={own.number}"
    answer = daemon.request("POST", path, data=json.dumps({"path": f"{callee.path}/state"})).json()
    assert answer["status"] == 200, answer
    restored(own)


def test_a_snapshot_waits_for_a_call_under_way(callee, version):
    body = {"path": f"{callee.path}/slow", "headers": {"X-Seconds": "2"}}
    own = version("snap_waits", warm_up=warm_up("/later", body))
    assert own.snapshot()["NoneBecause"] == "", own.snapshot()
    # The answer came before the freeze; each clone has it.
    (came,) = own.get("/later").json()
    assert (came["status"], came["body"]) == (200, '"slow"')
    restored(own)


def test_a_call_that_does_not_end_is_the_reason_why_there_is_no_snapshot(callee, version):
    body = {"path": f"{callee.path}/slow", "headers": {"X-Seconds": "14"}}
    own = version("snap_none", warm_up=warm_up("/later", body), wait=False)
    harness.wait_for(lambda: own.snapshot().get("NoneBecause"), "the reason", 60)
    assert "waits for 1 of its calls to THAW_URL" in own.snapshot()["NoneBecause"]
    assert own.get("/state").status_code == 200  # by init
