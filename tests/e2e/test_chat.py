"""`thaw chat` against the real daemon and a function that streams when it is told to; on a terminal and without."""

import json
import os
import signal
import subprocess

import pytest

import harness
from terminal import Terminal


@pytest.fixture
def stream(deploy):
    function = deploy("stream", timeout_s=60)
    function.get()
    return function


@pytest.fixture
def start(daemon):
    """`thaw chat` without a terminal."""
    running = []

    def run(*words, **options):
        process = subprocess.Popen(
            [str(harness.THAW), "chat", *words],
            env=daemon.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"stdin": subprocess.DEVNULL, **options},
        )
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def asked(function):
    """Once the function has begun to answer."""
    harness.wait_for(lambda: function.environments("busy"), "the question to arrive")


def test_an_answer_is_printed_as_it_comes(stream, start):
    process = start(stream.name, "what?")
    # The function holds the rest back until /go.
    assert os.read(process.stdout.fileno(), 100) == b"one"
    stream.get("/go")
    out, err = process.communicate(timeout=harness.HANG_S)
    assert (process.returncode, out) == (0, " two\n")
    assert err.startswith("2 tokens, ")
    assert "first token after" in err


def test_a_question_may_come_on_standard_input(stream, start):
    process = start(stream.name, "--json", stdin=subprocess.PIPE)
    process.stdin.write("what?\n")
    process.stdin.close()
    process.stdin = None
    asked(stream)
    stream.get("/go")
    out, err = process.communicate(timeout=harness.HANG_S)
    answer = json.loads(out)
    assert (process.returncode, err) == (0, "")
    assert (answer["Model"], answer["Answer"], answer["FinishReason"]) == (stream.name, "one two", "stop")
    assert 0 < answer["FirstTokenMs"] <= answer["DurationMs"]


def test_ctrl_c_ends_a_question_and_the_function_learns_it(stream, start):
    process = start(stream.name, "what?")
    assert os.read(process.stdout.fileno(), 100) == b"one"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130
    stream.wait_log("THE CLIENT HAS GONE")


def test_an_answer_that_is_cut_off_is_an_error(deploy, start):
    function = deploy("stream", timeout_s=1)
    process = start(function.name, "what?")
    out, err = process.communicate(timeout=harness.HANG_S)
    assert (process.returncode, out) == (1, "one\n")
    assert f"cut off; the function's log says why: thaw logs {function.name}" in err


def test_what_is_no_chat_model_is_named(daemon, kit):
    answered = daemon.run("chat", "kit", "what?")
    assert answered.returncode == 1
    assert "answers as no chat model does" in answered.stderr
    assert "did you mean kit?" in daemon.run("chat", "kitt", "what?").stderr
    assert "kit:9" in daemon.run("chat", "kit:9", "what?").stderr


def test_a_function_that_dies_is_named_with_its_log(daemon, deploy):
    function = deploy(environment__INIT="exit")
    answered = daemon.run("chat", function.name, "what?")
    assert answered.returncode == 1
    assert f"thaw logs {function.name}" in answered.stderr


def test_a_chat_on_a_terminal(daemon, stream):
    words = [str(harness.THAW), "chat", stream.name]
    with Terminal(words, daemon.environment()) as terminal:
        terminal.until("ctrl-D ends")
        terminal.until("> ")
        terminal.type("hello\r")
        terminal.until("one")
        stream.get("/go")
        terminal.until(" two")
        terminal.until("2 tokens, ")
        terminal.until("> ")
        terminal.type("/system be brief\r")
        terminal.until("holds from the next question on")
        terminal.until("> ")
        terminal.type("again\r")
        terminal.until("one")
        terminal.type("\x03")  # ctrl-C: the answer stops, the chat goes on
        terminal.until("stopped")
        terminal.until("> ")
        stream.wait_log("THE CLIENT HAS GONE")
        terminal.type("half a line\x03")
        terminal.until("> ")
        terminal.type("/help\r")
        terminal.until("/clear")
        terminal.until("> ")
        terminal.type("/nonsense\r")
        terminal.until("there is no /nonsense")
        terminal.until("> ")
        terminal.type("/clear\r")
        terminal.until("forgotten")
        terminal.until("> ")
        assert terminal.exit_status("\x04") == 0


def test_a_chat_remembers_what_was_said(daemon, deploy):
    function = deploy("stream", timeout_s=60, environment__SHOW_BODIES="1")
    function.get()
    words = [str(harness.THAW), "chat", function.name, "--system", "be kind", "--max-tokens", "7", "--temperature", "0.5"]
    with Terminal(words, daemon.environment()) as terminal:
        for question in ("firsd\x7ft", "//second"):  # a mistake that is taken back; a slash that is meant
            terminal.until("> ")
            terminal.type(question + "\r")
            terminal.until("one")
            function.get("/go")
            terminal.until("tokens")
        terminal.until("> ")
        terminal.type("/exit\r")
        assert terminal.exit_status() == 0
    bodies = [json.loads(line.removeprefix("BODY ")) for line in function.log().splitlines() if line.startswith("BODY {")]
    assert bodies[-1]["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "one two"},
        {"role": "user", "content": "/second"},
    ]
    assert (bodies[-1]["model"], bodies[-1]["stream"], bodies[-1]["max_tokens"]) == (function.name, True, 7)
    assert (bodies[-1]["temperature"], bodies[-1]["stream_options"]) == (0.5, {"include_usage": True})


def test_a_chat_with_nobody_does_not_begin(daemon):
    with Terminal([str(harness.THAW), "chat", "nobody"], daemon.environment()) as terminal:
        terminal.until("there is no function named 'nobody'")
        assert terminal.exit_status() == 1
