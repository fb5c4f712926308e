"""Environments: started when needed, reused, frozen, dropped; scaled out, never stampeding."""

import concurrent.futures
import re
import time

import pytest

import harness


def at_once(count, call):
    with concurrent.futures.ThreadPoolExecutor(count) as clients:
        return list(clients.map(lambda _: call(), range(count)))


def started(daemon, function):
    """How many environments of the function have ever become ready."""
    return len(re.findall(rf"environment_ready function={function.name} ", daemon.log()))


def test_a_burst_of_50_at_zero_fails_none_and_starts_no_more_than_it_may(daemon, deploy):
    function = deploy(environments_max=3)
    responses = at_once(50, lambda: function.get("/sleep?ms=20"))
    assert [response.status_code for response in responses] == [200] * 50
    assert 1 <= len({response.json()["instance"] for response in responses}) <= 3
    assert started(daemon, function) <= 3


def test_a_burst_that_one_environment_can_serve_starts_one(daemon, deploy):
    """concurrency 100: fifty callers wait for the one load, there is no stampede."""
    function = deploy(concurrency=100, environments_max=10)
    responses = at_once(50, function.get)
    assert [response.status_code for response in responses] == [200] * 50
    assert len({response.json()["instance"] for response in responses}) == 1
    assert started(daemon, function) == 1


def test_scales_out_under_load_and_one_invocation_at_a_time_stays_so(deploy):
    function = deploy(environments_max=4)
    began = time.monotonic()
    responses = at_once(4, lambda: function.get("/sleep?ms=3000"))
    took = time.monotonic() - began
    assert len({response.json()["instance"] for response in responses}) == 4
    assert took < 11, "four sleeps of 3 s each ran one after another"
    assert all(one["Invocations"] == 1 for one in function.environments())


def test_concurrency_lets_an_environment_serve_several_at_a_time(deploy):
    function = deploy(concurrency=8, environments_max=1)
    function.get()
    began = time.monotonic()
    responses = at_once(8, lambda: function.get("/sleep?ms=1000"))
    assert time.monotonic() - began < 4
    assert len({response.json()["instance"] for response in responses}) == 1


def test_a_full_queue_is_429_with_retry_after(deploy):
    function = deploy(environments_max=1, queue_max=2)
    function.get()
    responses = at_once(8, lambda: function.get("/sleep?ms=1000"))
    statuses = sorted(response.status_code for response in responses)
    assert statuses.count(200) == 3
    assert statuses.count(429) == 5
    for response in responses:
        if response.status_code == 429:
            assert "queue_max 2" in harness.assert_error(response, 429, "Overloaded")
            assert int(response.headers["Retry-After"]) >= 1
    assert function.get().status_code == 200


def test_an_idle_environment_is_frozen_and_the_next_request_thaws_it(deploy):
    function = deploy()
    before = function.get("/ticks").json()
    harness.wait_for(lambda: function.environments("frozen"), "the environment to be frozen")
    pids = function.processes()
    cpu_before = [harness.cpu_s(pid) for pid in pids]
    time.sleep(1.5)
    assert [harness.cpu_s(pid) for pid in pids] == cpu_before
    after = function.get("/ticks").json()
    assert after["instance"] == before["instance"]
    # 1.5 s would be 300 ticks; those of the 100 ms before the freeze and of the requests are what there may be.
    assert after["ticks"] - before["ticks"] < 150


def test_a_frozen_environment_answers_at_once(deploy):
    function = deploy(memory_mb=1769)
    function.get()
    slowest = 0
    for _ in range(5):
        harness.wait_for(lambda: function.environments("frozen"), "the environment to be frozen")
        began = time.monotonic()
        assert function.get().status_code == 200
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1
    assert [one["Invocations"] for one in function.environments()] == [6]


def test_a_request_is_never_lost_around_a_freeze(serve):
    """Requests at just the moments when environments freeze: with freeze_after 5 ms each second one meets one."""
    daemon = serve(freeze_after_ms=5)
    function = daemon.deploy(harness.FUNCTIONS / "kit", "kit", memory_mb=1769)
    function.get()
    for number in range(150):
        assert function.get().status_code == 200
        time.sleep((number % 12) / 1000)
    assert [one["Invocations"] for one in function.environments()] == [151]


