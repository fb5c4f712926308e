"""Deploying: what works, and what is refused with nothing half-deployed."""

import io
import os
import pathlib
import shutil
import stat
import zipfile

import pytest

import harness

KIT = harness.FUNCTIONS / "kit"
MANIFEST = b'name = "bad"\ncommand = ["python3", "app.py"]\n'


@pytest.fixture
def unchanged(daemon):
    """The test deploys nothing, and leaves nothing of its attempts in the data folder."""

    def packages():
        return {path.name for path in (daemon.data / "packages").iterdir()}

    functions, held = daemon.json("list"), packages()
    yield
    assert daemon.json("list") == functions
    # Packages of functions that were deleted before may go at any time; none comes.
    assert packages() <= held
    harness.wait_for(lambda: not list((daemon.data / "uploads").iterdir()), "the uploads to be cleared", 15)
    harness.wait_for(lambda: not list((daemon.data / "staging").iterdir()), "the staging folder to be cleared", 15)
    assert daemon.get("/healthz").status_code == 200


def put(daemon, body, name="bad", config=""):
    return daemon.request("PUT", f"/thaw/v1/functions/{name}/package", params={"config": config} if config else None, data=body)


def zip_of(*entries):
    """entries: (name or ZipInfo, bytes)"""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def link(name, target):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target


def refused(response, *words, status=(400, 413)):
    assert response.status_code in status, response.text
    message = response.json()["Message"]
    for word in words:
        assert word in message, message
    assert "/tmp/" not in message and "staging" not in message, "a path of the host goes to the caller"
    return message


def test_a_folder(daemon, deploy):
    function = deploy()
    assert function.get().status_code == 200


def test_a_zip(daemon, deploy, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "kit"), "zip", KIT)
    function = daemon.deploy(archive, "zipped")
    assert function.get().status_code == 200
    function.delete()


def test_a_zip_by_the_api_alone(daemon):
    response = put(daemon, zip_of(("thaw.toml", (KIT / "thaw.toml").read_bytes()), ("app.py", (KIT / "app.py").read_bytes())), "by-api")
    assert response.status_code == 201
    assert response.json()["FunctionName"] == "by-api"
    function = harness.Function(daemon, "by-api")
    assert function.get().status_code == 200
    assert function.delete().status_code == 204


def test_the_name_may_come_from_the_manifest(daemon):
    body = zip_of(("thaw.toml", b'name = "named"\n' + (KIT / "thaw.toml").read_bytes()), ("app.py", (KIT / "app.py").read_bytes()))
    assert put(daemon, body, "-").json()["FunctionName"] == "named"
    assert harness.Function(daemon, "named").delete().status_code == 204


def test_a_link_inside_the_package_and_an_executable_work(daemon, tmp_path):
    package = tmp_path / "linked"
    shutil.copytree(KIT, package)
    (package / "bin").mkdir()
    (package / "bin" / "run").write_text('#!/bin/sh\nexec python3 "$(dirname "$0")/../alias.py"\n')
    (package / "bin" / "run").chmod(0o755)
    (package / "alias.py").symlink_to("app.py")
    (package / "thaw.toml").write_text('command = ["bin/run"]\n')
    function = daemon.deploy(package, "linked")
    assert function.get().status_code == 200
    function.delete()


def test_deploying_the_same_name_again_updates_it(daemon, deploy):
    function = deploy(environment__VERSION="1")
    assert function.get().json()["version"] == "1"
    deploy(name=function.name, environment__VERSION="2")
    assert function.get().json()["version"] == "2"
    deploy(name=function.name.upper(), environment__VERSION="3")
    assert function.get().json()["version"] == "3"


@pytest.mark.parametrize("body", [b"", b"not a zip", b"PK\x03\x04" + b"\x00" * 100, os.urandom(100000)], ids=["empty", "text", "header", "noise"])
def test_what_is_no_zip_is_refused(daemon, unchanged, body):
    refused(put(daemon, body), "zip")


