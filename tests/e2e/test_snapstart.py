"""Event functions with snapshots: a published version's runtime is restored, its connections to the Runtime API anew."""

import json
import shutil

import harness
import pytest

from test_event_functions import EVENTS
from test_snapshots import Version

PYTHON = """
import os, random, snapshot_restore_py
state = {"loaded_by": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], "hooks": [], "count": 0}
token = os.urandom(8).hex()

def before(word):
    state["hooks"].append("before " + word)

def after(word):
    if os.path.exists("/tmp/never"):
        raise RuntimeError("never")
    state["hooks"].append("after " + word)
    state["seeded"] = random.random()

snapshot_restore_py.register_before_snapshot(before, "one")
snapshot_restore_py.register_before_snapshot(before, "two")
snapshot_restore_py.register_after_restore(after, word="three")

def handler(event, context):
    state["count"] += 1
    return {"event": event, "token": token, "id": context.aws_request_id, **state}
"""
NODE = """
const token = Math.random();
let count = 0;
exports.handler = async (event, context) =>
  ({ event, token, count: ++count, loaded_by: process.env.AWS_LAMBDA_INITIALIZATION_TYPE, id: context.awsRequestId });
"""


class EventVersion(Version):
    def invoke(self, event):
        path = f"/2015-03-31/functions/{self.name}/invocations?Qualifier={self.number}"
        return self.daemon.request("POST", path, data=json.dumps(event).encode())

    def ask(self, event):
        answer = self.invoke(event)
        assert (answer.status_code, answer.headers.get("X-Amz-Function-Error")) == (200, None), answer.text
        assert answer.headers["X-Amz-Executed-Version"] == self.number
        return answer.json()


@pytest.fixture
def managed(daemon, tmp_path):
    def make(runtime, source, **settings):
        file = {"python": "app.py", "nodejs": "app.js"}[runtime.rstrip("0123456789.x")]
        if runtime.startswith("nodejs") and not shutil.which("node"):
            pytest.skip("Node.js is not installed")
        (tmp_path / file).write_text(source)
        (tmp_path / "thaw.toml").write_text(f'runtime = "{runtime}"\nhandler = "app.handler"\nmemory_mb = 512\n')
        return EventVersion(daemon, "snap-" + runtime[:4], tmp_path, **settings)

    return make


def test_a_python_handler_is_restored_with_its_hooks(managed):
    version = managed("python3.11", PYTHON)
    version.wait_on()
    first = version.ask({"n": 1})
    assert (first["loaded_by"], first["count"], first["event"]) == ("snap-start", 1, {"n": 1})
    assert first["hooks"] == ["before two", "before one", "after three"]
    assert version.ask({})["count"] == 2
    version.wait_zero()
    second = version.ask({"n": 2})
    # Another clone of the same process: it starts from the same state, with chance of its own.
    assert (second["count"], second["token"], second["hooks"]) == (1, first["token"], first["hooks"])
    assert second["seeded"] != first["seeded"] and second["id"] != first["id"]
    assert version.snapshot()["RestoresFailed"] == 0 and version.snapshot()["Restores"] == 2
    version.function.wait_log("RESTORE_REPORT")


def test_clones_at_once_answer_each_its_own_event(managed):
    import concurrent.futures

    version = managed("python3.11", "import time\n" + PYTHON.replace('state["count"] += 1', "time.sleep(0.3)"))
    version.wait_on()
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda n: version.ask({"n": n}), range(6)))
    assert [answer["event"]["n"] for answer in answers] == list(range(6))
    assert len({answer["seeded"] for answer in answers}) > 1
    assert version.snapshot()["RestoresFailed"] == 0


def test_a_node_handler_is_restored(managed):
    version = managed("nodejs20.x", NODE)
    version.wait_on()
    first = version.ask({"n": 1})
    assert (first["loaded_by"], first["count"]) == ("snap-start", 1)
    version.wait_zero()
    second = version.ask({"n": 2})
    assert (second["count"], second["token"], second["event"]) == (1, first["token"], {"n": 2})
    assert version.snapshot()["RestoresFailed"] == 0


@pytest.mark.parametrize("threads", [1, 3])
def test_a_runtime_that_waits_in_next_is_restored(daemon, threads):
    """It has never heard of snapshots: each of its threads has asked for an event, and gets one in a clone."""
    version = EventVersion(
        daemon, f"snap-next-{threads}", EVENTS, environment__THREADS=threads, concurrency=threads, environments_max=1
    )
    version.wait_on()
    for _ in range(2):
        assert version.ask({"n": 1})["event"] == {"n": 1}
        if threads > 1:
            import concurrent.futures

            with concurrent.futures.ThreadPoolExecutor(threads) as callers:
                answers = list(callers.map(lambda n: version.ask({"do": "meet", "of": threads}), range(threads)))
            assert answers == [{"met": threads}] * threads
        version.wait_zero()
    assert version.snapshot()["RestoresFailed"] == 0


def test_a_hook_that_fails_before_the_snapshot_fails_the_version(managed):
    version = managed("python3.11", PYTHON.replace('state["hooks"].append("before " + word)', 'raise ValueError("not now")'))
    configuration = version.wait_made()
    assert (configuration["State"], "not now" in configuration["StateReason"]) == ("Failed", True), configuration


def test_a_hook_that_fails_after_a_restore_leaves_the_init(managed):
    """Every clone would fail: the version goes on without a snapshot, and says why."""
    version = managed("python3.11", PYTHON.replace('os.path.exists("/tmp/never")', "True"))
    configuration = version.wait_made()
    assert configuration["SnapStart"]["OptimizationStatus"] == "Off"
    assert "never" in json.dumps(configuration)
    assert version.ask({"n": 1})["loaded_by"] == "on-demand"
