"""llama.cpp's server with a generated model of about 1 GB: without Thaw, and what asks it for tokens either way."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time

import harness

sys.path.insert(0, os.path.join(harness.ROOT, "tests", "models"))
import make_gguf  # noqa: E402

SHAPE = "qwen2-1.5b"
START_WAIT_S = 120
# A word a token or so; the text itself does not matter to random weights.
WORDS = "the quick brown fox jumps over the lazy dog and then it walks home along the river while rain falls "


def model(kind="q4_0"):
    """The path of the model of Qwen2-1.5B's shape, made once (some seconds) and kept in build/bench."""
    path = pathlib.Path(harness.ROOT, "build", "bench", f"{SHAPE}-{kind}.gguf")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print(f"making {path}, about 1 GB", file=sys.stderr)
        make_gguf.write(path, SHAPE, kind)
    return str(path)


def server():
    """The llama-server that Thaw runs too."""
    path = os.path.join(os.path.dirname(os.path.normpath(harness.bin_folder())), "engines", "llama-server")
    if not os.access(path, os.X_OK):
        raise harness.BenchError(f"{path} is missing: build it with ./dev build release")
    return path


def version():
    return harness.version_of([server(), "--version"], r"(b\d+-[0-9a-f]+|version: .+)")


def options_of(daemon):
    """The options that a daemon's llama-server runs with, less those that name its model and where it listens."""
    for pid, name in daemon.processes().items():
        if name == "llama-server":
            with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
                words = file.read().rstrip("\0").split("\0")[1:]
            for option in ("--model", "--host", "--port"):
                at = words.index(option)
                del words[at:at + 2]
            return words
    raise harness.BenchError("the daemon runs no llama-server")


class CpuGroup:
    """A CPU group beside those of a daemon's environments, of the same weight and without a bound.

    Where other programs want the cores too, a process in another place would get another share of them, and the
    comparison would be one of weights. Removed with the block; until then the daemon runs.
    """

    def __init__(self, daemon):
        self.path = os.path.join(os.path.dirname(self.of_environment(daemon)), "bench")

    @staticmethod
    def of_environment(daemon):
        for pid in daemon.processes():
            with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
                text = file.read()
            # Version 1, else 2: cgroups(7).
            for pattern, root in ((r"^\d+:(?:\w+,)*cpu(?:,\w+)*:(/thaw.*/.+)$", "/sys/fs/cgroup/cpu"),
                                  (r"^0::(/.*thaw.*/.+)$", "/sys/fs/cgroup")):
                if (found := re.search(pattern, text, re.M)) and os.path.isdir(root + found.group(1)):
                    return root + found.group(1)
        raise harness.BenchError("no CPU group of an environment was found")

    def __enter__(self):
        os.mkdir(self.path)
        return self

    def __exit__(self, *_):
        os.rmdir(self.path)

    def enter(self):
        """Puts the calling process into it."""
        with open(os.path.join(self.path, "cgroup.procs"), "w", encoding="ascii") as file:
            file.write(str(os.getpid()))


class Bare:
    """llama-server on a port of loopback in a CPU group, ended with the block."""

    def __init__(self, group, path, *options):
        self.group = group
        self.port = harness.free_port()
        self.command = [server(), "--model", path, "--host", "127.0.0.1", "--port", str(self.port), *options]

    def __enter__(self):
        self.began = time.perf_counter()
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL, preexec_fn=self.group.enter)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def get(self, path):
        """Status and JSON of an answer; None while nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (ConnectionError, socket.timeout):
            return None
        finally:
            connection.close()

    def wait_ready(self):
        """Milliseconds from its start until /health says so."""
        while True:
            answer = self.get("/health")
            if answer is not None and answer[0] == 200:
                return (time.perf_counter() - self.began) * 1e3
            if self.process.poll() is not None:
                raise harness.BenchError(f"llama-server ended with {self.process.returncode}: {' '.join(self.command)}")
            if time.perf_counter() - self.began > START_WAIT_S:
                raise harness.BenchError(f"llama-server was not ready within {START_WAIT_S} s")
            time.sleep(0.002)

    def wait_asleep(self, wait_s=30):
        """Until --sleep-idle-seconds has unloaded the model."""
        deadline = time.monotonic() + wait_s
        while not self.get("/props")[1]["is_sleeping"]:
            if time.monotonic() > deadline:
                raise harness.BenchError(f"llama-server did not go to sleep within {wait_s} s")
            time.sleep(0.02)


def request_bytes(prefix, text, tokens):
    """Without the prompts that a slot still has: a warm server would have a part of this one, and less to do than one
    that has just been restored."""
    body = json.dumps({
        "model": "chat", "messages": [{"role": "user", "content": text}], "max_tokens": tokens, "temperature": 0,
        "stream": True, "stream_options": {"include_usage": True}, "cache_prompt": False,
    }).encode()
    return (f"POST {prefix}/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def events(stream):
    """The payloads of the server-sent events of a response in chunks, as they come."""
    line = stream.readline()
    if not line.startswith(b"HTTP/1.1 200"):
        raise harness.BenchError(f"no stream: {line!r} {stream.read(2000)!r}")
    while stream.readline() not in (b"\r\n", b""):
        pass
    text = b""
    while True:
        size = int(stream.readline().split(b";")[0] or b"0", 16)
        if size == 0:
            break
        text += stream.read(size)
        stream.readline()
        *whole, text = text.split(b"\n\n")
        for event in whole:
            if event.startswith(b"data: "):
                yield event[6:]
    raise harness.BenchError("the stream ended before [DONE]")


def ask(port, prefix, text, tokens, began=None):
    """One streamed answer: when its tokens came, in ms from `began` (or from opening the connection), and its text."""
    began = began or time.perf_counter()
    times, pieces, last = [], [], {}
    with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request_bytes(prefix, text, tokens))
        with connection.makefile("rb") as stream, contextlib.closing(events(stream)) as found:
            for event in found:
                if event == b"[DONE]":
                    break
                value = json.loads(event)
                if value.get("usage"):
                    last = value
                elif value["choices"][0]["delta"].get("content"):
                    times.append((time.perf_counter() - began) * 1e3)
                    pieces.append(value["choices"][0]["delta"]["content"])
    made = last.get("usage", {}).get("completion_tokens")
    if made != tokens:
        raise harness.BenchError(f"asked for {tokens} tokens, got {made}: {last}")
    return {"first_ms": times[0], "last_ms": times[-1], "text": "".join(pieces), "tokens": made,
            "timings": last["timings"], "pieces": len(pieces)}


def prompt(number, words=12):
    """A text of its own for each number; of as many tokens for all that have as many digits."""
    return f"Question {number}: " + (WORDS * (1 + words // 20))[:words * 5]


class Streams:
    """Several streamed answers at a time; tokens a second over all of them, from the first token to the last."""

    def __init__(self, port, prefix):
        self.port, self.prefix = port, prefix

    def run(self, number, streams, tokens):
        answers, failures = [], []

        def one(index):
            try:
                answers.append(ask(self.port, self.prefix, prompt(f"{number}.{index}"), tokens, began))
            except (harness.BenchError, OSError) as failure:
                failures.append(failure)

        threads = [threading.Thread(target=one, args=(index,)) for index in range(streams)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise harness.BenchError(f"a stream failed: {failures[0]}")
        first = min(answer["first_ms"] for answer in answers)
        last = max(answer["last_ms"] for answer in answers)
        return {"tokens_per_s": (tokens * streams - streams) / (last - first) * 1e3, "first_ms": first,
                "server_tokens_per_s": harness.median(a["timings"]["predicted_per_second"] for a in answers)}
