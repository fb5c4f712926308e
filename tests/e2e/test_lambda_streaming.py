"""Lambda's InvokeWithResponseStream, and responses that a runtime streams."""

import base64
import hashlib
import json
import shutil
import subprocess
import time

import botocore.config
import botocore.session
import harness
import pytest

EVENTS = harness.FUNCTIONS / "events"
# The operation as AWS's service model has it, for botocores from before it.
MODELS = harness.SOURCE / "tests" / "e2e" / "botocore"
SDK = harness.SOURCE / "tools" / "npm-test" / "node_modules" / "@aws-sdk" / "client-lambda"
PAYLOAD_MAX = 6291556
STREAMED_MAX = 200 << 20
OOPS = {"errorType": "Oops", "errorMessage": "as asked: Grüße", "stackTrace": []}

needs_node = pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not installed")


@pytest.fixture
def amazon(daemon):
    """botocore's client, unmodified."""
    session = botocore.session.Session()
    session.get_component("data_loader").search_paths.append(str(MODELS))
    session.set_credentials("any", "thing")
    return session.create_client(
        "lambda",
        endpoint_url=daemon.url,
        region_name="us-east-1",
        config=botocore.config.Config(retries={"max_attempts": 0}),
    )


def begin(amazon, name, event, **options):
    return amazon.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event).encode(), **options)


def read(answer):
    """The chunks, joined, and the InvokeComplete event, which is the last one."""
    pieces, complete = [], None
    for event in answer["EventStream"]:
        assert complete is None
        if "PayloadChunk" in event:
            pieces.append(event["PayloadChunk"]["Payload"])
        complete = event.get("InvokeComplete")
    assert complete is not None
    return b"".join(pieces), complete


def streamed(amazon, name, event, **options):
    return read(begin(amazon, name, event, **options))


def failure(complete):
    assert complete["ErrorCode"] == "Unhandled"
    return json.loads(complete["ErrorDetails"])


def invoke(daemon, name, event):
    path = f"/2015-03-31/functions/{name}/invocations"
    return daemon.request("POST", path, data=json.dumps(event).encode())


def test_chunks_come_as_events_and_the_completion_last(daemon, amazon):
    function = daemon.deploy(EVENTS, "flow")
    answer = begin(amazon, "flow", {"do": "stream", "pieces": ["one ", "two ", "Grüße"]}, LogType="Tail")
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert answer["ResponseStreamContentType"] == "application/vnd.amazon.eventstream"
    request_id = answer["ResponseMetadata"]["RequestId"]
    text, complete = read(answer)
    assert text.decode() == "one two Grüße"
    assert set(complete) == {"LogResult"}
    tail = base64.b64decode(complete["LogResult"]).decode()
    assert tail.startswith(f"START RequestId: {request_id} ") and f"REPORT RequestId: {request_id}\t" in tail
    assert streamed(amazon, "flow", {"do": "stream", "pieces": []}) == (b"", {})
    assert "streamed: 202" in function.wait_log("streamed:")
    assert invoke(daemon, "flow", {}).json()["count"] == 3


def test_the_first_chunk_comes_before_the_last_is_written(daemon, amazon):
    daemon.deploy(EVENTS, "early", concurrency=2, environments_max=1, environment__THREADS=2, timeout_s=60)
    events = iter(begin(amazon, "early", {"do": "stream", "pieces": ["first", "wait", "last"]})["EventStream"])
    assert next(events) == {"PayloadChunk": {"Payload": b"first"}}
    assert invoke(daemon, "early", {"do": "release"}).json() == "released"
    assert list(events) == [{"PayloadChunk": {"Payload": b"last"}}, {"InvokeComplete": {}}]


