"""Models from object stores into memory: from a store that checks signatures and misbehaves, from S3 servers of others,
from the web, and from the daemon's own folder."""

import hashlib
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from harness import HANG_S, SOURCE, THAW, Daemon, wait_for
from object_server import ACCESS_KEY, SECRET_KEY, ObjectServer

S3RVER = SOURCE / "tools" / "npm-test" / "node_modules" / "s3rver" / "bin" / "s3rver.js"
PART = 8 << 20
BIG = random.Random(1).randbytes(3 * PART + 12345)


class ModelsDaemon(Daemon):
    """Without credentials and stores of whoever runs the tests; `variables` are the test's."""

    def __init__(self, variables, **flags):
        super().__init__(**flags)
        self.variables = variables

    def environment(self):
        kept = {name: value for name, value in super().environment().items() if not name.startswith(("AWS_", "HF_"))}
        return {**kept, "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", **self.variables}

    def pull(self, uri, *words):
        return self.run("models", "pull", uri, *words)

    def models(self):
        return self.json("models", "list")["Models"]

    def memory(self):
        """What is below the folder of models, whole or on its way."""
        root = self.data / "memory"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.parent != root)

    def file(self, uri):
        model = next(one for one in self.models() if one["Uri"] == uri and one["State"] == "ready")
        return self.data / "memory" / "models" / model["Id"] / "files" / model["File"]

    def assert_refused(self, uri, *texts, words=()):
        done = self.pull(uri, *words)
        assert done.returncode == 1, done.stdout
        for text in texts:
            assert text in done.stderr, done.stderr
        assert self.memory() == []
        return done


