"""Ten thousand functions at rest: no process, under 100 MB in all.

Each deploy goes the real way: an upload through the control API on one of several kept-alive connections, checked, unpacked,
committed. The package is the same each time, as in a fleet of functions with one code. The data folder lies on a file system
in memory, because ten thousand commits to a disk are a test of that disk.
"""

import concurrent.futures
import http.client
import io
import itertools
import time
import zipfile

import harness

FUNCTIONS = 10000
CONNECTIONS = 4
MEMORY_MAX_KB = 100 * 1024


def package():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("thaw.toml", "app.py"):
            archive.writestr(name, (harness.FUNCTIONS / "kit" / name).read_bytes())
    return buffer.getvalue()


def deploy_many(daemon, count):
    body, numbers = package(), itertools.count()

    def client(_):
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=harness.HANG_S)
        while (number := next(numbers)) < count:
            connection.request("PUT", f"/thaw/v1/functions/many-{number:05}/package?config=idle_s%3D1%0Aenvironment.VERSION%3D%22{number}%22", body=body)
            response = connection.getresponse()
            answer = response.read()
            assert response.status == 201, answer
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as clients:
        list(clients.map(client, range(CONNECTIONS)))


def memory_kb(daemon):
    """Of the daemon and everything that belongs to it, pages that several of them share counted once."""
    return sum(harness.pss_kb(pid) for pid in {daemon.process.pid, *daemon.spawner_processes(), *daemon.group_processes()})


def test_ten_thousand_functions_at_rest_cost_little_and_no_process(mount_tmpfs, serve, record_testsuite_property):
    daemon = serve(data=mount_tmpfs(1024))
    deploy_many(daemon, FUNCTIONS)
    assert daemon.status()["Functions"] == FUNCTIONS
    # Some have been called; what they ran in has been dropped.
    for number in range(0, FUNCTIONS, FUNCTIONS // 4):
        function = harness.Function(daemon, f"many-{number:05}")
        assert function.get().json()["version"] == str(number)
    harness.wait_for(lambda: not daemon.function_processes(), "the last function process to be gone", 30)
    assert len(daemon.get("/v1/models").json()["data"]) == FUNCTIONS
    used = memory_kb(daemon)
    record_testsuite_property("at_rest_memory_kb", used)
    assert used < MEMORY_MAX_KB
    cpu = harness.cpu_s(daemon.process.pid)
    time.sleep(1)
    assert harness.cpu_s(daemon.process.pid) - cpu < 0.2, "a daemon at rest uses CPU"
    # And after a restart.
    assert daemon.stop() == 0
    daemon.start()
    assert daemon.functions_at_start == FUNCTIONS
    last = harness.Function(daemon, f"many-{FUNCTIONS - 1:05}")
    assert last.get().json()["version"] == str(FUNCTIONS - 1)
    assert len(daemon.json("list")["Functions"]) == FUNCTIONS
    used = memory_kb(daemon)
    record_testsuite_property("at_rest_memory_after_restart_kb", used)
    assert used < MEMORY_MAX_KB