@pytest.mark.parametrize(
    "pieces, error, said",
    [
        (["exit"], "Runtime.ExitError", "exit status 7"),
        (["cut"], "Runtime.InvalidResponse", "broke off"),
        (["wait"], "Sandbox.Timedout", "Task timed out after 2.00 seconds"),
    ],
    ids=["exit", "cut", "timeout"],
)
def test_what_ends_a_stream_early_is_told_behind_what_came(daemon, amazon, pieces, error, said):
    daemon.deploy(EVENTS, "ends")
    text, complete = streamed(amazon, "ends", {"do": "stream", "pieces": ["half", *pieces]})
    assert text == b"half"
    assert failure(complete)["errorType"] == error and said in failure(complete)["errorMessage"]
    assert streamed(amazon, "ends", {"do": "stream", "pieces": ["whole"]}) == (b"whole", {})


def test_an_error_in_the_trailers_ends_the_stream(daemon, amazon):
    function = daemon.deploy(EVENTS, "trailing")
    text, complete = streamed(amazon, "trailing", {"do": "stream", "pieces": ["half"], "error": OOPS})
    assert (text, failure(complete)) == (b"half", OOPS)
    assert function.reports(1)[0]["error"] == "Oops"


def test_a_response_that_comes_whole_is_chunks_as_well(daemon, amazon):
    daemon.deploy(EVENTS, "whole", timeout_s=10)
    text, complete = streamed(amazon, "whole", {"n": 1, "pad": "x" * 300_000})
    assert json.loads(text)["event"]["n"] == 1 and complete == {}
    text, complete = streamed(amazon, "whole", {"do": "fail"})
    assert text == b"" and failure(complete)["errorType"] == "Oops"
    text, complete = streamed(amazon, "whole", {"do": "exit", "status": 9})
    assert text == b"" and failure(complete)["errorType"] == "Runtime.ExitError"


def test_invoke_gathers_a_streamed_response(daemon):
    daemon.deploy(EVENTS, "gathered", timeout_s=30)
    answer = invoke(daemon, "gathered", {"do": "stream", "pieces": ["one ", "two"]})
    assert (answer.status_code, answer.text) == (200, "one two") and "X-Amz-Function-Error" not in answer.headers
    answer = invoke(daemon, "gathered", {"do": "stream", "pieces": ["half"], "error": OOPS})
    assert answer.headers["X-Amz-Function-Error"] == "Unhandled" and answer.json() == OOPS
    answer = invoke(daemon, "gathered", {"do": "stream", "pieces": [PAYLOAD_MAX + 65536]})
    assert answer.json()["errorType"] == "Function.ResponseSizeTooLarge"
    assert str(PAYLOAD_MAX) in answer.json()["errorMessage"]


def test_a_large_stream_comes_whole_and_one_past_the_limit_is_cut_there(daemon, amazon):
    daemon.deploy(EVENTS, "large", timeout_s=120)
    text, complete = streamed(amazon, "large", {"do": "stream", "pieces": [20 << 20]})
    assert complete == {}
    assert hashlib.sha256(text).digest() == hashlib.sha256(bytes(range(256)) * (20 << 12)).digest()
    text, complete = streamed(amazon, "large", {"do": "stream", "pieces": [STREAMED_MAX + 65536]})
    assert len(text) <= STREAMED_MAX and len(text) > STREAMED_MAX - 65536 * 2
    assert failure(complete)["errorType"] == "Function.ResponseSizeTooLarge"


def test_a_client_that_does_not_read_holds_the_runtime_up_and_takes_no_memory(daemon, amazon):
    function = daemon.deploy(EVENTS, "held", timeout_s=120)
    before = harness.anonymous_kb(daemon.process.pid)
    answer = begin(amazon, "held", {"do": "stream", "pieces": [60 << 20, "end"]})
    events = iter(answer["EventStream"])
    first = next(events)["PayloadChunk"]["Payload"]
    time.sleep(2)  # in which all of it would have come, were nothing held up
    assert harness.anonymous_kb(daemon.process.pid) - before < 30 << 10
    assert "streamed:" not in function.log()
    rest = [event["PayloadChunk"]["Payload"] for event in events if "PayloadChunk" in event]
    assert len(first) + sum(map(len, rest)) == (60 << 20) + 3
    function.wait_log("streamed: 202")


