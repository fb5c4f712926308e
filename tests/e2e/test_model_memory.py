"""Models and environments share one memory: what is unused goes, what is used stays, and nothing is lost by it."""

import pathlib

import pytest

import harness
from test_llama import QUESTION, pytestmark, tiny  # noqa: F401: the same engine and model
from test_snapshots import Version

SETTINGS = {"memory_mb": 600, "concurrency": 1, "context": 256}


def models(daemon):
    return {one["Uri"].rpartition("/")[2]: one for one in daemon.get("/thaw/v1/models").json()["Models"]}


def files_of(daemon):
    """Every file of a model, with its inode: the same one has not been fetched again."""
    found = {}
    for path in pathlib.Path(daemon.data, "memory", "models").glob("*/files/**/*"):
        if path.is_file():
            found[path.name] = path.stat().st_ino
    return found


def asked(daemon, model="tiny"):
    answer = daemon.request("POST", "/v1/chat/completions", json={**QUESTION, "model": model})
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


@pytest.fixture
def app(tmp_path):
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "thaw.toml").write_text('command = ["python3", "-m", "http.server", "${PORT}"]\nmemory_mb = 600\n')
    return folder


def test_a_model_outlives_the_daemon_by_kill_9(serve, tiny):
    daemon = serve()
    daemon.deploy(tiny, "tiny", **SETTINGS)
    before = asked(daemon)
    files = files_of(daemon)
    assert list(files) == ["tiny.gguf"]
    daemon.process.kill()
    daemon.process.wait(harness.HANG_S)
    daemon.start()
    assert models(daemon)["tiny.gguf"]["State"] == "ready"
    assert asked(daemon) == before
    assert files_of(daemon) == files


def test_what_is_unused_longest_makes_room_and_comes_back(serve, tiny, app):
    """The version's snapshot maps the model: it is restored from, although the file is another one by then."""
    daemon = serve(memory_max_mb=1205)
    version = Version(daemon, "tiny", tiny, **SETTINGS)
    version.wait_on()
    before = asked(daemon, "tiny:1")
    files = files_of(daemon)
    harness.wait_for(lambda: not daemon.function_processes("tiny"), "the environment to be dropped")
    # Two environments of 600 MB leave no room for 10 MB.
    for name in ("one", "two"):
        assert daemon.deploy(app, name).get("/").status_code == 200
    assert files_of(daemon) == {}
    assert models(daemon) == {}
    # And the model, or its environment, drives out an idle one in turn.
    assert asked(daemon, "tiny:1") == before
    assert list(files_of(daemon)) == list(files)
    assert daemon.status()["Snapshots"]["RestoresFailed"] == 0
    assert daemon.status()["Snapshots"]["Restores"] >= 2


def test_an_idle_environment_goes_for_another_function_and_its_model_stays(serve, tiny, app):
    daemon = serve(memory_max_mb=700)
    daemon.deploy(tiny, "tiny", **SETTINGS)
    before = asked(daemon)
    files = files_of(daemon)
    assert daemon.deploy(app, "other").get("/").status_code == 200
    assert files_of(daemon) == files
    assert asked(daemon) == before


def test_what_can_never_fit_is_refused_at_the_deploy(serve, tiny):
    daemon = serve(memory_max_mb=605)
    done = daemon.run("deploy", tiny, "--name", "tiny", *[f"--set={key}={value}" for key, value in SETTINGS.items()])
    assert done.returncode == 1
    assert "memory_max_mb" in done.stderr and "600 MB" in done.stderr
    assert models(daemon) == {} and files_of(daemon) == {}
    assert daemon.get("/2015-03-31/functions/tiny").status_code == 404


def test_any_function_may_have_a_model(serve, app):
    daemon = serve()
    (app / "weights").mkdir()
    (app / "weights" / "part-1.bin").write_bytes(b"first")
    (app / "weights" / "part-2.bin").write_bytes(b"second")
    (app / "thaw.toml").write_text(
        'command = ["python3", "-m", "http.server", "${PORT}", "--directory", "/opt/ml/model"]\nmodel = "weights/"\n'
    )
    function = daemon.deploy(app, "files")
    assert function.get("/part-2.bin").text == "second"
    assert function.get("/thaw.toml").status_code == 404
