"""Snapshots while something is killed: whoever it hits, nothing is left behind and the next request is answered.

Moments are random, from a seed that the test names when it fails; THAW_FAULT_ROUNDS asks for more of them.
"""

import concurrent.futures
import contextlib
import os
import random
import re
import signal
import stat
import threading
import time

import pytest

import harness

KIT = harness.FUNCTIONS / "kit"
ROUNDS = int(os.environ.get("THAW_FAULT_ROUNDS", "3"))

# Ready, and then: every thread stopped by a signal, or threads that never pause.
HUNG = """\
import http.server, os, signal, threading, time
MODE = os.environ["MODE"]
def spin():
    while True:
        pass
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args):
        pass
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
        self.wfile.flush()
        if MODE == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
if MODE == "spinning":
    for _ in range(4):
        threading.Thread(target=spin, daemon=True).start()
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


# ---- What is under test ----------------------------------------------------------------------------------------------


class Kit:
    """The kit, deployed and published, with its snapshot."""

    def __init__(self, daemon, name="kit", path=KIT, **settings):
        self.daemon = daemon
        self.function = daemon.deploy(path, name, **{"snapshot": "true", "idle_s": 1, **settings})
        self.number = None

    def publish(self):
        answer = self.daemon.request("POST", f"/2015-03-31/functions/{self.function.name}/versions")
        assert answer.status_code == 201, answer.text
        self.number = answer.json()["Version"]

    def made(self):
        """Publishes, and waits until the version has its snapshot."""
        self.publish()
        harness.wait_for(lambda: self.state() != "Pending", "the version to be made")
        assert self.get().status_code == 200
        harness.wait_for(self.images, "the snapshot")
        return self

    def state(self):
        answer = self.daemon.get(f"/2015-03-31/functions/{self.function.name}?Qualifier={self.number}")
        return answer.json().get("Configuration", {}).get("State", "Active") if answer.status_code == 200 else "Gone"

    def get(self, path="/"):
        return self.daemon.get(f"/fn/{self.function.name}:{self.number}{path}")

    def thaw(self):
        return self.daemon.get(f"/2015-03-31/functions/{self.function.name}?Qualifier={self.number}").json()["Thaw"]

    def view(self):
        return self.thaw()["Environments"]

    def queued(self):
        return self.thaw()["Queued"]

    def images(self):
        return sorted((self.daemon.data / "snapshots").glob("*.img"))

    def wait_zero(self):
        harness.wait_for(lambda: not self.function.processes(), "no process of the function")


def spawner_of(daemon):
    keeper = harness.children_of(daemon.process.pid)[0]
    return harness.wait_for(lambda: harness.children_of(keeper), "the spawner's working half")[0]


def pid_namespace(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""


def is_freeze(pid, spawner):
    """Whether a child of the spawner is a freeze: in its own PID namespace, unlike environments, and not the pager."""
    return pid_namespace(pid) == pid_namespace(spawner) and harness.read(f"/proc/{pid}/comm") != "thaw-pager\n"


def freezes_of(spawner):
    return [pid for pid in harness.children_of(spawner) if is_freeze(pid, spawner)]


def pagers_of(spawner):
    return [pid for pid in harness.children_of(spawner) if harness.read(f"/proc/{pid}/comm") == "thaw-pager\n"]


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def files_without_a_name(daemon):
    """Files of the data folder's file system that a process of the daemon holds open and no folder names."""
    device = os.stat(daemon.data).st_dev
    found = []
    for pid in [daemon.process.pid, *daemon.spawner_processes()]:
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    info = os.stat(f"/proc/{pid}/fd/{fd}")
                    if stat.S_ISREG(info.st_mode) and info.st_nlink == 0 and info.st_dev == device:
                        found.append(f"{pid}: {os.readlink(f'/proc/{pid}/fd/{fd}')}, {info.st_size} bytes")
    return found