def s3_variables(url, access_key=ACCESS_KEY, secret_key=SECRET_KEY):
    return {"AWS_ENDPOINT_URL_S3": url, "AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}


@pytest.fixture(scope="module")
def server():
    one = ObjectServer()
    yield one
    one.close()


@pytest.fixture(scope="module")
def module_daemon(server):
    one = ModelsDaemon({**s3_variables(server.url), "HF_ENDPOINT": server.url, "HF_TOKEN": "hub-secret"}, memory_max_mb=300)
    try:
        yield one.start()
    finally:
        one.close()


@pytest.fixture
def models(server, module_daemon):
    """The daemon and the server, both without a model."""
    server.objects.clear()
    server.requests.clear()
    server.misbehave = None
    yield module_daemon
    server.misbehave = None
    for model in module_daemon.models():
        module_daemon.run("models", "rm", model["Uri"])
    assert module_daemon.memory() == []


def gguf(extra=b"", cut=0):
    """A whole little GGUF file with one tensor of 64 numbers."""

    def text(value):
        return struct.pack("<Q", len(value)) + value

    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
    head += text(b"weight") + struct.pack("<IQIQ", 1, 64, 0, 0)
    head += b"\0" * (-len(head) % 32)
    whole = head + b"\0" * 256 + extra
    return whole[: len(whole) - cut]


# ---- Addresses and contents


@pytest.mark.parametrize("key", ["m.bin", "a b/ü+&=%41?#/m.bin", "~tilde/(p)/'q'/m.bin"])
def test_an_object_is_fetched_signed_and_exact(models, server, key):
    server.put(f"models/{key}", BIG)
    done = models.pull(f"s3://models/{key}")
    assert done.returncode == 0, done.stderr
    assert models.file(f"s3://models/{key}").read_bytes() == BIG
    ranges = server.ranges(f"models/{key}")
    assert len(ranges) == 4 and f"bytes=0-{PART - 1}" in ranges
    etag = server.etags[f"models/{key}"]
    assert all(fields["if-match"] == etag for method, _, fields in server.requests if "range" in fields)


def test_a_folder_is_fetched_with_its_tree(models, server):
    for name in ("config.json", "onnx/model.onnx", "onnx/data/1", "tokenizer.json", "vocab.txt"):
        server.put(f"models/folder/{name}", name.encode() * 1000)
    server.put("models/folder-of-another/x", b"x")
    assert models.pull("s3://models/folder/").returncode == 0
    (model,) = models.models()
    files = models.data / "memory" / "models" / model["Id"] / "files"
    assert (files / "onnx" / "data" / "1").read_bytes() == b"onnx/data/1" * 1000
    assert sorted(str(one.relative_to(files)) for one in files.rglob("*") if one.is_file()) == [
        "config.json", "onnx/data/1", "onnx/model.onnx", "tokenizer.json", "vocab.txt",
    ]  # fmt: skip


def test_progress_is_seen_and_a_second_pull_joins_the_first(models, server):
    server.put("models/m.bin", BIG)
    go = threading.Event()
    server.misbehave = lambda handler, name: handler.headers.get("Range", "").startswith("bytes=16777216") and not go.wait(HANG_S)
    body = {"Uri": "s3://models/m.bin"}
    assert models.request("POST", "/thaw/v1/models", json=body).status_code == 202
    wait_for(lambda: any(0 < one["FetchedBytes"] < one["Bytes"] == len(BIG) for one in models.models()), "progress")
    assert models.request("POST", "/thaw/v1/models", json=body).status_code == 202
    go.set()
    assert models.pull("s3://models/m.bin").returncode == 0
    assert len(server.ranges("models/m.bin")) == 4
    pull = models.get("/thaw/v1/models?uri=s3%3A%2F%2Fmodels%2Fm.bin").json()["Pull"]
    assert pull["State"] == "ready"


def test_what_has_not_changed_is_not_fetched_again(models, server):
    server.put("models/m.bin", BIG)
    assert models.pull("s3://models/m.bin").returncode == 0
    assert models.pull("s3://models/m.bin").returncode == 0
    assert len(server.ranges("models/m.bin")) == 4
    server.put("models/m.bin", BIG[::-1])
    assert models.pull("s3://models/m.bin").returncode == 0
    assert len(models.models()) == 2


# ---- A server that misbehaves


def test_connections_that_break_are_gone_on_with(models, server):
    """Every first try of a range ends in the middle; what goes on begins where it has ended."""
    server.put("models/m.bin", BIG)
    broken = set()

    def misbehave(handler, name):
        asked = handler.headers.get("Range")
        if asked is None or len(broken) >= 4 or asked in broken:
            return False
        broken.add(asked)
        first, last = map(int, asked[6:].split("-"))
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{last}/{len(BIG)}")
        handler.send_header("Content-Length", str(last - first + 1))
        handler.end_headers()
        handler.wfile.write(BIG[first : first + (last - first) // 2])
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True
        return True

    server.misbehave = misbehave
    done = models.pull("s3://models/m.bin")
    assert done.returncode == 0, done.stderr
    assert models.file("s3://models/m.bin").read_bytes() == BIG
    begins = sorted(int(one[6:].split("-")[0]) for one in server.ranges("models/m.bin"))
    assert len(begins) == 8 and len([one for one in begins if one % PART]) == 4


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_is_busy_is_asked_again(models, server, status):
    server.put("models/m.bin", BIG)
    refused = []

    def misbehave(handler, name):
        if len(refused) >= 3:
            return False
        refused.append(name)
        server.error(handler, status, "SlowDown")
        return True

    server.misbehave = misbehave
    done = models.pull("s3://models/m.bin")
    assert done.returncode == 0, done.stderr
    assert models.file("s3://models/m.bin").read_bytes() == BIG


def test_a_server_that_stays_busy_is_given_up(models, server):
    server.put("models/m.bin", BIG)
    server.misbehave = lambda handler, name: server.error(handler, 503, "SlowDown") or True
    done = models.assert_refused("s3://models/m.bin", "SlowDown", "after 6 tries")
    assert "status 503" in done.stderr


def wrong_range(shift, total=len(BIG), cut=0):
    def misbehave(handler, name):
        asked = handler.headers.get("Range")
        if asked is None:
            return False
        first, last = map(int, asked[6:].split("-"))
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first + shift}-{last + shift}/{total}")
        handler.send_header("Content-Length", str(last - first + 1 - cut))
        handler.end_headers()
        handler.wfile.write(BIG[first : last + 1 - cut])
        return True

    return misbehave


def test_another_range_than_the_one_asked_for_is_not_taken(models, server):
    server.put("models/m.bin", BIG[:1000])
    server.misbehave = wrong_range(1)
    models.assert_refused("s3://models/m.bin", "another range")


def test_short_answers_are_not_taken_for_whole_ones(models, server):
    server.put("models/m.bin", BIG[:1000])
    seen = []

    def misbehave(handler, name):
        if "Range" in handler.headers:
            seen.append(handler.headers["Range"])
        return len(seen) < 3 and wrong_range(0, 1000, 100)(handler, name)

    server.misbehave = misbehave
    assert models.pull("s3://models/m.bin").returncode == 0
    assert models.file("s3://models/m.bin").read_bytes() == BIG[:1000]
    assert seen == ["bytes=0-999", "bytes=900-999", "bytes=900-999"]  # the second answer was empty


def test_a_range_that_is_not_answered_as_one_is_an_error(models, server):
    server.put("models/m.bin", BIG)
    server.misbehave = lambda handler, name: "Range" in handler.headers and (
        server.send(handler, 200, BIG, {"ETag": server.etags["models/m.bin"]}) or True
    )
    models.assert_refused("s3://models/m.bin", "does not answer ranges")


def test_an_object_that_changes_in_the_middle_is_an_error(models, server):
    server.put("models/m.bin", BIG)

    def misbehave(handler, name):
        if handler.headers.get("Range", "").startswith(f"bytes={PART}-"):
            server.put("models/m.bin", BIG[::-1])
        return False

    server.misbehave = misbehave
    models.assert_refused("s3://models/m.bin", "PreconditionFailed")


def test_an_etag_that_changes_is_seen_on_servers_without_if_match(models, server):
    server.put("models/m.bin", BIG)

    def misbehave(handler, name):
        if "Range" not in handler.headers:
            return False
        server.etags["models/m.bin"] = '"another"'
        server.send_object(handler, "models/m.bin", {"range": handler.headers["Range"]})
        return True

    server.misbehave = misbehave
    models.assert_refused("s3://models/m.bin", "changed meanwhile")


def test_a_size_that_changes_is_seen_on_servers_without_etags(models, server):
    server.put("models/m.bin", BIG)
    server.misbehave = wrong_range(0, len(BIG) + 1)
    models.assert_refused("s3://models/m.bin", "changed meanwhile")


def test_a_head_without_end_is_given_up(models, server):
    server.put("models/m.bin", BIG)

    def misbehave(handler, name):
        handler.send_response(200)
        for number in range(3000):
            handler.send_header(f"X-Filler-{number}", "x" * 60)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    server.misbehave = misbehave
    models.assert_refused("s3://models/m.bin", "64 kB")


@pytest.mark.parametrize(
    "body",
    [b"no XML", b"<Other/>", b"<!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult/>", b"<a>" * 100000],
    ids=["text", "other", "entities", "deep"],
)
def test_a_list_that_is_none_is_an_error(models, server, body):
    server.put("models/m.bin", BIG)
    server.misbehave = lambda handler, name: name == "models/" and (server.send(handler, 200, body, {}) or True)
    models.assert_refused("s3://models/folder/", "ListBucketResult")


def test_a_key_that_leads_out_of_the_folder_is_refused(models, server):
    server.put("models/folder/../../../evil", b"x")
    models.assert_refused("s3://models/folder/", "cannot be a file below a folder")


# ---- What is refused


def test_missing_buckets_and_objects_are_named(models, server):
    server.put("models/m.bin", BIG)
    models.assert_refused("s3://no-bucket/m.bin", "NoSuchBucket")
    models.assert_refused("s3://models/none.bin", "NoSuchKey")
    models.assert_refused("s3://models/none/", "no object below it")
    failed = [one for one in models.models() if one["State"] == "failed"]
    assert {one["Uri"] for one in failed} == {"s3://no-bucket/m.bin", "s3://models/none.bin", "s3://models/none/"}


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "WRONG"}, "InvalidAccessKeyId"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials were found"),
    ],
)
def test_wrong_credentials_say_so(server, variables, expected):
    server.misbehave = None
    server.put("models/m.bin", BIG)
    daemon = ModelsDaemon({**s3_variables(server.url), **variables})
    try:
        done = daemon.start().assert_refused("s3://models/m.bin", "403", expected)
        assert SECRET_KEY not in done.stderr + daemon.log()
    finally:
        daemon.close()


