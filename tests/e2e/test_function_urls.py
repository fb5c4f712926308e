"""HTTP requests to event functions: events as Lambda's function URLs send them, and the answers."""

import json
import shutil
import subprocess
import sys

import harness
import pytest
import requests

PAYLOAD_MAX = 6291556
MANGUM = "mangum==0.22.0"


@pytest.fixture
def function(deploy):
    return deploy("http_events")


def respond(function, response):
    return function.request("POST", "/respond", json=response)


def assert_internal_error(answer):
    assert (answer.status_code, answer.json()) == (502, {"Message": "Internal Server Error"})


def test_a_request_is_an_event_of_payload_format_2(function):
    answer = function.request(
        "PUT",
        "/a/b%20c?x=1&x=2&y=%C3%A4",
        data="hällo".encode(),
        headers={"Content-Type": "text/plain", "Cookie": "a=1; b=2", "X-Some": "Thing", "User-Agent": "me"},
    )
    assert answer.status_code == 200
    event = answer.json()
    assert event["version"] == "2.0" and event["routeKey"] == "$default"
    assert event["rawPath"] == "/a/b%20c" and event["rawQueryString"] == "x=1&x=2&y=%C3%A4"
    assert event["queryStringParameters"] == {"x": "1,2", "y": "ä"}
    assert event["cookies"] == ["a=1", "b=2"]
    assert event["headers"]["x-some"] == "Thing" and "cookie" not in event["headers"]
    assert (event["body"], event["isBase64Encoded"]) == ("hällo", False)
    context = event["requestContext"]
    assert context["http"] == {
        "method": "PUT",
        "path": "/a/b%20c",
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": "me",
    }
    assert context["requestId"] == answer.headers["x-amzn-requestid"]
    assert f"END RequestId: {context['requestId']}" in function.wait_log("REPORT RequestId")


def test_it_answers_at_its_own_host_and_by_qualifier(daemon, function):
    published = daemon.request("POST", f"/2015-03-31/functions/{function.name}/versions", json={})
    assert published.status_code == 201, published.text
    for path, host in [
        ("/x", f"{function.name}.localhost:{daemon.port}"),
        ("/x", f"1.{function.name}.localhost:{daemon.port}"),
        (f"/fn/{function.name}:1/x", f"127.0.0.1:{daemon.port}"),
    ]:
        event = daemon.get(path, headers={"Host": host}).json()
        assert event["rawPath"] == "/x"
        assert event["requestContext"]["domainName"] == host.partition(":")[0]


def test_bytes_go_both_ways_as_base64(function):
    event = function.request("POST", "/", data=b"\xff\x00", headers={"Content-Type": "image/png"}).json()
    assert (event["body"], event["isBase64Encoded"]) == ("/wA=", True)
    answer = respond(function, {"statusCode": 200, "body": "AP8=", "isBase64Encoded": True})
    assert answer.content == b"\x00\xff"


def test_a_response_gives_status_headers_and_cookies(function):
    answer = respond(
        function,
        {
            "statusCode": 418,
            "headers": {"Content-Type": "text/html; charset=utf-8", "X-Number": 7, "Connection": "close"},
            "multiValueHeaders": {"X-Many": ["1", "2"]},
            "cookies": ["a=1; Path=/", "b=2"],
            "body": "<p>ü",
        },
    )
    assert answer.status_code == 418 and answer.text == "<p>ü"
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers["X-Number"] == "7" and answer.headers["X-Many"] == "1, 2"
    assert dict(answer.cookies) == {"a": "1", "b": "2"}
    assert respond(function, {"statusCode": 204}).content == b""


@pytest.mark.parametrize("value", ["Hello, world!", {"message": "hi"}, [1, None], 7])
def test_a_response_without_a_status_is_the_body(function, value):
    answer = respond(function, value)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == value


@pytest.mark.parametrize(
    "response",
    [
        {"statusCode": 999},
        {"statusCode": 200, "body": {"not": "text"}},
        {"statusCode": 200, "headers": {"X-Split": "a\r\nSet-Cookie: b"}},
        {"statusCode": 200, "body": "not base64", "isBase64Encoded": True},
    ],
)
def test_a_response_that_is_no_answer_is_an_internal_error(function, response):
    assert_internal_error(respond(function, response))
    assert "the response is no HTTP answer" in function.wait_log("no HTTP answer")
    assert function.get().status_code == 200


def test_a_function_that_fails_is_an_internal_error(function):
    answer = function.get("/fail")
    assert_internal_error(answer)
    assert "as asked" not in answer.text
    assert "ValueError" in function.wait_log("Traceback")