def assert_at_rest(daemon, images_max):
    """With no function running: nothing of one is left, in processes, groups, files and mounts."""
    harness.wait_for(lambda: not daemon.function_processes(), "no process of any function")
    harness.wait_for(lambda: not freezes_of(spawner_of(daemon)), "no freeze to be under way", 15)
    harness.wait_for(lambda: not files_without_a_name(daemon), "no file without a name", 15)
    images = list((daemon.data / "snapshots").glob("*.img"))
    assert len(images) <= images_max, images
    # Groups of environments are those of processes that live: prepared ones, four by default.
    def groups():
        return {group.name for root in daemon.cgroup_folders() for group in root.rglob("e[0-9]*") if group.is_dir()}

    def groups_in_use():
        paths = [harness.read(f"/proc/{pid}/cgroup") for pid in daemon.group_processes()]
        return {name for path in paths for name in re.findall(r"/(e\d+)$", path, re.M)}

    harness.wait_for(lambda: groups() <= groups_in_use() | {""}, "no group without a process", 15)
    daemon.assert_no_mounts()


def serves_again(kit):
    """The next answer is right. One that reached a killed process before the daemon knew of its end is not the next."""

    def answer():
        one = kit.get()
        if one.status_code == 502 and one.json().get("code") == "Function.Crashed":
            return None
        assert one.status_code == 200, one.text
        return one

    return harness.wait_for(answer, "an answer by another environment", 5, 0.05)


def in_background(call):
    executor = concurrent.futures.ThreadPoolExecutor(1)
    future = executor.submit(call)
    executor.shutdown(wait=False)
    return future


def answered(future):
    """The answer of a request whose environment or daemon may have been killed: one that is well formed, or none."""
    try:
        answer = future.result(harness.HANG_S)
    except harness.requests.exceptions.ConnectionError:
        return None
    if answer is None:
        return None
    assert answer.status_code in (200, 500, 502, 503, 504), answer.text
    if answer.status_code != 200:
        assert answer.json()["kind"], answer.text
    return answer


@pytest.fixture
def seed(request):
    """A seed for each round; told when the test fails."""
    base = int(os.environ.get("THAW_FAULT_SEED", "1"))

    def of(number):
        value = base * 1000 + number
        request.node.user_properties.append(("seed", value))
        print(f"round {number}: seed {value}")
        return random.Random(value)

    return of


# ---- Clones and restores ---------------------------------------------------------------------------------------------


def test_a_killed_clone_is_replaced_by_another(serve, seed):
    daemon = serve()
    kit = Kit(daemon).made()
    for number in range(ROUNDS):
        draw = seed(number)
        assert kit.get().status_code == 200
        asked = in_background(lambda: kit.get("/sleep?ms=300"))
        time.sleep(draw.uniform(0, 0.2))
        for pid in kit.function.processes():
            kill(pid)
        answered(asked)
        serves_again(kit)
    kit.wait_zero()
    assert kit.get().status_code == 200
    kit.wait_zero()
    assert_at_rest(daemon, 1)


def test_a_killed_restore_costs_one_request_at_most(serve, seed):
    daemon = serve()
    kit = Kit(daemon).made()
    for number in range(3 * ROUNDS):
        draw = seed(number)
        kit.wait_zero()
        asked = in_background(kit.get)
        time.sleep(draw.uniform(0, 0.03))
        # Any process in the environments' groups, also of those that are prepared: one of them is becoming the clone.
        if victims := daemon.group_processes():
            kill(draw.choice(victims))
        answered(asked)
        serves_again(kit)
    kit.wait_zero()
    assert_at_rest(daemon, 1)
    assert kit.get().status_code == 200


