"""A session with the aws command, boto3 and the JavaScript SDK, as somebody at a terminal would have it: each resource is
made, waited for, used, changed and deleted, and each mistake has Lambda's name. Nothing here is Thaw's own interface."""

import base64
import json
import shutil
import subprocess
import urllib.error
import urllib.request

import amazon_clients
import harness
import pytest
from amazon_clients import ROLE, zipped

SDK = harness.SOURCE / "tools" / "npm-test" / "node_modules" / "@aws-sdk" / "client-lambda"
CALLS_MIN = 60
OURS = ("tea", "web", "cook", "quick")
HANDLER = """
import os
def run(event, context):
    if isinstance(event, dict) and event.get("fail"):
        raise ValueError("as asked")
    print("saw", context.aws_request_id)
    return {"event": event, "word": os.environ.get("WORD"), "version": context.function_version, "says": "%s"}
"""
URL_HANDLER = """
def run(event, context):
    return {"statusCode": 201, "headers": {"X-Path": event["rawPath"]}, "body": event["requestContext"]["http"]["method"]}
"""
NODE_HANDLER = """
exports.run = awslambda.streamifyResponse(async (event, stream) => {
  for (const word of event.words) stream.write(word + ' ');
  stream.end();
});
"""


class Terminal:
    """Runs `aws lambda WORDS` in a folder and counts."""

    def __init__(self, daemon, folder):
        self.daemon, self.folder, self.calls = daemon, folder, 0

    def run(self, words):
        self.calls += 1
        return amazon_clients.run(self.daemon, words, self.folder)

    # JSON alone may hold spaces: it is in `more`.
    def __call__(self, words, *more):
        return amazon_clients.output(self.run([*words.split(), *more])) or {}

    def refused(self, error, words, *more):
        done = self.run([*words.split(), *more])
        assert done.returncode != 0, f"aws lambda {words} was not refused: {done.stdout}"
        assert f"({error})" in done.stderr, f"aws lambda {words}: {done.stderr}"
        return done.stderr

    def invoke(self, words, event=None, **members):
        """The answer with its payload as "Payload"."""
        options = ["--cli-binary-format", "raw-in-base64-out", "--payload", json.dumps(event)]
        answer = self(f"invoke {words}", *options, "answer.json")
        text = (self.folder / "answer.json").read_text()
        return {**answer, "Payload": json.loads(text) if text else None}


@pytest.fixture
def aws(daemon, tmp_path):
    for name, source in (("first", HANDLER % "first"), ("second", HANDLER % "second"), ("url", URL_HANDLER)):
        (tmp_path / f"{name}.zip").write_bytes(zipped({"app.py": source}))
    (tmp_path / "layer.zip").write_bytes(zipped({"python/spice.py": "name = 'saffron'\n"}))
    (tmp_path / "bad.zip").write_bytes(zipped({"../outside.py": "x"}))
    return Terminal(daemon, tmp_path)


CREATE = f"create-function --runtime python3.11 --handler app.run --role {ROLE}"


def functions(aws):
    made = aws(f"{CREATE} --function-name tea --zip-file fileb://first.zip --description brews --timeout 5")
    assert (made["FunctionName"], made["Handler"], made["Timeout"]) == ("tea", "app.run", 5)
    aws("wait function-active-v2 --function-name tea")
    assert aws("get-function --function-name tea")["Configuration"]["Description"] == "brews"
    assert aws("get-function-configuration --function-name tea")["State"] == "Active"
    assert "tea" in [one["FunctionName"] for one in aws("list-functions")["Functions"]]
    aws("update-function-configuration --function-name tea --memory-size 256", "--environment", '{"Variables":{"WORD":"hot"}}')
    aws("wait function-updated-v2 --function-name tea")
    answer = aws.invoke("--function-name tea", {"n": 1})
    assert answer["Payload"] == {"event": {"n": 1}, "word": "hot", "version": "$LATEST", "says": "first"}
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    changed = aws("update-function-code --function-name tea --zip-file fileb://second.zip")
    assert changed["CodeSha256"] != made["CodeSha256"]
    aws("wait function-updated --function-name tea")