def test_nothing_runs_after_the_idle_time_and_the_next_request_answers(daemon, deploy):
    function = deploy(idle_s=1)
    before = function.get().json()
    assert function.processes()
    assert function.environments()
    harness.wait_for(lambda: not function.processes(), "the function's processes to be gone", 20)
    # The pool hears of it once the cgroups are cleared too.
    harness.wait_for(lambda: not function.environments(), "the environment to be gone", 20)
    harness.wait_for(lambda: daemon.status()["MemoryAdmittedMb"] == 0 or not function.view()["Environments"], "the memory back")
    after = function.get().json()
    assert after["instance"] != before["instance"]


def test_an_ended_environment_leaves_no_cgroup(serve):
    daemon = serve()
    at_rest = count_groups(daemon)
    function = daemon.deploy(harness.FUNCTIONS / "kit", "kit", idle_s=1)
    at_once(3, lambda: function.get("/sleep?ms=500"))
    harness.wait_for(lambda: not function.processes(), "the function's processes to be gone", 20)
    # The spawner may keep a few prepared ahead, empty of any function.
    harness.wait_for(lambda: count_groups(daemon) <= at_rest + 4, "the cgroups to be gone", 15)
    assert daemon.function_processes() == []


def count_groups(daemon):
    return max(len([child for child in folder.iterdir() if child.is_dir()]) for folder in daemon.cgroup_folders())


def test_the_children_of_a_function_go_with_it(deploy):
    function = deploy(idle_s=1)
    function.get("/fork?count=5")
    assert len(function.processes()) >= 6
    harness.wait_for(lambda: not function.processes(), "all its processes to be gone", 20)


def test_memory_of_idle_environments_is_given_to_those_who_need_it(serve):
    """Two functions that do not fit together take turns, and none fails."""
    daemon = serve(memory_max_mb=700)
    first = daemon.deploy(harness.FUNCTIONS / "kit", "first", memory_mb=512)
    second = daemon.deploy(harness.FUNCTIONS / "kit", "second", memory_mb=512)
    for _ in range(3):
        assert first.get().status_code == 200
        assert second.get().status_code == 200
    assert daemon.status()["MemoryAdmittedMb"] <= 700


def test_a_redeploy_under_load_fails_no_request(daemon, deploy):
    function = deploy(environment__VERSION="0", memory_mb=1769, environments_max=3)
    function.get()
    seen, wrong = [], []
    going = True

    def client():
        while going:
            response = function.daemon_session.get(function.url, timeout=harness.HANG_S)
            if response.status_code != 200:
                wrong.append((response.status_code, response.text))
            else:
                seen.append(response.json()["version"])

    import requests

    function.url = f"{daemon.url}{function.path}/"
    function.daemon_session = requests.Session()
    function.daemon_session.trust_env = False
    with concurrent.futures.ThreadPoolExecutor(3) as clients:
        running = [clients.submit(client) for _ in range(3)]
        try:
            for version in range(1, 6):
                deploy(name=function.name, environment__VERSION=str(version), memory_mb=1769, environments_max=3)
                harness.wait_for(lambda: str(version) in seen[-50:], f"version {version} to answer")
        finally:
            going = False
        for one in running:
            one.result()
    assert wrong == []
    assert {"0", "1", "2", "3", "4", "5"} <= set(seen)
    assert function.get().json()["version"] == "5"
    # What the versions before ran in is gone once their requests are over.
    harness.wait_for(lambda: len(function.processes()) <= 2 * 3, "the old environments to be gone", 20)


def test_a_deleted_function_is_gone_at_once_and_so_are_its_environments(daemon, deploy):
    function = deploy()
    function.get()
    assert function.processes()
    assert function.delete().status_code == 204
    harness.assert_error(function.get(), 404, "NotFound")
    harness.wait_for(lambda: not function.processes(), "its processes to be gone", 15)
    assert function.delete().status_code == 404


def test_a_deletion_lets_a_running_request_finish(deploy):
    function = deploy()
    function.get()
    with concurrent.futures.ThreadPoolExecutor(1) as clients:
        running = clients.submit(function.get, "/sleep?ms=1500")
        harness.wait_for(lambda: function.environments("busy"), "the request to run")
        function.delete()
        assert running.result().status_code == 200
    harness.wait_for(lambda: not function.processes(), "its processes to be gone", 15)


@pytest.mark.parametrize("count", [30])
def test_many_functions_at_once(serve, count):
    """More functions than the machine starts at a time, all from zero, none fails."""
    daemon = serve()
    functions = [daemon.deploy(harness.FUNCTIONS / "kit", f"many-{number}", memory_mb=128, ephemeral_mb=16) for number in range(8)]
    with concurrent.futures.ThreadPoolExecutor(count) as clients:
        responses = list(clients.map(lambda number: functions[number % 8].get(), range(count)))
    assert [response.status_code for response in responses] == [200] * count
