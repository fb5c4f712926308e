"""thaw deploy: what is refused before an upload, and what an upload carries."""

import io
import json
import os
import signal
import subprocess
import urllib.parse
import zipfile

import pytest

from conftest import function


@pytest.fixture
def folder(thaw):
    path = thaw.home / "hello"
    path.mkdir()
    (path / "thaw.toml").write_text('name = "hello"\ncommand = ["python3", "app.py"]\n')
    (path / "app.py").write_text("print('hello')\n")
    return path


def refused(thaw, *args):
    """Deploys where no daemon is: an early check must speak before anybody tries to reach one."""
    result = thaw("deploy", *args)
    assert result.returncode == 1
    assert "cannot reach" not in result.stderr
    return result.stderr


def test_paths_that_hold_no_function(thaw):
    assert "nope: No such file or directory" in refused(thaw, "nope")
    (thaw.home / "empty").mkdir()
    assert "neither thaw.toml nor model.onnx" in refused(thaw, "empty")
    (thaw.home / "text.zip").write_text("this is no zip")
    assert "is not a zip file" in refused(thaw, "text.zip")
    with zipfile.ZipFile(thaw.home / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    assert "neither thaw.toml nor a model" in refused(thaw, "other.zip")


@pytest.mark.parametrize(
    "manifest, expected",
    [
        ('commnd = "x"', 'unknown key "commnd"; did you mean command?'),
        ('name = "x"', "command or engine is missing"),
        ('command = "x"\nmemory_mb = 1', "memory_mb = 1 is out of range: 128 to 10240"),
        ('command = "x"\nname = "a b"', 'name "a b" is not possible'),
        ('command = "x', "line 1"),
        ('command = "./absent"', "holds no ./absent"),
        ('command = "./app.py"', "chmod +x"),
    ],
)
def test_manifests_that_are_wrong(thaw, folder, manifest, expected):
    (folder / "thaw.toml").write_text(manifest)
    assert expected in refused(thaw, folder)


def test_manifest_of_a_zip_is_checked_too(thaw):
    with zipfile.ZipFile(thaw.home / "a.zip", "w") as archive:
        archive.writestr("thaw.toml", 'command = "x"\ntimeout_s = 99999\n')
    assert "timeout_s = 99999 is out of range" in refused(thaw, "a.zip")


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--memory", "1"], "memory_mb = 1 is out of range"),
        (["--timeout", "0"], "timeout_s = 0 is out of range"),
        (["--env", "A"], "write NAME=VALUE"),
        (["--env", "PORT=1"], "PORT is set by Thaw"),
        (["--set", "memroy_mb=256"], "did you mean memory_mb?"),
        (["--name", "../x"], "is not possible"),
    ],
)
def test_options_that_are_wrong(thaw, folder, options, expected):
    assert expected in refused(thaw, folder, *options)


def test_link_that_leaves_the_folder(thaw, folder):
    (folder / "secrets").symlink_to("/etc/shadow")
    assert "hello/secrets: this link leaves the folder (to /etc/shadow)" in refused(thaw, "hello")


def test_folder_arrives_as_a_zip(thaw, daemon, folder):
    (folder / "data").mkdir()
    (folder / "data" / "größe.bin").write_bytes(os.urandom(3_000_000))
    (folder / "link").symlink_to("app.py")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("x")
    (folder / "run.sh").write_text("")
    (folder / "run.sh").chmod(0o755)
    daemon.answer("PUT", "/thaw/v1/functions/hello/package", 201, function("hello"))
    result = thaw("deploy", folder)
    assert result.returncode == 0, result.stderr
    assert "deployed hello" in result.stdout
    assert "curl http://127.0.0.1:8080/fn/hello/" in result.stdout
    assert "http://hello.localhost:8080/" in result.stdout
    assert "left out: __pycache__ folders" in result.stderr
    (request,) = daemon.requests
    assert request.headers["Content-Type"] == "application/zip"
    assert request.headers["Transfer-Encoding"] == "chunked"
    archive = zipfile.ZipFile(io.BytesIO(request.body))
    assert archive.testzip() is None
    assert set(archive.namelist()) == {"app.py", "data/", "data/größe.bin", "link", "run.sh", "thaw.toml"}
    assert archive.read("data/größe.bin") == (folder / "data" / "größe.bin").read_bytes()
    assert archive.read("link") == b"app.py"
    assert archive.getinfo("link").external_attr >> 28 == 0o12  # a symbolic link
    assert archive.getinfo("run.sh").external_attr >> 16 & 0o777 == 0o755


