"""Signed requests: the control API over TCP where access keys are configured."""

import datetime
import json
import os
import shutil
import subprocess

import amazon_clients
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions
import harness
import pytest
import requests

EVENTS = harness.FUNCTIONS / "events"
SDK = harness.SOURCE / "tools" / "npm-test" / "node_modules" / "@aws-sdk" / "client-lambda"
ID, SECRET = "AKIATHAWTEST", "secret/with+signs"
TEMPORARY = ("ASIATHAWTEST", "another", "token/with+signs==")
KEYS = f"""[default]
aws_access_key_id = {ID}
aws_secret_access_key = {SECRET}
[temporary]
aws_access_key_id = {TEMPORARY[0]}
aws_secret_access_key = {TEMPORARY[1]}
aws_session_token = {TEMPORARY[2]}
"""


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A daemon with keys, and a function on it."""
    credentials = tmp_path_factory.mktemp("keys") / "credentials"
    credentials.write_text(KEYS)
    credentials.chmod(0o600)
    daemon = harness.Daemon(aws_credentials=credentials)
    try:
        # Over the Unix socket, unsigned.
        daemon.start().deploy(EVENTS, "greet", timeout_s=10)
        yield daemon
    finally:
        daemon.close()


def client(daemon, key=ID, secret=SECRET, token=None):
    return amazon_clients.client(daemon, key, secret, token)


def sign(daemon, method, path, data=b"", headers=None, signer=botocore.auth.SigV4Auth, **options):
    """A request signed by botocore, to be changed before it is sent."""
    request = botocore.awsrequest.AWSRequest(method=method, url=daemon.url + path, data=data, headers=headers or {})
    signer(botocore.credentials.Credentials(ID, SECRET), "lambda", "us-east-1", **options).add_auth(request)
    return request.prepare()


def send(request, url=None, data=None, headers=None):
    with requests.Session() as session:
        session.trust_env = False
        fields = {**{key: str(value) for key, value in request.headers.items()}, **(headers or {})}
        body = request.body if data is None else data
        return session.request(request.method, url or request.url, data=body, headers=fields, timeout=harness.HANG_S)


def assert_refused(answer, status, kind):
    assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (status, kind), answer.text
    assert SECRET not in answer.text
    return answer.json()["Message"]


def test_the_start_line_says_who_may_call(signed, daemon):
    assert "signed with one of 2 access keys" in signed.log()
    assert "unsigned calls from this machine alone" in daemon.log()
    assert SECRET not in signed.log()


def test_boto3_with_the_key_is_served(signed):
    amazon = client(signed)
    answer = amazon.invoke(FunctionName="greet", Payload='{"n": "Grüße"}'.encode(), ClientContext="e30=", LogType="Tail")
    assert json.load(answer["Payload"])["event"] == {"n": "Grüße"}
    version = amazon.publish_version(FunctionName="greet", Description="a b")["Version"]
    amazon.create_alias(FunctionName="greet", Name="live", FunctionVersion=version)
    answer = amazon.invoke(FunctionName="greet", Qualifier="live", Payload=b"")
    assert answer["ExecutedVersion"] == version
    assert [one["FunctionName"] for one in amazon.list_functions(MaxItems=5)["Functions"]] == ["greet"]
    assert json.load(client(signed, *TEMPORARY).invoke(FunctionName="greet", Payload=b"7")["Payload"])["event"] == 7


@pytest.mark.parametrize(
    "key, code",
    [
        ((ID, SECRET + "x"), "InvalidSignatureException"),
        (("AKIANOBODY", SECRET), "UnrecognizedClientException"),
        ((ID, SECRET, "a token that it has not"), "UnrecognizedClientException"),
        (TEMPORARY[:2], "UnrecognizedClientException"),
    ],
    ids=["secret", "id", "token", "no token"],
)
def test_boto3_with_another_key_is_not(signed, key, code):
    with pytest.raises(botocore.exceptions.ClientError) as refused:
        client(signed, *key).invoke(FunctionName="greet")
    assert refused.value.response["Error"]["Code"] == code
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    if code == "InvalidSignatureException":
        assert "does not match the signature you provided" in refused.value.response["Error"]["Message"]


INVOKE = "/2015-03-31/functions/greet/invocations"


def test_unsigned_requests_are_refused_over_tcp_alone(signed):
    for method, path in [
        ("GET", "/2015-03-31/functions"),
        ("POST", INVOKE),
        ("DELETE", "/2015-03-31/functions/greet"),
        ("GET", "/thaw/v1/status"),
        ("GET", "/thaw/v1/functions/greet/logs"),
        ("PUT", "/thaw/v1/functions/greet/package"),
        ("POST", "/2021-11-15/functions/greet/response-streaming-invocations"),
    ]:
        answer = signed.request(method, path, data=b"{}")
        assert assert_refused(answer, 403, "MissingAuthenticationTokenException") == "Missing Authentication Token"
    assert "greet" in signed.run("list").stdout
    assert signed.get("/healthz").status_code == 200


def test_what_is_changed_on_the_way_is_refused(signed):
    request = sign(signed, "POST", INVOKE, b'{"n": 1}', {"X-Amz-Invocation-Type": "RequestResponse"})
    assert send(request).json()["event"] == {"n": 1}
    for changes in [
        {"data": b'{"n": 2}'},
        {"url": request.url + "?Qualifier=live"},
        {"headers": {"X-Amz-Invocation-Type": "DryRun"}},
        {"headers": {"X-Amz-Log-Type": "Tail"}},
        {"headers": {"Host": "localhost"}},
    ]:
        assert_refused(send(request, **changes), 403, "InvalidSignatureException")
    # A body where none is signed, for an operation that looks at none.
    request = sign(signed, "DELETE", "/2015-03-31/functions/greet")
    assert_refused(send(request, data=b"x"), 403, "InvalidSignatureException")


def test_a_declared_hash_holds_for_the_body_and_unsigned_payload_for_any(signed):
    request = sign(signed, "POST", INVOKE, b"1", {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    assert send(request, data=b"2").json()["event"] == 2
    request = sign(signed, "POST", INVOKE, b"1", {"X-Amz-Content-SHA256": "0" * 64})
    assert_refused(send(request), 403, "InvalidSignatureException")
    request = sign(signed, "POST", INVOKE, b"1", {"X-Amz-Content-SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"})
    assert "chunks" in assert_refused(send(request), 403, "InvalidSignatureException")


def test_a_body_in_chunks_is_signed_as_a_whole(signed):
    body = json.dumps("x" * 200_000).encode()
    request = sign(signed, "POST", INVOKE, body)
    request.headers.pop("Content-Length", None)
    pieces = (body[at : at + 50_000] for at in range(0, len(body), 50_000))
    assert send(request, data=pieces).json()["event"] == "x" * 200_000


@pytest.mark.parametrize("minutes, said", [(-6, "Signature expired"), (6, "Signature not yet current")])
def test_clocks_may_differ_by_five_minutes(signed, monkeypatch, minutes, said):
    class Skewed(datetime.datetime):
        off = datetime.timedelta(minutes=minutes)

        @classmethod
        def utcnow(cls):
            return datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) + cls.off

    class Module:
        datetime = Skewed

    monkeypatch.setattr(botocore.auth, "datetime", Module)
    request = sign(signed, "GET", "/2015-03-31/functions")
    assert assert_refused(send(request), 403, "InvalidSignatureException").startswith(said)
    Skewed.off = datetime.timedelta(minutes=minutes * 2 / 3)
    assert send(sign(signed, "GET", "/2015-03-31/functions")).status_code == 200


def test_a_presigned_url_needs_nothing_else(signed):
    path = "/2015-03-31/functions/greet?Qualifier=%24LATEST"
    request = sign(signed, "GET", path, signer=botocore.auth.SigV4QueryAuth, expires=60)
    answer = signed.http.get(request.url)
    assert answer.status_code == 200 and answer.json()["Configuration"]["FunctionName"] == "greet"
    assert_refused(signed.http.get(request.url.replace("%24LATEST", "1")), 403, "InvalidSignatureException")
    assert_refused(signed.http.get(request.url.replace("Expires=60", "Expires=61")), 403, "InvalidSignatureException")
    assert_refused(signed.http.delete(request.url), 403, "InvalidSignatureException")


def test_half_a_signature_is_named(signed):
    answer = signed.get("/2015-03-31/functions", headers={"Authorization": "AWS4-HMAC-SHA256 Credential=x"})
    message = assert_refused(answer, 400, "IncompleteSignatureException")
    assert "requires 'Signature' parameter" in message and "requires 'SignedHeaders' parameter" in message
    assert_refused(
        signed.get("/2015-03-31/functions", headers={"Authorization": "Bearer x"}), 400, "IncompleteSignatureException"
    )


def test_a_body_past_its_bound_is_refused_before_it_is_read(signed):
    request = sign(signed, "POST", INVOKE, b"{}")
    fields = "".join(f"{key}: {value}\r\n" for key, value in request.headers.items() if key != "Content-Length")
    answer = signed.raw(
        f"POST {INVOKE} HTTP/1.1\r\nHost: 127.0.0.1:{signed.port}\r\n{fields}Content-Length: {101 << 20}\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_the_aws_command_signs(signed, tmp_path):
    words = ["invoke", "--function-name", "greet", "--cli-binary-format", "raw-in-base64-out", "--payload", '{"n": 2}']
    words.append(str(tmp_path / "out.json"))
    amazon_clients.output(amazon_clients.run(signed, words, key=ID, secret=SECRET, region="eu-central-1"))
    done = amazon_clients.run(signed, words, key=ID, secret="x")
    assert done.returncode != 0 and "InvalidSignatureException" in done.stderr


def test_awss_client_for_node_signs(signed):
    if not shutil.which("node") or not SDK.exists():
        pytest.skip("./dev setup --test brings AWS's client")
    words = ["node", harness.SOURCE / "tests/e2e/lambda_client.mjs", signed.url, "greet"]
    words += [json.dumps({"do": "stream", "pieces": ["one ", "Grüße"]})]
    keys = {"AWS_ACCESS_KEY_ID": ID, "AWS_SECRET_ACCESS_KEY": SECRET}
    done = subprocess.run(words, env={**os.environ, **keys}, capture_output=True, text=True, timeout=harness.HANG_S)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "one Grüße"


def test_from_another_address_only_signed_requests_are_served(tmp_path):
    credentials = tmp_path / "credentials"
    credentials.write_text(KEYS)
    credentials.chmod(0o600)

    class Elsewhere(harness.Daemon):
        """In a network namespace of its own, on an address that is not loopback."""

        def command(self):
            script = 'ip link set lo up && ip addr add 192.0.2.1/32 dev lo && exec "$@"'
            return ["unshare", "--net", "sh", "-c", script, "sh", *super().command()]

        def inside(self, *words):
            words = ["nsenter", "--net", f"--target={self.process.pid}", *words]
            return subprocess.run(words, capture_output=True, text=True, timeout=harness.HANG_S)

    call = (
        "import boto3, sys; print(len(boto3.client('lambda', endpoint_url=sys.argv[1], region_name='us-east-1', "
        f"aws_access_key_id='{ID}', aws_secret_access_key=sys.argv[2]).list_functions()['Functions']))"
    )
    for flags, right in [({"aws_credentials": credentials}, "0"), ({}, None)]:
        daemon = Elsewhere(listen="192.0.2.1:0", **flags)
        try:
            daemon.start()
            url = f"http://192.0.2.1:{daemon.port}"
            done = daemon.inside("/usr/bin/python3", "-c", call, url, SECRET)
            if right is None:
                assert done.returncode != 0 and "AccessDeniedException" in done.stderr
                continue
            assert (done.returncode, done.stdout.strip()) == (0, right), done.stderr
            done = daemon.inside("/usr/bin/python3", "-c", call, url, "other")
            assert done.returncode != 0 and "InvalidSignatureException" in done.stderr
        finally:
            daemon.close()


@pytest.mark.parametrize(
    "text, mode, said",
    [
        (KEYS, 0o640, "must be its owner's alone"),
        (KEYS, 0o604, "must be its owner's alone"),
        ("[default]\naws_access_key_id = hidden\n", 0o600, "line 1: the section has no aws_secret_access_key"),
        ("", 0o600, "holds no access key"),
        (None, 0o600, "No such file"),
    ],
    ids=["group", "others", "half a key", "empty", "missing"],
)
def test_a_file_of_keys_that_cannot_be_taken_stops_the_daemon(tmp_path, text, mode, said):
    credentials = tmp_path / "credentials"
    if text is not None:
        credentials.write_text(text)
        credentials.chmod(mode)
    daemon = harness.Daemon(tmp_path / "data", aws_credentials=credentials)
    try:
        with pytest.raises(AssertionError) as ended:
            daemon.start()
        assert said in str(ended.value) and str(credentials) in str(ended.value)
        assert SECRET not in str(ended.value) and "hidden" not in str(ended.value)
    finally:
        daemon.close()


def test_a_function_url_with_aws_iam_takes_signed_requests_alone(signed):
    client(signed).create_function_url_config(FunctionName="greet", AuthType="AWS_IAM")
    try:
        answer = send(sign(signed, "POST", "/fn/greet/some/where", data=b'{"n": 1}'))
        assert answer.status_code == 200, answer.text
        assert (answer.json()["event"]["rawPath"], answer.json()["event"]["body"]) == ("/some/where", "eyJuIjogMX0=")
        for refused in (
            requests.post(signed.url + "/fn/greet/", data=b"{}", timeout=harness.HANG_S),
            send(sign(signed, "POST", "/fn/greet/", data=b"{}"), data=b'{"other": 1}'),
            send(sign(signed, "POST", "/fn/greet/"), headers={"X-Amz-Date": "20200101T000000Z"}),
        ):
            assert (refused.status_code, refused.json()) == (403, {"Message": "Forbidden"})
    finally:
        client(signed).delete_function_url_config(FunctionName="greet")
