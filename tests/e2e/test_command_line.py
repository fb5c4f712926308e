"""The thaw command against the real daemon."""

import json
import os
import subprocess

import pytest

import harness

KIT = harness.FUNCTIONS / "kit"


def test_every_json_output_parses(daemon, deploy):
    function = deploy()
    function.get()
    assert daemon.json("status")["Functions"] >= 1
    assert function.name in [one["FunctionName"] for one in daemon.json("list")["Functions"]]
    described = daemon.json("describe", function.name)
    assert described["Configuration"]["FunctionName"] == function.name
    assert described["Thaw"]["Environments"][0]["Invocations"] == 1
    assert daemon.json("version")["Version"]
    answer = daemon.json("invoke", function.name, "/echo", "-d", '{"a": 1}')
    assert answer["StatusCode"] == 200
    assert answer["Body"]["text"] == '{"a": 1}'
    deployed = daemon.json("deploy", KIT, "--name", "by-json")
    assert deployed["FunctionName"] == "by-json"
    assert daemon.json("delete", "by-json", "--yes") == {"Deleted": ["by-json"]}


def test_doctor_finds_this_machine_fit(daemon):
    done = daemon.run("doctor", "--json")
    checks = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert checks


def test_deploy_says_how_to_try_it(daemon):
    done = daemon.run("deploy", KIT, "--name", "tried")
    assert done.returncode == 0, done.stderr
    assert f"curl {daemon.url}/fn/tried/" in done.stdout
    assert f"http://tried.localhost:{daemon.port}/" in done.stdout
    done = daemon.run("deploy", KIT, "--name", "tried")
    assert "updated" in done.stdout
    assert daemon.run("delete", "tried", "--yes").returncode == 0


def test_invoke_prints_the_body_and_nothing_else(daemon, deploy):
    function = deploy()
    done = daemon.run("invoke", function.name, "/status?code=200")
    assert (done.returncode, done.stdout) == (0, "the body\n")
    done = daemon.run("invoke", function.name, "/echo", "-q", "a=b c&d", "-X", "PUT", "-H", "X-Mine: 1", "-d", "text")
    answer = json.loads(done.stdout)
    assert (answer["method"], answer["path"], answer["text"]) == ("PUT", "/echo?a=b%20c%26d", "text")
    assert ["X-Mine", "1"] in answer["headers"]


def test_invoke_of_a_failure_exits_1_and_tells_what_to_do(daemon, deploy):
    function = deploy()
    done = daemon.run("invoke", function.name, "/abort")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "502 FunctionFailed Function.Crashed" in done.stderr
    assert f"thaw logs {function.name}" in done.stderr
    done = daemon.run("invoke", function.name, "/status?code=418")
    assert done.returncode == 1
    assert "418" in done.stderr


def test_invoke_passes_a_large_body_from_standard_input(daemon, kit, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(os.urandom(20 << 20))
    with open(body, "rb") as stdin:
        done = subprocess.run(
            [harness.THAW, "invoke", "kit", "/echo", "-d", "-"],
            env=daemon.environment(), stdin=stdin, capture_output=True, timeout=harness.HANG_S,
        )  # fmt: skip
    assert json.loads(done.stdout)["length"] == 20 << 20
    done = daemon.run("invoke", "kit", "/echo", "-d", f"@{body}")
    assert json.loads(done.stdout)["length"] == 20 << 20


def test_an_unknown_function_is_met_with_the_nearest_name(daemon, deploy):
    deploy(name="painter")
    for words in (["describe", "paintr"], ["invoke", "paintr"], ["logs", "paintr"], ["delete", "paintr", "--yes"]):
        done = daemon.run(*words)
        assert done.returncode == 1
        assert "painter" in done.stderr, words


def test_without_a_daemon_it_says_how_to_start_one(tmp_path):
    nobody = harness.Daemon(tmp_path)
    for words in (["list"], ["status"], ["deploy", KIT], ["invoke", "x"]):
        done = nobody.run(*words)
        assert done.returncode == 1
        assert "thaw serve" in done.stderr
    nobody.close()


def test_serve_as_an_ordinary_user_says_what_it_needs(tmp_path):
    daemon = harness.Daemon(tmp_path)
    if subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "test", "-x", harness.THAW]).returncode != 0:
        pytest.skip("an ordinary user cannot reach the program here")
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", harness.THAW, "serve", "--listen", "127.0.0.1:0", "--data", tmp_path / "data"],
        env=daemon.environment(), capture_output=True, text=True, timeout=harness.HANG_S,
    )  # fmt: skip
    assert done.returncode == 1
    assert "sudo thaw serve" in done.stderr
    daemon.close()


def test_the_configuration_file_is_read_and_flags_win(serve, tmp_path):
    config = tmp_path / "thaw.toml"
    config.write_text('drain_s = 7\nheader_max_kb = 2\nbody_max_mb = 1\n')
    daemon = serve(config=config, header_max_kb=64)
    assert daemon.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + b"a" * 4000 + b"\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert daemon.stop() == 0
    config.write_text("drain_seconds = 7\n")
    done = daemon.run("serve", "--config", config)
    assert done.returncode == 2
    assert "drain_seconds" in done.stderr and "drain_s" in done.stderr
