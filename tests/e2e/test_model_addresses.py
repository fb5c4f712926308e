"""Functions whose model lies in an object store: deployed by address, fetched once, gone when the store says so."""

import pytest

import harness
from object_server import ObjectServer
from test_llama import QUESTION, pytestmark, tiny  # noqa: F401: the same engine and model
from test_models import ModelsDaemon, s3_variables

SETTINGS = ("--set=memory_mb=600", "--set=concurrency=1", "--set=context=256")
QA = harness.SOURCE / "models" / "qa"


@pytest.fixture(scope="module")
def server(tiny):
    one = ObjectServer()
    one.put("models/chat/tiny.gguf", tiny.read_bytes())
    for name in ("model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        one.put(f"models/qa/{name}", (QA / name).read_bytes())
    yield one
    one.close()


@pytest.fixture
def daemon(server):
    one = ModelsDaemon(s3_variables(server.url))
    try:
        yield one.start()
    finally:
        one.close()


def asked(daemon, model):
    answer = daemon.request("POST", "/v1/chat/completions", json={**QUESTION, "model": model})
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def test_a_gguf_file_in_s3(daemon, server, tiny):
    server.requests.clear()
    done = daemon.run("deploy", "s3://models/chat/tiny.gguf", *SETTINGS)
    assert done.returncode == 0, done.stderr
    assert "deployed tiny" in done.stdout and "s3://models/chat/tiny.gguf, 10" in done.stdout
    assert "thaw chat tiny" in done.stdout
    assert ", in memory" in daemon.run("describe", "tiny").stdout
    gets = len([one for one in server.requests if one[0] == "GET"])
    assert gets > 0
    # The same model from a file of this machine answers alike, and another function of the address fetches nothing.
    assert daemon.run("deploy", tiny, "--name", "local", *SETTINGS).returncode == 0
    assert asked(daemon, "tiny") == asked(daemon, "local")
    assert daemon.run("deploy", "s3://models/chat/tiny.gguf", "--name", "again", *SETTINGS).returncode == 0
    assert len([one for one in server.requests if one[0] == "GET"]) == gets


def test_a_folder_with_an_onnx_model_in_s3(daemon):
    done = daemon.run("deploy", "s3://models/qa/")
    assert done.returncode == 0, done.stderr
    parameters = {"question": "What is the color of my car now?", "context": "My car used to be blue but I painted red"}
    assert daemon.get("/fn/qa/question", params=parameters).json()["answer"] == "red"


def test_a_file_that_was_pushed(daemon, tiny):
    assert daemon.run("models", "push", tiny).returncode == 0
    done = daemon.run("deploy", "file:tiny.gguf", "--name", "pushed", *SETTINGS)
    assert done.returncode == 0, done.stderr
    assert asked(daemon, "pushed")


@pytest.mark.parametrize(
    "address, reason",
    [
        ("s3://models/chat/none.gguf", "none.gguf"),
        ("s3://no-bucket/tiny.gguf", "no-bucket"),
        ("file:none.gguf", "none.gguf"),
        ("s3://models/qa", "is it a model?"),
        ("ftp://host/tiny.gguf", "ftp"),
    ],
)
def test_an_address_that_holds_no_model(daemon, address, reason):
    done = daemon.run("deploy", address, "--name", "nothing", *SETTINGS)
    assert done.returncode == 1
    assert reason in done.stderr, done.stderr
    assert daemon.memory() == []
    assert daemon.get("/2015-03-31/functions/nothing").status_code == 404


def test_an_object_that_has_changed_is_not_taken_for_the_one_that_was_deployed(daemon, server, tiny):
    """The daemon has it in memory; when it must fetch it again, it says that it is another one."""
    whole = tiny.read_bytes()
    server.put("models/chat/other.gguf", whole)
    assert daemon.run("deploy", "s3://models/chat/other.gguf", "--set=idle_s=1", *SETTINGS).returncode == 0
    before = asked(daemon, "other")
    at = len(whole) // 2
    server.put("models/chat/other.gguf", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    harness.wait_for(lambda: not daemon.function_processes("other"), "the environment to be dropped")
    assert asked(daemon, "other") == before, "it is still in memory"
    harness.wait_for(lambda: not daemon.function_processes("other"), "the environment to be dropped")
    assert daemon.run("models", "rm", "s3://models/chat/other.gguf").returncode == 0
    answer = daemon.request("POST", "/fn/other/v1/chat/completions", json=QUESTION)
    assert answer.status_code == 503 and answer.json()["code"] == "Init.ModelUnavailable", answer.text
    assert "deploy" in answer.text
