"""Answers HTTP requests that come as events: with the event itself, or with the response that the body asks for."""

import base64
import json


def handler(event, context):
    path = event.get("rawPath") or event.get("path")
    body = event.get("body") or ""
    if event["isBase64Encoded"]:
        body = base64.b64decode(body).decode("latin-1")
    if path.endswith("/respond"):
        return json.loads(body)
    if path.endswith("/fail"):
        raise ValueError("as asked")
    if path.endswith("/large"):
        return {"statusCode": 200, "body": "x" * 5_000_000}
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}