def test_a_killed_pager_ends_the_clones_that_it_served(serve, seed):
    daemon = serve()
    kit = Kit(daemon, environments_max=3).made()
    kit.wait_zero()
    assert kit.get().status_code == 200
    if not pagers_of(spawner_of(daemon)):
        pytest.skip("restores here need no pager")
    for number in range(ROUNDS):
        draw = seed(number)
        asked = [in_background(lambda: kit.get("/sleep?ms=200")) for _ in range(3)]
        time.sleep(draw.uniform(0, 0.25))
        for pager in pagers_of(spawner_of(daemon)):
            kill(pager)
        for one in asked:
            answered(one)
        serves_again(kit)
    kit.wait_zero()
    assert_at_rest(daemon, 1)


# ---- The freeze ------------------------------------------------------------------------------------------------------


def during_a_freeze(daemon, kit, draw, act):
    """Publishes, and acts on the freeze's process once it is seen, a random moment later. False when it was too fast."""
    spawner = spawner_of(daemon)

    def first_request():
        kit.publish()
        return kit.get()

    asked = in_background(first_request)
    seen = None
    until = time.monotonic() + 20
    path = f"/proc/{spawner}/task/{spawner}/children"
    # The request may be answered by an init that is faster than the making.
    over = lambda: asked.done() and kit.state() != "Pending"
    while seen is None and time.monotonic() < until and not over():
        for pid in map(int, harness.read(path).split()):
            if is_freeze(pid, spawner):
                seen = pid
                break
    if seen is not None:
        time.sleep(draw.uniform(0, 0.01))
        act(seen)
    answered(asked)
    return seen is not None


def republish(kit, number):
    """Another revision, so that the next publish makes a version."""
    done = kit.daemon.run("deploy", KIT, "--name", kit.function.name, "--env", f"ROUND={number}", "--set", "snapshot=true",
                          "--set", "idle_s=1")
    assert done.returncode == 0, done.stderr


def test_a_killed_freeze_leaves_a_function_that_serves(serve, seed):
    daemon = serve()
    kit = Kit(daemon)
    seen = 0
    for number in range(ROUNDS):
        republish(kit, number)
        seen += during_a_freeze(daemon, kit, seed(number), kill)
        harness.wait_for(lambda: kit.state() != "Pending", "the version to be made or to fail")
        if kit.state() != "Failed":
            serves_again(kit)
    assert seen > 0, "no freeze was seen"
    kit.wait_zero()
    assert_at_rest(daemon, ROUNDS)
    # And the next version gets its snapshot.
    republish(kit, "last")
    images = len(kit.images())
    kit.publish()
    harness.wait_for(lambda: kit.state() != "Pending", "the version to be made")
    assert kit.get().status_code == 200
    harness.wait_for(lambda: len(kit.images()) == images + 1, "a snapshot of the next version")


@pytest.mark.parametrize("victim", ["function", "stub"])
def test_a_function_killed_during_its_freeze_does_no_harm(serve, seed, victim):
    daemon = serve()
    kit = Kit(daemon)
    seen = 0

    def act(_freeze):
        for pid in kit.function.processes():
            is_stub = "thaw-stub" in harness.read(f"/proc/{pid}/comm")
            if is_stub == (victim == "stub"):
                kill(pid)

    for number in range(ROUNDS):
        republish(kit, number)
        seen += during_a_freeze(daemon, kit, seed(number), act)
        harness.wait_for(lambda: kit.state() != "Pending", "the version to be made or to fail")
        if kit.state() != "Failed":
            serves_again(kit)
    assert seen > 0, "no freeze was seen"
    kit.wait_zero()
    assert_at_rest(daemon, ROUNDS)


@pytest.mark.parametrize("mode", ["stopped", "spinning"])
def test_a_function_that_hangs_is_frozen_or_refused_within_bounds(serve, tmp_path, mode):
    (tmp_path / "thaw.toml").write_text('command = ["python3", "app.py"]\ntimeout_s = 2\ninit_timeout_s = 20\n')
    (tmp_path / "app.py").write_text(HUNG)
    daemon = serve()
    hung = Kit(daemon, "hung", tmp_path, environment__MODE=f'"{mode}"')
    other = daemon.deploy(KIT, "other", idle_s=1)
    began = time.monotonic()
    hung.publish()
    asked = in_background(hung.get)
    assert other.get().status_code == 200, "another function is served meanwhile"
    answered(asked)
    harness.wait_for(lambda: hung.state() != "Pending", "the version to be made or to fail", 40)
    assert time.monotonic() - began < 45
    if mode == "spinning":
        assert hung.get().text == "ok"
    assert other.get().status_code == 200
    assert hung.function.delete().status_code == 204
    harness.wait_for(lambda: not hung.function.processes(), "the hung function to be gone")
    assert_at_rest(daemon, 0)