def invocations(aws):
    assert aws.invoke("--function-name tea --invocation-type DryRun")["StatusCode"] == 204
    assert aws.invoke("--function-name tea --invocation-type Event", {"later": 1})["StatusCode"] == 202
    answer = aws.invoke("--function-name tea --log-type Tail", {})
    log = base64.b64decode(answer["LogResult"]).decode()
    assert all(word in log for word in ("START RequestId", "saw ", "END RequestId", "REPORT RequestId"))
    failed = aws.invoke("--function-name arn:aws:lambda:us-east-1:000000000000:function:tea", {"fail": True})
    assert failed["FunctionError"] == "Unhandled"
    assert (failed["Payload"]["errorType"], failed["Payload"]["errorMessage"]) == ("ValueError", "as asked")


def versions(aws):
    assert aws("publish-version --function-name tea --description one")["Version"] == "1"
    aws("wait published-version-active --function-name tea --qualifier 1")
    aws("update-function-code --function-name tea --zip-file fileb://first.zip")
    assert aws("publish-version --function-name tea")["Version"] == "2"
    listed = aws("list-versions-by-function --function-name tea")["Versions"]
    assert [one["Version"] for one in listed] == ["$LATEST", "1", "2"]
    assert aws.invoke("--function-name tea --qualifier 1")["Payload"]["says"] == "second"
    alias = aws("create-alias --function-name tea --name live --function-version 1")
    assert aws("get-alias --function-name tea --name live")["RevisionId"] == alias["RevisionId"]
    assert aws.invoke("--function-name tea:live")["Payload"]["version"] == "1"
    aws("update-alias --function-name tea --name live --routing-config", '{"AdditionalVersionWeights":{"2":1.0}}')
    assert aws.invoke("--function-name tea --qualifier live")["ExecutedVersion"] == "2"
    assert [one["Name"] for one in aws("list-aliases --function-name tea")["Aliases"]] == ["live"]


def concurrency(aws):
    assert aws("put-function-concurrency --function-name tea --reserved-concurrent-executions 0") == {
        "ReservedConcurrentExecutions": 0
    }
    words = "invoke --function-name tea answer.json"
    aws.refused("TooManyRequestsException", words)
    assert aws("get-function-concurrency --function-name tea")["ReservedConcurrentExecutions"] == 0
    aws("delete-function-concurrency --function-name tea")
    aws.invoke("--function-name tea")
    words = "--function-name tea --qualifier live"
    aws(f"put-provisioned-concurrency-config {words} --provisioned-concurrent-executions 1")
    harness.wait_for(
        lambda: aws(f"get-provisioned-concurrency-config {words}")["Status"] == "READY", "provisioned concurrency"
    )
    assert len(aws("list-provisioned-concurrency-configs --function-name tea")["ProvisionedConcurrencyConfigs"]) == 1
    aws(f"delete-provisioned-concurrency-config {words}")
    assert aws("get-account-settings")["AccountUsage"]["FunctionCount"] >= 1


def urls(aws):
    aws(f"{CREATE} --function-name web --zip-file fileb://url.zip")
    url = aws("create-function-url-config --function-name web --auth-type NONE")["FunctionUrl"]
    assert aws("get-function-url-config --function-name web")["FunctionUrl"] == url
    # As curl and browsers do: *.localhost is this machine.
    here = {"Host": url.split("/")[2]}
    with urllib.request.urlopen(urllib.request.Request(aws.daemon.url + "/some/where", b"x", here)) as answer:
        assert (answer.status, answer.headers["X-Path"], answer.read()) == (201, "/some/where", b"POST")
    aws("update-function-url-config --function-name web --auth-type AWS_IAM")
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(urllib.request.Request(aws.daemon.url, headers=here))
    assert error.value.code == 403
    assert len(aws("list-function-url-configs --function-name web")["FunctionUrlConfigs"]) == 1
    aws("delete-function-url-config --function-name web")
    aws.refused("ResourceNotFoundException", "get-function-url-config --function-name web")


