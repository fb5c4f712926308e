"""The plain way of a request: routing, methods, headers, small bodies."""

import pytest

import harness


def test_answers_below_fn_and_at_its_host_name(daemon, kit):
    below = daemon.get("/fn/kit/some/path?a=1&b=%20").json()
    assert below["path"] == "/some/path?a=1&b=%20"
    for host in (f"kit.localhost:{daemon.port}", "kit.localhost", "KIT.localhost"):
        at_host = daemon.get("/some/path?a=1&b=%20", headers={"Host": host}).json()
        assert at_host["path"] == "/some/path?a=1&b=%20"


def test_the_path_reaches_the_function_as_it_was_written(kit):
    for path in ("/a%2Fb", "/a//b", "/a/../b", "/%C3%A4?%C3%A4=%FF", "/;x=1?y", "/echo?"):
        response = raw_path(kit, path)
        assert response["path"] == path


def raw_path(function, path):
    """As requests would not send it: it tidies paths up."""
    import json

    answer = function.daemon.raw(f"GET {function.path}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])


def test_without_a_slash_the_client_is_sent_to_the_one_with_it(daemon, kit):
    response = daemon.get("/fn/kit?a=1")
    assert response.status_code == 307
    assert response.headers["Location"] == "/fn/kit/?a=1"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_passes_methods_and_bodies(kit, method):
    response = kit.request(method, "/echo", data=b"\x00\xff body")
    assert response.status_code == 200
    answer = response.json()
    assert answer["method"] == method
    assert answer["text"].encode("latin-1") == b"\x00\xff body"


def test_adds_who_called_and_the_request_id_and_drops_hop_by_hop_fields(kit):
    response = kit.request(
        "POST",
        "/echo",
        data=b"x",
        headers={"X-Mine": "1", "Connection": "keep-alive, X-Hop", "X-Hop": "2", "x-amzn-requestid": "forged", "X-Forwarded-Prefix": "/forged"},
    )
    headers = {}
    for name, value in response.json()["headers"]:
        headers.setdefault(name.lower(), []).append(value)
    assert headers["x-mine"] == ["1"]
    assert "x-hop" not in headers
    assert headers["x-forwarded-for"] == ["127.0.0.1"]
    assert headers["x-forwarded-proto"] == ["http"]
    assert headers["x-forwarded-prefix"] == ["/fn/kit"]
    assert headers["x-amzn-requestid"] == [response.headers["x-amzn-requestid"]]
    assert response.headers["X-Kit"] == "kit"


def test_unknown_function_is_not_found(daemon):
    harness.assert_error(daemon.get("/fn/nobody/"), 404, "NotFound")
    harness.assert_error(daemon.get("/", headers={"Host": "nobody.localhost"}), 404, "NotFound")
    harness.assert_error(daemon.get("/nothing/here"), 404, "NotFound")


def test_health_and_home(daemon):
    assert daemon.get("/healthz").json() == {"status": "ok"}
    assert daemon.get("/").json()["name"] == "thaw"


@pytest.mark.parametrize("code", [201, 204, 304, 404, 418, 500, 503])
def test_the_functions_own_statuses_pass(kit, code):
    response = kit.get(f"/status?code={code}")
    assert response.status_code == code
    assert response.text == ("" if code in (204, 304) else "the body\n")


def test_an_environment_is_reused(deploy):
    function = deploy()
    answers = [function.get().json() for _ in range(5)]
    assert len({answer["instance"] for answer in answers}) == 1
    assert [answer["served"] for answer in answers] == [1, 2, 3, 4, 5]
    assert [one["Invocations"] for one in function.environments()] == [5]


def test_a_function_that_answers_with_http_1_0_until_the_end(kit):
    response = kit.get("/http-1-0")
    assert response.status_code == 200
    assert response.text == "until the end\n"


def test_two_thousand_small_requests_on_many_connections(kit):
    """Nothing is lost, mixed up or left behind when connections and environments are used over and over."""
    import threading

    wrong = []

    def client(number):
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", kit.daemon.port, timeout=harness.HANG_S)
        for turn in range(100):
            text = f"{number}-{turn}"
            connection.request("POST", "/fn/kit/echo", body=text)
            response = connection.getresponse()
            body = response.read()
            if response.status != 200 or f'"text": "{text}"'.encode() not in body:
                wrong.append((response.status, body[:200]))
                return
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