# ---- Spawner and daemon ----------------------------------------------------------------------------------------------


def restart(daemon):
    harness.wait_for(lambda: daemon.process.poll() is not None, "the daemon's end")
    daemon.assert_nothing_left()
    daemon.start()


@pytest.mark.parametrize("victim", ["spawner", "keeper", "daemon"])
def test_killed_in_the_middle_of_restores(serve, seed, victim):
    daemon = serve()
    kit = Kit(daemon, environments_max=4).made()
    instance = kit.get().json()["instance"]
    for number in range(ROUNDS):
        draw = seed(number)
        kit.wait_zero()
        asked = [in_background(lambda: kit.get("/sleep?ms=100")) for _ in range(4)]
        time.sleep(draw.uniform(0, 0.1))
        kill({"daemon": lambda: daemon.process.pid, "keeper": lambda: harness.children_of(daemon.process.pid)[0],
              "spawner": lambda: spawner_of(daemon)}[victim]())
        for one in asked:
            answered(one)
        restart(daemon)
        # The snapshot outlives them all.
        answer = kit.get()
        assert answer.status_code == 200, answer.text
        assert answer.json()["instance"] == instance
    kit.wait_zero()
    assert_at_rest(daemon, 1)


@pytest.mark.parametrize("victim", ["spawner", "keeper"])
def test_a_lost_spawner_costs_no_image_and_is_asked_for_nothing_again(serve, victim):
    daemon = serve(drain_s=20)
    kit = Kit(daemon, environments_max=8, concurrency=1).made()
    instance = kit.get().json()["instance"]
    kit.wait_zero()
    image = kit.images()[0].stat()
    spawner = spawner_of(daemon)
    keeper = harness.children_of(daemon.process.pid)[0]
    # It stands still, so that all restores that may be under way at a time are, and the other requests wait.
    os.kill(spawner, signal.SIGSTOP)
    asked = [in_background(lambda: harness.requests.get(f"{daemon.url}/fn/kit:{kit.number}/", timeout=60)) for _ in range(8)]
    starting = lambda: len([one for one in kit.view() if one["State"] == "starting"])
    harness.wait_for(lambda: starting() >= 4 and kit.queued() == 8, "restores under way")
    under_way = starting()
    lost_at = time.monotonic()
    if victim == "spawner":
        kill(spawner)
    else:
        kill(keeper)
        os.kill(spawner, signal.SIGCONT)
    answers = [one.result(harness.HANG_S) for one in asked]
    # A clone that was there just before serves, or ends while it does; all others hear at once that there will be none.
    there = [answer for answer in answers if answer.status_code in (200, 502)]
    assert len(there) <= under_way
    lost = [answer for answer in answers if answer not in there]
    assert lost, "the spawner was gone too late"
    for answer in lost:
        harness.assert_error(answer, 503, "Unavailable")
    assert time.monotonic() - lost_at < 10, "nobody waits for what cannot come"
    harness.wait_for(lambda: daemon.process.poll() is not None, "the daemon's end")
    log = daemon.log()
    assert "spawner_lost" in log
    assert "snapshot_removed" not in log
    assert "environment_start_failed" not in log and log.count("restore_failed") <= under_way, log
    restart(daemon)
    assert kit.images()[0].stat().st_ino == image.st_ino
    assert kit.get().json()["instance"] == instance
    kit.wait_zero()
    assert_at_rest(daemon, 1)


