"""AWS's own runtime clients, unmodified, as custom runtimes: PyPI's awslambdaric and npm's aws-lambda-ric."""

import json
import os
import shutil
import subprocess

import harness
import pytest
from test_snapstart import EventVersion

PYTHON_CLIENT = "awslambdaric==4.2.2"
NODE_CLIENT = harness.SOURCE / "tools" / "npm-ric"
FETCH_S = 600
PYTHON = """
import os
token = os.urandom(8).hex()
def handler(event, context):
    if event.get("fail"):
        raise ValueError("as asked")
    return {"event": event, "id": context.aws_request_id, "left": context.get_remaining_time_in_millis(), "token": token}
"""
NODE = """
const token = Math.random();
export const handler = async (event, context) => {
  if (event.fail) throw new RangeError('as asked');
  return { event, id: context.awsRequestId, left: context.getRemainingTimeInMillis(), token };
};
"""


def fetched(words, **options):
    done = subprocess.run(words, capture_output=True, text=True, timeout=FETCH_S, **options)
    if done.returncode != 0:
        pytest.skip(f"{' '.join(map(str, words[:4]))} failed: {(done.stdout + done.stderr).strip()[-300:]}")


def python_package(folder):
    fetched(["/usr/bin/python3", "-m", "pip", "install", "--quiet", "--target", folder, PYTHON_CLIENT])
    (folder / "app.py").write_text(PYTHON)
    return "export PYTHONPATH=/var/task\nexec /usr/bin/python3 -m awslambdaric app.handler"


def node_package(folder, build):
    """Its native part takes a minute to build: autotools, CMake, and Node.js's headers."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(NODE_CLIENT / name, build)
    fetched(["npm", "ci", "--ignore-scripts=false", "--no-audit", "--no-fund", "--prefix", build], env={**os.environ, "CI": "1"})
    client = build / "node_modules" / "aws-lambda-ric"
    if not (client / "dist" / "rapid-client.node").exists():
        pytest.skip("npm did not build aws-lambda-ric's native part")
    shutil.copytree(client, folder / "node_modules" / "aws-lambda-ric", ignore=shutil.ignore_patterns("deps", "build"))
    (folder / "app.mjs").write_text(NODE)
    return "exec node /var/task/node_modules/aws-lambda-ric/bin/index.mjs app.handler"


@pytest.mark.parametrize("language, error", [("python", "ValueError"), ("node", "RangeError")])
def test_a_runtime_client_of_aws_runs_and_is_restored(daemon, tmp_path, language, error):
    folder, build = tmp_path / "package", tmp_path / "build"
    folder.mkdir()
    build.mkdir()
    script = python_package(folder) if language == "python" else node_package(folder, build)
    (folder / "bootstrap").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bootstrap").chmod(0o755)
    (folder / "thaw.toml").write_text('runtime = "provided.al2023"\nhandler = "app.handler"\nmemory_mb = 512\n')
    version = EventVersion(daemon, "ric-" + language, folder)
    path = f"/2015-03-31/functions/{version.name}/invocations"
    answer = daemon.request("POST", path, data=json.dumps({"n": 1}).encode())
    assert answer.json()["event"] == {"n": 1} and answer.json()["id"] == answer.headers["x-amzn-RequestId"]
    assert 0 < answer.json()["left"] <= 30000
    failed = daemon.request("POST", path, data=b'{"fail": true}')
    assert failed.headers["X-Amz-Function-Error"] == "Unhandled"
    assert (failed.json()["errorType"], failed.json()["errorMessage"]) == (error, "as asked")
    version.wait_on()
    first = version.ask({"n": 2})
    version.wait_zero()
    assert version.ask({"n": 3})["token"] == first["token"]
    assert version.snapshot()["RestoresFailed"] == 0 and version.snapshot()["Restores"] == 2