def test_credentials_come_from_the_shared_file_that_only_root_may_read(server, tmp_path):
    server.misbehave = None
    server.put("models/m.bin", BIG)
    secret = tmp_path / "credentials"
    secret.write_text(f"[other]\naws_access_key_id = x\n[work]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\n")
    secret.chmod(0o600)
    daemon = ModelsDaemon({"AWS_ENDPOINT_URL": server.url, "AWS_SHARED_CREDENTIALS_FILE": str(secret), "AWS_PROFILE": "work"})
    try:
        done = daemon.start().pull("s3://models/m.bin")
        assert done.returncode == 0, done.stderr
    finally:
        daemon.close()


def test_a_broken_profile_stops_no_daemon_and_is_named_by_who_needs_it(server, tmp_path):
    daemon = ModelsDaemon({"AWS_PROFILE": "nobody"})
    try:
        daemon.start().assert_refused("s3://models/m.bin", "AWS_PROFILE", "nobody")
        (tmp_path / "m.bin").write_bytes(b"x")
        assert daemon.run("models", "push", tmp_path / "m.bin").returncode == 0
        assert daemon.pull("file:m.bin").returncode == 0
    finally:
        daemon.close()


def test_a_model_larger_than_the_memory_is_not_begun(models, server):
    server.put("models/m.bin", bytes(310 << 20))
    models.assert_refused("s3://models/m.bin", "memory_max_mb")
    assert server.ranges("models/m.bin") == []


