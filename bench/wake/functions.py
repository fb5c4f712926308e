"""The functions that `./dev bench wake` measures: how each is packaged, asked, and started without Thaw."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess

import harness

HERE = pathlib.Path(__file__).resolve().parent
QUESTION = {"question": "What is the color of my car now?", "context": "My car used to be blue but I painted red"}
ORDER = {"item": "brush", "count": 3, "price": 2.5}
# The port that a peer's sandbox listens on; Thaw gives each function its own through $PORT.
PEER_PORT = 8080


# gVisor cannot checkpoint a listener that somebody waits for with epoll (see gvisor.py); the same app with poll it can.
POLLING_UVICORN = f"""
import asyncio, selectors, sys, uvicorn
sys.path.insert(0, "")
loop = asyncio.SelectorEventLoop(selectors.PollSelector())
asyncio.set_event_loop(loop)
loop.run_until_complete(uvicorn.Server(uvicorn.Config("main:app", host="0.0.0.0", port={PEER_PORT}, loop="none")).serve())
"""

EPOLL_REFUSAL = "it waits with epoll for connections, and runsc cannot checkpoint that"


@dataclasses.dataclass
class WebFunction:
    name: str
    package: str  # a folder with thaw.toml or a model
    method: str
    path: str
    body: bytes
    expected: bytes  # in the answer's body
    # A request with a body, by which an environment can be held: it is busy until the body's last byte is sent.
    held_path: str
    held_body: bytes
    # The same server in gVisor, run in the package's folder with PORT and BIND=0.0.0.0; empty where that cannot be.
    peer_command: list
    peer_refusal: str = ""
    settings: tuple = ()

    def request(self, held=False):
        """The bytes of one request on a connection that ends with it."""
        path, body = (self.held_path, self.held_body) if held else (self.path, self.body)
        method = "POST" if held else self.method
        head = f"{method} {{prefix}}{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return head + "\r\n", body

    def bytes_for(self, prefix, held=False):
        head, body = self.request(held)
        return head.replace("{prefix}", prefix).encode() + body


class Unavailable(Exception):
    """What this machine lacks to measure a function; the benchmark goes on without it and says so."""


def question_answering(_folder):
    body = json.dumps(QUESTION).encode()
    return WebFunction("qa", os.path.join(harness.ROOT, "models/qa"), "POST", "/question", body, b'"red"', "/question",
                       body, [], EPOLL_REFUSAL, ("concurrency=1",))


def fastapi_hello(_folder):
    command = ["/usr/bin/python3", "-c", POLLING_UVICORN]
    return WebFunction("fastapi-hello", os.path.join(harness.ROOT, "examples/fastapi-hello"), "GET", "/", b"",
                       b"Hello from FastAPI!", "/orders", json.dumps(ORDER).encode(), command)


def packaged(name, folder, *extra):
    target = pathlib.Path(folder) / f"package-{name}"
    shutil.copytree(HERE / "functions" / name, target)
    for file in extra:
        shutil.copy2(file, target)
    for path in [target, *target.iterdir()]:
        path.chmod(0o755)
    return target


def node(folder):
    if shutil.which("node") is None:
        raise Unavailable("node is missing: apt-get install nodejs")
    return WebFunction("node", str(packaged("node", folder)), "GET", "/", b"", b"hello ", "/", b"{}",
                       [], EPOLL_REFUSAL)


def cpp(folder):
    program = os.path.join(harness.bin_folder(), "thaw_bench_search")
    target = packaged("cpp", folder, program)
    (target / "search.cpp").unlink()
    return WebFunction("cpp", str(target), "GET", "/?wb+wc", b"", b"\n", "/?wb+wc", b"{}", ["./thaw_bench_search"])


def java(folder):
    compiler = shutil.which("javac")
    if compiler is None:
        raise Unavailable("a JDK is missing: apt-get install openjdk-17-jdk-headless")
    target = packaged("java", folder)
    # The JDK that compiles runs it too: several may be installed.
    home = pathlib.Path(os.path.realpath(compiler)).parent
    subprocess.run([compiler, "-d", target, target / "Server.java"], check=True, capture_output=True)
    (target / "Server.java").unlink()
    manifest = target / "thaw.toml"
    manifest.write_text(manifest.read_text().replace('"java"', json.dumps(str(home / "java"))))
    for path in target.iterdir():
        path.chmod(0o755)
    return WebFunction("java", str(target), "GET", "/", b"", b"hello ", "/", b"{}",
                       [str(home / "java"), "-XX:-UsePerfData",
                        "-Djava.nio.channels.spi.SelectorProvider=sun.nio.ch.PollSelectorProvider", "-cp", ".", "Server"])


BUILDERS = {"qa": question_answering, "fastapi-hello": fastapi_hello, "node": node, "cpp": cpp, "java": java}
