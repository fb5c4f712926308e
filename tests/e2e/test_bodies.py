"""Large and slow bodies, both ways: streamed, never held whole."""

import hashlib
import http.client
import json
import threading
import time

import pytest

import harness

MB = 1 << 20
UPLOAD_MB = 100
# Much less than the body: what the daemon may grow by while it passes through.
GROWTH_MAX_KB = 24 * 1024


class MemoryWatch:
    """The most that the daemon's resident memory grew while it was watched."""

    def __init__(self, daemon):
        self.pid = daemon.process.pid
        self.before = harness.rss_kb(self.pid)
        self.most = self.before
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.stopping.wait(0.02):
            self.most = max(self.most, harness.rss_kb(self.pid))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *failure):
        self.stopping.set()
        self.thread.join()

    @property
    def growth_kb(self):
        return self.most - self.before


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_an_upload_of_100_mb_streams_through(daemon, kit, framing):
    block = bytes(range(256)) * 1024
    blocks = UPLOAD_MB * MB // len(block)
    kit.get()
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=harness.HANG_S)
    digest = hashlib.sha256()

    def body():
        for number in range(blocks):
            piece = number.to_bytes(4, "big") + block[4:]
            digest.update(piece)
            yield piece

    headers = {"Content-Length": str(blocks * len(block))} if framing == "content-length" else {"Transfer-Encoding": "chunked"}
    with MemoryWatch(daemon) as memory:
        connection.request("POST", "/fn/kit/echo", body=body(), headers=headers, encode_chunked=framing == "chunked")
        response = connection.getresponse()
        answer = json.loads(response.read())
    assert response.status == 200
    assert answer["length"] == UPLOAD_MB * MB
    assert answer["sha256"] == digest.hexdigest()
    assert memory.growth_kb < GROWTH_MAX_KB


@pytest.mark.parametrize("how", ["", "&chunked=1"])
def test_a_response_of_100_mb_streams_through_to_a_slow_reader(daemon, kit, how):
    kit.get()
    expected = hashlib.sha256(bytes(range(256)) * 256 * (UPLOAD_MB * 16)).hexdigest()
    digest, length = hashlib.sha256(), 0
    with MemoryWatch(daemon) as memory:
        response = kit.get(f"/big?mb={UPLOAD_MB}{how}", stream=True)
        time.sleep(0.5)  # meanwhile the function writes as much as it can
        for piece in response.iter_content(MB):
            digest.update(piece)
            length += len(piece)
    assert length == UPLOAD_MB * MB
    assert digest.hexdigest() == expected
    assert memory.growth_kb < GROWTH_MAX_KB


def test_the_function_sees_the_first_bytes_before_the_last_are_sent(daemon, deploy):
    function = deploy()
    function.get()
    with daemon.connect() as connection:
        connection.sendall(f"POST {function.path}/first-piece HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nfirst".encode())
        function.wait_log("FIRST PIECE 5 bytes")
        connection.sendall(b"later")
        status, _, body = harness.read_response(connection.makefile("rb"))
    assert (status, json.loads(body)) == (200, {"length": 10})


def test_server_sent_events_arrive_as_they_are_produced(kit):
    kit.get()
    response = kit.get("/events?count=5&gap_ms=300", stream=True)
    assert response.headers["Content-Type"] == "text/event-stream"
    arrived, produced = [], []
    for line in response.iter_lines(chunk_size=1):
        if line.startswith(b"data: "):
            arrived.append(time.time())
            produced.append(float(line.split()[2]))
    assert len(arrived) == 5
    assert arrived[0] < produced[-1], "the first event came after the last was made"
    assert all(a < p for a, p in zip(arrived, produced[1:]))


def test_a_client_that_goes_away_frees_the_environment(daemon, deploy):
    # With one invocation at a time the environment would end; with more the function sees the connection close.
    function = deploy(environments_max=1, concurrency=4)
    function.get()
    with daemon.connect() as connection:
        connection.sendall(f"GET {function.path}/endless HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(100)
    function.wait_log("THE CLIENT HAS GONE")
    assert function.get().status_code == 200


def test_a_client_that_goes_away_while_it_waits_for_the_answer_frees_the_environment(daemon, deploy):
    function = deploy(environments_max=1, timeout_s=60)
    function.get()
    with daemon.connect() as connection:
        connection.sendall(f"GET {function.path}/sleep?ms=30000 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        harness.wait_for(lambda: function.environments("busy"), "the request to run")
    # The kit sleeps on, in another of its threads.
    began = time.monotonic()
    assert function.get().status_code == 200
    assert time.monotonic() - began < 20


def test_a_client_that_goes_away_in_the_queue_takes_no_environment(daemon, deploy):
    function = deploy(environments_max=1)
    function.get()
    with daemon.connect() as first:
        first.sendall(f"GET {function.path}/sleep?ms=2000 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        harness.wait_for(lambda: function.environments("busy"), "the request to run")
        with daemon.connect() as second:
            second.sendall(f"GET {function.path}/sleep?ms=2000 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            harness.wait_for(lambda: function.view()["Queued"] == 1, "the second request to wait")
        harness.wait_for(lambda: function.view()["Queued"] == 0, "the second request to leave", 1.5)
        assert harness.read_response(first.makefile("rb"))[0] == 200
    assert len(function.reports(2)) == 2
    assert function.environments()[0]["Invocations"] == 2


def test_an_early_answer_reaches_a_client_that_is_still_sending(daemon, kit):
    """The function refuses without reading the 100 MB that follow."""
    answer = daemon.raw(
        f"POST /fn/kit/early?status=403 HTTP/1.1\r\nHost: x\r\nContent-Length: {100 * MB}\r\n\r\n".encode() + b"x" * MB
        + b"x" * (99 * MB)
    )
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b'{"early": true}' in answer


def test_a_body_that_ends_early_is_the_clients_fault_and_breaks_nothing(daemon, kit):
    with daemon.connect() as connection:
        connection.sendall(b"POST /fn/kit/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nonly this")
    assert kit.get().status_code == 200


def test_a_body_beyond_the_bound_is_refused(serve):
    daemon = serve(body_max_mb=1)
    function = daemon.deploy(harness.FUNCTIONS / "kit", "small")
    harness.assert_error(function.request("POST", "/echo", data=b"x" * (MB + 1)), 413, "TooLarge")

    def pieces():
        for _ in range(5):
            yield b"x" * MB

    response = function.request("POST", "/echo", data=pieces())
    assert response.status_code == 413
    assert function.request("POST", "/echo", data=b"x" * MB).json()["length"] == MB
