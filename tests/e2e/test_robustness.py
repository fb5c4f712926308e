"""Functions with odd manners, and a daemon that is used for long."""

import concurrent.futures
import os
import time

import pytest
import requests

import harness

MB = 1 << 20


def test_a_function_that_closes_what_it_said_to_keep_open_fails_no_get(kit):
    for _ in range(50):
        assert kit.get("/then-close").status_code == 200


def test_a_reused_connection_that_is_dead_is_answered_502_not_nothing(daemon, kit):
    """Head and body come apart, and the function has closed the connection that the head goes to."""
    statuses = set()
    for _ in range(40):
        with daemon.connect() as connection:
            stream = connection.makefile("rb")
            for _ in range(2):
                connection.sendall(b"POST /fn/kit/then-close HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
                time.sleep(0.001)
                try:
                    connection.sendall(b"abc")
                except OSError:
                    pass  # answered already, and closed
                response = harness.read_response(stream)
                assert response is not None, "the connection was closed without an answer"
                statuses.add(response[0])
                if response[1].get("connection") == "close":
                    break
    assert statuses <= {200, 502}


def test_a_server_that_takes_one_connection_at_a_time_works(deploy):
    function = deploy(environment__SINGLE="1", environments_max=1, memory_mb=1769)
    for number in range(40):
        assert function.get().status_code == 200
        time.sleep((number % 5) * 0.05)
    with concurrent.futures.ThreadPoolExecutor(5) as clients:
        assert [response.status_code for response in clients.map(lambda _: function.get(), range(20))] == [200] * 20


def test_the_work_of_a_client_that_went_away_does_not_fail_the_next(daemon, deploy):
    """A server that does one thing at a time works on; who comes next must not be lent its environment meanwhile."""
    function = deploy(environment__SINGLE="1", environments_max=2, timeout_s=5, memory_mb=1769)
    function.get()
    with daemon.connect() as connection:
        connection.sendall(f"GET {function.path}/sleep?ms=9000 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        harness.wait_for(lambda: function.environments("busy"), "the request to run")
    time.sleep(0.5)
    for _ in range(3):
        assert function.get().status_code == 200


def test_repeated_fields_stay_apart_and_in_order(kit):
    response = kit.get("/many-fields?count=3")
    assert response.raw.headers.getlist("Set-Cookie") == ["c0=x", "c1=x", "c2=x"]


@pytest.mark.parametrize("query", ["count=1&bytes=200000", "count=5000&bytes=10"])
def test_a_response_head_without_bound_is_502(kit, query):
    harness.assert_error(kit.get(f"/many-fields?{query}"), 502, "FunctionFailed", "Function.BadResponse")
    assert kit.get().status_code == 200


def test_early_hints_are_passed_over(kit):
    assert kit.get("/hints").status_code == 200


def test_a_function_that_switches_protocols_is_502(kit):
    response = kit.get("/upgrade", headers={"Connection": "Upgrade", "Upgrade": "x"})
    harness.assert_error(response, 502, "FunctionFailed", "Function.BadResponse")


def test_an_answer_with_two_framings_is_502_or_read_one_way(daemon, kit):
    answer = daemon.raw(b"GET /fn/kit/disagree HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head = answer.split(b"\r\n\r\n")[0].lower()
    assert not (b"content-length" in head and b"transfer-encoding" in head)


def test_a_function_that_never_reads_times_out_and_the_upload_is_not_kept(daemon, deploy):
    function = deploy(timeout_s=2)
    function.get()
    before = harness.rss_kb(daemon.process.pid)
    answer = daemon.raw(
        f"POST {function.path}/sleep?ms=60000 HTTP/1.1\r\nHost: x\r\nContent-Length: {50 * MB}\r\n\r\n".encode() + bytes(50 * MB)
    )
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert harness.rss_kb(daemon.process.pid) - before < 24 * 1024
    assert function.get().status_code == 200


def test_noise_in_the_log_is_kept_from_breaking_it(daemon, deploy):
    function = deploy()
    function.get("/noise")
    log = function.wait_log("after the noise")
    assert "[cut]" in log or max(map(len, log.splitlines())) <= 65536
    assert function.reports(1)
    assert daemon.run("logs", function.name, "--json", "-n", "3").returncode == 0


def test_variables_and_arguments_arrive_as_they_were_given(daemon, tmp_path):
    package = tmp_path / "words"
    package.mkdir()
    (package / "app.py").write_bytes((harness.FUNCTIONS / "kit" / "app.py").read_bytes())
    (package / "thaw.toml").write_text('command = ["python3", "app.py", "a b", "$HOME", "${PORT}", "é"]\n[environment]\nA = "x y=z é \\" \'"\n')
    function = daemon.deploy(package, "words")
    try:
        assert function.get("/inside").json()["environment"]["A"] == "x y=z é \" '"
        arguments = [harness.read(f"/proc/{pid}/cmdline").split("\0") for pid in function.processes()]
        assert ["python3", "app.py", "a b", "$HOME", "8080", "é", ""] in arguments
    finally:
        function.delete()


def test_deploys_of_one_name_at_once_end_in_one_of_them(daemon):
    with concurrent.futures.ThreadPoolExecutor(6) as clients:
        done = list(
            clients.map(
                lambda version: daemon.run("deploy", harness.FUNCTIONS / "kit", "--name", "raced", "--env", f"VERSION={version}"), range(6)
            )
        )
    assert [one.returncode for one in done] == [0] * 6, [one.stderr for one in done]
    function = harness.Function(daemon, "raced")
    version = function.get().json()["version"]
    assert version in {str(number) for number in range(6)}
    assert daemon.json("describe", "raced")["Configuration"]["Environment"]["Variables"]["VERSION"] == version
    function.delete()


def test_a_daemon_that_is_used_for_long_keeps_its_descriptors_and_its_memory(serve):
    daemon = serve()

    def round_trip(number):
        function = daemon.deploy(harness.FUNCTIONS / "kit", f"round-{number % 3}", concurrency=4, environment__N=str(number))
        with concurrent.futures.ThreadPoolExecutor(8) as clients:
            assert {response.status_code for response in clients.map(lambda _: function.get("/echo"), range(40))} == {200}
        function.get("/abort")
        with daemon.connect() as gone:
            gone.sendall(f"GET {function.path}/sleep?ms=5000 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        function.delete()

    def descriptors():
        return {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in [daemon.process.pid, *daemon.spawner_processes()[:2]]}

    def at_rest():
        harness.wait_for(lambda: not daemon.function_processes(), "the functions to be gone", 30)
        daemon.http.close()
        time.sleep(0.5)

    for number in range(3):
        round_trip(number)
    at_rest()
    fds, memory = descriptors(), harness.rss_kb(daemon.process.pid)
    for number in range(15):
        round_trip(number)
    at_rest()
    after = descriptors()
    for pid, count in fds.items():
        assert after[pid] <= count + 8, f"descriptors of {pid} ({harness.read(f'/proc/{pid}/comm')})"
    assert harness.rss_kb(daemon.process.pid) - memory < 20 * 1024

    def zombies():
        # Of this daemon: other programs on the machine may have theirs. One that has only just ended is reaped at once.
        parents = {daemon.process.pid, *daemon.spawner_processes()}
        fields = (harness.read(f"/proc/{pid}/stat").rpartition(") ")[2].split() for pid in harness.processes())
        return [field for field in fields if len(field) > 1 and field[0] == "Z" and int(field[1]) in parents]

    harness.wait_for(lambda: not zombies(), "ended processes to be reaped", 15)


def test_a_thousand_connections_at_once(daemon, kit):
    """Each with a request on its way, to one environment after the other."""
    kit.get()
    connections = [daemon.connect() for _ in range(1000)]
    try:
        for connection in connections:
            connection.sendall(b"GET /fn/kit/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        statuses = []
        for connection in connections:
            statuses.append(connection.makefile("rb").readline().split()[1])
        assert set(statuses) == {b"200"}
    finally:
        for connection in connections:
            connection.close()


def test_connections_beyond_the_bound_are_closed_and_the_others_work(serve):
    daemon = serve(connections_max=20)
    held = [daemon.connect() for _ in range(20)]
    time.sleep(0.3)
    assert daemon.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") == b""
    for connection in held:
        connection.close()
    harness.wait_for(
        lambda: daemon.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200"), "room again", 15
    )


def test_stopping_while_environments_start_leaves_nothing(serve):
    daemon = serve(drain_s=1)
    function = daemon.deploy(harness.FUNCTIONS / "kit", "kit", environment__INIT="slow", environment__INIT_S="20")
    with concurrent.futures.ThreadPoolExecutor(6) as clients:
        waiting = [clients.submit(outcome, function) for _ in range(6)]
        harness.wait_for(lambda: function.environments("starting"), "environments to start")
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 25
        assert {one.result() for one in waiting} <= {503, "closed"}
    daemon.assert_nothing_left()


def outcome(function):
    try:
        return requests.get(f"{function.daemon.url}{function.path}/", timeout=harness.HANG_S).status_code
    except OSError:
        return "closed"


def test_deleting_while_an_environment_starts_ends_it(daemon, deploy):
    function = deploy(environment__INIT="slow", environment__INIT_S="3")
    with concurrent.futures.ThreadPoolExecutor(1) as clients:
        waiting = clients.submit(outcome, function)
        harness.wait_for(lambda: function.processes(), "the environment to start")
        assert function.delete().status_code == 204
        assert waiting.result() in (404, 502, 503, 200)
    harness.wait_for(lambda: not function.processes(), "its processes to be gone", 20)


def test_a_redeploy_while_an_environment_starts_serves_who_waits(daemon, deploy):
    function = deploy(environment__INIT="slow", environment__INIT_S="2", environment__VERSION="1")
    with concurrent.futures.ThreadPoolExecutor(1) as clients:
        waiting = clients.submit(function.get)
        harness.wait_for(lambda: function.processes(), "the environment to start")
        deploy(name=function.name, environment__VERSION="2")
        assert waiting.result().status_code == 200
    assert function.get().json()["version"] == "2"
    harness.wait_for(lambda: len(function.processes()) <= 2, "the old environment to be gone", 20)


def test_memory_of_one_function_does_not_reach_another(daemon, deploy):
    """One that runs out of its own memory takes nobody with it."""
    neighbour, hungry = deploy(), deploy(memory_mb=256)
    before = neighbour.get().json()
    hungry.get()
    for _ in range(3):
        harness.assert_error(hungry.get("/allocate?mb=2000"), 502, "FunctionFailed", "Function.OutOfMemory")
        assert neighbour.get().json()["instance"] == before["instance"]


def test_a_full_tmp_counts_towards_the_functions_memory(deploy):
    """/tmp lives in memory: more of it than memory_mb ends the function, not the host."""
    function = deploy(memory_mb=256, ephemeral_mb=1024)
    function.get()
    response = function.get("/fill-tmp?mb=1000")
    if response.status_code != 200:
        harness.assert_error(response, 502, "FunctionFailed", "Function.OutOfMemory")
    else:
        assert response.json()["written"] <= 256 << 20
    assert function.get().status_code == 200
