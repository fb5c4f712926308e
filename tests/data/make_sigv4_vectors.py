#!/usr/bin/python3
"""Requests as botocore signs them, for the tests of src/gateway/sigv4.h: writes sigv4.json beside itself.

    /usr/bin/python3 tests/data/make_sigv4_vectors.py

The requests of "client" are those of botocore's own Lambda client, caught where it would send them; where AWS's common
runtime is installed, that one signs them.
"""

import datetime
import json
import pathlib
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.session

KEY = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TEMPORARY = ("ASIDTEMPORARY", "YYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYY", "token/with+signs==")
NOW = datetime.datetime(2026, 1, 31, 23, 59, 30)


class FixedTime(datetime.datetime):
    @classmethod
    def utcnow(cls):
        return NOW


class FixedModule:
    """Stands where botocore.auth has the module datetime."""

    timedelta = datetime.timedelta
    datetime = FixedTime


def vector(name, request):
    parts = urllib.parse.urlsplit(request.url)
    fields = [[key, value.decode() if isinstance(value, bytes) else value] for key, value in request.headers.items()]
    fields = [field for field in fields if field[0] != "User-Agent"]
    query = dict(urllib.parse.parse_qsl(parts.query))
    date = dict(fields).get("X-Amz-Date") or query["X-Amz-Date"]
    at = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    if not any(key.lower() == "host" for key, _ in fields):
        fields.append(["Host", parts.netloc])
    body = request.body or b""
    return {
        "name": name,
        "at": int(at.timestamp()),
        "method": request.method,
        "target": parts.path + ("?" + parts.query if parts.query else ""),
        "fields": fields,
        "body": body.decode() if isinstance(body, bytes) else body,
    }


def of_client(key, calls):
    session = botocore.session.Session()
    session.set_credentials(*key)
    client = session.create_client("lambda", region_name="eu-west-1", endpoint_url="http://localhost:8080")
    for name, method, arguments in calls:
        caught = []

        def catch(request, caught=caught, **_):
            caught.append(request)
            return botocore.awsrequest.AWSResponse(request.url, 200, {}, None)

        client.meta.events.register("before-send.lambda", catch, unique_id="catch")
        try:
            getattr(client, method)(**arguments)
        except Exception:  # the answer is none
            pass
        client.meta.events.unregister("before-send.lambda", unique_id="catch")
        yield vector("client " + name, caught[0])


def of_signer(name, method, url, headers=None, data=b"", key=KEY, expires=None):
    credentials = botocore.credentials.Credentials(*key)
    request = botocore.awsrequest.AWSRequest(method=method, url=url, headers=headers or {}, data=data)
    if expires is None:
        signer = botocore.auth.SigV4Auth(credentials, "lambda", "us-east-1")
    else:
        signer = botocore.auth.SigV4QueryAuth(credentials, "lambda", "us-east-1", expires=expires)
    signer.add_auth(request)
    return vector(name, request.prepare())


def main():
    botocore.auth.datetime = FixedModule
    arn = "arn:aws:lambda:us-east-1:000000000000:function:greet"
    calls = [
        ("invoke", "invoke", {"FunctionName": "greet", "Payload": '{"name": "Grüße"}'.encode(), "LogType": "Tail"}),
        ("invoke by ARN", "invoke", {"FunctionName": arn + ":live", "Payload": b"{}"}),
        ("invoke, context", "invoke", {"FunctionName": "greet", "Qualifier": "$LATEST", "ClientContext": "e30="}),
        ("list", "list_functions", {"Marker": "a b+c/d=é&x", "MaxItems": 7}),
        ("delete", "delete_function", {"FunctionName": "greet"}),
        (
            "create",
            "create_function",
            {"FunctionName": "new", "Role": "arn:aws:iam::0:role/x", "Code": {"ZipFile": b"PK\x05\x06" + bytes(18)}},
        ),
    ]
    vectors = [*of_client(KEY, calls), *of_client(TEMPORARY, calls[:2])]
    local = "http://localhost:8080/2015-03-31/functions"
    vectors += [
        of_signer("dots and slashes", "GET", local + "/./a//b/../greet/"),
        of_signer("percent in a path", "GET", local + "/a%20b%3Ac~%E2%82%AC"),
        of_signer("query unsorted", "GET", local + "?b=2&a=1&b=1&a&%C3%A9=%20"),
        of_signer("blanks in a field", "GET", local, {"X-Amz-Note": "  a   b  c ", "X-Plain": "x"}),
        of_signer("unsigned payload", "POST", local, {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}, b"anything"),
        of_signer("presigned", "GET", local + "?MaxItems=3&Marker=a%2Fb", expires=900),
        of_signer("presigned, a week", "GET", local + "/greet", expires=604800),
        of_signer("presigned by a temporary key", "GET", local + "/greet", key=TEMPORARY, expires=60),
    ]
    keys = [{"id": key[0], "secret": key[1], "token": key[2] if len(key) > 2 else ""} for key in (KEY, TEMPORARY)]
    out = pathlib.Path(__file__).parent / "sigv4.json"
    out.write_text(json.dumps({"keys": keys, "vectors": vectors}, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(vectors)} vectors in {out}")


if __name__ == "__main__":
    main()