def settings(aws):
    words = "function-event-invoke-config --function-name tea"
    aws(f"put-{words} --maximum-retry-attempts 1")
    assert aws(f"update-{words} --maximum-event-age-in-seconds 60")["MaximumRetryAttempts"] == 1
    assert aws(f"get-{words}")["MaximumEventAgeInSeconds"] == 60
    assert len(aws("list-function-event-invoke-configs --function-name tea")["FunctionEventInvokeConfigs"]) == 1
    aws(f"delete-{words}")
    arn = aws("get-function-configuration --function-name tea")["FunctionArn"]
    aws(f"tag-resource --resource {arn} --tags colour=green,leaf=young")
    aws(f"untag-resource --resource {arn} --tag-keys leaf")
    assert aws(f"list-tags --resource {arn}")["Tags"] == {"colour": "green"}
    permission = "--statement-id all --action lambda:InvokeFunction --principal *"
    aws(f"add-permission --function-name tea {permission}")
    assert json.loads(aws("get-policy --function-name tea")["Policy"])["Statement"][0]["Sid"] == "all"
    aws("remove-permission --function-name tea --statement-id all")
    aws.refused("ResourceNotFoundException", "get-policy --function-name tea")
    aws("put-runtime-management-config --function-name tea --update-runtime-on Auto")
    assert aws("get-runtime-management-config --function-name tea")["UpdateRuntimeOn"] == "Auto"


def layers(aws):
    layer = aws("publish-layer-version --layer-name spices --zip-file fileb://layer.zip --compatible-runtimes python3.11")
    arn = layer["LayerVersionArn"]
    assert aws("get-layer-version --layer-name spices --version-number 1")["LayerVersionArn"] == arn
    assert aws(f"get-layer-version-by-arn --arn {arn}")["Version"] == 1
    assert "spices" in [one["LayerName"] for one in aws("list-layers")["Layers"]]
    assert len(aws("list-layer-versions --layer-name spices")["LayerVersions"]) == 1
    (aws.folder / "uses.zip").write_bytes(zipped({"app.py": "import spice\ndef run(event, context): return spice.name\n"}))
    aws(f"{CREATE} --function-name cook --zip-file fileb://uses.zip --layers {arn}")
    assert aws.invoke("--function-name cook")["Payload"] == "saffron"
    aws("delete-layer-version --layer-name spices --version-number 1")


def snapshots(aws):
    aws(f"{CREATE} --function-name quick --zip-file fileb://first.zip --snap-start ApplyOn=PublishedVersions --publish")
    aws("wait published-version-active --function-name quick --qualifier 1")
    version = aws("get-function-configuration --function-name quick --qualifier 1")
    assert version["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
    assert aws.invoke("--function-name quick --qualifier 1")["Payload"]["version"] == "1"


def mistakes(aws):
    create = f"{CREATE} --zip-file fileb://first.zip"
    aws.refused("ResourceConflictException", f"{create} --function-name tea")
    aws.refused("InvalidParameterValueException", f"{CREATE} --function-name bad --zip-file fileb://bad.zip")
    assert "name" in aws.refused("ValidationException", f"{create} --function-name not/good").lower()
    assert "memory" in aws.refused("ValidationException", f"{create} --function-name bad --memory-size 99999").lower()
    aws.refused("ResourceNotFoundException", "get-function --function-name nobody")
    aws.refused("ResourceNotFoundException", "invoke --function-name nobody answer.json")
    aws.refused("ResourceNotFoundException", "get-alias --function-name tea --name nobody")
    aws.refused("PreconditionFailedException", "publish-version --function-name tea --revision-id 0")
    raw = ["--cli-binary-format", "raw-in-base64-out"]
    aws.refused("InvalidRequestContentException", "invoke --function-name tea --payload {", *raw, "answer.json")
    (aws.folder / "large.json").write_text('"' + "x" * (6 << 20) + "x" * 8192 + '"')
    aws.refused("RequestTooLargeException", "invoke --function-name tea --payload file://large.json", *raw, "answer.json")


def through_boto3(aws):
    amazon = amazon_clients.client(aws.daemon)
    pages = amazon.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 1})
    names = [one["FunctionName"] for page in pages for one in page["Functions"]]
    assert names == sorted(names) and set(OURS) <= set(names)
    made = amazon.create_function(
        FunctionName="boto", Runtime="nodejs20.x", Handler="app.run", Role=ROLE,
        Code={"ZipFile": zipped({"app.js": NODE_HANDLER})},
    )
    amazon.get_waiter("function_active_v2").wait(FunctionName=made["FunctionArn"])
    with pytest.raises(amazon.exceptions.InvalidParameterValueException):
        amazon.create_function(FunctionName="no-zip", Runtime="nodejs20.x", Handler="a.b", Role=ROLE, Code={"ZipFile": b"x"})
    return 3 + len(names)