def test_bodies_beyond_an_events_limit_are_refused(function):
    answer = function.request("POST", "/", data=b"x" * (PAYLOAD_MAX + 1), headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["kind"]) == (413, "TooLarge")
    # Base64 makes a third more of these.
    assert function.request("POST", "/", data=b"x" * 5_000_000).status_code == 413
    assert len(function.get("/large").content) == 5_000_000
    text = function.request("POST", "/", data=b"x" * 2_500_000, headers={"Content-Type": "text/plain"})
    assert len(text.json()["body"]) == 2_500_000


def test_head_has_no_body_and_bad_queries_are_refused(function):
    answer = function.request("HEAD", "/")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0
    assert function.get("/?a=%00").status_code == 400
    assert json.loads(function.get("/?a=%25").text)["queryStringParameters"] == {"a": "%"}


def test_a_request_is_an_event_of_payload_format_1_where_the_manifest_says_so(deploy):
    function = deploy("http_events", http_payload='"1.0"', http_stage="prod")
    event = function.request("POST", "/prod/a/b?x=1&x=2", data=b"a=b", headers={"X-Some": "Thing"}).json()
    assert (event["resource"], event["path"], event["httpMethod"]) == ("/{proxy+}", "/a/b", "POST")
    assert event["requestContext"]["path"] == "/prod/a/b" and event["requestContext"]["stage"] == "prod"
    assert event["multiValueQueryStringParameters"] == {"x": ["1", "2"]}
    assert event["multiValueHeaders"]["X-Some"] == ["Thing"]
    assert (event["body"], event["isBase64Encoded"]) == ("a=b", False)
    assert function.get("/prod").json()["path"] == "/"
    for path in ("/", "/production/a", "/a/prod"):
        answer = function.get(path)
        assert (answer.status_code, answer.json()) == (403, {"message": "Forbidden"})
    answer = function.request("POST", "/prod/respond", json="no status")
    assert (answer.status_code, answer.json()) == (502, {"message": "Internal Server Error"})


@pytest.fixture(scope="module")
def fastapi(shared_daemon, tmp_path_factory):
    """FastAPI behind Mangum, which pip fetches; the machine has FastAPI."""
    package = tmp_path_factory.mktemp("fastapi") / "app"
    shutil.copytree(harness.FUNCTIONS / "fastapi_mangum", package)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    fetched = subprocess.run([*pip, "--target", package, MANGUM], capture_output=True, text=True, check=False)
    if fetched.returncode != 0:
        pytest.skip(f"pip could not fetch {MANGUM}: {fetched.stderr.strip()[-300:]}")
    function = shared_daemon.deploy(package, "fastapi-mangum")
    yield function
    function.delete()


def test_fastapi_behind_mangum_answers_at_its_stage(fastapi):
    assert fastapi.get("/prod/").json() == {"message": "hello world"}
    question = {"question": "What is the color of my car now?", "context": "My car used to be blue but I painted red"}
    assert fastapi.get("/prod/question", params=question).json() == {"answer": "red", "question": question["question"]}
    assert fastapi.get("/prod/question").status_code == 422
    assert fastapi.get("/prod/nothing").json() == {"detail": "Not Found"}
    shouted = fastapi.request("POST", "/prod/shout", json={"text": "grüße"})
    assert (shouted.status_code, shouted.json()) == (201, {"text": "GRÜSSE"})
    assert fastapi.request("POST", "/prod/bytes", data=b"\x00\x01\xff").content == b"\xff\x01\x00"
    assert "/prod/openapi.json" in fastapi.get("/prod/docs").text
    assert fastapi.get("/prod/openapi.json").json()["info"]["title"] == "Question answering"
    answer = fastapi.get("/prod/cookies", headers={"Cookie": "mine=3"})
    assert answer.json() == {"mine": "3"} and dict(answer.cookies) == {"first": "1", "second": "2"}


PAGE = "https://page.example"


def configure_url(function, qualifier=None, **config):
    """Its URL as Lambda's API configures it."""
    path = f"/2021-10-31/functions/{function.name}/url" + (f"?Qualifier={qualifier}" if qualifier else "")
    created = function.daemon.request("POST", path, json={"AuthType": "NONE", **config})
    assert created.status_code == 201, created.text
    return created.json()["FunctionUrl"]


def preflight(function, method="PUT", origin=PAGE, path="/"):
    headers = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": "x-a"}
    return function.request("OPTIONS", path, headers=headers)


def allowed(answer):
    """What a browser is told, without the prefix."""
    prefix = "access-control-"
    return {key.lower()[len(prefix) :]: value for key, value in answer.headers.items() if key.lower().startswith(prefix)}


