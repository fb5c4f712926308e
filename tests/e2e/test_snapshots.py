"""Published versions with snapshot = true: made in the background, restored at each start, made again when need be."""

import concurrent.futures
import hashlib
import os
import re
import signal
import struct
import time

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
        # What has just been killed is not known to be gone for a moment, and a request would be given to it.
        harness.wait_for(lambda: not self.environments(), "no environment of the version")

    def environments(self):
        answer = self.daemon.get(f"/2015-03-31/functions/{self.name}?Qualifier={self.number}")
        return answer.json()["Thaw"]["Environments"] if answer.status_code == 200 else []

    def kill_processes(self):
        for pid in self.function.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it went with another

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


def test_publishing_again_what_has_failed_tries_again(version, app):
    flaky = version("flaky", app("serve = serve if os.path.exists('/var/task/good') else sys.exit"), wait=False)
    assert flaky.wait_made()["State"] == "Failed"
    done = flaky.daemon.run("publish", "flaky")
    assert done.returncode == 1
    assert "error: version flaky:1 failed: the function exited with status 0 during init" in done.stderr
    flaky.publish()
    assert (flaky.number, flaky.published["State"]) == ("1", "Pending")
    assert flaky.wait_made()["State"] == "Failed"


def test_the_configuration_has_a_path_of_its_own(version):
    kit = version("kit")
    for path, number in (("kit/configuration?Qualifier=1", "1"), ("kit:1/configuration", "1"), ("kit/configuration", "$LATEST")):
        answer = kit.daemon.get(f"/2015-03-31/functions/{path}")
        assert (answer.status_code, answer.json()["Version"], answer.json()["State"]) == (200, number, "Active")
    assert kit.daemon.get("/2015-03-31/functions/kit:7/configuration").status_code == 404


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
    kit.kill_processes()
    made = kit.wait_made()
    assert made["State"] == "Failed"
    assert "killed by signal 9" in made["StateReason"]


def test_a_clone_killed_during_the_trial_leaves_an_active_version_that_is_tried_again(version):
    kit = version("kit", wait=False, warm_up='[{path = "/sleep?ms=3000"}]')
    harness.wait_for(lambda: kit.snapshot()["Making"].startswith("trial restore, warm-up"), "the trial")
    kit.kill_processes()
    harness.wait_for(lambda: kit.configuration()["State"] == "Active", "the end of the making")
    assert "a clone of it did not answer: warm_up[0]" in kit.snapshot()["NoneBecause"]
    assert not kit.images()
    assert kit.get().status_code == 200
    kit.wait_on()


# ---- Hooks


HOOKS = """
import os
told = []
def do_POST(self):
    code = 200
    if self.path == '/before':
        told.append('before')
    if self.path == '/after':
        told.append('after')
        if os.environ.get('AFTER') == 'fails' and os.path.exists('/tmp/armed') is False and told.count('after') > 0:
            code = int(os.environ.get('AFTER_CODE', '500'))
    self.say(','.join(told), code)
def do_GET(self):
    self.say(','.join(told))
Handler.do_POST = do_POST
Handler.do_GET = do_GET
"""
PATHS = 'before_snapshot_path = "/before"\nafter_restore_path = "/after"\n'


def test_hooks_are_called_once_each_in_their_order(version, app):
    hooked = version("hooked", app(HOOKS, PATHS))
    for _ in range(2):
        assert hooked.get().text == "before,after"
        hooked.wait_zero()
    log = hooked.function.wait_log("Billed Restore Duration")
    billed = re.search(r"\tRestore Duration: ([0-9.]+) ms\tBilled Restore Duration: ([0-9]+) ms", log)
    assert 1 <= int(billed[2]) <= float(billed[1]) + 1, "the hook's time, within that of the restore"


def test_hooks_cannot_be_called_from_outside(version, app):
    hooked = version("hooked", app(HOOKS, PATHS))
    for path in ("/before", "/after", "/after?x=1"):
        answer = hooked.daemon.request("POST", hooked.url + path)
        assert answer.status_code == 404
        assert "only Thaw calls it" in answer.json()["message"]
    assert hooked.get().text == "before,after"