@pytest.mark.parametrize("victim", ["spawner", "daemon"])
def test_killed_in_the_middle_of_a_freeze(serve, seed, victim):
    daemon = serve()
    kit = Kit(daemon)
    seen = 0
    for number in range(ROUNDS):
        republish(kit, number)
        pid = daemon.process.pid if victim == "daemon" else spawner_of(daemon)
        if not during_a_freeze(daemon, kit, seed(number), lambda _: kill(pid)):
            continue
        seen += 1
        restart(daemon)
        harness.wait_for(lambda: kit.state() != "Pending", "the version to be made or to fail")
        if kit.state() != "Failed":
            serves_again(kit)
    assert seen > 0, "no freeze was seen"
    kit.wait_zero()
    assert_at_rest(daemon, ROUNDS)


# ---- Images that change below ----------------------------------------------------------------------------------------


def damage(draw, image):
    """What may befall a file: it goes, it is cut, it is emptied, a byte of its head turns."""
    with contextlib.suppress(FileNotFoundError):
        size = image.stat().st_size
        how = draw.choice(["remove", "cut", "empty", "turn"]) if size > 0 else "remove"
        if how == "remove":
            image.unlink()
        elif how == "cut":
            os.truncate(image, draw.randrange(size))
        elif how == "empty":
            os.truncate(image, 0)
        else:
            with open(image, "r+b") as file:
                file.seek(draw.randrange(min(size, 64)))
                file.write(b"\xff")


def test_restores_side_by_side_while_images_are_damaged(serve, seed):
    daemon = serve()
    kit = Kit(daemon, environments_max=6).made()
    draw = seed(0)
    over = threading.Event()
    failures = []

    def ask():
        while not over.is_set():
            answer = harness.requests.get(f"{daemon.url}/fn/{kit.function.name}:{kit.number}/", timeout=60)
            if answer.status_code != 200:
                failures.append(answer.json())

    askers = [threading.Thread(target=ask) for _ in range(6)]
    for asker in askers:
        asker.start()
    for _ in range(4 * ROUNDS):
        time.sleep(draw.uniform(0, 0.5))
        for image in kit.images():
            damage(draw, image)
        # Environments go, so that the next requests want restores.
        for pid in kit.function.processes():
            kill(pid)
    over.set()
    for asker in askers:
        asker.join(harness.HANG_S)
        assert not asker.is_alive()
    # A request whose environment was killed beneath it may fail; none may for the image's sake.
    codes = {one.get("code") for one in failures}
    assert codes <= {"Function.Crashed", "Init.Crashed", "Init.StartFailed"}, failures
    assert daemon.process.poll() is None
    kit.wait_zero()
    serves_again(kit)
    kit.wait_zero()
    assert_at_rest(daemon, 1)


def test_versions_come_and_go_under_load(serve, seed):
    daemon = serve()
    kit = Kit(daemon, environments_max=4)
    draw = seed(0)
    for number in range(2 * ROUNDS):
        republish(kit, number)
        kit.publish()
        path = f"/fn/kit:{kit.number}/sleep?ms=20"
        with concurrent.futures.ThreadPoolExecutor(4) as clients:
            asked = [clients.submit(harness.requests.get, daemon.url + path, timeout=60) for _ in range(12)]
            time.sleep(draw.uniform(0, 0.6))
            deleted = daemon.request("DELETE", f"/2015-03-31/functions/kit?Qualifier={kit.number}")
            assert deleted.status_code in (204, 409), deleted.text
            for one in asked:
                assert one.result(60).status_code in (200, 404, 409, 503), one.result().text
        if deleted.status_code == 409:
            harness.wait_for(lambda: kit.state() != "Pending", "the version to be made")
            assert daemon.request("DELETE", f"/2015-03-31/functions/kit?Qualifier={kit.number}").status_code == 204
    harness.wait_for(lambda: not kit.images(), "the snapshots to go with their versions")
    kit.wait_zero()
    assert_at_rest(daemon, 0)
