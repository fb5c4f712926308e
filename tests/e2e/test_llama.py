"""GGUF models behind llama-server: the same tokens as llama.cpp's own programs, streams, snapshots, and wrong files.

The models are made here (tests/models/make_gguf.py): random weights, a real vocabulary, no download.
"""

import concurrent.futures
import contextlib
import json
import pathlib
import socket
import subprocess
import sys

import pytest
import requests

import harness
from test_snapshots import Version

sys.path.insert(0, str(harness.SOURCE / "tests" / "models"))
import make_gguf  # noqa: E402

ENGINE = harness.BINARIES.parent / "engines" / "llama-server"
TOOLS = harness.SOURCE / "build" / "engines" / "llama"
VOCABULARIES = harness.SOURCE / "build" / "llama" / "src" / "models"

pytestmark = pytest.mark.skipif(
    not ENGINE.exists() or not VOCABULARIES.exists(),
    reason="the engine llama-server or llama.cpp's vocabularies are not there: ./dev build makes both",
)

TEXT = "Once upon a time there was a machine that slept until it was asked"
QUESTION = {"messages": [{"role": "user", "content": "What is the color of my car?"}], "temperature": 0, "max_tokens": 24}
SYSTEM = 'You are a "pirate".\nYou say \'arr\' and \\o/ {{ never }} anything else, whatever you are asked.'
# Small, so that several fit a machine that is busy with other tests.
SETTINGS = {"memory_mb": 1769, "concurrency": 2, "context": 512}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    make_gguf.write(path, "tiny")
    return path


@pytest.fixture(scope="module")
def deployed(shared_daemon, tiny):
    function = shared_daemon.deploy(tiny, "tiny", **SETTINGS)
    yield function
    function.delete()


@pytest.fixture
def chat(daemon, deployed):
    return deployed


