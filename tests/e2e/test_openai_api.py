"""OpenAI's API on the gateway: which function gets a request, what it sees, and the errors, byte for byte."""

import json
import re
import threading
import time

import pytest

import harness

MB = 1 << 20


def post(daemon, body, path="/v1/chat/completions", **options):
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    options.setdefault("headers", {"Content-Type": "application/json"})
    return daemon.request("POST", path, data=body, **options)


def assert_openai_error(response, status, type, code, param=None):
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    assert re.fullmatch(harness.UUID, response.headers["x-request-id"])
    error = response.json()
    assert list(error) == ["error"]
    assert list(error["error"]) == ["message", "type", "param", "code"]
    assert (error["error"]["type"], error["error"]["code"], error["error"]["param"]) == (type, code, param)
    assert error["error"]["message"]
    return error["error"]["message"]


def test_the_model_names_the_function_which_sees_the_request_unchanged(daemon, kit):
    body = '{"messages": [{"model": "not me", "n": 1.50}],\n "model": "kit", "model": "k\\u0069t"}'
    response = post(daemon, body, "/v1/chat/completions?x=%20y", headers={"Authorization": "Bearer key", "X-Mine": "1"})
    assert response.status_code == 200
    seen = response.json()
    assert seen["method"] == "POST"
    assert seen["path"] == "/v1/chat/completions?x=%20y"
    assert seen["text"] == body
    headers = {name.lower(): value for name, value in seen["headers"]}
    assert headers["authorization"] == "Bearer key"
    assert headers["x-mine"] == "1"
    assert headers["content-length"] == str(len(body))
    assert headers["x-amzn-requestid"] == response.headers["x-request-id"] == response.headers["x-amzn-requestid"]
    assert "x-forwarded-prefix" not in headers


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/rerank", "/v1/messages"])
def test_any_path_with_a_model_goes_to_it(daemon, kit, path):
    assert post(daemon, {"model": "KIT"}, path).json()["path"] == path


def test_large_and_chunked_bodies_arrive_whole(daemon, kit):
    body = json.dumps({"image": "x" * (20 * MB), "model": "kit"}).encode()
    answer = post(daemon, body).json()
    assert answer["length"] == len(body)

    def pieces():
        for at in range(0, len(body), 100_000):
            yield body[at : at + 100_000]

    again = daemon.request("POST", "/v1/chat/completions", data=pieces()).json()
    assert (again["length"], again["sha256"]) == (answer["length"], answer["sha256"])
    assert ["Content-Length", str(len(body))] in again["headers"]


def test_a_qualifier_names_a_version_or_an_alias(daemon, deploy):
    function = deploy(environment__VERSION="one")
    published = daemon.request("POST", f"/2015-03-31/functions/{function.name}/versions", json={})
    assert published.json()["Version"] == "1"
    daemon.request(
        "POST", f"/2015-03-31/functions/{function.name}/aliases", json={"Name": "live", "FunctionVersion": "1"}
    ).raise_for_status()
    deployed = daemon.deploy(harness.FUNCTIONS / "kit", function.name, environment__VERSION="two")
    for model, version in [("", "two"), (":1", "one"), (":live", "one"), (":$LATEST", "two")]:
        answer = post(daemon, {"model": deployed.name + model}, "/v1/home")
        assert (answer.status_code, answer.json()["version"]) == (200, version)
    for model in [":2", ":gone", ":", ":a b", ":%31"]:
        answered = post(daemon, {"model": deployed.name + model}, "/v1/home")
        if model == ":":
            assert answered.status_code == 200  # no qualifier, as in a URL
        else:
            assert deployed.name + model in assert_openai_error(
                answered, 404, "invalid_request_error", "model_not_found", "model"
            )


@pytest.mark.parametrize(
    "body, code, param",
    [
        (b"", None, None),
        (b"model=kit", None, None),
        (b'{"model": "kit"', None, None),
        (b'["kit"]', None, None),
        (b'{"model": "kit", "x": "\xff"}', None, None),
        (b"{}", "missing_required_parameter", "model"),
        (b'{"model": ""}', "missing_required_parameter", "model"),
        (b'{"model": 5}', "invalid_type", "model"),
        (b'{"model": "kit", "model": null}', "invalid_type", "model"),
    ],
)
def test_bad_bodies_are_refused(daemon, kit, body, code, param):
    assert_openai_error(post(daemon, body), 400, "invalid_request_error", code, param)


def test_forms_and_compressed_bodies_are_refused_in_plain_words(daemon, kit):
    form = daemon.request("POST", "/v1/audio/transcriptions", files={"file": b"x"}, data={"model": "kit"})
    assert "/fn/NAME/v1/" in assert_openai_error(form, 400, "invalid_request_error", None)
    packed = post(daemon, b"\x1f\x8b", headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})
    assert "compressed" in assert_openai_error(packed, 400, "invalid_request_error", None)