SCRIPT = """
const { LambdaClient, InvokeCommand, InvokeWithResponseStreamCommand, GetFunctionCommand, ListFunctionsCommand,
        DeleteFunctionCommand } = require(process.argv[2]);
const client = new LambdaClient({ endpoint: process.argv[3], region: 'us-east-1', maxAttempts: 1,
                                  credentials: { accessKeyId: 'any', secretAccessKey: 'thing' } });
(async () => {
  const found = await client.send(new GetFunctionCommand({ FunctionName: 'boto' }));
  const listed = await client.send(new ListFunctionsCommand({}));
  const plain = await client.send(new InvokeCommand({ FunctionName: 'tea', Payload: JSON.stringify({ n: 7 }) }));
  const streamed = await client.send(new InvokeWithResponseStreamCommand(
      { FunctionName: 'boto', Payload: JSON.stringify({ words: ['a', 'b', 'c'] }) }));
  let text = '', complete = null;
  for await (const event of streamed.EventStream) {
    if (event.PayloadChunk) text += Buffer.from(event.PayloadChunk.Payload).toString();
    if (event.InvokeComplete) complete = event.InvokeComplete;
  }
  let refused = '';
  try { await client.send(new GetFunctionCommand({ FunctionName: 'nobody' })); } catch (error) { refused = error.name; }
  const deleted = await client.send(new DeleteFunctionCommand({ FunctionName: 'boto' }));
  console.log(JSON.stringify({ runtime: found.Configuration.Runtime, listed: listed.Functions.length, text,
    plain: JSON.parse(Buffer.from(plain.Payload).toString()).event, complete: complete !== null, refused,
    deleted: deleted.$metadata.httpStatusCode }));
})();
"""


def through_javascript(aws):
    if not shutil.which("node") or not SDK.exists():
        aws("delete-function --function-name boto")
        return 1
    (aws.folder / "script.cjs").write_text(SCRIPT)
    done = subprocess.run(["node", "script.cjs", str(SDK), aws.daemon.url], capture_output=True, text=True, cwd=aws.folder,
                          timeout=harness.HANG_S)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["runtime"], seen["text"], seen["plain"]) == ("nodejs20.x", "a b c ", {"n": 7})
    assert (seen["complete"], seen["refused"], seen["deleted"]) == (True, "ResourceNotFoundException", 204)
    return 6


def the_end(aws):
    aws("delete-alias --function-name tea --name live")
    aws("delete-function --function-name tea --qualifier 1")
    for name in OURS:
        aws(f"delete-function --function-name {name}")
    aws.refused("ResourceNotFoundException", "get-function --function-name tea")


def test_a_session_with_amazons_own_clients(aws):
    for part in (functions, invocations, versions, concurrency, urls, settings, layers, snapshots, mistakes):
        part(aws)
    calls = through_boto3(aws) + through_javascript(aws)
    the_end(aws)
    assert aws.calls + calls >= CALLS_MIN, aws.calls
    assert not {*OURS, "boto"} & {one["FunctionName"] for one in aws("list-functions")["Functions"]}