@contextlib.contextmanager
def bare_server(model, *flags):
    """llama.cpp's server without Thaw: its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [ENGINE, "-m", model, "--host", "127.0.0.1", "--port", str(port), "-t", "1", "-np", "2", "-c", "1024", *flags]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def ready():
        assert process.poll() is None, f"llama-server ended with {process.returncode}"
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(url + "/health", timeout=10).status_code == 200

    try:
        harness.wait_for(ready, "llama-server to be ready")
        yield url
    finally:
        process.terminate()
        process.wait(harness.HANG_S)


def complete(function, **more):
    """A greedy completion: the ids of its tokens, and its text."""
    body = {"prompt": TEXT, "n_predict": 24, "temperature": 0, "return_tokens": True, "cache_prompt": False, **more}
    response = function.request("POST", "/completion", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def stream(url, body):
    """The events of a streamed answer, as they are."""
    events = []
    body = {**body, "stream": True, "stream_options": {"include_usage": True}}
    with requests.post(url + "/v1/chat/completions", json=body, stream=True, timeout=harness.HANG_S) as response:
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line:
                assert line.startswith(b"data: "), line
                events.append(line[6:].decode())
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


def text_of(events):
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])


# ---- The same tokens -------------------------------------------------------------------------------------------------


def test_greedy_tokens_are_those_of_llama_completion(chat, tiny):
    tool = TOOLS / "llama-completion"
    if not tool.exists():
        pytest.skip("this machine's own llama.cpp has no llama-completion beside its server")
    command = [tool, "-m", tiny, "-p", TEXT, "-n", "24", "--temp", "0", "-t", "1", "-c", "512", "-no-cnv", "--no-display-prompt"]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=harness.HANG_S)
    assert done.returncode == 0, done.stderr
    answer = complete(chat)
    assert answer["content"].strip() == done.stdout.strip()
    # They are 24 tokens, and not one of them over and over.
    assert len(answer["tokens"]) == 24
    assert len(set(answer["tokens"])) > 8


def test_answers_are_those_of_llama_server(daemon, chat, tiny):
    with bare_server(tiny) as url:
        bare = requests.post(url + "/completion", json={
            "prompt": TEXT, "n_predict": 24, "temperature": 0, "return_tokens": True, "cache_prompt": False,
        }, timeout=harness.HANG_S).json()
        assert complete(chat)["tokens"] == bare["tokens"]
        whole = requests.post(url + "/v1/chat/completions", json=QUESTION, timeout=harness.HANG_S).json()
    answer = chat.request("POST", "/v1/chat/completions", json=QUESTION).json()
    assert answer["choices"][0]["message"]["content"] == whole["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] == 24
    # The gateway's own address finds the function by its name.
    routed = daemon.request("POST", "/v1/chat/completions", json={**QUESTION, "model": "tiny"}).json()
    assert routed["choices"] == answer["choices"]
    assert "tiny" in [one["id"] for one in daemon.get("/v1/models").json()["data"]]


def test_a_seed_gives_the_same_text_again(chat):
    drawn = [complete(chat, temperature=1.0, seed=seed)["tokens"] for seed in (7, 7, 8)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_schema_is_kept_to(chat):
    schema = {"type": "object", "properties": {"red": {"type": "boolean"}}, "required": ["red"], "additionalProperties": False}
    answer = chat.request("POST", "/v1/chat/completions", json={
        **QUESTION, "max_tokens": 200,
        "response_format": {"type": "json_schema", "json_schema": {"name": "color", "schema": schema}},
    }).json()
    value = json.loads(answer["choices"][0]["message"]["content"])
    assert set(value) == {"red"} and isinstance(value["red"], bool)


# ---- Streams ---------------------------------------------------------------------------------------------------------


def test_streamed_tokens_are_the_whole_answer(daemon, chat):
    whole = chat.request("POST", "/v1/chat/completions", json=QUESTION).json()
    events = stream(daemon.url + chat.path, QUESTION)
    assert text_of(events) == whole["choices"][0]["message"]["content"]
    # One by one: no event holds the whole answer.
    assert len([event for event in events if event["choices"] and event["choices"][0]["delta"].get("content")]) > 10
    assert events[-1]["usage"]["completion_tokens"] == 24


def test_streams_at_once_do_not_mix(daemon, chat):
    bodies = [{**QUESTION, "messages": [{"role": "user", "content": f"{word} " * 8}]} for word in ("one", "two", "six", "ten")]
    alone = [text_of(stream(daemon.url + chat.path, body)) for body in bodies]
    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        together = list(pool.map(lambda body: text_of(stream(daemon.url + chat.path, body)), bodies))
    assert len(set(alone)) == len(bodies)
    # A batch of several streams rounds in another way than one alone: the beginnings are the same.
    for one, other in zip(alone, together):
        assert one[:4] == other[:4]


def test_streams_one_right_after_the_other(daemon, chat):
    """llama-server closes its connection behind each stream, whatever its head says: none may be lost on it."""
    body = {**QUESTION, "max_tokens": 2}
    assert [len(text_of(stream(daemon.url + chat.path, body))) > 0 for _ in range(30)] == [True] * 30


# ---- Snapshots -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pirate(shared_daemon, tiny):
    version = Version(shared_daemon, "pirate", tiny, system_prompt=json.dumps(SYSTEM, ensure_ascii=False), **SETTINGS)
    yield version
    version.function.delete()


def ask_pirate(pirate, body=QUESTION):
    response = pirate.daemon.request("POST", pirate.url + "/v1/chat/completions", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_a_clone_gives_the_same_tokens(daemon, pirate, tiny):
    pirate.wait_on()
    assert pirate.configuration()["State"] == "Active"
    pirate.wait_zero()
    first = ask_pirate(pirate)
    pirate.wait_zero()
    again = ask_pirate(pirate)
    assert "RESTORE_REPORT" in pirate.function.log()
    assert first["choices"] == again["choices"]
    with bare_server(tiny) as url:
        body = {**QUESTION, "messages": [{"role": "system", "content": SYSTEM}, *QUESTION["messages"]]}
        bare = requests.post(url + "/v1/chat/completions", json=body, timeout=harness.HANG_S).json()
    assert first["choices"][0]["message"] == bare["choices"][0]["message"]
    assert first["usage"]["prompt_tokens"] == bare["usage"]["prompt_tokens"]


def test_the_system_prompt_is_in_a_clones_cache(daemon, pirate):
    pirate.wait_on()
    pirate.wait_zero()
    without = pirate.daemon.request("POST", pirate.url + "/tokenize", json={"content": SYSTEM}).json()
    # Two at once, on the two slots of one environment.
    bodies = [{**QUESTION, "messages": [{"role": "user", "content": text}]} for text in ("left is one", "right is another")]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda body: ask_pirate(pirate, body), bodies))
    for answer in answers:
        cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert cached >= len(without["tokens"]), answer["usage"]


def test_a_clients_system_message_replaces_the_functions(daemon, pirate):
    messages = [{"role": "system", "content": "Be brief."}, *QUESTION["messages"]]
    response = pirate.daemon.request("POST", pirate.url + "/apply-template", json={"messages": messages})
    assert "Be brief." in response.json()["prompt"] and "pirate" not in response.json()["prompt"]
    response = pirate.daemon.request("POST", pirate.url + "/apply-template", json={"messages": QUESTION["messages"]})
    assert SYSTEM in response.json()["prompt"]


# ---- Embeddings ------------------------------------------------------------------------------------------------------


def test_embeddings(daemon, deploy, tmp_path):
    model = tmp_path / "embed.gguf"
    make_gguf.write(model, "tiny-embedding")
    function = deploy(model, memory_mb=1769)
    texts = ["a red car", "something else"]
    answer = daemon.request("POST", "/v1/embeddings", json={"model": function.name, "input": texts}).json()
    vectors = [one["embedding"] for one in answer["data"]]
    assert [len(vector) for vector in vectors] == [64, 64]
    with bare_server(model, "--embedding") as url:
        bare = requests.post(url + "/v1/embeddings", json={"input": texts}, timeout=harness.HANG_S).json()
    for vector, other in zip(vectors, bare["data"]):
        assert vector == pytest.approx(other["embedding"], abs=1e-4)
    assert vectors[0] != vectors[1]


# ---- Wrong files -----------------------------------------------------------------------------------------------------


def models_in_memory(daemon):
    return sorted(path.name for path in (daemon.data / "memory").glob("**/*.gguf"))


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda data: b"", "is not GGUF"),
        (lambda data: b"PK\3\4" + data[4:], "is not GGUF"),
        (lambda data: b"<html>Not Found</html>" * 100, "is not GGUF"),
        (lambda data: data[: len(data) // 2], "is cut short"),
        (lambda data: data[:2000], "is cut short"),
        (lambda data: data[:4] + (99).to_bytes(4, "little") + data[8:], "99"),
    ],
    ids=["empty", "zip", "html", "half", "head-cut", "version"],
)
def test_a_wrong_file_is_refused_with_its_reason(daemon, tiny, tmp_path, spoil, reason):
    path = pathlib.Path(tmp_path) / "wrong.gguf"
    path.write_bytes(spoil(tiny.read_bytes()))
    before = models_in_memory(daemon)
    done = daemon.run("deploy", path, "--name", "wrong")
    assert done.returncode == 1
    assert "the model wrong.gguf" in done.stderr and reason in done.stderr, done.stderr
    assert "wrong" not in [one["FunctionName"] for one in daemon.json("list")["Functions"]]
    assert models_in_memory(daemon) == before