def test_what_is_unused_longest_makes_room(models, server):
    for name in ("a", "b", "c"):
        server.put(f"models/{name}", bytes(120 << 20))
        assert models.pull(f"s3://models/{name}").returncode == 0
    assert {one["Uri"] for one in models.models()} == {"s3://models/b", "s3://models/c"}


def test_a_file_that_is_not_gguf_or_is_cut_short_is_not_kept(models, server):
    server.put("models/m.gguf", gguf())
    server.put("models/cut.gguf", gguf(cut=100))
    server.put("models/zip.gguf", b"PK\x03\x04" * 100)
    assert models.pull("s3://models/m.gguf").returncode == 0
    assert models.run("models", "rm", "s3://models/m.gguf").returncode == 0
    models.assert_refused("s3://models/cut.gguf", "cut.gguf is cut short: 100 bytes are missing")
    models.assert_refused("s3://models/zip.gguf", "zip.gguf is not GGUF")


def test_a_sha256_must_be_right(models, server):
    server.put("models/m.bin", BIG)
    models.assert_refused("s3://models/m.bin", "its SHA-256 is", words=["--sha256", "0" * 64])
    right = hashlib.sha256(BIG).hexdigest()
    assert models.pull("s3://models/m.bin", "--sha256", right).returncode == 0


@pytest.mark.parametrize("uri", ["m.gguf", "s3://x/y", "https://host/", "hf:owner/repo", "file:../x", "http://example.org/m"])
def test_wrong_addresses_say_what_is_wrong(models, uri):
    models.assert_refused(uri, "model address")
    assert models.request("POST", "/thaw/v1/models", json={"Uri": uri}).status_code == 400


# ---- The web and the hub


def plain(server, contents, etag='"1"'):
    """Answers unsigned requests for objects too, as a web server does."""

    def misbehave(handler, name):
        if name in contents:
            server.objects[name], server.etags[name] = contents[name], etag
            server.send_object(handler, name, {key.lower(): value for key, value in handler.headers.items()})
            return True
        return False

    return misbehave


def redirect(handler, target):
    handler.send_response(302)
    handler.send_header("Location", target)
    handler.send_header("Content-Length", "0")
    handler.end_headers()
    return True


def test_a_web_address_is_fetched_and_redirects_are_followed(models, server):
    serve = plain(server, {"files/m.bin": BIG})
    server.misbehave = lambda handler, name: redirect(handler, "/files/m.bin") if name == "latest" else serve(handler, name)
    done = models.pull(f"{server.url}/latest")
    assert done.returncode == 0, done.stderr
    assert models.file(f"{server.url}/latest").read_bytes() == BIG


