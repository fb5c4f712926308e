"""Published versions with snapshot = true: made in the background, restored at each start, made again when need be."""

import concurrent.futures
import re

import pytest

import harness

KIT = harness.FUNCTIONS / "kit"


class Version:
    """A published version of the kit, with what it has said of itself."""

    def __init__(self, daemon, name, path=KIT, wait=True, **settings):
        self.function = daemon.deploy(path, name, **{"snapshot": "true", "idle_s": 1, **settings})
        self.daemon, self.name = daemon, name
        self.publish()
        if wait:
            self.wait_made()

    def publish(self):
        response = self.daemon.request("POST", f"/2015-03-31/functions/{self.name}/versions")
        assert response.status_code == 201, response.text
        self.published = response.json()
        self.number = self.published["Version"]
        self.url = f"/fn/{self.name}:{self.number}"

    def get(self, path="/"):
        return self.daemon.get(self.url + path)

    def configuration(self):
        answer = self.daemon.get(f"/2015-03-31/functions/{self.name}?Qualifier={self.number}")
        assert answer.status_code == 200, answer.text
        return answer.json()["Configuration"]

    def snapshot(self):
        return self.configuration()["Thaw"]["SnapshotState"]

    def wait_made(self):
        """Until nothing is being made; what the version is then."""

        def made():
            configuration = self.configuration()
            pending = configuration["State"] == "Pending" or configuration["Thaw"]["SnapshotState"]["Making"]
            return None if pending else configuration

        return harness.wait_for(made, "the version to be made")

    def wait_on(self):
        return harness.wait_for(
            lambda: self.configuration()["SnapStart"]["OptimizationStatus"] == "On", "a snapshot that can be used"
        )

    def wait_zero(self):
        harness.wait_for(lambda: not self.function.processes(), "no process of the function")

    def images(self):
        return sorted((self.daemon.data / "snapshots").glob("*.img"))


@pytest.fixture
def version(serve):
    daemon = serve()
    made = []

    def make(name, path=KIT, **settings):
        made.append(Version(daemon, name, path, **settings))
        return made[-1]

    yield make


APP = """\
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *args):
        pass
    def say(self, body, status=200):
        body = str(body).encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.say('ok')
def serve():
    http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()
"""


@pytest.fixture
def app(tmp_path):
    """A folder with a function: APP, then what the test gives it."""

    def write(code, manifest=""):
        (tmp_path / "thaw.toml").write_text(f'command = ["python3", "app.py"]\n{manifest}')
        (tmp_path / "app.py").write_text(APP + code + "\nserve()\n")
        return tmp_path

    return write


def test_a_version_is_pending_then_active_and_every_start_is_a_restore(version):
    kit = version("kit", wait=False)
    assert kit.published["State"] == "Pending"
    assert kit.published["StateReasonCode"] == "Creating"
    assert kit.published["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
    configuration = kit.wait_made()
    assert configuration["State"] == "Active"
    assert "StateReason" not in configuration
    assert configuration["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
    assert configuration["Thaw"]["SnapshotState"]["Bytes"] > 1 << 20
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]{12}\+0000", configuration["Thaw"]["SnapshotState"]["MadeAt"])
    assert len(kit.images()) == 1
    kit.wait_zero()
    answers = []
    for _ in range(2):
        answers.append(kit.get().json())
        kit.wait_zero()
    assert answers[0]["instance"] == answers[1]["instance"], "both are clones of one process"
    log = kit.function.wait_log("Billed Restore Duration")
    assert re.search(r"^INIT_REPORT Init Duration: [0-9.]+ ms\tPhase: init\tStatus: success$", log, re.M)
    assert re.search(r"^RESTORE_START Runtime Version: thaw:[0-9.]+\tVersion: 1$", log, re.M)
    assert re.search(r"^RESTORE_REPORT Restore Duration: [0-9.]+ ms$", log, re.M)
    assert re.search(r"^REPORT .*\tRestore Duration: [0-9.]+ ms\tBilled Restore Duration: 0 ms\t", log, re.M)
    assert log.count("Init Duration") == 1
    assert kit.snapshot()["Restores"] == 2
    assert kit.snapshot()["RestoresFailed"] == 0


def test_requests_are_served_by_init_while_the_version_is_pending(version):
    kit = version("kit", wait=False, environment__INIT="slow", environment__INIT_S="1")
    with concurrent.futures.ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda _: kit.get(), range(4)))
    assert [one.status_code for one in answers] == [200] * 4
    assert kit.wait_made()["State"] == "Active"
    assert kit.get().status_code == 200


