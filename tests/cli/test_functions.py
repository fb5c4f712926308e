"""list, describe, invoke, logs, delete and status against answers of a stand-in daemon."""

import json

import pytest

from conftest import function

LIST = "/2015-03-31/functions"


@pytest.fixture
def deployed(daemon):
    daemon.answer("GET", LIST, 200, {"Functions": [function("weather"), function("question")]})
    for name in ("weather", "question"):
        daemon.answer("GET", f"{LIST}/{name}", 200, {
            "Configuration": function(name),
            "Thaw": {
                "Environments": [
                    {"Id": "17", "State": "frozen", "Inflight": 0, "Invocations": 5, "AgeSeconds": 200,
                     "MemoryPeakMb": 41, "InitMs": 312}
                ],
                "Queued": 0,
            },
        })
    return daemon


def test_list(thaw, deployed):
    result = thaw("list")
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["NAME", "RUNS", "MEMORY", "STATE", "ENVIRONMENTS", "UPDATED"]
    assert lines[1].startswith("weather   python3 app.py  512 MB  Active  1 frozen")
    assert thaw("list", "--quiet").stdout == "weather\nquestion\n"
    assert [f["FunctionName"] for f in json.loads(thaw("list", "--json").stdout)["Functions"]] == ["weather", "question"]


def test_list_reads_every_page(thaw, daemon):
    daemon.answer("GET", LIST, 200, {"Functions": [function("one")], "NextMarker": "one"})
    result = thaw("list", "--quiet")
    # The stand-in gives the same page and marker again: the second time is the last.
    assert result.stdout == "one\none\n"
    assert "Marker=one" in daemon.requests[1].path


def test_list_of_nothing(thaw, daemon):
    daemon.answer("GET", LIST, 200, {"Functions": []})
    result = thaw("list")
    assert result.returncode == 0
    assert "thaw deploy FOLDER" in result.stderr


def test_another_server_is_recognised(thaw, daemon):
    daemon.answer("GET", LIST, 200, b"<html>hello</html>")
    result = thaw("list")
    assert result.returncode == 1
    assert "is there another server than thaw" in result.stderr


def test_describe(thaw, deployed):
    result = thaw("describe", "weather")
    assert result.returncode == 0
    assert "http://127.0.0.1:8080/fn/weather/" in result.stdout
    assert "variables  TOKEN" in result.stdout
    assert "s3cret" not in result.stdout  # secrets are for --json
    assert "17           frozen  0        5       3 min  41 MB        312 ms" in result.stdout
    assert json.loads(thaw("describe", "weather", "--json").stdout)["Configuration"]["MemorySize"] == 512


@pytest.mark.parametrize("command", [["describe"], ["logs"], ["delete", "--yes"], ["invoke"]])
def test_wrong_name_suggests_the_near_ones(thaw, deployed, command):
    result = thaw(*command, "wether")
    assert result.returncode == 1
    assert "error: there is no function named 'wether'; did you mean weather?" in result.stderr


def test_completion_asks_for_names(thaw, deployed):
    assert thaw("__complete", "--", "invoke", "w").stdout == "weather\n:none\n"
    assert thaw("__complete", "--", "delete", "weather", "").stdout == "weather\nquestion\n:none\n"
    # The second argument of invoke is a path in the function.
    assert thaw("__complete", "--", "invoke", "weather", "").stdout == ":none\n"


def test_invoke_prints_the_body_alone(thaw, daemon):
    daemon.answer("GET", "/fn/weather/", 200, b"sunny")
    result = thaw("invoke", "weather")
    assert (result.returncode, result.stdout, result.stderr) == (0, "sunny", "")


