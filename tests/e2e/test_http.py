"""What HTTP/1.x clients may do, on raw connections."""

import json
import time

import harness


def request_line(path, method="GET", version="1.1", fields=""):
    return f"{method} {path} HTTP/{version}\r\nHost: x\r\n{fields}\r\n".encode()


def test_head_gives_the_length_and_no_body(daemon, kit):
    length = len(kit.get("/status?code=200").content)
    answer = daemon.raw(request_line("/fn/kit/status?code=200", "HEAD", fields="Connection: close\r\n"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert f"content-length: {length}" in head.decode().lower()
    assert body == b""


def test_a_204_has_no_body_and_the_connection_goes_on(daemon, kit):
    with daemon.connect() as connection:
        stream = connection.makefile("rb")
        for code in (204, 304, 200):
            connection.sendall(request_line(f"/fn/kit/status?code={code}"))
            status, headers, body = harness.read_response(stream)
            assert status == code
            assert body == (b"the body\n" if code == 200 else b"")
            assert "transfer-encoding" not in headers


def test_http_1_0_is_answered_and_closed(daemon, kit):
    answer = daemon.raw(b"GET /fn/kit/echo HTTP/1.0\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == b"200"
    assert b"transfer-encoding" not in head.lower()
    assert json.loads(body)["path"] == "/echo"


def test_http_1_0_gets_a_stream_without_chunks(daemon, kit):
    answer = daemon.raw(b"GET /fn/kit/events?count=2&gap_ms=10 HTTP/1.0\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert body.startswith(b"data: 0 ") and body.count(b"\n\n") == 2


def test_http_1_0_may_ask_to_be_kept_alive(daemon, kit):
    with daemon.connect() as connection:
        stream = connection.makefile("rb")
        for _ in range(2):
            connection.sendall(request_line("/fn/kit/", version="1.0", fields="Connection: keep-alive\r\n"))
            status, headers, _ = harness.read_response(stream)
            assert status == 200
            assert headers["connection"].lower() == "keep-alive"


def test_a_connection_is_kept_until_the_client_says_close(daemon, kit):
    with daemon.connect() as connection:
        stream = connection.makefile("rb")
        for _ in range(10):
            connection.sendall(request_line("/fn/kit/"))
            assert harness.read_response(stream)[0] == 200
        connection.sendall(request_line("/fn/kit/", fields="Connection: close\r\n"))
        status, headers, _ = harness.read_response(stream)
        assert (status, headers["connection"]) == (200, "close")
        assert stream.read() == b""


def test_pipelined_requests_are_answered_in_their_order(daemon, kit):
    kit.get()
    with daemon.connect() as connection:
        paths = [f"/fn/kit/echo?n={number}" for number in range(20)]
        posts = b"".join(
            request_line(path, "POST", fields="Content-Length: 3\r\n") + b"%03d" % number for number, path in enumerate(paths)
        )
        connection.sendall(posts)
        stream = connection.makefile("rb")
        for number in range(20):
            status, _, body = harness.read_response(stream)
            answer = json.loads(body)
            assert status == 200
            assert (answer["path"], answer["text"]) == (f"/echo?n={number}", f"{number:03}")


def test_expect_continue_is_answered_before_the_body(daemon, kit):
    kit.get()
    with daemon.connect() as connection:
        stream = connection.makefile("rb")
        connection.sendall(request_line("/fn/kit/echo", "POST", fields="Content-Length: 5\r\nExpect: 100-continue\r\n"))
        assert harness.read_response(stream)[0] == 100
        connection.sendall(b"hello")
        status, _, body = harness.read_response(stream)
        assert (status, json.loads(body)["text"]) == (200, "hello")


def test_a_request_in_small_pieces_is_the_same_request(daemon, kit):
    kit.get()
    request = request_line("/fn/kit/echo", "POST", fields="Transfer-Encoding: chunked\r\n") + b"5;x=y\r\nhello\r\n3\r\n :)\r\n0\r\nT: 1\r\n\r\n"
    with daemon.connect() as connection:
        for byte in request:
            connection.sendall(bytes([byte]))
            time.sleep(0.001)
        status, _, body = harness.read_response(connection.makefile("rb"))
    assert (status, json.loads(body)["text"]) == (200, "hello :)")


def test_a_client_that_says_nothing_costs_nothing(daemon, kit):
    """200 silent connections, and one that works."""
    silent = [daemon.connect() for _ in range(200)]
    try:
        assert kit.get().status_code == 200
    finally:
        for connection in silent:
            connection.close()


def test_an_absolute_target_is_routed_by_its_path(daemon, kit):
    answer = daemon.raw(b"GET http://anything.example/fn/kit/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["path"] == "/echo"
