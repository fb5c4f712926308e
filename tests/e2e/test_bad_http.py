"""What is not HTTP, or too much of it: the right 4xx, and a daemon as healthy as before."""

import os

import pytest

import harness


@pytest.fixture(autouse=True)
def healthy(daemon, kit):
    yield
    assert daemon.get("/healthz").json() == {"status": "ok"}
    assert kit.get().status_code == 200


def status_of(answer):
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer.split()[1])


def test_a_header_of_1_mb_is_431(daemon):
    answer = daemon.raw(b"GET /fn/kit/ HTTP/1.1\r\nHost: x\r\nX-Large: " + b"a" * (1 << 20) + b"\r\n\r\n")
    assert status_of(answer) == 431
    assert b"Connection: close" in answer


def test_a_target_of_1_mb_is_431(daemon):
    assert status_of(daemon.raw(b"GET /fn/kit/" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n")) == 431


def test_ten_thousand_fields_are_431(daemon):
    assert status_of(daemon.raw(b"GET /fn/kit/ HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 5000 + b"\r\n")) == 431


def test_a_head_of_60_kb_is_fine(daemon):
    answer = daemon.raw(b"GET /fn/kit/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Large: " + b"a" * 60000 + b"\r\n\r\n")
    assert status_of(answer) == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,  # a TLS client
        b"GET /fn/kit/\r\n\r\n",
        b"GET  /fn/kit/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /fn/kit/ HTTP/3.7\r\nHost: x\r\n\r\n",
        b"GET /fn/kit/ HTTP/1.1\r\nHost x\r\n\r\n",
        b"GET /fn/kit/ HTTP/1.1\r\nHost: x\r\nBad Name: x\r\n\r\n",
        b"GET /fn/kit/ HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"POST /fn/kit/echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /fn/kit/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n",
        b"POST /fn/kit/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /fn/kit/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /fn/kit/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nabc",
    ],
    ids=lambda value: repr(value.replace(b" HTTP/1.1\r\nHost: x", b"")[:40]),
)
def test_what_is_not_http_is_400(daemon, request_bytes):
    answer = daemon.raw(request_bytes)
    assert status_of(answer) in ((400, 501) if b"gzip" in request_bytes else (400,))
    assert b'"kind":' in answer


def test_a_length_together_with_chunks_is_400(daemon):
    """Two parsers that disagree about it would let a request be smuggled in."""
    smuggled = b"0\r\n\r\nGET /fn/kit/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = daemon.raw(
        b"POST /fn/kit/echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n%b" % (len(smuggled), smuggled)
    )
    assert status_of(answer) == 400
    assert b"smuggled" not in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("body", [b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"-3\r\nabc\r\n0\r\n\r\n", b"FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n"])
def test_bad_chunks_are_400(daemon, body):
    answer = daemon.raw(b"POST /fn/kit/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    assert status_of(answer) == 400


def test_invalid_utf8_in_a_path_is_the_functions_business(daemon):
    """Percent-encoded bytes pass as they are; raw ones are no HTTP target."""
    answer = daemon.raw(b"GET /fn/kit/%FF%FE HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status_of(answer) == 200
    assert b'"path": "/%FF%FE"' in answer


def test_invalid_utf8_in_a_function_name_is_4xx(daemon):
    for name in (b"%FF%FE", b"\xff\xfe", b"%00", b"%zz", b"a%2Fb"):
        answer = daemon.raw(b"GET /fn/" + name + b"/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert status_of(answer) in (400, 404)
        answer.split(b"\r\n\r\n", 1)[1].decode()


def test_invalid_utf8_in_the_control_api_is_4xx(daemon):
    for path in (b"/2015-03-31/functions/%FF", b"/2015-03-31/functions/%zz", b"/2015-03-31/functions?Marker=%FF&MaxItems=x"):
        answer = daemon.raw(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert status_of(answer) in (400, 404)
        answer.split(b"\r\n\r\n", 1)[1].decode()


def test_random_bytes_never_break_it(daemon):
    import random

    chance = random.Random(7)
    whole = b"POST /fn/kit/echo?a=b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    for _ in range(200):
        request = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            request[chance.randrange(len(request))] = chance.randrange(256)
        with daemon.connect() as connection:
            connection.sendall(bytes(request))
            connection.shutdown(1)
            connection.settimeout(20)
            try:
                while connection.recv(65536):
                    pass
            except ConnectionResetError:
                pass


def test_a_megabyte_of_noise_is_400_or_431(daemon):
    assert status_of(daemon.raw(os.urandom(1 << 20))) in (400, 431)
