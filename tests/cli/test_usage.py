"""Help, wrong usage, configuration errors, completion and doctor: all that needs no daemon."""

import json
import os
import pathlib
import subprocess

import pytest

GOLDEN = pathlib.Path(__file__).parent / "golden"
COMMANDS = [
    "serve", "deploy", "invoke", "batch", "chat", "publish", "versions", "alias", "schedule", "models", "features", "list", "describe", "logs", "delete", "status",
    "doctor",
    "version", "completion",
]
NESTED = ["alias set", "alias list", "alias rm", "schedule add", "schedule list", "schedule remove",
          "models pull", "models push", "models list", "models rm",
          "features apply", "features list", "features describe", "features delete", "features get", "features push",
          "features materialize", "features materialize-incremental", "features jobs", "features historical"]


@pytest.mark.parametrize("command", ["", *COMMANDS, *NESTED])
def test_help_is_as_agreed(thaw, command):
    """THAW_REGENERATE=1 writes the files anew, on purpose."""
    result = thaw(*command.split(), "--help")
    assert result.returncode == 0
    path = GOLDEN / f"help{'-' + command.replace(' ', '-') if command else ''}.txt"
    if os.environ.get("THAW_REGENERATE"):
        path.write_text(result.stdout)
    assert result.stdout == path.read_text()


def test_help_names_every_command(thaw):
    text = thaw("--help").stdout
    for command in COMMANDS:
        assert f"  {command} " in text or f"  {command}, " in text
    assert "__complete" not in text


def test_no_command_shows_the_help_and_is_wrong_usage(thaw):
    result = thaw()
    assert result.returncode == 2
    assert "Commands:" in result.stdout


@pytest.mark.parametrize(
    "args, expected",
    [
        (["lst"], "unknown command lst; did you mean list?"),
        (["list", "--jsn"], "unknown option --jsn; did you mean --json?"),
        (["serve", "--thread", "3"], "unknown option --thread; did you mean --threads?"),
        (["invoke"], "NAME is required"),
        (["deploy", ".", "--memory", "lots"], "--memory"),
        (["list", "--socket", "/x", "--url", "http://x"], "excludes"),
        (["serve", "--threads", "99999"], "--threads: 99999 is outside of 0 to 1024"),
        (["serve", "--listen", "localhost"], "--listen: 'localhost' is not ADDRESS:PORT"),
        (["serve", "--user", "root"], "--user: must not be root"),
        (["chat", "x", "y", "--temperature", "-1"], "--temperature: must be a number from 0 to 100"),
        (["chat", "x", "y", "--temperature", "nan"], "--temperature: must be a number from 0 to 100"),
        (["chat", "x", "y", "--max-tokens", "0"], "--max-tokens: must be at least 1"),
        (["chat"], "NAME is required"),
        (["batch", "x"], "--input is required"),
        (["batch", "x", "--input", ".", "--concurrency", "0"], "--concurrency"),
        (["batch", "x", "--input", ".", "--resume", "--restart"], "excludes"),
        (["completion", "tcsh"], "there are bash, zsh and fish"),
    ],
)
def test_wrong_usage(thaw, args, expected):
    result = thaw(*args)
    assert result.returncode == 2
    assert expected in result.stderr
    assert result.stdout == ""


def test_unknown_key_of_the_file_is_named_with_its_line(thaw):
    path = thaw.home / "my.toml"
    path.write_text("drain_s = 3\n\nlisten_on = \"127.0.0.1:1\"\n")
    result = thaw("serve", "--config", path)
    assert result.returncode == 2
    assert f"{path} line 3: unknown key 'listen_on'" in result.stderr
    assert "did you mean listen?" in result.stderr


def test_unknown_variable_is_named(thaw):
    result = thaw("serve", env={"THAW_DRAINS": "3"})
    assert result.returncode == 2
    assert "environment variable THAW_DRAINS: unknown key; did you mean THAW_DRAIN_S?" in result.stderr


def test_broken_file_is_named_with_its_line(thaw):
    (thaw.home / "thaw.toml").write_text("drain_s = = 3\n")
    result = thaw("serve")
    assert result.returncode == 2
    assert f"{thaw.home}/thaw.toml line 1:" in result.stderr


def test_missing_file_is_named(thaw):
    result = thaw("serve", "--config", "/no/such/file.toml")
    assert result.returncode == 2
    assert "/no/such/file.toml: No such file" in result.stderr


def test_version(thaw):
    version = json.loads(thaw("version", "--json").stdout)["Version"]
    assert thaw("version").stdout == f"thaw {version}\n"
    assert thaw("--version").stdout == f"thaw {version}\n"


@pytest.mark.parametrize("shell, check", [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "-n"])])
def test_completion_scripts_are_valid(thaw, shell, check):
    script = thaw("completion", shell)
    assert script.returncode == 0
    path = thaw.home / "script"
    path.write_text(script.stdout)
    assert "__complete" in script.stdout
    try:
        assert subprocess.run([*check, path], capture_output=True).returncode == 0
    except FileNotFoundError:
        pytest.skip(f"{shell} is not installed")


