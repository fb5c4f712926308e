"""Streams end to end: nothing is held back, nothing piles up, and whatever cuts a stream off is seen on both sides."""

import http.client
import json
import os
import signal
import socket
import struct
import threading
import time

import pytest

import harness
from test_bodies import MemoryWatch

MB = 1 << 20
# Much less than what the function would write if somebody held it.
GROWTH_MAX_KB = 24 * 1024
# How long a function may not know that its client has gone. It is told within a fraction of a second; the rest is room
# for a busy machine, and far below every bound that would end the stream otherwise.
GONE_S = 10


@pytest.fixture
def stream(deploy):
    function = deploy("stream", timeout_s=120)
    function.get()
    return function


def request_for(function, way, path="/events", query="", version="1.1"):
    """The bytes of a request by a function's URL, or by OpenAI's API."""
    if way == "fn":
        return f"GET {function.path}{path}{query} HTTP/{version}\r\nHost: x\r\n\r\n".encode()
    body = json.dumps({"stream": True, "model": function.name}).encode()
    head = f"POST /v1{path}{query} HTTP/{version}\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def receive(connection, text):
    """What has come once it holds text."""
    got = b""
    while text not in got:
        piece = connection.recv(65536)
        assert piece, f"the connection ended after {got!r}"
        got += piece
    return got


def receive_all(connection):
    got = b""
    while piece := connection.recv(65536):
        got += piece
    return got


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
@pytest.mark.parametrize("way", ["fn", "v1"])
def test_an_event_is_here_before_the_function_goes_on(daemon, stream, way, framing):
    with daemon.connect() as connection:
        connection.sendall(request_for(stream, way, query=f"?framing={framing}"))
        # The function waits for /go: whatever held this event back would hold it for ever.
        first = receive(connection, b"data: one\n\n")
        assert first.startswith(b"HTTP/1.1 200 ")
        assert b"data: two" not in first
        stream.get("/go")
        receive(connection, b"data: two\n\n")


@pytest.mark.parametrize("way", ["fn", "v1"])
@pytest.mark.parametrize("leave", ["close", "reset", "sent-ahead"])
def test_the_function_learns_that_its_client_has_gone_and_serves_on(daemon, stream, way, leave):
    instance = stream.get().json()["instance"]
    connection = daemon.connect()
    connection.sendall(request_for(stream, way))
    receive(connection, b"data: one\n\n")
    if leave == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if leave == "sent-ahead":
        connection.sendall(request_for(stream, way))
    connection.close()
    harness.wait_for(lambda: "THE CLIENT HAS GONE" in stream.log(), "the function to learn it", GONE_S)
    # It takes more than one invocation at a time: others may be under way in the same environment.
    assert stream.get().json()["instance"] == instance
    harness.wait_for(lambda: not stream.environments("busy"), "the environment to be free", GONE_S)


def test_an_environment_that_takes_one_invocation_ends_with_the_client_that_left_it(daemon, deploy):
    function = deploy("stream", concurrency=1, timeout_s=120)
    instance = function.get().json()["instance"]
    with daemon.connect() as connection:
        connection.sendall(request_for(function, "v1"))
        receive(connection, b"data: one\n\n")
    harness.wait_for(lambda: not function.processes(), "the environment to end", GONE_S)
    assert function.get().json()["instance"] != instance


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_reader_that_sleeps_makes_the_function_wait(daemon, stream, framing):
    with MemoryWatch(daemon) as memory, daemon.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.sendall(request_for(stream, "v1", "/flood", f"?mb=1024&framing={framing}"))
        receive(connection, b"\r\n\r\n")
        time.sleep(3)  # in which a gigabyte would be here
    assert memory.growth_kb < GROWTH_MAX_KB
    written = int(stream.wait_log("CUT OFF AFTER").rsplit("CUT OFF AFTER ", 1)[1].split()[0])
    # What sockets on the way hold, and one buffer.
    assert written < 64 * MB


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
@pytest.mark.parametrize("way", ["fn", "v1"])
def test_a_timeout_cuts_a_stream_off_for_all_to_see(daemon, deploy, way, framing):
    function = deploy("stream", timeout_s=1)
    function.get()
    with daemon.connect() as connection:
        connection.sendall(request_for(function, way, query=f"?framing={framing}"))
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 200
        with pytest.raises(http.client.IncompleteRead) as cut:
            response.read()
    assert cut.value.partial.endswith(b"data: one\n\n")
    report = [one for one in function.reports(2) if one["status"]]
    assert [one["status"] for one in report] == ["timeout"]
    assert 1000 <= float(report[0]["duration"]) < 20000


def test_a_timeout_resets_a_client_that_knows_an_end_by_the_connections_alone(daemon, deploy):
    function = deploy("stream", timeout_s=1)
    function.get()
    with daemon.connect() as connection:
        connection.sendall(request_for(function, "fn", version="1.0"))
        assert b"\r\n\r\n" in receive(connection, b"data: one\n\n")
        with pytest.raises(ConnectionResetError):
            receive_all(connection)
    # While a stream that ends by itself ends so for this client too.
    with daemon.connect() as connection:
        connection.sendall(request_for(function, "fn", version="1.0"))
        got = receive(connection, b"data: one\n\n")
        function.get("/go")
        assert (got + receive_all(connection)).endswith(b"data: one\n\ndata: two\n\n")


def test_a_timeout_holds_however_slowly_the_client_reads(daemon, deploy):
    function = deploy("stream", timeout_s=2)
    function.get()
    connection = daemon.connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    connection.sendall(request_for(function, "fn", "/flood"))
    reading = threading.Event()
    reading.set()

    def read_slowly():
        # A byte is moving all the time: only timeout_s can end this.
        try:
            while reading.is_set() and connection.recv(256):
                time.sleep(0.02)
        except OSError:
            pass

    reader = threading.Thread(target=read_slowly)
    reader.start()
    try:
        harness.wait_for(lambda: function.environments("busy"), "the stream to begin")
        harness.wait_for(lambda: not function.environments("busy"), "the environment to be free", 30)
        assert reader.is_alive(), "the client had read all of it by then"
        durations = [float(one["duration"]) for one in function.reports(2)]
        assert 2000 <= max(durations) < 30000
    finally:
        reading.clear()
        connection.close()
        reader.join()


def test_a_function_that_dies_in_a_stream_cuts_it_off(daemon, stream):
    with daemon.connect() as connection:
        connection.sendall(request_for(stream, "v1"))
        response = http.client.HTTPResponse(connection)
        response.begin()
        for process in stream.processes():
            if "app.py" in harness.read(f"/proc/{process}/cmdline"):
                os.kill(process, signal.SIGKILL)
        with pytest.raises(http.client.IncompleteRead):
            response.read()