def test_an_after_restore_hook_that_fails_in_the_trial_leaves_no_snapshot(version, app):
    hooked = version("hooked", app(HOOKS, PATHS), environment__AFTER="fails", environment__AFTER_CODE="302")
    assert hooked.configuration()["State"] == "Active"
    assert hooked.snapshot()["NoneBecause"] == (
        "a clone of it did not answer: the after-restore hook, POST /after: status 302"
    )
    assert hooked.get().text == ""


LATER = """
# The hook works in the trial, and fails in the clones that come later.
import os, time
born = time.time()
def do_POST(self):
    self.say('', 500 if time.time() > born + 4 else 200)
def do_GET(self):
    self.say(str(born))
Handler.do_POST = do_POST
Handler.do_GET = do_GET
"""


def test_an_after_restore_hook_that_fails_is_followed_by_an_init_within_the_request(version, app):
    hooked = version("hooked", app(LATER, 'after_restore_path = "/after"\n'))
    assert hooked.snapshot()["Bytes"] > 0
    born = hooked.get().text
    hooked.wait_zero()
    time.sleep(4)
    answer = hooked.get()
    assert (answer.status_code, answer.text == born) == (200, False)
    assert hooked.snapshot()["RestoresFailed"] == 1
    log = hooked.function.wait_log("Error Type: Snapshot.AfterRestoreFailed")
    assert re.search(r"^RESTORE_REPORT Restore Duration: [0-9.]+ ms\tStatus: error\tError Type: Snapshot", log, re.M)
    assert "restore failed, starting by init: the after-restore hook, POST /after: status 500" in log
    # One failure does not condemn the snapshot; several in a row do, and it is made again.
    made_at = hooked.snapshot()["MadeAt"]
    for _ in range(2):
        hooked.wait_zero()
        assert hooked.get().status_code == 200
    harness.wait_for(lambda: hooked.snapshot()["MadeAt"] not in ("", made_at), "another snapshot")
    assert hooked.daemon.status()["Snapshots"]["RestoresFailed"] == 3


CONNECTED = """
import socket
listener = socket.socket()
listener.bind(('127.0.0.1', 0))
listener.listen()
kept = socket.create_connection(listener.getsockname()), listener.accept()[0]
"""


def test_strict_connections_refuse_a_snapshot_with_an_open_connection(version, app):
    strict = version("strict", app(CONNECTED), strict_connections="true")
    assert "connect" in strict.snapshot()["NoneBecause"]
    assert strict.get().text == "ok"
    loose = version("loose", app(CONNECTED))
    assert loose.snapshot()["Bytes"] > 0
    assert loose.get().text == "ok"
    # What Thaw itself opened for readiness and warm-up does not count.
    own = version("own", KIT, strict_connections="true", warm_up='[{path = "/"}, {path = "/", body = "x"}]')
    assert own.snapshot()["Bytes"] > 0, own.snapshot()


def test_what_a_warm_up_has_done_is_in_the_snapshot(version):
    kit = version("kit", warm_up='[{path = "/"}, {path = "/x?a=1", body = "hello"}]')
    # One served by the warm-up of the environment that was frozen; those of the trial's clone are its own.
    assert kit.get().json()["served"] == 3


# ---- When images are no good any more


def restart(daemon):
    """Images are on disk alone then: the one of a trial stays in memory for the first restore."""
    daemon.stop()
    daemon.start()


def test_a_broken_image_falls_back_to_init_within_the_request_and_is_made_again(version):
    kit = version("kit")
    made_at = kit.snapshot()["MadeAt"]
    image = kit.images()[0]
    restart(kit.daemon)
    with open(image, "r+b") as file:
        file.seek(30)
        file.write(b"\xff\xff")
    answer = kit.get()
    assert answer.status_code == 200, answer.text
    assert "restore failed, starting by init" in kit.function.log()
    harness.wait_for(lambda: kit.snapshot()["MadeAt"] not in ("", made_at), "another snapshot")
    assert kit.snapshot()["RestoresFailed"] == 1
    kit.wait_zero()
    assert kit.get().json()["instance"] != answer.json()["instance"]
    assert kit.snapshot()["Restores"] == 1
    described = kit.daemon.run("describe", "kit:1").stdout
    assert "1, 1 failed, since the daemon's start" in described