def test_a_burst_from_zero_is_served_by_clones(version):
    kit = version("kit", environments_max=6)
    with concurrent.futures.ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(lambda _: kit.get("/sleep?ms=400"), range(6)))
    assert [one.status_code for one in answers] == [200] * 6
    assert len({one.json()["instance"] for one in answers}) == 1, "all are clones of one process"
    assert kit.function.wait_log("Billed Restore Duration").count("RESTORE_REPORT") >= 2


def test_publishing_what_is_published_makes_nothing_again(version):
    kit = version("kit")
    made_at = kit.snapshot()["MadeAt"]
    kit.publish()
    assert (kit.number, kit.published["State"], kit.snapshot()["MadeAt"]) == ("1", "Active", made_at)


def test_the_latest_version_has_no_snapshot(serve):
    daemon = serve()
    function = daemon.deploy(KIT, "kit", snapshot="true", idle_s=1)
    first = function.get().json()["instance"]
    harness.wait_for(lambda: not function.processes(), "no process of the function")
    assert function.get().json()["instance"] != first
    assert not list((daemon.data / "snapshots").glob("*.img"))
    configuration = daemon.get("/2015-03-31/functions/kit").json()["Configuration"]
    assert configuration["State"] == "Active"
    assert configuration["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}


# ---- Failures of the making


@pytest.mark.parametrize(
    "settings, code, reason",
    [
        ({"environment__INIT": "exit"}, "FunctionError.RuntimeInitError", "exited with status 7 during init"),
        ({"environment__INIT": "silent", "init_timeout_s": 1}, "FunctionError.InitTimeout", "init_timeout_s (1 s)"),
        ({"environment__INIT": "oom", "memory_mb": 128}, "FunctionError.InitResourceExhausted", "raise memory_mb"),
        ({"command": '["nothing-such"]'}, "FunctionError.InvalidEntryPoint", "cannot be run: nothing-such"),
        ({"warm_up": '[{path = "/status?code=500"}]'}, "FunctionError", "warm_up[0], GET /status?code=500: status 500"),
        ({"warm_up": '[{path = "/"}, {path = "/exit"}]'}, "FunctionError", "warm_up[1], GET /exit: the function exited"),
        ({"warm_up": '[{path = "/sleep?ms=9000"}]', "timeout_s": 1}, "FunctionError", "no answer within 1000 ms"),
        ({"before_snapshot_path": '"/status?code=300"'}, "FunctionError", "before-snapshot hook, POST /status?code=300"),
    ],
)
def test_a_function_that_fails_makes_a_version_that_failed(version, settings, code, reason):
    kit = version("kit", wait=False, **settings)
    made = kit.wait_made()
    assert (made["State"], made["StateReasonCode"]) == ("Failed", code)
    assert reason in made["StateReason"]
    assert "secret" not in made["StateReason"]
    assert not kit.images()
    assert f"[thaw] version 1 failed: {made['StateReason']}" in kit.function.log()
    kit.wait_zero()


def test_what_cannot_be_frozen_is_active_serves_by_init_and_says_why(version, app):
    parent = version("parent", app("import subprocess\nchild = subprocess.Popen(['sleep', '1000'])"))
    assert parent.configuration()["State"] == "Active"
    assert "the function has child processes" in parent.snapshot()["NoneBecause"]
    assert parent.configuration()["SnapStart"]["OptimizationStatus"] == "Off"
    for _ in range(2):
        assert parent.get().text == "ok"
        parent.wait_zero()
    assert not parent.images()
    assert "no snapshot, so this version starts by init: the function has child processes" in parent.function.log()
    described = parent.daemon.run("describe", "parent:1").stdout
    assert "snapshot" in described and "none: the function has child processes" in described


def test_a_function_killed_during_its_warm_up_fails_the_version(version):
    kit = version("kit", wait=False, warm_up='[{path = "/sleep?ms=15000"}]')
    harness.wait_for(lambda: kit.snapshot()["Making"].startswith("warm-up"), "the warm-up")
    for pid in kit.function.processes():
        harness.os.kill(pid, harness.signal.SIGKILL)
    made = kit.wait_made()
    assert made["State"] == "Failed"
    assert "killed by signal 9" in made["StateReason"]


def test_a_clone_killed_during_the_trial_leaves_an_active_version_that_is_tried_again(version):
    kit = version("kit", wait=False, warm_up='[{path = "/sleep?ms=3000"}]')
    harness.wait_for(lambda: kit.snapshot()["Making"].startswith("trial restore, warm-up"), "the trial")
    for pid in kit.function.processes():
        harness.os.kill(pid, harness.signal.SIGKILL)
    harness.wait_for(lambda: kit.configuration()["State"] == "Active", "the end of the making")
    assert "a clone of it did not answer: warm_up[0]" in kit.snapshot()["NoneBecause"]
    assert not kit.images()
    assert kit.get().status_code == 200
    kit.wait_on()
