"""Published versions with snapshot = true: the first start is an init, every later one a restore."""

import concurrent.futures
import re

import pytest

import harness

KIT = harness.FUNCTIONS / "kit"


class Version:
    """A published version of the kit, with what it has said of itself."""

    def __init__(self, daemon, name, path=KIT, **settings):
        self.function = daemon.deploy(path, name, snapshot="true", idle_s=1, **settings)
        self.daemon = daemon
        response = daemon.request("POST", f"/2015-03-31/functions/{name}/versions")
        assert response.status_code == 201, response.text
        self.url = f"/fn/{name}:{response.json()['Version']}"

    def get(self, path="/"):
        return self.daemon.get(self.url + path)

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


def test_the_second_start_is_a_restore(version):
    kit = version("kit")
    first = kit.get()
    assert first.status_code == 200, first.text
    assert len(kit.images()) == 1
    kit.wait_zero()
    second = kit.get()
    assert second.status_code == 200, second.text
    # The same initialised process, in another environment.
    assert second.json()["instance"] == first.json()["instance"]
    log = kit.function.wait_log("Billed Restore Duration")
    assert re.search(r"RESTORE_START Version: 1\n", log)
    assert re.search(r"RESTORE_REPORT Restore Duration: [0-9.]+ ms\n", log)
    assert re.search(r"REPORT .*\tRestore Duration: [0-9.]+ ms\tBilled Restore Duration: [0-9]+ ms\t", log)
    assert log.count("Init Duration") == 1


def test_a_burst_from_zero_is_served_by_clones(version):
    kit = version("kit", environments_max=6)
    kit.get()
    kit.wait_zero()
    with concurrent.futures.ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(lambda _: kit.get("/sleep?ms=400"), range(6)))
    assert [one.status_code for one in answers] == [200] * 6
    assert len({one.json()["instance"] for one in answers}) == 1, "all are clones of one process"
    assert kit.function.wait_log("Billed Restore Duration").count("RESTORE_REPORT") >= 2


def test_a_broken_image_falls_back_to_init_within_the_request(version):
    kit = version("kit")
    first = kit.get().json()["instance"]
    kit.wait_zero()
    image = kit.images()[0]
    with open(image, "r+b") as file:
        file.seek(30)
        file.write(b"\xff\xff")
    answer = kit.get()
    assert answer.status_code == 200, answer.text
    assert answer.json()["instance"] != first
    assert "restore failed, starting by init" in kit.function.log()
    # The init made another one.
    assert len(kit.images()) == 1
    kit.wait_zero()
    assert kit.get().json()["instance"] == answer.json()["instance"]


def test_what_cannot_be_frozen_serves_by_init_and_says_why(version, tmp_path):
    (tmp_path / "thaw.toml").write_text('command = ["python3", "app.py"]\n')
    (tmp_path / "app.py").write_text(
        "import http.server, os, subprocess\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200)\n"
        "        self.send_header('Content-Length', '2')\n"
        "        self.end_headers()\n"
        "        self.wfile.write(b'ok')\n"
        "http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()\n"
    )
    parent = version("parent", tmp_path)
    for _ in range(2):
        assert parent.get().text == "ok"
        parent.wait_zero()
    assert not parent.images()
    assert "no snapshot, so this version starts by init: the function has child processes" in parent.function.log()


def test_a_restart_of_the_daemon_keeps_snapshots_and_a_deleted_version_has_none(serve):
    daemon = serve()
    kit = Version(daemon, "kit")
    instance = kit.get().json()["instance"]
    kit.wait_zero()
    daemon.stop()
    daemon.start()
    assert kit.get().json()["instance"] == instance
    assert daemon.request("DELETE", "/2015-03-31/functions/kit?Qualifier=1").status_code == 204
    harness.wait_for(lambda: not kit.images(), "the snapshot to go")


def test_pages_that_rotted_while_the_daemon_was_down_reach_no_process(serve):
    daemon = serve()
    kit = Version(daemon, "kit")
    first = kit.get().json()["instance"]
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
    assert answer.json()["instance"] != first
    assert "snapshot_removed function=kit" in daemon.log()


def test_the_latest_version_has_no_snapshot(serve):
    daemon = serve()
    function = daemon.deploy(KIT, "kit", snapshot="true", idle_s=1)
    first = function.get().json()["instance"]
    harness.wait_for(lambda: not function.processes(), "no process of the function")
    assert function.get().json()["instance"] != first
    assert not list((daemon.data / "snapshots").glob("*.img"))