def test_a_body_above_the_bound_is_refused_whether_it_says_so_or_not(daemon, kit):
    body = b'{"model": "kit", "x": "' + b"x" * (32 * MB) + b'"}'
    message = assert_openai_error(post(daemon, body), 413, "invalid_request_error", "request_too_large")
    assert "32 MB" in message

    def pieces():
        for at in range(0, len(body), MB):
            yield body[at : at + MB]

    response = daemon.request("POST", "/v1/chat/completions", data=pieces())
    assert_openai_error(response, 413, "invalid_request_error", "request_too_large")


@pytest.mark.parametrize("model", ["nobody", "no/such model", "kit:9", "k" * 600, "\u0000", "../kit"])
def test_a_model_that_is_not_there(daemon, kit, model):
    assert_openai_error(post(daemon, {"model": model}), 404, "invalid_request_error", "model_not_found", "model")


@pytest.mark.parametrize("method, path", [("GET", "/v1/chat/completions"), ("DELETE", "/v1/models/kit"), ("PUT", "/v1/x")])
def test_other_methods_and_paths(daemon, kit, method, path):
    assert_openai_error(daemon.request(method, path), 404, "invalid_request_error", "unknown_url")


def test_models_are_the_functions(daemon, kit, deploy):
    before = time.time()
    deploy(name="A-model")
    listed = daemon.get("/v1/models")
    assert listed.status_code == 200
    assert re.fullmatch(harness.UUID, listed.headers["x-request-id"])
    body = listed.json()
    assert list(body) == ["object", "data"] and body["object"] == "list"
    ids = [one["id"] for one in body["data"]]
    assert ids == sorted(ids, key=str.lower)
    assert {"A-model", "kit"} <= set(ids)
    model = next(one for one in body["data"] if one["id"] == "A-model")
    assert list(model) == ["id", "object", "created", "owned_by"]
    assert (model["object"], model["owned_by"]) == ("model", "thaw")
    assert before - 60 < model["created"] < time.time() + 60
    assert daemon.get("/v1/models/a-MODEL").json() == model
    assert daemon.get("/v1/models/A-model%3A%24LATEST").json() == {**model, "id": "A-model:$LATEST"}
    assert_openai_error(daemon.get("/v1/models/nobody"), 404, "invalid_request_error", "model_not_found", "model")
    assert_openai_error(daemon.get("/v1/models/kit:7"), 404, "invalid_request_error", "model_not_found", "model")


def test_functions_of_thaw_onnx_are_no_models(serve):
    if not (harness.BINARIES / "thaw-onnx").exists():
        pytest.skip("thaw-onnx is not built")
    daemon = serve()
    daemon.deploy(harness.SOURCE / "tests" / "data" / "onnx" / "bert", "bert")
    assert daemon.get("/v1/models").json() == {"object": "list", "data": []}
    assert_openai_error(daemon.get("/v1/models/bert"), 404, "invalid_request_error", "model_not_found", "model")
    assert_openai_error(post(daemon, {"model": "bert"}), 404, "invalid_request_error", "model_not_found", "model")


def test_failures_of_a_function_have_the_shape_too(daemon, deploy):
    function = deploy(timeout_s=1, environments_max=1, queue_max=1)
    function.get()
    message = assert_openai_error(
        post(daemon, {"model": function.name}, "/v1/sleep?ms=5000"), 504, "server_error", "Function.TimedOut"
    )
    assert "timeout_s" in message
    assert_openai_error(post(daemon, {"model": function.name}, "/v1/abort"), 502, "server_error", "Function.Crashed")


def test_a_full_queue_is_a_rate_limit(daemon, deploy):
    function = deploy("stream", concurrency=1, environments_max=1, queue_max=1, timeout_s=20)
    function.get()
    answers = []

    def ask():
        answers.append(post(daemon, {"model": function.name}, "/v1/x"))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    with daemon.connect() as busy:
        busy.sendall(f"GET {function.path}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert busy.recv(100)
        for thread in threads:
            thread.start()
        harness.wait_for(lambda: answers, "one of two to be refused")
        assert answers[0].headers["Retry-After"] == "1"
        assert_openai_error(answers[0], 429, "requests", "rate_limit_exceeded")
    # The other waits until the one that left has given the environment up.
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 429]


def test_the_bodies_that_are_held_are_bounded_together(serve):
    """Bodies that do not end: each may have 32 MB, all together no more than 512 MB; then 429, and room again after."""
    daemon = serve()
    daemon.deploy(harness.FUNCTIONS / "kit", "kit").get()
    head = f"POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: {32 * MB}\r\n\r\n".encode()
    half = b'{"model": "kit", "x": "' + b"x" * (30 * MB)
    open_ones = []
    refused = False
    try:
        for _ in range(24):
            connection = daemon.connect()
            open_ones.append(connection)
            try:
                connection.sendall(head + half)
            except OSError:
                pass
            connection.settimeout(0.2)
            try:
                refused = connection.recv(100).startswith(b"HTTP/1.1 429 ")
            except TimeoutError:
                continue
            break
        assert refused, "more than 512 MB are held"
        assert harness.anonymous_kb(daemon.process.pid) < 700 * 1024
    finally:
        for connection in open_ones:
            connection.close()
    answered = harness.wait_for(lambda: post(daemon, {"model": "kit"}).status_code == 200, "room for bodies again")
    assert answered
