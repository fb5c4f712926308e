"""Features read and written by functions, at THAW_URL."""

import json
import time

APP = """
import json, os, urllib.error, urllib.request

def handler(event, context):
    request = urllib.request.Request(os.environ["THAW_URL"] + event["path"], json.dumps(event["body"]).encode())
    try:
        with urllib.request.urlopen(request) as answer:
            return {"status": answer.status, "body": json.load(answer)}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode()}
"""
VIEW = {
    "name": "e2e_called",
    "entities": [{"name": "id", "type": "Int64"}],
    "features": [{"name": "f", "type": "Float64"}],
}


def test_a_function_reads_and_pushes_features_and_defines_none(daemon, tmp_path):
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "thaw.toml").write_text('runtime = "python3.11"\nhandler = "app.handler"\ncalls = true\n')
    daemon.deploy(tmp_path, "feature-reader")
    pushes = [{"name": "e2e_called_push", "view": "e2e_called"}]
    applied = daemon.request("POST", "/thaw/v1/features", json={"feature_view": [VIEW], "push_source": pushes})
    assert applied.status_code == 200, applied.text

    def call(path, body):
        event = {"path": path, "body": body}
        return daemon.request("POST", "/2015-03-31/functions/feature-reader/invocations", data=json.dumps(event)).json()

    frame = {"id": [1], "f": [0.5], "event_timestamp": [time.time()]}
    assert call("/push", {"push_source_name": "e2e_called_push", "df": frame}) == {"status": 200, "body": None}
    read = call("/get-online-features", {"features": ["e2e_called:f"], "entities": {"id": [1, 2]}})
    assert read["status"] == 200 and read["body"]["results"][1]["values"] == [0.5, None], read
    assert call("/thaw/v1/features", {"feature_view": [VIEW]})["status"] == 403