def test_redirects_that_go_round_end(models, server):
    server.misbehave = lambda handler, name: redirect(handler, "/b" if name == "a" else "/a")
    models.assert_refused(f"{server.url}/a", "redirected more than 5 times")


def test_a_redirect_to_something_else_than_the_web_is_refused(models, server):
    server.misbehave = lambda handler, name: redirect(handler, "file:///etc/passwd")
    models.assert_refused(f"{server.url}/a", "no web address")


def test_the_hubs_files_are_checked_and_its_token_stays_with_it(models, server):
    """The hub sends its clients elsewhere, and tells the SHA-256 before."""
    other = ObjectServer()
    try:
        other.misbehave = plain(other, {"cdn/m.bin": BIG})
        digest = hashlib.sha256(BIG).hexdigest()

        def misbehave(handler, name):
            if name != "owner/repo/resolve/main/sub/m.bin" or handler.headers.get("Authorization") != "Bearer hub-secret":
                return False
            handler.send_response(302)
            handler.send_header("X-Linked-ETag", f'"{digest}"')
            handler.send_header("X-Linked-Size", str(len(BIG)))
            handler.send_header("Location", f"{other.url}/cdn/m.bin")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True

        server.misbehave = misbehave
        done = models.pull("hf:owner/repo/sub/m.bin")
        assert done.returncode == 0, done.stderr
        assert models.file("hf:owner/repo/sub/m.bin").read_bytes() == BIG
        assert other.requests and not any("authorization" in fields for _, _, fields in other.requests)
        assert models.run("models", "rm", "hf:owner/repo/sub/m.bin").returncode == 0
        digest = "0" * 64
        models.assert_refused("hf:owner/repo/sub/m.bin", "SHA-256")
    finally:
        other.close()


# ---- The daemon's own folder


def test_a_file_is_pushed_pulled_and_removed(models, tmp_path):
    (tmp_path / "m.bin").write_bytes(BIG)
    assert models.run("models", "push", tmp_path / "m.bin").returncode == 0
    assert models.run("models", "push", tmp_path / "m.bin", "file:sub/dir/").returncode == 0
    for uri in ("file:m.bin", "file:sub/dir/m.bin", f"file:{models.data}/objects/m.bin"):
        done = models.pull(uri)
        assert done.returncode == 0, done.stderr
        assert models.file(uri).read_bytes() == BIG
    stored = models.get("/thaw/v1/objects").json()["Objects"]
    assert [one["Uri"] for one in stored] == ["file:m.bin", "file:sub/dir/m.bin"]
    assert models.run("models", "rm", "file:m.bin", "--object").returncode == 0
    assert models.run("models", "rm", "file:sub/dir/m.bin", "--object").returncode == 0
    assert models.get("/thaw/v1/objects").json()["Objects"] == []


def test_files_outside_of_the_folders_are_refused(models):
    models.assert_refused("file:/etc/passwd", "none of the daemon's folders")
    (models.data / "objects" / "link").symlink_to("/etc/passwd")
    try:
        models.assert_refused("file:link", "leads out of the folder")
    finally:
        (models.data / "objects" / "link").unlink()


@pytest.mark.parametrize("name", ["..%2Fx", "a%2F..%2Fx", "a//x", "%00"])
def test_an_objects_name_stays_in_the_folder(models, name):
    assert models.request("PUT", f"/thaw/v1/objects/{name}", data=b"x").status_code == 400


def test_the_key_models_names_other_folders(server, tmp_path):
    folder = tmp_path / "private"
    folder.mkdir()
    (folder / "m.bin").write_bytes(BIG)
    folder.chmod(0o755)
    tmp_path.chmod(0o700)  # only root gets here: the daemon has opened it before
    daemon = ModelsDaemon({}, models=str(folder))
    try:
        daemon.start()
        for uri in ("file:m.bin", f"file:{folder}/m.bin"):
            assert daemon.pull(uri).returncode == 0
    finally:
        daemon.close()


# ---- Lifecycle


