"""Functions that fail: a clear error for the caller, details in the log alone, and the next request works."""

import concurrent.futures
import time

import pytest

import harness


def assert_next_works(function):
    response = function.get()
    assert response.status_code == 200
    return response.json()


@pytest.mark.parametrize(
    "path, code, words",
    [
        ("/abort", "Function.Crashed", "signal 6"),
        ("/exit?code=3", "Function.Exited", "status 3"),
        ("/exit?code=0", "Function.Exited", "status 0"),
    ],
)
def test_a_crash_is_502_and_the_next_request_works(deploy, path, code, words):
    function = deploy()
    before = function.get().json()
    assert words in harness.assert_error(function.get(path), 502, "FunctionFailed", code)
    assert assert_next_works(function)["instance"] != before["instance"]
    assert "a secret that only the log may show" in function.log()
    report = function.reports(2)[1]
    assert (report["status"], report["error"]) == ("error", code)


def test_out_of_memory_is_502_and_the_next_request_works(deploy):
    function = deploy(memory_mb=256)
    function.get()
    message = harness.assert_error(function.get("/allocate?mb=1000"), 502, "FunctionFailed", "Function.OutOfMemory")
    assert "256" in message
    report = function.reports(2)[1]
    assert report["error"] == "Function.OutOfMemory"
    assert 200 <= int(report["used"]) <= 257
    assert_next_works(function)


def test_a_hang_is_504_after_its_timeout_and_the_next_request_works(deploy):
    function = deploy(timeout_s=2)
    before = function.get().json()
    began = time.monotonic()
    message = harness.assert_error(function.get("/sleep?ms=60000"), 504, "Timeout", "Function.TimedOut")
    assert 2 <= time.monotonic() - began < 10
    assert "timeout_s (2 s)" in message
    assert assert_next_works(function)["instance"] != before["instance"]
    report = function.reports(2)[1]
    assert report["status"] == "timeout"
    assert 2000 <= float(report["duration"]) < 10000
    assert "Task timed out after 2.00 seconds" in function.log()
    harness.wait_for(lambda: len({pid for pid in function.processes()}) <= 2, "the hung environment to be gone", 15)


def test_a_timeout_in_the_middle_of_a_stream_cuts_it_off(deploy):
    """The status is out already: the broken chunks tell the client."""
    function = deploy(timeout_s=2)
    function.get()
    answer = function.daemon.raw(f"GET {function.path}/events?count=100&gap_ms=100 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"data: 5 " in answer
    assert not answer.endswith(b"0\r\n\r\n")
    assert_next_works(function)


@pytest.mark.parametrize("path", ["/close", "/garbage"])
def test_an_answer_that_is_none_is_502(deploy, path):
    function = deploy()
    function.get()
    code = {"/close": "Function.ConnectionClosed", "/garbage": "Function.BadResponse"}[path]
    harness.assert_error(function.get(path), 502, "FunctionFailed", code)
    assert_next_works(function)


def test_half_an_answer_never_looks_whole(deploy):
    function = deploy()
    function.get()
    answer = function.daemon.raw(f"GET {function.path}/half HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"half")
    assert b"1000" in answer.split(b"\r\n\r\n")[0]
    assert_next_works(function)


@pytest.mark.parametrize(
    "mode, memory_mb, code, words",
    [
        ("exit", 512, "Init.Exited", "status 7"),
        ("abort", 512, "Init.Crashed", "signal 6"),
        ("oom", 128, "Init.OutOfMemory", "memory_mb 128"),
        ("silent", 512, "Init.TimedOut", "port 8080"),
    ],
)
def test_a_failed_init_is_502_and_a_good_deploy_mends_it(deploy, mode, memory_mb, code, words):
    function = deploy(environment__INIT=mode, memory_mb=memory_mb, init_timeout_s=3 if mode == "silent" else 60)
    for _ in range(2):
        message = harness.assert_error(function.get(), 502, "FunctionFailed", code)
        assert words in message
    assert "a secret that only the log may show" in function.log()
    assert "INIT_REPORT" in function.log()
    harness.wait_for(lambda: not function.processes(), "the failed environment to be gone", 15)
    deploy(name=function.name)
    assert_next_works(function)


def test_a_failed_init_answers_everyone_who_waited(deploy):
    function = deploy(environment__INIT="exit")
    with concurrent.futures.ThreadPoolExecutor(20) as clients:
        responses = list(clients.map(lambda _: function.get(), range(20)))
    for response in responses:
        harness.assert_error(response, 502, "FunctionFailed", "Init.Exited")


def test_a_command_that_is_not_there_is_an_init_error(deploy):
    function = deploy(command='["no-such-program"]')
    response = function.get()
    code = response.json().get("code")
    assert code == "Init.ExecFailed"
    harness.assert_error(response, 502, "FunctionFailed", code)
    function.wait_log("no-such-program")


def test_a_slow_init_serves_those_who_waited_for_it(deploy):
    function = deploy(environment__INIT="slow", environment__INIT_S="2", concurrency=4)
    with concurrent.futures.ThreadPoolExecutor(4) as clients:
        responses = list(clients.map(lambda _: function.get(), range(4)))
    assert [response.status_code for response in responses] == [200] * 4
    assert len({response.json()["instance"] for response in responses}) == 1


def test_a_function_on_all_addresses_works_too(deploy):
    function = deploy(environment__BIND="0.0.0.0")
    assert_next_works(function)


def test_a_crash_in_one_invocation_fails_those_beside_it_and_no_more(deploy):
    function = deploy(concurrency=4)
    function.get()
    with concurrent.futures.ThreadPoolExecutor(4) as clients:
        beside = [clients.submit(function.get, "/sleep?ms=3000") for _ in range(2)]
        harness.wait_for(lambda: [one["Inflight"] for one in function.environments()] == [2], "both to run")
        harness.assert_error(function.get("/abort"), 502, "FunctionFailed", "Function.Crashed")
        for response in beside:
            harness.assert_error(response.result(), 502, "FunctionFailed", "Function.Crashed")
    assert_next_works(function)


def test_more_memory_than_the_host_admits_is_said(serve):
    daemon = serve(memory_max_mb=256)
    function = daemon.deploy(harness.FUNCTIONS / "kit", "fat", memory_mb=512)
    assert "512" in harness.assert_error(function.get(), 501, "Unsupported")
