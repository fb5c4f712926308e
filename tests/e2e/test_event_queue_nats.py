"""The queue of events in NATS JetStream: its server killed and started again, nodes that share it, what is refused."""

import collections
import itertools
import os
import random
import subprocess
import threading
import time

import harness
import nats_server
import pytest
import requests
from test_event_queue import EVENTS, QUICK, Receiver, accepted, configure, events, send, starts, wait_empty

KILLS = max(1, int(os.environ.get("THAW_TEST_KILLS", "100")) // 5)

pytestmark = pytest.mark.skipif(bool(nats_server.missing()), reason=nats_server.missing() or "it is there")


@pytest.fixture
def server():
    with nats_server.NatsServer() as one:
        yield one


@pytest.fixture
def receiver():
    one = Receiver()
    yield one
    one.close()


class Flood:
    """Threads that send events, and note which were accepted."""

    def __init__(self, daemons, name, threads=4):
        self.sent, self.refused, self.over = {}, collections.Counter(), threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(daemons[n % len(daemons)], name, n))
                        for n in range(threads)]

    def run(self, daemon, name, thread):
        for n in itertools.count():
            if self.over.wait(0.01):
                return
            url = f"{daemon.url}/2015-03-31/functions/{name}/invocations"
            headers = {"X-Amz-Invocation-Type": "Event"}
            answer = requests.post(url, json={"thread": thread, "n": n}, headers=headers, timeout=harness.HANG_S)
            if answer.status_code == 202:
                self.sent[answer.headers["x-amzn-RequestId"]] = (thread, n)
            else:
                self.refused[answer.status_code] += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *failure):
        self.over.set()
        for thread in self.threads:
            thread.join(harness.HANG_S)


def seen_by(receiver):
    return collections.Counter(record["requestContext"]["requestId"] for record in receiver.records)


def refusal(daemon):
    daemon.process = subprocess.Popen(daemon.command(), env=daemon.environment(), stderr=subprocess.PIPE, text=True)
    _, said = daemon.process.communicate(timeout=harness.HANG_S)
    assert daemon.process.returncode == 1, said
    return said


def test_a_server_that_is_not_there_or_too_small_ends_the_start():
    with nats_server.NatsServer(settings="") as small:
        daemon = harness.Daemon(events_queue=small.url)
        try:
            assert "set max_payload = 10MB in the server's configuration" in refusal(daemon)
            small.kill()
            daemon.flags["events_queue"] = f"nats://joe:secret@127.0.0.1:{small.port}"
            said = refusal(daemon)
            assert f"the NATS server 127.0.0.1:{small.port}" in said and "secret" not in said
        finally:
            daemon.close()


def test_events_are_refused_while_the_server_is_away_and_taken_when_it_is_back(serve, server):
    daemon = serve(**server.queue(), **QUICK)
    function = daemon.deploy(EVENTS, "patient")
    kept = accepted(send(daemon, "patient", {"do": "hang"}))
    harness.wait_for(lambda: starts(function, kept), "the event to run")
    server.kill()
    # A requests.Response of an error is false.
    answer = harness.wait_for(lambda: (a := send(daemon, "patient", {})).status_code != 202 and [a], "a refusal")[0]
    assert answer.status_code == 503, answer.text
    assert daemon.request("POST", "/2015-03-31/functions/patient/invocations", data=b"{}").status_code == 200
    server.start()
    after = harness.wait_for(lambda: (a := send(daemon, "patient", {})).status_code == 202 and a, "an acceptance")
    function.wait_log(f"handles {after.headers['x-amzn-RequestId']}")
    daemon.kill()


def test_no_accepted_event_is_lost_when_the_server_is_killed(serve, server, receiver):
    seed = int(os.environ.get("THAW_TEST_SEED", str(random.randrange(1 << 32))))
    choose = random.Random(seed)
    daemon = serve(events_retry_ms=100, events_backoff_ms=20, **server.queue())
    daemon.deploy(EVENTS, "served", environments_max=2, timeout_s=10)
    configure(daemon, "served", to={"OnSuccess": receiver.url})
    with Flood([daemon], "served") as flood:
        for _ in range(KILLS):
            time.sleep(choose.uniform(0.05, 1.2))
            server.kill()
            time.sleep(choose.uniform(0, 0.3))
            server.start()
        before = len(flood.sent)
        harness.wait_for(lambda: len(flood.sent) > before, "events to be accepted again")
    wait_empty(daemon)
    seen = seen_by(receiver)
    missing = [request_id for request_id in flood.sent if request_id not in seen]
    duplicates = sum(seen.values()) - len(seen)
    print(f"seed {seed}: {KILLS} kills of the server, {len(flood.sent)} events accepted, {len(missing)} lost, "
          f"{len(seen)} recorded, {duplicates} records twice, refused {dict(flood.refused)}")
    assert missing == [], f"seed {seed}"
    assert set(flood.refused) <= {429, 503}


def test_nodes_that_share_a_stream_run_each_event_once(serve, server, receiver):
    queue = server.queue()
    nodes = [serve(**queue, **QUICK) for _ in range(2)]
    for node in nodes:
        node.deploy(EVENTS, "shared", environments_max=2)
        configure(node, "shared", to={"OnSuccess": receiver.url})
    with Flood(nodes, "shared") as flood:
        harness.wait_for(lambda: len(flood.sent) >= 200, "events to be accepted")
    for node in nodes:
        wait_empty(node)
    seen = seen_by(receiver)
    assert set(seen) == set(flood.sent)
    assert {request_id: count for request_id, count in seen.items() if count > 1} == {}
    shares = [events(node)["Succeeded"] for node in nodes]
    assert all(shares) and sum(shares) == len(flood.sent), shares


def test_what_a_node_had_is_run_by_another_when_it_is_killed(serve, server):
    queue = server.queue()
    nodes = [serve(**queue, **QUICK) for _ in range(2)]
    functions = [node.deploy(EVENTS, "orphaned", timeout_s=60) for node in nodes]
    request_id = accepted(send(nodes[0], "orphaned", {"do": "hang"}))
    first = harness.wait_for(lambda: [n for n in range(2) if starts(functions[n], request_id)], "the event to run")[0]
    nodes[first].kill()
    harness.wait_for(lambda: starts(functions[1 - first], request_id), "the other node to run it")
    assert f"event_runs_again request_id={request_id}" in nodes[1 - first].log()
    nodes[1 - first].kill()
