"""Fixtures: a daemon that most tests share, daemons of a test's own, and functions that go with their test."""

import itertools
import os
import subprocess

import pytest

pytest.register_assert_rewrite("harness")

import harness  # noqa: E402: after its asserts were made to explain themselves


def pytest_sessionstart():
    if os.geteuid() != 0:
        pytest.exit("the end-to-end tests start the daemon: run them as root", 3)
    if not harness.THAW.exists():
        pytest.exit(f"build thaw first: there is no {harness.THAW} (THAW_BIN names another folder)", 3)


def pytest_report_header():
    version = subprocess.run([harness.THAW, "version"], capture_output=True, text=True, env={}).stdout.strip()
    return f"thaw under test: {harness.THAW} ({version})"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    daemons = {id(value): value for value in item.funcargs.values() if isinstance(value, harness.Daemon)}
    daemons.update({id(one): one for one in getattr(item, "daemons", [])})
    for daemon in daemons.values():
        if daemon.log_path.exists():
            log = daemon.log()[getattr(item, "log_offset", 0) :]
            report.sections.append((f"log of thaw serve on {daemon.data}", log[-6000:]))


@pytest.fixture(scope="session")
def shared_daemon():
    daemon = harness.Daemon()
    try:
        yield daemon.start()
    finally:
        daemon.close()


@pytest.fixture(scope="module", autouse=True)
def functions_go_with_their_file(shared_daemon):
    """No test depends on the names that other files chose."""

    def names():
        listed, marker = set(), ""
        while marker is not None:
            page = shared_daemon.get("/2015-03-31/functions/", params={"MaxItems": 50, "Marker": marker}).json()
            listed |= {one["FunctionName"] for one in page["Functions"]}
            marker = page.get("NextMarker")
        return listed

    before = names()
    yield
    if shared_daemon.process.poll() is None:
        for name in names() - before:
            shared_daemon.request("DELETE", f"/2015-03-31/functions/{name}")


@pytest.fixture
def daemon(request, shared_daemon):
    """The daemon that tests share when they leave it as they found it."""
    request.node.log_offset = len(shared_daemon.log())
    yield shared_daemon
    ended = shared_daemon.process.poll()
    if ended is not None:
        # The test that it died of fails, not those that follow.
        shared_daemon.start()
        pytest.fail(f"the daemon ended with {ended} during this test")


@pytest.fixture
def mount_tmpfs(tmp_path):
    """A file system in memory, of a size; name this fixture before `serve`, so that it goes after the daemons."""
    mounted = []

    def mount(size_mb):
        folder = tmp_path / f"tmpfs-{len(mounted)}"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=755", "tmpfs", folder], check=True)
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def serve(request):
    """Starts daemons of the test's own: serve(data=FOLDER, drain_s=5, ...)."""
    started = request.node.daemons = []

    def start(data=None, **flags):
        one = harness.Daemon(data, **flags)
        started.append(one)
        return one.start()

    yield start
    for one in started:
        one.close()


@pytest.fixture
def own_daemon(serve):
    return serve()


fresh_names = (f"f{number}" for number in itertools.count(1))


@pytest.fixture
def deploy(daemon):
    """Deploys to the shared daemon, under a name of its own unless one is given, and deletes after the test."""
    functions = []

    def deploy_function(package="kit", name=None, **settings):
        function = daemon.deploy(harness.FUNCTIONS / package, name or next(fresh_names), **settings)
        functions.append(function)
        return function

    yield deploy_function
    for function in functions:
        function.delete()


@pytest.fixture(scope="module")
def shared_kit(shared_daemon):
    function = shared_daemon.deploy(harness.FUNCTIONS / "kit", "kit", concurrency=4, memory_mb=1769)
    yield function
    function.delete()


@pytest.fixture
def kit(daemon, shared_kit):
    """The kit, shared by the tests of a file: those that neither break it nor count its environments."""
    return shared_kit
