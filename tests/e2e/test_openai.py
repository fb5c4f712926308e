"""OpenAI's own client for Node, unmodified, against the daemon: with a real llama-server, and for errors with functions
that make them.

The models are made here (tests/models/make_gguf.py): random weights, a real vocabulary, no download.
"""

import json
import math
import re
import shutil
import subprocess
import sys

import pytest

import harness

sys.path.insert(0, str(harness.SOURCE / "tests" / "models"))
import make_gguf  # noqa: E402: from the folder above

CLIENT = harness.SOURCE / "tests" / "e2e" / "openai_client.mjs"
ENGINE = harness.BINARIES.parent / "engines" / "llama-server"
CONTEXT = 32768
VOCABULARIES = harness.SOURCE / "build" / "llama" / "src" / "models"

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (harness.SOURCE / "tools" / "npm" / "node_modules" / "openai").exists(),
    reason="node or OpenAI's client is not there: ./dev setup brings both",
)
needs_llama = pytest.mark.skipif(
    not ENGINE.exists() or not VOCABULARIES.exists(),
    reason="the engine llama-server or llama.cpp's vocabularies are not there: ./dev build makes both",
)


@pytest.fixture
def client(daemon):
    def run(scenario, model):
        words = ["node", str(CLIENT), daemon.url + "/v1", scenario, model]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def deployed_model(daemon, folder, shape, name, context):
    path = folder / f"{shape}.gguf"
    make_gguf.write(path, shape)
    return daemon.deploy(path, name, memory_mb=1769, concurrency=2, context=context)


# The tiny model with Qwen2's vocabulary: with Phi-3's, llama-server refuses a JSON schema in a chat, because it cannot
# find the template's own words in front of the answer again.
make_gguf.SHAPES.setdefault("tiny-qwen2", (make_gguf.tiny, "ggml-vocab-qwen2.gguf", "q8_0"))


@pytest.fixture(scope="module")
def shared_tiny(shared_daemon, tmp_path_factory):
    function = deployed_model(shared_daemon, tmp_path_factory.mktemp("chat"), "tiny-qwen2", "tiny-chat", CONTEXT)
    yield function
    function.delete()


@pytest.fixture
def tiny(daemon, shared_tiny):
    return shared_tiny.name


# ---- A real model ----------------------------------------------------------------------------------------------------


@needs_llama
def test_models_are_listed(client, tiny):
    models = client("models", tiny)
    assert tiny in [one["id"] for one in models["listed"]]
    assert models["one"]["object"] == "model"
    assert models["one"]["id"] == tiny


@needs_llama
def test_a_chat_is_answered_and_streamed_alike(client, tiny):
    whole = client("chat", tiny)
    answer = whole["answer"]["choices"][0]
    assert answer["message"]["role"] == "assistant"
    assert answer["message"]["content"]
    assert answer["finish_reason"] == "length"
    assert whole["answer"]["usage"]["completion_tokens"] == 12
    assert re.fullmatch(harness.UUID, whole["requestID"])
    chunks = client("stream", tiny)
    pieces = [chunk["choices"][0]["delta"].get("content") for chunk in chunks if chunk["choices"]]
    assert "".join(piece or "" for piece in pieces) == answer["message"]["content"]
    assert sum(piece is not None and piece != "" for piece in pieces) > 3
    assert chunks[-1]["usage"]["completion_tokens"] == 12
    helped = client("helper", tiny)
    assert helped["choices"][0]["message"]["content"] == answer["message"]["content"]


@needs_llama
def test_thaw_chat_gets_the_same_answer_with_the_servers_figures(client, daemon, tiny):
    options = ("--max-tokens", "12", "--temperature", "0")
    answer = daemon.json("chat", tiny, "What is the color of my car?", *options)
    assert answer["Answer"] == client("chat", tiny)["answer"]["choices"][0]["message"]["content"]
    assert (answer["Tokens"], answer["Usage"]["completion_tokens"], answer["FinishReason"]) == (12, 12, "length")
    assert answer["TokensPerSecond"] == answer["Timings"]["predicted_per_second"] > 0
    shown = daemon.run("chat", tiny, "What is the color of my car?", *options)
    assert shown.stdout.rstrip("\n") == answer["Answer"].rstrip("\n")
    assert re.match(r"12 tokens, [\d.]+ tokens/s, first token after [\d.]+ m?s, stopped at the limit of tokens\n", shown.stderr)