def test_zip_is_sent_as_it_is(thaw, daemon):
    path = thaw.home / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("thaw.toml", 'command = "x"\n')
    daemon.answer("PUT", "/thaw/v1/functions/a/package", 200, function("a"))
    result = thaw("deploy", path)
    assert result.returncode == 0, result.stderr
    assert "updated a" in result.stdout
    assert daemon.requests[0].body == path.read_bytes()
    assert daemon.requests[0].headers["Content-Length"] == str(path.stat().st_size)


def test_bare_model_is_enough(thaw, daemon):
    folder = thaw.home / "my_model"
    folder.mkdir()
    for name in ("model.onnx", "config.json", "tokenizer.json", "notes.txt"):
        (folder / name).write_text(name)
    daemon.answer("PUT", "/thaw/v1/functions/my-model/package", 201,
                  function("my-model", Engine="thaw-onnx", Task="question-answering", Command=[]))
    for path in (folder, folder / "model.onnx"):
        result = thaw("deploy", path)
        assert result.returncode == 0, result.stderr
        assert "curl -G http://127.0.0.1:8080/fn/my-model/question --data-urlencode" in result.stdout
        archive = zipfile.ZipFile(io.BytesIO(daemon.requests[-1].body))
        assert set(archive.namelist()) == {"model.onnx", "config.json", "tokenizer.json"}


def test_options_become_overrides(thaw, daemon, folder):
    import tomllib

    daemon.answer("PUT", "/thaw/v1/functions/other/package", 201, function("other"))
    result = thaw("deploy", folder, "--name", "other", "--memory", "256", "--timeout", "9", "--concurrency", "4",
                  "--env", "A=1 & 2", "--env", "B=ü\"", "--set", "idle_s=60", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["FunctionName"] == "other"
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(daemon.requests[0].path).query)
    assert tomllib.loads(query["config"][0]) == {
        "name": "other", "memory_mb": 256, "timeout_s": 9, "concurrency": 4, "idle_s": 60,
        "environment": {"A": "1 & 2", "B": 'ü"'},
    }


def test_refusal_of_the_daemon_is_told_in_its_words(thaw, daemon, folder):
    daemon.answer("PUT", "/thaw/v1/functions/hello/package", 413,
                  {"Type": "User", "Message": "the package is larger than 4096 MB"},
                  {"x-amzn-ErrorType": "RequestTooLargeException"})
    result = thaw("deploy", folder)
    assert result.returncode == 1
    assert result.stderr == "error: the package is larger than 4096 MB\n"
    error = json.loads(thaw("deploy", folder, "--json").stderr)["error"]
    assert error == {"kind": "TooLarge", "code": "RequestTooLargeException",
                     "message": "the package is larger than 4096 MB"}


def test_interrupted_upload_says_that_nothing_was_deployed(thaw, daemon, folder):
    with open(folder / "large", "wb") as large:
        large.truncate(50_000_000)
    daemon.answer("PUT", "/thaw/v1/functions/hello/package", 201, function("hello"))
    daemon.may_read.clear()
    process = thaw.start("deploy", folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert daemon.partial.wait(timeout=30)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted; nothing was deployed" in err
    assert out == ""
    daemon.may_read.set()
    assert daemon.broken.wait(timeout=30)
    assert daemon.requests == []  # the end of the body never came


def test_progress_on_a_terminal_only(thaw, daemon, folder):
    import pty

    with open(folder / "large", "wb") as large:
        large.truncate(100_000_000)
    daemon.answer("PUT", "/thaw/v1/functions/hello/package", 201, function("hello"))
    main, child = pty.openpty()
    process = thaw.start("deploy", folder, stderr=child, stdout=subprocess.DEVNULL)
    os.close(child)
    seen = b""
    try:
        while chunk := os.read(main, 65536):
            seen += chunk
    except OSError:
        pass  # the terminal's other side was closed
    assert process.wait(timeout=20) == 0
    os.close(main)
    assert b"Uploading  [" in seen
    assert b" of 100 MB" in seen
    assert seen.rstrip().endswith(b"\r\x1b[K")  # and leaves nothing behind
    assert thaw("deploy", folder).stderr == ""