def test_pages_that_rotted_while_the_daemon_was_down_reach_no_process(serve):
    daemon = serve()
    kit = Version(daemon, "kit")
    instance = kit.get().json()["instance"]
    kit.wait_zero()
    daemon.stop()
    image = kit.images()[0]
    with open(image, "r+b") as file:
        file.seek(image.stat().st_size // 2)  # among the pages, far from header and metadata
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    daemon.start()
    answer = kit.get()
    assert answer.status_code == 200, answer.text
    assert answer.json()["instance"] != instance
    assert "snapshot_removed function=kit" in daemon.log()
    kit.wait_on()


def test_an_image_of_another_boot_is_made_again_at_the_daemons_start(serve):
    daemon = serve()
    kit = Version(daemon, "kit")
    made_at = kit.snapshot()["MadeAt"]
    daemon.stop()
    # The boot's id stands in the metadata, under a checksum: the image of another boot is this one with its id changed
    # and the checksums made anew.
    boot = harness.read("/proc/sys/kernel/random/boot_id").strip().encode()
    change_metadata(kit.images()[0], boot, b"0" * len(boot))
    daemon.start()
    harness.wait_for(lambda: kit.snapshot()["MadeAt"] not in ("", made_at), "another snapshot")
    assert "snapshot_outdated function=kit version=1" in daemon.log()
    assert kit.snapshot()["RestoresFailed"] == 0
    kit.get()
    assert kit.snapshot()["Restores"] == 1


def test_an_image_of_another_boot_found_by_a_restore_is_made_again(version):
    kit = version("kit")
    made_at = kit.snapshot()["MadeAt"]
    boot = harness.read("/proc/sys/kernel/random/boot_id").strip().encode()
    restart(kit.daemon)
    change_metadata(kit.images()[0], boot, b"0" * len(boot))
    assert kit.get().status_code == 200
    assert "restore failed, starting by init" in kit.function.log()
    assert "another kernel, CPU or boot" in kit.function.log()
    assert "Error Type: Snapshot.OtherMachine" in kit.function.log()
    harness.wait_for(lambda: kit.snapshot()["MadeAt"] not in ("", made_at), "another snapshot")
    kit.wait_zero()
    kit.get()
    assert kit.snapshot()["Restores"] == 1


def change_metadata(image, old, new):
    """docs/formats/snapshot.md: the metadata lie behind the pages and their digests; two digests cover them."""
    data = bytearray(image.read_bytes())
    pages_end, digests_bytes, metadata_bytes = struct.unpack_from("<QQQ", data, 16)
    start = pages_end + digests_bytes
    metadata = bytes(data[start : start + metadata_bytes])
    assert old in metadata
    data[start : start + metadata_bytes] = metadata = metadata.replace(old, new)
    data[72:104] = hashlib.sha256(metadata).digest()
    data[104:136] = hashlib.sha256(bytes(data[:104])).digest()
    image.write_bytes(data)


# ---- Restarts and deletion


def test_a_restart_of_the_daemon_keeps_snapshots_and_states(serve):
    daemon = serve()
    kit = Version(daemon, "kit")
    failed = Version(daemon, "failed", environment__INIT="exit")
    before = kit.configuration(), failed.configuration()
    instance = kit.get().json()["instance"]
    kit.wait_zero()
    daemon.stop()
    daemon.start()
    after = kit.configuration(), failed.configuration()
    for one, other in zip(before, after):
        for key in ("State", "SnapStart"):
            assert one[key] == other[key]
    assert after[1]["StateReason"] == before[1]["StateReason"]
    assert after[0]["Thaw"]["SnapshotState"]["MadeAt"] == before[0]["Thaw"]["SnapshotState"]["MadeAt"]
    assert kit.get().json()["instance"] == instance


@pytest.mark.parametrize("step", ["init", "warm-up", "freeze", "trial restore"])
def test_a_daemon_killed_while_a_version_is_pending_makes_it_again(serve, step):
    daemon = serve()
    settings = {"environment__INIT": "slow", "environment__INIT_S": "1"} if step == "init" else {}
    kit = Version(daemon, "kit", wait=False, warm_up='[{path = "/sleep?ms=500"}]', **settings)
    harness.wait_for(lambda: kit.snapshot()["Making"].startswith(step) or not kit.snapshot()["Making"], step, every_s=0)
    daemon.kill()
    assert len(kit.images()) <= 1
    daemon.start()
    assert kit.wait_made()["State"] == "Active"
    kit.wait_on()
    assert kit.get().status_code == 200
    assert sorted(path.suffix for path in (daemon.data / "snapshots").iterdir()) == [".img", ".json"]


def test_deleting_a_version_deletes_its_snapshot_also_when_it_was_not_used_since_the_start(serve):
    daemon = serve()
    kit = Version(daemon, "kit")
    daemon.stop()
    daemon.start()
    assert kit.images()
    assert daemon.request("DELETE", "/2015-03-31/functions/kit?Qualifier=1").status_code == 204
    assert not list((daemon.data / "snapshots").iterdir())
    kit.publish()
    kit.wait_made()
    assert kit.number == "2" and kit.images()
    assert kit.function.delete().status_code == 204
    assert not list((daemon.data / "snapshots").iterdir())


def test_deleting_a_version_that_is_being_made_leaves_nothing(version):
    kit = version("kit", wait=False, warm_up='[{path = "/sleep?ms=15000"}]')
    harness.wait_for(lambda: kit.snapshot()["Making"].startswith("warm-up"), "the warm-up")
    assert kit.daemon.request("DELETE", "/2015-03-31/functions/kit?Qualifier=1").status_code == 204
    kit.wait_zero()
    assert not list((kit.daemon.data / "snapshots").iterdir())
    assert kit.daemon.status()["Snapshots"]["Pending"] == 0
    kit.publish()
    assert kit.number == "2"


def test_deleting_versions_while_they_are_frozen_leaves_nothing_that_works_on(version):
    kit = version("kit")
    for delay_ms in range(0, 30, 2):
        assert kit.daemon.request("DELETE", f"/2015-03-31/functions/kit?Qualifier={kit.number}").status_code == 204
        kit.publish()
        harness.wait_for(lambda: kit.snapshot()["Making"] not in ("waiting", "init"), "the freeze", every_s=0)
        time.sleep(delay_ms / 1000)
    kit.function.delete()
    harness.wait_for(lambda: kit.daemon.status()["Snapshots"]["Making"] == 0, "the end of all makings")
    kit.wait_zero()
    assert not list((kit.daemon.data / "snapshots").iterdir())


def assert_no_making_and_no_file(kit):
    def over():
        totals = kit.daemon.status()["Snapshots"]
        return totals["Making"] == 0 and totals["Pending"] == 0

    harness.wait_for(over, "the end of all makings")
    kit.wait_zero()
    assert not list((kit.daemon.data / "snapshots").iterdir())


def test_deleting_versions_at_any_step_of_their_making_leaves_no_file(version):
    kit = version("kit")

    def reached(step):
        snapshot = kit.snapshot()
        return snapshot["Making"].startswith(step) or snapshot["MadeAt"]

    for step in ["waiting", "init", "freeze", "trial restore"] * 3:
        assert kit.daemon.request("DELETE", f"/2015-03-31/functions/kit?Qualifier={kit.number}").status_code == 204
        kit.publish()
        harness.wait_for(lambda: reached(step), step, every_s=0)
    assert kit.daemon.request("DELETE", f"/2015-03-31/functions/kit?Qualifier={kit.number}").status_code == 204
    assert_no_making_and_no_file(kit)


def test_a_version_deleted_before_its_publisher_has_heard_of_it_is_not_made(version):
    kit = version("kit")
    assert kit.daemon.request("DELETE", "/2015-03-31/functions/kit?Qualifier=1").status_code == 204

    def delete(number):
        with harness.requests.Session() as http:
            http.trust_env = False
            url = f"{kit.daemon.url}/2015-03-31/functions/kit?Qualifier={number}"
            harness.wait_for(lambda: http.delete(url, timeout=60).status_code == 204, "it to be deleted", every_s=0)

    for number in range(2, 32):
        with concurrent.futures.ThreadPoolExecutor(1) as clients:
            deleted = clients.submit(delete, number)
            kit.publish()
            deleted.result()
    assert_no_making_and_no_file(kit)


def test_requests_while_a_version_is_deleted_bring_nothing_back(version):
    kit = version("kit", idle_s=60, concurrency=4)
    statuses = set()

    def call():
        for _ in range(30):
            statuses.add(kit.get("/sleep?ms=5").status_code)

    with concurrent.futures.ThreadPoolExecutor(4) as clients:
        calls = [clients.submit(call) for _ in range(4)]
        harness.wait_for(lambda: statuses, "the first answer")
        assert kit.daemon.request("DELETE", "/2015-03-31/functions/kit?Qualifier=1").status_code == 204
        for one in calls:
            one.result()
    assert statuses <= {200, 404}
    kit.wait_zero()
    assert not list((kit.daemon.data / "snapshots").iterdir())


# ---- Disk


def test_snapshots_used_longest_ago_make_room_and_are_made_again_when_called(serve):
    daemon = serve(snapshots_max_mb=25)
    versions = [Version(daemon, name) for name in ("one", "two")]
    size = versions[0].snapshot()["Bytes"]
    assert 5 << 20 < size < 12 << 20, "this test is for images of which two fit and three do not"
    # The first is used, so the second is the one that goes.
    versions[0].get()
    versions.append(Version(daemon, "three"))
    for one in versions:
        one.wait_zero()
    assert [one.snapshot()["Bytes"] > 0 for one in versions] == [True, False, True]
    assert "removed to make room" in versions[1].snapshot()["NoneBecause"]
    snapshots = daemon.status()["Snapshots"]
    assert (snapshots["Count"], snapshots["RemovedForRoom"], snapshots["BytesMax"]) == (2, 1, 25 << 20)
    assert snapshots["Bytes"] <= 25 << 20
    assert " on disk" in daemon.run("status").stdout
    # It serves by init, and gets its snapshot back.
    assert versions[1].get().status_code == 200
    versions[1].wait_on()
    assert daemon.status()["Snapshots"]["Bytes"] <= 25 << 20


def test_a_snapshot_larger_than_all_may_be_is_refused(serve):
    daemon = serve(snapshots_max_mb=1)
    kit = Version(daemon, "kit")
    assert kit.configuration()["State"] == "Active"
    assert "snapshots_max_mb" in kit.snapshot()["NoneBecause"]
    assert kit.get().status_code == 200
    assert not kit.images()


def test_a_full_disk_leaves_an_active_version_and_is_tried_again(mount_tmpfs, serve):
    data = mount_tmpfs(24)
    daemon = serve(data=data)
    filler = data / "filler"
    kit = Version(daemon, "kit", wait=False, environment__INIT="slow", environment__INIT_S="1")
    free = os.statvfs(data).f_bavail * 4096
    filler.write_bytes(bytes(free - (3 << 20)))
    kit.wait_made()
    assert kit.configuration()["State"] == "Active"
    assert "full" in kit.snapshot()["NoneBecause"] or "No space" in kit.snapshot()["NoneBecause"]
    assert kit.get().status_code == 200
    assert not [path for path in (data / "snapshots").iterdir() if path.suffix != ".json"]
    filler.unlink()
    kit.wait_on()
    assert kit.get().status_code == 200
