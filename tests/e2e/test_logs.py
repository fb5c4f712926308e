"""START, END and REPORT lines, and the function's own output."""

import json
import re
import subprocess
import time

import harness


def test_each_invocation_has_its_three_lines(deploy):
    function = deploy(memory_mb=700)
    ids = [function.get("/sleep?ms=200").headers["x-amzn-requestid"] for _ in range(3)]
    reports = function.reports(3)
    log = function.log()
    assert harness.START_LINE.findall(log) == ids
    assert harness.END_LINE.findall(log) == ids
    assert [report["id"] for report in reports] == ids
    for report in reports:
        assert 200 <= float(report["duration"]) < 2000
        init = float(report["init"] or 0)
        assert abs(int(report["billed"]) - (float(report["duration"]) + init)) <= 1.01
        assert report["size"] == "700"
        assert 5 <= int(report["used"]) <= 200
        assert report["status"] is None and report["error"] is None
    lines = [line.split()[0] for line in log.splitlines() if line.startswith(("START", "END", "REPORT"))]
    assert lines == ["START", "END", "REPORT"] * 3


def test_init_duration_is_on_the_first_report_alone_and_true(deploy):
    function = deploy(environment__INIT="slow", environment__INIT_S="1.5")
    began = time.monotonic()
    function.get()
    took_ms = (time.monotonic() - began) * 1000
    function.get()
    first, second = function.reports(2)
    assert 1500 <= float(first["init"]) <= took_ms
    assert float(first["duration"]) < 1000
    assert second["init"] is None


def test_max_memory_used_follows_what_was_allocated(deploy):
    function = deploy(memory_mb=512)
    function.get()
    function.get("/allocate?mb=200")
    before, after = function.reports(2)
    assert int(before["used"]) < 100
    assert 200 <= int(after["used"]) < 300


def test_what_the_function_prints_is_in_its_log_between_start_and_end(deploy):
    function = deploy()
    function.get()
    request_id = function.get("/print?text=hello%20from%20inside").headers["x-amzn-requestid"]
    log = function.wait_log("hello from inside")
    function.reports(2)
    assert re.search(rf"^START RequestId: {request_id} .*\nhello from inside$", function.log(), re.M), log


def test_follow_shows_new_lines_as_they_come(daemon, deploy):
    function = deploy()
    function.get("/print?text=before")
    function.wait_log("before")
    words = [str(harness.THAW), "logs", function.name, "--follow"]
    follower = subprocess.Popen(words, env=daemon.environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert any("before" in line for line in follower.stdout if "before" in line or "REPORT" in line)
        request_id = function.get("/print?text=afterwards").headers["x-amzn-requestid"]
        seen = []
        for line in follower.stdout:
            seen.append(line)
            if line.startswith("REPORT") and request_id in line:
                break
        assert "afterwards\n" in seen
    finally:
        follower.terminate()
        follower.wait(harness.HANG_S)


def test_follow_ends_when_the_function_is_deleted(daemon, deploy):
    function = deploy()
    function.get()
    words = [str(harness.THAW), "logs", function.name, "--follow"]
    follower = subprocess.Popen(words, env=daemon.environment(), stdout=subprocess.PIPE, text=True)
    assert follower.stdout.readline()
    function.delete()
    follower.communicate(timeout=harness.HANG_S)


def test_logs_as_json_are_one_object_a_line(daemon, deploy):
    function = deploy()
    function.get("/print?text=%22quoted%22")
    function.wait_log('"quoted"')
    function.reports(1)
    done = daemon.run("logs", function.name, "--json")
    messages = [json.loads(line)["Message"] for line in done.stdout.splitlines()]
    assert '"quoted"' in messages
    assert any(message.startswith("REPORT") for message in messages)


def test_a_function_that_floods_its_log_is_bounded_on_disk(serve):
    daemon = serve(log_file_max_mb=1)
    function = daemon.deploy(harness.FUNCTIONS / "kit", "flood", memory_mb=1769)
    for _ in range(60):
        function.request("POST", "/flood", data=b"")
    function.get()
    on_disk = sum(path.stat().st_size for path in (daemon.data / "logs").iterdir())
    assert on_disk <= 3 << 20
    assert function.get().status_code == 200