def test_a_zip_cut_short_is_refused(daemon, unchanged):
    whole = zip_of(("thaw.toml", MANIFEST), ("app.py", os.urandom(5000)))
    for size in (len(whole) // 2, len(whole) - 10, len(whole) - 1):
        refused(put(daemon, whole[:size]))


def test_a_zip_with_a_wrong_checksum_is_refused(daemon, unchanged):
    content = os.urandom(5000)
    whole = zip_of(("thaw.toml", MANIFEST), ("app.py", content))
    broken = bytearray(whole)
    broken[whole.index(b"app.py") + 200] ^= 0xFF
    refused(put(daemon, bytes(broken)))


@pytest.mark.parametrize("name", ["../escape", "a/../../escape", "/etc/escape", "a/b/../../../escape", "..", "a\x01b"])
def test_names_that_lead_out_are_refused_by_name(daemon, unchanged, name):
    refused(put(daemon, zip_of(("thaw.toml", MANIFEST), (zipfile.ZipInfo(name), b"x"))))
    assert not pathlib.Path("/etc/escape").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "entries",
    [
        [link("out", "../..")],
        [link("out", "/etc/passwd")],
        [link("deep/out", "../../x")],
        [link("folder", "."), (zipfile.ZipInfo("folder/../../x"), b"x")],
        [link("through", "/tmp"), (zipfile.ZipInfo("through/x"), b"x")],
        [link("again", "app.py"), (zipfile.ZipInfo("again"), b"overwrites through the link")],
    ],
    ids=["up", "absolute", "deeper", "dots-behind-link", "through-link", "twice"],
)
def test_links_that_escape_are_refused(daemon, unchanged, entries):
    refused(put(daemon, zip_of(("thaw.toml", MANIFEST), ("app.py", b""), *entries)))


def test_a_zip_bomb_is_refused_without_filling_the_disk(daemon, unchanged):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        archive.writestr("thaw.toml", MANIFEST)
        with archive.open("zeros", "w", force_zip64=True) as entry:
            for _ in range(100):
                entry.write(bytes(1 << 20))
    before = shutil.disk_usage(daemon.data).free
    refused(put(daemon, bomb.getvalue()))
    assert before - shutil.disk_usage(daemon.data).free < 80 << 20


def test_too_many_entries_are_refused(daemon, unchanged):
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("thaw.toml", MANIFEST)
        for number in range(20001):
            archive.writestr(zipfile.ZipInfo(f"f{number}"), b"")
    refused(put(daemon, body.getvalue()))


@pytest.mark.parametrize(
    "manifest, words",
    [
        (b"", ["command"]),
        (b"comand = ['x']", ["comand"]),
        (b"command = ['x']\nmemory_mb = 127", ["memory_mb", "127", "128"]),
        (b"command = ['x']\nmemory_mb = 10241", ["memory_mb", "10240"]),
        (b"command = ['x']\nmemory_mb = '512'", ["memory_mb"]),
        (b"command = ['x']\ntimeout_s = 0", ["timeout_s"]),
        (b"command = ['x']\ntimeout_s = 901", ["timeout_s", "900"]),
        (b"command = ['x']\nconcurrency = 0", ["concurrency"]),
        (b"command = ['x']\nport = 80", ["port"]),
        (b"command = ['x']\nidle_s = 999999999999999999999", []),
        (b"command = []", ["command"]),
        (b"command = 5", ["command"]),
        (b"command = 'a | b'", ["command"]),
        (b"command = ['x']\nengine = 'thaw-onnx'", ["engine"]),
        (b"engine = 'no-engine'", ["engine", "no-engine"]),
        (b"command = ['x']\n[environment]\nPORT = '1'", ["PORT"]),
        (b"command = ['x']\n[environment]\nA = 1", ["A"]),
        (b"command = ['x']\nreadiness_path = 'x'", ["readiness_path"]),
        (b"command = ['x']\nname = '-bad-'", ["name"]),
        (b"command = ['x']\ncommand = ['y']", []),
        (b"command = [", []),
        (b"\xff\xfe", []),
        (b"command = ['x']\n#" + b"a" * 300000, []),
    ],
    ids=lambda value: repr(value[-40:]) if isinstance(value, bytes) else "",
)
def test_bad_manifests_are_refused_by_key(daemon, unchanged, manifest, words):
    refused(put(daemon, zip_of(("thaw.toml", manifest), ("app.py", b""))), *words)


def test_bad_overrides_are_refused_by_key(daemon, unchanged):
    body = zip_of(("thaw.toml", b"command = ['x']"))
    refused(put(daemon, body, config="memory_mb = 1"), "overrides", "memory_mb")
    refused(put(daemon, body, config="memory_md = 512"), "overrides", "memory_md")


def test_a_package_without_a_manifest_is_refused(daemon, unchanged):
    refused(put(daemon, zip_of(("app.py", b""))), "thaw.toml")
    refused(put(daemon, zip_of(("folder/thaw.toml", MANIFEST))), "thaw.toml")