def test_invoke_builds_the_request(thaw, daemon):
    daemon.answer("PUT", "/fn/weather/a%20b", 200, b"ok")
    result = thaw("invoke", "weather", "a b?x=1", "-X", "put", "-d", '{"q": 1}', "-H", "X-Test: yes",
                  "--query", "city=São Paulo&co", "-q", "flag")
    assert result.returncode == 0, result.stderr
    asked, request = daemon.requests
    assert (asked.method, asked.path) == ("GET", "/2015-03-31/functions/weather")
    assert request.method == "PUT"
    assert request.path == "/fn/weather/a%20b?x=1&city=S%C3%A3o%20Paulo%26co&flag"
    assert request.headers["X-Test"] == "yes"
    assert request.headers["Content-Type"] == "application/json"
    assert request.body == b'{"q": 1}'


def test_invoke_gives_an_event_to_a_function_that_takes_events(thaw, daemon):
    weather = {"Configuration": {"FunctionName": "weather", "Thaw": {"Kind": "event"}}, "Thaw": {}}
    daemon.answer("GET", "/2015-03-31/functions/weather", 200, weather)
    daemon.answer("POST", "/2015-03-31/functions/weather/invocations", 200, b'"sunny"')
    result = thaw("invoke", "weather:live", "-d", '{"q": 1}')
    assert (result.returncode, result.stdout) == (0, '"sunny"')
    assert daemon.requests[-1].path == "/2015-03-31/functions/weather/invocations?Qualifier=live"
    assert daemon.requests[-1].body == b'{"q": 1}'
    assert thaw("invoke", "weather").returncode == 0
    assert daemon.requests[-1].body == b"{}"
    refused = thaw("invoke", "weather", "-X", "PUT")
    assert refused.returncode == 1 and "takes events" in refused.stderr


def test_invoke_data_from_file_and_standard_input(thaw, daemon):
    daemon.answer("POST", "/fn/weather/", 200, b"ok")
    (thaw.home / "body.json").write_text("[1]")
    assert thaw("invoke", "weather", "-d", "@body.json").returncode == 0
    assert daemon.requests[-1].body == b"[1]"
    assert daemon.requests[-1].headers["Content-Length"] == "3"
    assert daemon.requests[-1].headers["Content-Type"] == "application/json"
    assert thaw("invoke", "weather", "-d", "-", stdin="x" * 200000).returncode == 0
    assert daemon.requests[-1].body == b"x" * 200000
    result = thaw("invoke", "weather", "-d", "@absent")
    assert result.returncode == 1
    assert "absent: No such file" in result.stderr


def test_invoke_keeps_errors_out_of_the_pipeline(thaw, daemon):
    daemon.answer("GET", "/fn/weather/", 500, b"Traceback ...")
    result = thaw("invoke", "weather")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == "Traceback ...\nerror: the function answered with status 500\n"


def test_invoke_explains_errors_of_thaw(thaw, daemon):
    daemon.answer("GET", "/fn/weather/", 502, {
        "kind": "FunctionFailed", "code": "Function.OutOfMemory", "message": "the function ran out of its 128 MB",
        "requestId": "4f2c",
    })
    result = thaw("invoke", "weather")
    assert result.returncode == 1
    assert "error: 502 FunctionFailed Function.OutOfMemory: the function ran out of its 128 MB" in result.stderr
    assert "request id 4f2c" in result.stderr
    assert "--memory" in result.stderr and "thaw logs weather" in result.stderr


def test_invoke_does_not_let_the_function_steer_the_terminal_by_errors(thaw, daemon):
    daemon.answer("GET", "/fn/weather/", 502, {
        "kind": "FunctionFailed", "code": "", "message": "\033[2Jgone", "requestId": "1",
    })
    assert "\033" not in thaw("invoke", "weather").stderr


def test_invoke_include_and_json(thaw, daemon):
    daemon.answer("GET", "/fn/weather/", 200, b'{"a": 1}', {"X-Test": "yes"})
    assert thaw("invoke", "weather", "-i").stdout.startswith("HTTP/1.1 200\n")
    answer = json.loads(thaw("invoke", "weather", "--json").stdout)
    assert answer["StatusCode"] == 200
    assert answer["Headers"]["X-Test"] == "yes"
    assert answer["Body"] == {"a": 1}