def test_models_outlive_a_killed_daemon_and_halves_do_not(server):
    server.misbehave = None
    server.put("models/m.bin", BIG)
    server.put("models/half.bin", BIG)
    daemon = ModelsDaemon(s3_variables(server.url))
    try:
        daemon.start()
        assert daemon.pull("s3://models/m.bin").returncode == 0
        stuck = threading.Event()
        server.misbehave = lambda handler, name: name == "models/half.bin" and "Range" in handler.headers and not stuck.wait(HANG_S)
        assert daemon.run("models", "pull", "s3://models/half.bin", "--no-wait").returncode == 0
        wait_for(lambda: list((daemon.data / "memory" / "fetching").iterdir()), "a fetch under way")
        daemon.kill()
        stuck.set()
        server.misbehave = None
        daemon.start()
        assert [(one["Uri"], one["State"]) for one in daemon.models()] == [("s3://models/m.bin", "ready")]
        assert list((daemon.data / "memory" / "fetching").iterdir()) == []
        assert daemon.file("s3://models/m.bin").read_bytes() == BIG
        assert daemon.stop() == 0
    finally:
        daemon.close()


def test_a_daemon_that_stops_ends_its_fetches(server):
    server.put("models/m.bin", BIG)
    stuck = threading.Event()
    server.misbehave = lambda handler, name: "Range" in handler.headers and not stuck.wait(HANG_S)
    daemon = ModelsDaemon(s3_variables(server.url), drain_s=1)
    try:
        daemon.start()
        assert daemon.run("models", "pull", "s3://models/m.bin", "--no-wait").returncode == 0
        wait_for(lambda: len(server.ranges("models/m.bin")) > 0, "a fetch under way")
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 20
        assert list((daemon.data / "memory" / "models").iterdir()) == []
    finally:
        stuck.set()
        server.misbehave = None
        daemon.close()


def test_interrupting_the_command_leaves_the_fetch_and_rm_ends_it(models, server):
    server.put("models/m.bin", BIG)
    stuck = threading.Event()
    server.misbehave = lambda handler, name: "Range" in handler.headers and not stuck.wait(HANG_S)
    command = subprocess.Popen(
        [THAW, "models", "pull", "s3://models/m.bin"], env=models.environment(), stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: server.ranges("models/m.bin"), "the fetch under way")
        command.send_signal(signal.SIGINT)
        _, stderr = command.communicate(timeout=HANG_S)
        assert command.returncode == 130 and "goes on fetching" in stderr
        assert [one["State"] for one in models.models()] == ["fetching"]
        assert models.run("models", "rm", "s3://models/m.bin").returncode == 0
        wait_for(lambda: models.models() == [], "the fetch to be gone")
        assert models.memory() == []
    finally:
        stuck.set()
        command.kill()


# ---- S3 servers of others


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


@pytest.fixture(params=["s3rver", "versitygw"])
def s3_server(request, tmp_path):
    """A server that others have written, with the bucket "models": the variables for it, wrong ones and what they give."""
    port = free_port()
    root = tmp_path / "s3"
    root.mkdir()
    if request.param == "s3rver":
        if not S3RVER.exists():
            pytest.fail("s3rver is missing: ./dev setup --test")
        words = ["node", S3RVER, "-a", "127.0.0.1", "-p", port, "-d", root, "--silent", "--configure-bucket", "models"]
        # It does not look at signatures of version 4, only at whose they are.
        keys, wrong = ("S3RVER", "S3RVER"), ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId")
    else:
        gateway = os.environ.get("VERSITYGW") or shutil.which("versitygw")
        if gateway is None:
            pytest.skip("versitygw is not installed (go install github.com/versity/versitygw/cmd/versitygw@v1.8.0)")
        (root / "models").mkdir()
        words = [gateway, "--port", f"127.0.0.1:{port}", "--access", "gateway", "--secret", "gateway/secret", "--quiet", "posix", root]
        keys, wrong = ("gateway", "gateway/secret"), ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch")
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(port), f"{request.param} to listen")
        yield s3_variables(f"http://127.0.0.1:{port}", *keys), *wrong
    finally:
        process.kill()
        process.wait(HANG_S)