def test_the_function_runs_on_when_its_client_is_gone(daemon, amazon):
    function = daemon.deploy(
        EVENTS, "alone", concurrency=2, environments_max=1, environment__THREADS=2, timeout_s=60
    )
    answer = begin(amazon, "alone", {"do": "stream", "pieces": ["first", "wait", 20 << 20, "last"]})
    assert "PayloadChunk" in next(iter(answer["EventStream"]))
    answer["EventStream"].close()
    assert invoke(daemon, "alone", {"do": "release"}).json() == "released"
    function.wait_log("streamed: 202")
    assert [one["status"] for one in function.reports(2)] == [None, None]
    harness.wait_for(lambda: all(one["Inflight"] == 0 for one in function.environments()), "its end")


def test_refusals_are_answers_of_their_own(daemon, amazon):
    daemon.deploy(EVENTS, "refuses")
    assert begin(amazon, "refuses", {}, InvocationType="DryRun")["StatusCode"] == 204
    with pytest.raises(amazon.exceptions.ResourceNotFoundException):
        begin(amazon, "nobody", {})
    path = "/2021-11-15/functions/refuses/response-streaming-invocations"
    assert daemon.request("POST", path, data="{").headers["x-amzn-ErrorType"] == "InvalidRequestContentException"
    refused = daemon.request("POST", path, headers={"X-Amz-Invocation-Type": "Event"})
    assert refused.status_code == 400 and "X-Amz-Invocation-Type" in refused.json()["Message"]


NODE = """
export const handler = awslambda.streamifyResponse(async (event, stream, context) => {
  if (event.prelude) stream = awslambda.HttpResponseStream.from(stream, event.prelude);
  else stream.setContentType('text/plain');
  stream.write('first ');
  await new Promise((resolve) => setTimeout(resolve, event.pause ?? 0));
  if (event.fail) { const error = new Error('no ' + event.fail); error.name = 'Refused'; throw error; }
  stream.write(String(Date.now()));
  stream.end();
});
"""


@pytest.fixture
def node(daemon, tmp_path):
    (tmp_path / "app.mjs").write_text(NODE)
    (tmp_path / "thaw.toml").write_text('runtime = "nodejs20.x"\nhandler = "app.handler"\nmemory_mb = 512\ntimeout_s = 30\n')
    return daemon.deploy(tmp_path, "node-streams")


@needs_node
def test_a_handler_that_streams_by_node(node, daemon, amazon):
    events = iter(begin(amazon, node.name, {"pause": 3000})["EventStream"])
    assert next(events) == {"PayloadChunk": {"Payload": b"first "}}
    came_at = time.time()
    written_at, complete = list(events)
    assert came_at < int(written_at["PayloadChunk"]["Payload"]) / 1000 and complete == {"InvokeComplete": {}}
    text, complete = streamed(amazon, node.name, {"fail": "bread"})
    assert text == b"first "
    assert (failure(complete)["errorType"], failure(complete)["errorMessage"]) == ("Refused", "no bread")
    text, complete = streamed(amazon, node.name, {"prelude": {"statusCode": 201}})
    assert text.startswith(b'{"statusCode":201}' + bytes(8) + b"first ") and complete == {}
    assert invoke(daemon, node.name, {}).text.startswith("first ")


@needs_node
def test_awss_client_for_node_reads_the_stream(daemon):
    if not SDK.exists():
        pytest.skip("./dev setup --test brings AWS's client")
    daemon.deploy(EVENTS, "by-node")

    def call(event):
        words = ["node", harness.SOURCE / "tests/e2e/lambda_client.mjs", daemon.url, "by-node", json.dumps(event)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=harness.HANG_S)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    seen = call({"do": "stream", "pieces": ["one ", "two"]})
    assert (seen["StatusCode"], seen["ExecutedVersion"], seen["text"]) == (200, "$LATEST", "one two")
    assert "REPORT RequestId" in base64.b64decode(seen["complete"]["LogResult"]).decode()
    seen = call({"do": "stream", "pieces": ["half"], "error": OOPS})
    assert seen["text"] == "half" and failure(seen["complete"]) == OOPS
