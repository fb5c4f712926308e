"""The question-answering model that ships, deployed as a bare folder and asked over HTTP."""

import pytest

import browser
import harness

MODEL = harness.SOURCE / "models" / "qa"
ENGINE = harness.BINARIES.parent / "engines" / "thaw-onnx"

pytestmark = pytest.mark.skipif(
    not (MODEL / "model.onnx").exists() or not ENGINE.exists(), reason="the model or the engine thaw-onnx is not there"
)

QUESTION = "What is the color of my car now?"
CONTEXT = "My car used to be blue but I painted red"


@pytest.fixture(scope="module")
def deployed(shared_daemon):
    function = shared_daemon.deploy(MODEL, "qa")
    yield function
    function.delete()


@pytest.fixture
def qa(daemon, deployed):
    return deployed


def ask(qa, **parameters):
    return qa.get("/question", params={"question": QUESTION, "context": CONTEXT, **parameters})


def test_the_car_is_red(qa):
    answer = ask(qa).json()
    assert (answer["answer"], answer["start"], answer["end"]) == ("red", 37, 40)
    assert 0 < answer["score"] <= 1
    assert qa.request("POST", "/question", json={"question": QUESTION, "context": CONTEXT}).json() == answer


def test_through_the_command_line(daemon, qa):
    done = daemon.run("invoke", "qa", "/question", "-q", f"question={QUESTION}", "-q", f"context={CONTEXT}")
    assert done.returncode == 0, done.stderr
    assert '"answer":"red"' in done.stdout


def test_positions_count_code_points(qa):
    answer = ask(qa, context="🚗🚗 Früher war mein Auto blau. My car is red now, 日本.").json()
    context = "🚗🚗 Früher war mein Auto blau. My car is red now, 日本."
    assert context[answer["start"] : answer["end"]] == answer["answer"]


def test_several_answers(qa):
    answers = ask(qa, top_k=3).json()
    assert len(answers) == 3
    assert answers[0]["answer"] == "red"
    assert answers == sorted(answers, key=lambda answer: -answer["score"])


def test_a_long_context_is_read_to_its_end(qa):
    context = "The sky was grey that day. " * 400 + "My car used to be blue but I painted red"
    answer = qa.request("POST", "/question", json={"question": QUESTION, "context": context}).json()
    assert context[answer["start"] : answer["end"]] == answer["answer"]


def test_hello_and_openapi(qa):
    assert qa.get("/").json()["task"] == "question-answering"
    assert "/question" in qa.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    "query",
    [
        {"context": CONTEXT},
        {"question": QUESTION},
        {"question": "", "context": CONTEXT},
        {"question": QUESTION, "context": ""},
        {"question": QUESTION, "context": CONTEXT, "top_k": "0"},
        {"question": QUESTION, "context": CONTEXT, "top_k": "many"},
        {"question": QUESTION, "context": CONTEXT, "doc_stride": "-1"},
        {"question": QUESTION, "context": CONTEXT, "max_seq_len": "99999999"},
        {"question": QUESTION, "context": CONTEXT, "colour": "red"},
    ],
    ids=str,
)
def test_bad_parameters_are_400_and_named(qa, query):
    response = qa.get("/question", params=query)
    assert response.status_code == 400, response.text
    assert response.json()["kind"] == "InvalidArgument"
    assert ask(qa).status_code == 200


@pytest.mark.parametrize(
    "body, status",
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"question": 5, "context": "x"}', 400),
        (b'{"question": "q", "context": "\xff\xfe"}', 400),
        (b'{"question": "q", "context": "c", "top_k": 1.5}', 400),
        (b"[" * 100000, 400),
        (b'{"question": "q", "context": "' + b"x" * (100 << 20) + b'"}', 413),
    ],
    ids=["empty", "cut", "array", "number", "utf8", "fraction", "deep", "100MB"],
)
def test_bad_bodies_are_4xx(qa, body, status):
    response = qa.request("POST", "/question", data=body)
    assert response.status_code == status, response.text[:500]
    assert ask(qa).status_code == 200


def test_bad_methods_and_paths(qa):
    assert qa.request("DELETE", "/question").status_code == 405
    assert qa.get("/nothing").status_code == 404
    assert qa.get("/question?question=%FF&context=%FE").status_code == 400


def test_a_model_cut_short_is_a_clear_init_error(daemon, tmp_path):
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(MODEL, broken, ignore=shutil.ignore_patterns("*.py", "test*", "*vectors*", "README*", "LIC*"))
    whole = (broken / "model.onnx").read_bytes()
    (broken / "model.onnx").write_bytes(whole[: len(whole) // 2])
    function = daemon.deploy(broken, "broken")
    try:
        harness.assert_error(function.get(), 502, "FunctionFailed", "Init.Exited")
        assert "model.onnx" in function.log()
    finally:
        function.delete()


def test_it_goes_to_zero_and_answers_again(daemon):
    function = daemon.deploy(MODEL, "qa-idle", idle_s=1)
    try:
        assert ask(function).json()["answer"] == "red"
        harness.wait_for(lambda: not function.processes(), "its processes to be gone", 20)
        assert ask(function).json()["answer"] == "red"
    finally:
        function.delete()


@browser.NEEDED
def test_its_docs_show_the_operations_in_a_browser(qa):
    for url in (f"http://qa.localhost:{qa.daemon.port}/docs", f"{qa.daemon.url}/fn/qa/docs"):
        document = browser.page(url, until='class="opblock ')
        assert "/question" in document.replace("\u200b", ""), document[-3000:]
        assert document.count('class="opblock ') >= 2