@pytest.mark.parametrize("name", ["a.b", "a" * 65, "%20", "%C3%A4", "a%2Fb", "%00", "%FF"])
def test_bad_names_are_refused(daemon, unchanged, name):
    refused(put(daemon, zip_of(("thaw.toml", b"command = ['x']")), name))


def test_another_name_than_the_manifests_is_refused(daemon, unchanged):
    refused(put(daemon, zip_of(("thaw.toml", MANIFEST)), "other"), "bad")


def test_an_upload_that_ends_early_deploys_nothing(daemon, unchanged):
    body = zip_of(("thaw.toml", MANIFEST), ("app.py", os.urandom(100000)))
    with daemon.connect() as connection:
        connection.sendall(b"PUT /thaw/v1/functions/bad/package HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body))
        connection.sendall(body[: len(body) // 2])


def test_an_upload_beyond_the_bound_is_refused(serve):
    daemon = serve(upload_max_mb=1)
    response = put(daemon, zip_of(("thaw.toml", MANIFEST), ("app.py", os.urandom(2 << 20))))
    assert response.status_code == 413
    assert "upload_max_mb" in response.json()["Message"]
    assert daemon.json("list") == {"Functions": []}


# ---- The same through the command line: exit status and message


def run_deploy(daemon, *words):
    done = daemon.run("deploy", *words)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stderr.startswith("error: ")
    return done.stderr


def test_the_command_line_names_what_is_wrong(daemon, unchanged, tmp_path):
    assert "no-such-folder" in run_deploy(daemon, tmp_path / "no-such-folder")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "thaw.toml" in run_deploy(daemon, empty)
    (tmp_path / "text.zip").write_text("this is not a zip")
    assert "zip" in run_deploy(daemon, tmp_path / "text.zip", "--name", "bad")
    bad = tmp_path / "bad"
    shutil.copytree(KIT, bad)
    (bad / "thaw.toml").write_text("command = ['x']\nmemory_mb = 1\n")
    message = run_deploy(daemon, bad)
    assert "memory_mb" in message and "128" in message
    (bad / "thaw.toml").write_text("command = ['python3', 'app.py']\n")
    (bad / "out").symlink_to("/etc/passwd")
    assert "out" in run_deploy(daemon, bad)
    (bad / "out").unlink()
    (bad / "thaw.toml").write_text("command = ['./missing']\n")
    assert "missing" in run_deploy(daemon, bad)
    (bad / "thaw.toml").write_text("command = ['python3', 'app.py']\n")
    os.mkfifo(bad / "pipe")
    assert "pipe" in run_deploy(daemon, bad)


def test_a_full_disk_is_said_and_nothing_is_half_deployed(mount_tmpfs, serve, tmp_path):
    """The data folder is a file system of 24 MB of its own."""
    disk = mount_tmpfs(24)
    daemon = serve(data=disk)
    function = daemon.deploy(KIT, "small")
    listed = daemon.json("list")
    package = tmp_path / "large"
    shutil.copytree(KIT, package)
    (package / "data").write_bytes(os.urandom(30 << 20))
    done = daemon.run("deploy", package, "--name", "large")
    assert done.returncode == 1
    assert "disk is full" in done.stderr
    # Fits as a zip, but not unpacked beside it.
    (package / "data").write_bytes(os.urandom(14 << 20))
    done = daemon.run("deploy", package, "--name", "large")
    assert done.returncode == 1
    assert "disk is full" in done.stderr
    assert daemon.json("list") == listed
    harness.wait_for(lambda: shutil.disk_usage(disk).free > 20 << 20, "the disk to be cleared", 15)
    assert function.get().status_code == 200
    # What fits is deployed.
    (package / "data").write_bytes(os.urandom(4 << 20))
    assert daemon.deploy(package, "large").get().status_code == 200
    # With not one byte left, functions answer all the same.
    with open(disk / "filler", "wb") as filler:
        try:
            while True:
                filler.write(bytes(1 << 16))
                filler.flush()
        except OSError:
            pass
    assert function.get().status_code == 200
    done = daemon.run("deploy", KIT, "--name", "more", "--env", "A=B")
    assert done.returncode == 1
    assert "disk is full" in done.stderr
    assert harness.Function(daemon, "more").get().status_code == 404
    assert daemon.stop() == 0