def bash_complete(thaw, *words):
    """What bash would offer after these words."""
    quoted = " ".join(f"'{word}'" for word in ("thaw", *words))
    script = f"""
        source <("$THAW" completion bash)
        COMP_WORDS=({quoted}); COMP_CWORD={len(words)}
        thaw() {{ "$THAW" "$@"; }}
        _thaw
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    result = subprocess.run(
        ["bash", "-c", script], env={**thaw.env, "THAW": thaw.binary}, capture_output=True, text=True, cwd=thaw.home
    )
    return result.stdout.split()


def test_bash_completes_commands_options_and_files(thaw):
    assert set(bash_complete(thaw, "de")) == {"deploy", "describe", "delete"}
    assert bash_complete(thaw, "deploy", "--mem") == ["--memory"]
    assert "--json" in bash_complete(thaw, "list", "--")
    assert bash_complete(thaw, "completion", "z") == ["zsh"]
    (thaw.home / "my-function").mkdir()
    assert bash_complete(thaw, "deploy", "my-") == ["my-function"]
    assert bash_complete(thaw, "--socket", "thaw.t") == ["thaw.toml"]
    # No daemon, no names; and no error in the middle of somebody's prompt.
    assert bash_complete(thaw, "invoke", "") == []


def test_doctor_reports_every_check(thaw):
    result = thaw("doctor", "--json")
    report = json.loads(result.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert {"kernel", "privileges", "namespaces", "cgroups", "seccomp", "ptrace", "userfaultfd", "memory", "disk",
            "clock", "daemon", "spawner", "engines", "egress", "ONNX Runtime", "configuration"} <= set(checks)
    for check in checks.values():
        assert check["finding"] in ("ok", "warning", "missing")
        assert check["detail"]
        assert (check["finding"] == "ok") == (check["advice"] == ""), check
    missing = [name for name, check in checks.items() if check["finding"] == "missing"]
    assert report["ok"] == (not missing)
    assert result.returncode == (1 if missing else 0)


def test_doctor_names_what_is_missing(thaw):
    result = thaw("doctor", "--json", env={"THAW_SPAWNER": "/no/such/spawner"})
    spawner = [check for check in json.loads(result.stdout)["checks"] if check["name"] == "spawner"][0]
    assert spawner["finding"] == "missing"
    assert "/no/such/spawner" in spawner["detail"]
    assert result.returncode == 1


def test_doctor_sees_a_port_that_is_taken(thaw):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        result = thaw("doctor", env={"THAW_LISTEN": listen})
    assert result.returncode == 1
    assert f"cannot listen on {listen}: Address already in use" in result.stdout


def test_doctor_shows_a_wrong_configuration(thaw):
    (thaw.home / "thaw.toml").write_text("drain = 3\n")
    result = thaw("doctor")
    assert result.returncode == 1
    assert "line 1: unknown key 'drain'" in result.stdout


def test_no_colours_off_a_terminal(thaw):
    for args in (["--help"], ["doctor"], ["list"]):
        result = thaw(*args)
        assert "\033" not in result.stdout + result.stderr


def test_colours_on_a_terminal_unless_unwanted(thaw):
    import pty

    def run(*args, **env):
        """thaw list, its standard error being a terminal."""
        main, child = pty.openpty()
        process = subprocess.Popen([thaw.binary, *args, "list"], env={**thaw.env, **env}, stderr=child)
        process.wait(timeout=20)
        os.close(child)
        text = os.read(main, 4096).decode()
        os.close(main)
        return text

    assert "\033[31m" in run()
    assert "\033" not in run("--no-color")
    assert "\033" not in run(NO_COLOR="1")
    assert "\033" not in run(TERM="dumb")


def test_daemon_that_does_not_run_is_said_plainly(thaw):
    result = thaw("list")
    assert result.returncode == 1
    assert result.stderr == (
        f"error: cannot reach thaw at {thaw.home}/data/control.sock (no such socket): "
        "is `thaw serve` running? start it with: sudo thaw serve\n"
    )
    error = json.loads(thaw("list", "--json").stderr)["error"]
    assert error["kind"] == "Unavailable"
    assert error["code"] == "Client.Unreachable"
    result = thaw("status", "--url", "http://127.0.0.1:1")
    assert result.returncode == 1
    assert "cannot reach thaw at http://127.0.0.1:1" in result.stderr


def test_socket_left_by_a_dead_daemon(thaw):
    import socket

    (thaw.home / "data").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(thaw.home / "data" / "control.sock"))
    result = thaw("status")
    assert result.returncode == 1
    assert "(Connection refused): is `thaw serve` running?" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root can")
def test_socket_that_belongs_to_somebody_else(thaw, tmp_path_factory):
    import socket
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "control.sock")
        program = os.path.join(folder, "thaw")
        pathlib.Path(program).write_bytes(pathlib.Path(thaw.binary).read_bytes())
        os.chmod(program, 0o755)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            os.chmod(path, 0o600)
            server.listen()
            result = subprocess.run(
                [program, "--socket", path, "list"], user=65534, group=65534, extra_groups=[],
                env={"PATH": "/usr/bin", "HOME": "/"}, capture_output=True, text=True, timeout=20, cwd="/",
            )
    assert result.returncode == 1
    assert f"permission denied on {path}" in result.stderr
    assert "sudo" in result.stderr


def test_socket_path_that_is_too_long(thaw):
    result = thaw("list", "--socket", "/" + "x" * 200)
    assert result.returncode == 1
    assert "longer than 107 bytes" in result.stderr