@needs_llama
def test_completions_schemas_and_responses(client, tiny):
    completed = client("completions", tiny)
    assert completed["whole"]["choices"][0]["text"] == completed["streamed"] != ""
    assert isinstance(client("schema", tiny)["red"], bool)
    response = client("responses", tiny)
    assert response["text"]


@needs_llama
def test_embeddings_come_in_both_encodings(client, daemon, tmp_path):
    function = deployed_model(daemon, tmp_path, "tiny-embedding", "tiny-embedding", 512)
    try:
        plain, packed = client("embeddings", function.name)
        assert len(plain) == len(packed) == 2
        assert plain[0] != plain[1]
        for one, other in zip(plain, packed):
            assert len(one) == len(other) > 8
            assert all(math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6) for a, b in zip(one, other))
    finally:
        function.delete()


@needs_llama
def test_a_model_stops_writing_when_its_reader_has_gone(daemon, shared_tiny):
    shared_tiny.get("/health").raise_for_status()
    (before,) = shared_tiny.environments()
    # Without an end until the context is full, which takes a model of this size many seconds.
    body = {"model": shared_tiny.name, "prompt": "Once", "stream": True, "ignore_eos": True, "temperature": 0}
    answer = daemon.request("POST", "/v1/completions", json=body, stream=True)
    assert next(answer.iter_lines()).startswith(b"data: ")
    answer.close()
    shared_tiny.wait_log("cancel task")
    harness.wait_for(lambda: not shared_tiny.environments("busy"), "the environment to be free", 15)
    # It takes two invocations at a time, and serves on.
    again = {"model": shared_tiny.name, "prompt": "Once", "max_tokens": 3}
    assert daemon.request("POST", "/v1/completions", json=again).status_code == 200
    assert [one["Id"] for one in shared_tiny.environments()] == [before["Id"]]


@needs_llama
def test_the_model_servers_own_errors_are_the_clients(client, tiny):
    error = client("badRequestError", tiny)
    assert "BadRequestError" in error["kinds"]
    assert (error["status"], error["type"]) == (400, "invalid_request_error")
    assert "messages" in error["message"]


# ---- Streams that are left, and errors -------------------------------------------------------------------------------


def test_a_stream_that_is_left_ends_in_the_function(client, deploy):
    function = deploy("stream", timeout_s=60)
    assert client("abort", function.name) == {"seen": ["one"], "aborted": True}
    function.wait_log("THE CLIENT HAS GONE")


def test_a_stream_that_is_cut_off_is_an_exception(client, deploy):
    function = deploy("stream", timeout_s=1)
    assert client("streamError", function.name) is not None


@pytest.mark.parametrize("scenario", ["chatError", "streamError", "modelError"])
def test_a_model_that_is_not_there_is_a_not_found_error(client, scenario):
    error = client(scenario, "nobody")
    assert "NotFoundError" in error["kinds"]
    assert (error["status"], error["type"], error["param"], error["code"]) == (
        404, "invalid_request_error", "model", "model_not_found",
    )
    assert re.fullmatch(harness.UUID, error["requestID"])
    assert "there is no model nobody" in error["message"]


def test_a_request_without_a_model_is_a_bad_request_error(client):
    error = client("noModelError", "-")
    assert "BadRequestError" in error["kinds"]
    assert (error["param"], error["code"]) == ("model", "missing_required_parameter")


def test_a_full_queue_is_a_rate_limit_error(client, daemon, deploy):
    function = deploy("stream", concurrency=1, environments_max=1, queue_max=1, timeout_s=60)
    function.get()
    busy = f"GET {function.path}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with daemon.connect() as first, daemon.connect() as second:
        first.sendall(busy)
        assert first.recv(100)
        second.sendall(busy)
        harness.wait_for(lambda: function.view()["Queued"] == 1, "the queue to be full")
        error = client("chatError", function.name)
    assert "RateLimitError" in error["kinds"]
    assert (error["status"], error["code"], error["retryAfter"]) == (429, "rate_limit_exceeded", "1")


@pytest.mark.parametrize("path, code", [("/abort", "Function.Crashed"), ("/sleep?ms=60000", "Function.TimedOut")])
def test_a_function_that_fails_is_an_internal_server_error(client, deploy, path, code):
    function = deploy(name="kit", timeout_s=1)
    function.get()
    error = client("pathError", path)
    assert "InternalServerError" in error["kinds"]
    assert (error["type"], error["code"]) == ("server_error", code)