CORS = {
    "AllowOrigins": [PAGE],
    "AllowMethods": ["GET", "PUT"],
    "AllowHeaders": ["X-A"],
    "ExposeHeaders": ["X-Seen"],
    "AllowCredentials": True,
    "MaxAge": 600,
}


def test_a_preflight_is_answered_by_the_configuration_without_the_function(function):
    configure_url(function, Cors=CORS)
    answer = preflight(function)
    assert (answer.status_code, answer.content) == (200, b"")
    assert allowed(answer) == {
        "allow-origin": PAGE,
        "allow-credentials": "true",
        "allow-methods": "GET,PUT",
        "allow-headers": "X-A",
        "max-age": "600",
    }
    assert answer.headers["Vary"] == "Origin"
    assert allowed(preflight(function, origin="https://evil.example")) == {}
    assert "START RequestId" not in function.log()
    assert function.request("OPTIONS", "/", headers={"Origin": PAGE}).json()["requestContext"]["http"]["method"] == "OPTIONS"


def test_answers_tell_a_page_what_the_configuration_says_whatever_the_function_does(function):
    configure_url(function, Cors=CORS)
    response = {"statusCode": 200, "headers": {"Access-Control-Allow-Origin": "*", "X-Seen": "1"}, "body": "x"}
    seen = {"allow-origin": PAGE, "allow-credentials": "true", "expose-headers": "X-Seen"}
    answer = function.request("POST", "/respond", json=response, headers={"Origin": PAGE})
    assert (answer.text, answer.headers["X-Seen"], allowed(answer)) == ("x", "1", seen)
    failed = function.get("/fail", headers={"Origin": PAGE})
    assert (failed.status_code, allowed(failed)) == (502, seen)
    assert allowed(function.request("POST", "/respond", json=response)) == {}
    # Without a configuration it is the function's own business.
    deleted = function.daemon.request("DELETE", f"/2021-10-31/functions/{function.name}/url")
    assert deleted.status_code == 204
    assert allowed(function.request("POST", "/respond", json=response)) == {"allow-origin": "*"}


def test_cors_holds_for_web_functions_and_for_the_configured_qualifier_alone(deploy):
    function = deploy("kit")
    published = function.daemon.request("POST", f"/2015-03-31/functions/{function.name}/versions", json={})
    alias = {"Name": "live", "FunctionVersion": published.json()["Version"]}
    function.daemon.request("POST", f"/2015-03-31/functions/{function.name}/aliases", json=alias)
    configure_url(function, qualifier="live", Cors={"AllowOrigins": ["*"]})
    live = harness.Function(function.daemon, function.name + ":live")
    assert allowed(live.get(headers={"Origin": PAGE})) == {"allow-origin": "*"}
    assert allowed(preflight(live)) == {"allow-origin": "*"}
    assert allowed(function.get(headers={"Origin": PAGE})) == {}


@pytest.fixture
def streaming(deploy):
    function = deploy("http_stream")
    configure_url(function, InvokeMode="RESPONSE_STREAM")
    return function


def test_a_streamed_response_goes_out_while_it_comes(streaming):
    with streaming.get("/wait", stream=True) as answer:
        assert answer.status_code == 201
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["X-Path"] == "/wait" and dict(answer.cookies) == {"a": "1", "b": "2"}
        pieces = answer.iter_content(None)
        assert next(pieces) == b"first "
        # The invocation goes on: its report comes at its end.
        assert "REPORT RequestId" not in streaming.log()
        assert b"".join(pieces) == b"second"
    streaming.wait_log("REPORT RequestId")


def test_streams_may_be_long_have_no_prelude_or_none_that_is_one(streaming):
    assert len(streaming.get("/large").content) == 200 * 65536
    plain = streaming.get("/plain")
    assert (plain.status_code, plain.headers["Content-Type"], plain.text) == (200, "text/html", "<p>plain")
    assert_internal_error(streaming.get("/no-prelude"))
    assert "ended within its prelude" in streaming.wait_log("no HTTP answer")
    head = streaming.request("HEAD", "/")
    assert (head.status_code, head.content, head.headers["X-Path"]) == (201, b"", "/")


def test_a_stream_that_breaks_off_is_no_whole_answer(streaming):
    with pytest.raises(requests.exceptions.RequestException):
        streaming.get("/throw").content  # noqa: B018: reading it fails
    assert "in the midst" in streaming.wait_log("in the midst")
    assert streaming.get("/").text == "part"


def test_a_response_that_comes_whole_is_one_in_stream_mode_too(function):
    configure_url(function, InvokeMode="RESPONSE_STREAM")
    assert respond(function, {"statusCode": 202, "body": "whole"}).text == "whole"
    assert_internal_error(function.get("/fail"))