def test_logs_shows_the_last_lines(thaw, daemon):
    text = "".join(f"line {n}\n" for n in range(300))
    daemon.answer("GET", "/thaw/v1/functions/weather/logs", 200, text.encode())
    assert thaw("logs", "weather").stdout == "".join(f"line {n}\n" for n in range(200, 300))
    assert thaw("logs", "weather", "-n", "1").stdout == "line 299\n"
    assert thaw("logs", "weather", "-n", "0").stdout == ""
    assert thaw("logs", "weather", "-n", "1000").stdout == text
    assert thaw("logs", "weather", "-n", "1", "--json").stdout == '{"Message":"line 299"}\n'


def test_logs_follow_begins_with_the_same_lines(thaw, daemon):
    daemon.answer("GET", "/thaw/v1/functions/weather/logs", 200, b"one\ntwo\nthree\n")
    assert thaw("logs", "weather", "--follow", "-n", "2").returncode == 0
    assert daemon.requests[1].path == "/thaw/v1/functions/weather/logs?follow=1&bytes=10"


def test_delete(thaw, deployed):
    deployed.answer("DELETE", f"{LIST}/weather", 204)
    result = thaw("delete", "weather")
    assert result.returncode == 1
    assert "--yes" in result.stderr
    assert not [r for r in deployed.requests if r.method == "DELETE"]
    result = thaw("delete", "--yes", "weather")
    assert (result.returncode, result.stdout) == (0, "deleted weather\n")
    # One that fails does not keep the others from being deleted.
    result = thaw("delete", "--yes", "--json", "wether", "weather")
    assert result.returncode == 1
    assert json.loads(result.stdout) == {"Deleted": ["weather"]}


def test_status(thaw, daemon):
    status = {"Version": "0.1.0", "UptimeSeconds": 7300, "Listen": "127.0.0.1:8080", "DataFolder": "/var/lib/thaw",
              "Functions": 3, "Environments": {"Starting": 0, "Idle": 1, "Busy": 2, "Frozen": 4}, "Queued": 5,
              "MemoryAdmittedMb": 1024, "MemoryMaxMb": 8000, "ServerMemoryMb": 40,
              "Snapshots": {"Count": 3, "Bytes": 210400000, "BytesMax": 10737418240, "Pending": 1, "Making": 1,
                            "RemovedForRoom": 0, "Restores": 8, "RestoresFailed": 2},
              "Events": {"Reachable": True, "Waiting": 12, "Running": 3, "Dead": 1}}
    daemon.answer("GET", "/thaw/v1/status", 200, status)
    text = thaw("status").stdout
    assert "running  thaw 0.1.0 at 127.0.0.1:8080" in text
    assert "0 starting, 2 busy, 1 idle, 4 frozen" in text
    assert "1024 of 8000 MB" in text
    assert "12 wait, 3 run, 1 dead\n" in text
    assert "3 in 210 MB of 11 GB on disk, 1 version pending, 2 of 10 restores failed\n" in text
    assert json.loads(thaw("status", "--json").stdout) == status


def test_url_instead_of_the_socket(thaw):
    import http.server
    import threading

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'{"Version": "9", "Listen": "here"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    # A proxy of the environment is not for the daemon.
    env = {"http_proxy": "http://127.0.0.1:1"}
    assert "thaw 9 at here" in thaw("status", "--url", url, env=env).stdout
    assert "thaw 9 at here" in thaw("status", env={**env, "THAW_URL": url}).stdout
    server.shutdown()
    server.server_close()


def test_answer_that_breaks_off(thaw):
    import socket
    import threading

    (thaw.home / "data").mkdir()
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(thaw.home / "data" / "control.sock"))
    server.listen()

    def serve():
        for _ in range(3):
            client, _ = server.accept()
            if client.recv(4096):
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            client.close()

    threading.Thread(target=serve, daemon=True).start()
    result = thaw("status")
    assert result.returncode == 1
    assert "broke" in result.stderr
    server.close()


def test_full_disk_behind_standard_output(thaw):
    import subprocess

    with open("/dev/full", "w") as full:
        result = subprocess.run([thaw.binary, "version"], env=thaw.env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert "standard output cannot be written" in result.stderr