def test_push_pull_and_errors_with_a_server_of_others(s3_server, tmp_path):
    contents = BIG * 3  # more than one part of an upload
    (tmp_path / "m.bin").write_bytes(contents)
    (tmp_path / "small.bin").write_bytes(b"small")
    variables, wrong, expected = s3_server
    daemon = ModelsDaemon(variables)
    try:
        daemon.start()
        for file, uri in (("m.bin", "s3://models/a b/ü+x/m.bin"), ("small.bin", "s3://models/a b/small.bin")):
            done = daemon.run("models", "push", tmp_path / file, uri)
            assert done.returncode == 0, done.stderr
            done = daemon.pull(uri)
            assert done.returncode == 0, done.stderr
            assert daemon.file(uri).read_bytes() == (tmp_path / file).read_bytes()
        done = daemon.pull("s3://models/a b/")
        assert done.returncode == 0, done.stderr
        model = next(one for one in daemon.models() if one["Uri"] == "s3://models/a b/")
        assert model["Bytes"] == len(contents) + 5
        for uri, text in (("s3://models/none", "NoSuchKey"), ("s3://no-bucket/none", "NoSuchBucket")):
            done = daemon.pull(uri)
            assert done.returncode == 1 and text in done.stderr, done.stderr
        done = subprocess.run(
            [THAW, "models", "push", tmp_path / "small.bin", "s3://models/x"],
            env={**daemon.environment(), **wrong}, capture_output=True, text=True, timeout=HANG_S,
        )  # fmt: skip
        assert done.returncode == 1 and expected in done.stderr, done.stderr
    finally:
        daemon.close()


# ---- Credentials that end


class MetadataServer(ObjectServer):
    """An instance's metadata service, version 2, and a container's: keys that end in ten minutes, told apart by number."""

    def __init__(self):
        super().__init__()
        self.given = 0
        self.misbehave = self.serve
        self.server.RequestHandlerClass.do_PUT = self.server.RequestHandlerClass.do_GET

    def serve(self, handler, name):
        if handler.command == "PUT" and name == "latest/api/token":
            body = b"the-token" if handler.headers.get("X-aws-ec2-metadata-token-ttl-seconds") else b""
        elif name == "container" and handler.headers.get("Authorization") == "container-token":
            body = self.keys()
        elif handler.headers.get("X-aws-ec2-metadata-token") != "the-token":
            return self.error(handler, 401, "Unauthorized") or True
        elif name == "latest/meta-data/iam/security-credentials/":
            body = b"the-role"
        elif name == "latest/meta-data/iam/security-credentials/the-role":
            body = self.keys()
        else:
            return self.error(handler, 404, "NotFound") or True
        return self.send(handler, 200, body, {}) or True

    def keys(self):
        self.given += 1
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
        return json.dumps(
            {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": f"session-{self.given}", "Expiration": ends}
        ).encode()


@pytest.mark.parametrize("kind", ["instance", "container"])
def test_credentials_of_a_machine_are_asked_for_and_renewed_when_refused(server, kind):
    server.objects.clear()
    server.requests.clear()
    server.put("models/m.bin", BIG)
    metadata = MetadataServer()
    refused = []

    def misbehave(handler, name):
        """The first session has ended earlier than it said."""
        if handler.headers.get("x-amz-security-token") == "session-1" and name == "models/m.bin" and handler.command == "GET":
            refused.append(name)
            server.error(handler, 403, "ExpiredToken")
            return True
        return False

    server.misbehave = misbehave
    variables = {"AWS_ENDPOINT_URL_S3": server.url, "AWS_EC2_METADATA_DISABLED": "false"}
    if kind == "instance":
        variables["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
    else:
        variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = metadata.url + "/container"
        variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = "container-token"
    daemon = ModelsDaemon(variables)
    try:
        done = daemon.start().pull("s3://models/m.bin")
        assert done.returncode == 0, done.stderr
        assert refused
        assert metadata.given == 2, "those that were refused side by side asked once"
        tokens = {fields.get("x-amz-security-token") for _, path, fields in server.requests if path == "/models/m.bin"}
        assert tokens == {"session-1", "session-2"}
    finally:
        server.misbehave = None
        daemon.close()
        metadata.close()
