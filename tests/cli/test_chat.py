"""`thaw chat`: what it sends, and what it makes of answers that a good server would not give."""

import json

import pytest

PATH = "/v1/chat/completions"
STREAM = {"Content-Type": "text/event-stream; charset=utf-8"}


def event(**members):
    return b"data: " + json.dumps(members).encode() + b"\n\n"


def piece(text, finish_reason=None):
    return event(choices=[{"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}])


def test_question_and_options_go_out_as_openai_has_them(thaw, daemon):
    daemon.answer("POST", PATH, body=piece("Hi", "stop") + b"data: [DONE]\n\n", headers=STREAM)
    done = thaw("chat", "tiny:live", "What?", "--system", "Be kind", "--max-tokens", "5", "--temperature", "0.5")
    assert (done.returncode, done.stdout) == (0, "Hi\n")
    assert done.stderr.startswith("1 token, first token after ")
    (request,) = daemon.requests
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body) == {
        "model": "tiny:live",
        "messages": [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "What?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 5,
        "temperature": 0.5,
    }


def test_usage_and_timings_come_with_json(thaw, daemon):
    usage, timings = {"prompt_tokens": 3, "completion_tokens": 9}, {"predicted_n": 9, "predicted_per_second": 4.5}
    body = piece("a") + piece("b", "length") + event(choices=[], usage=usage, timings=timings) + b"data: [DONE]\n\n"
    daemon.answer("POST", PATH, body=body, headers=STREAM)
    answer = json.loads(thaw("chat", "tiny", "What?", "--json").stdout)
    assert (answer["Answer"], answer["FinishReason"], answer["Tokens"]) == ("ab", "length", 9)
    assert (answer["TokensPerSecond"], answer["Usage"], answer["Timings"]) == (4.5, usage, timings)
    assert "stopped at the limit of tokens" in thaw("chat", "tiny", "What?").stderr


def test_a_server_that_does_not_stream_is_understood(thaw, daemon):
    whole = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 2}}
    daemon.answer("POST", PATH, body=whole, headers={"Content-Type": "application/json"})
    done = thaw("chat", "tiny", stdin="What?\n\n")
    assert (done.returncode, done.stdout) == (0, "Hi\n")
    assert json.loads(daemon.requests[0].body)["messages"] == [{"role": "user", "content": "What?"}]


@pytest.mark.parametrize(
    "body, said",
    [
        (piece("half"), "ended before its end"),
        (piece("half") + event(error={"code": 500, "message": "no slot is free"}), "no slot is free"),
        (piece("half") + b"data: nonsense\n\n", "as no chat model does"),
        (piece("half") + b"data: " + b"x" * (5 << 20), "larger than"),
    ],
)
def test_a_stream_that_goes_wrong_is_an_error_behind_what_came(thaw, daemon, body, said):
    daemon.answer("POST", PATH, body=body, headers=STREAM)
    done = thaw("chat", "tiny", "What?")
    assert (done.returncode, done.stdout) == (1, "half\n")
    assert said in done.stderr


@pytest.mark.parametrize(
    "status, body, said",
    [
        (404, {"detail": "Not Found"}, "tiny is no chat model: it answers POST /v1/chat/completions with status 404"),
        (405, b"no", "tiny is no chat model"),
        (400, {"error": {"code": 400, "message": "the prompt is too long"}}, "the prompt is too long"),
        (502, {"error": {"message": "it crashed", "code": "Function.Crashed"}}, "it crashed; its log says more: thaw logs tiny"),
        (200, b"<html>", "as no chat model does"),
    ],
)
def test_what_is_no_answer_is_explained(thaw, daemon, status, body, said):
    daemon.answer("POST", PATH, status=status, body=body)
    done = thaw("chat", "tiny:1", "What?") if status == 502 else thaw("chat", "tiny", "What?")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


def test_a_model_that_is_not_there_is_named_with_the_nearest(thaw, daemon):
    error = {"error": {"message": "there is no model tini", "type": "invalid_request_error", "code": "model_not_found"}}
    daemon.answer("POST", PATH, status=404, body=error)
    daemon.answer("GET", "/2015-03-31/functions", body={"Functions": [{"FunctionName": "tiny"}]})
    assert "no function named 'tini'; did you mean tiny?" in thaw("chat", "tini", "What?").stderr
    assert json.loads(thaw("chat", "tini", "What?", "--json").stderr)["error"]["code"] == "model_not_found"


def test_control_characters_of_a_model_reach_a_pipe_as_they_are(thaw, daemon):
    daemon.answer("POST", PATH, body=piece("\u001b[31mred\u0007", "stop"), headers=STREAM)
    assert thaw("chat", "tiny", "What?").stdout == "\x1b[31mred\x07\n"


@pytest.mark.parametrize("question, said", [("", "the question is empty"), (" \n", "the question is empty")])
def test_a_question_must_be_one(thaw, daemon, question, said):
    assert said in thaw("chat", "tiny", question).stderr
    assert said in thaw("chat", "tiny", stdin=question).stderr
    assert not daemon.requests
