"""What speaks Lambda's Invoke on this machine: Thaw, npm's serverless-offline, AWS's runtime interface emulator."""

import http.client
import os
import re
import shutil
import signal
import subprocess
import time

import harness

HERE = os.path.dirname(os.path.abspath(__file__))
FUNCTIONS = os.path.join(HERE, "functions")
OFFLINE = os.path.join(harness.ROOT, "tools", "npm-bench", "node_modules", ".bin", "serverless")
EVENT = b'{"name":"Ada","numbers":[1,2,3,5,8,13],"nested":{"text":"forty-two"}}'
START_S = 60


def package(folder, language):
    """The function's package: for C++ with its program, which the build has made."""
    path = os.path.join(folder, "package-" + language)
    shutil.copytree(os.path.join(FUNCTIONS, language), path, ignore=shutil.ignore_patterns("*.cpp"))
    if language == "cpp":
        program = os.path.join(harness.bin_folder(), "thaw_bench_echo")
        if not os.access(program, os.X_OK):
            raise harness.BenchError(f"{program} is missing: build it with ./dev build release")
        shutil.copy(program, os.path.join(path, "bootstrap"))
    return path


class Way:
    """One function behind one server, asked over a connection that stays."""

    def __init__(self, name, port, function):
        self.name, self.port = name, port
        self.path = f"/2015-03-31/functions/{function}/invocations"
        self.connection = None

    def ask(self):
        """Milliseconds from the request to the whole answer, which is checked."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            self.connection.connect()
        began = time.perf_counter()
        self.connection.request("POST", self.path, EVENT, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        body = answer.read()
        took = (time.perf_counter() - began) * 1e3
        if answer.will_close:
            self.close()
        if answer.status != 200 or b"forty-two" not in body or b"errorType" in body:
            raise harness.BenchError(f"{self.name}: a wrong answer, {answer.status}: {body[:300]!r}")
        return took

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Server:
    """A peer's process, which listens when `ready` is in what it prints."""

    def __init__(self, command, folder, log, ready, environment=None):
        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            env={**os.environ, **(environment or {})}, start_new_session=True)
        deadline = time.monotonic() + START_S
        while not re.search(ready, self.text()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise harness.BenchError(f"{command[0]} did not start:\n{self.text()[-2000:]}")
            time.sleep(0.05)

    def text(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


OFFLINE_CONFIG = """service: peer
frameworkVersion: "3"
provider:
  name: aws
  runtime: nodejs20.x
plugins:
  - {plugin}
functions:
  node:
    handler: app.handler
  python:
    runtime: python3.11
    handler: app.handler
custom:
  serverless-offline:
    lambdaPort: {lambda_port}
    httpPort: {http_port}
    terminateIdleLambdaTime: 3600
"""


def offline(folder):
    """serverless-offline with the same two handlers; its Lambda port."""
    os.makedirs(folder)
    for language, file in (("python", "app.py"), ("node", "app.mjs")):
        shutil.copy(os.path.join(FUNCTIONS, language, file), folder)
    os.symlink(os.path.join(harness.ROOT, "tools", "npm-bench", "node_modules"), os.path.join(folder, "node_modules"))
    port = harness.free_port()
    with open(os.path.join(folder, "serverless.yml"), "w", encoding="utf-8") as file:
        file.write(OFFLINE_CONFIG.format(plugin="serverless-offline", lambda_port=port, http_port=harness.free_port()))
    # Its Python is the first on PATH; Thaw's is the machine's own.
    quiet = {"SLS_TELEMETRY_DISABLED": "1", "SLS_NOTIFICATIONS_MODE": "off", "PATH": "/usr/bin:" + os.environ["PATH"]}
    server = Server([OFFLINE, "offline", "start", "--host", "127.0.0.1"], folder, folder + ".log",
                    r"http for lambda\] listening", quiet)
    return server, port


def emulator(folder):
    """AWS's runtime interface emulator before the C++ runtime; None where it is not installed."""
    program = shutil.which("aws-lambda-rie")
    if program is None:
        return None
    port, api = harness.free_port(), harness.free_port()
    command = [program, "--runtime-interface-emulator-address", f"127.0.0.1:{port}",
               "--runtime-api-address", f"127.0.0.1:{api}", os.path.join(package(folder, "cpp"), "bootstrap")]
    server = Server(command, folder, os.path.join(folder, "rie.log"), r"Init|listen|exec", {"_HANDLER": "echo"})
    return server, port
