"""Feast's own client, PyPI's feast, unmodified, with Thaw as its remote online store."""

import json
import os
import pathlib
import subprocess

import harness
import pytest

FEAST = "feast==0.67.0"
FETCH_S = 900
NAME = "e2e_feast"
DEFINITIONS = {
    "feature_view": [
        {
            "name": NAME,
            "entities": [{"name": "driver_id", "type": "Int64"}],
            "ttl_s": 86400,
            "features": [
                {"name": "conv_rate", "type": "Float32"},
                {"name": "trips", "type": "Int64"},
                {"name": "words", "type": "Array(String)"},
            ],
        }
    ],
    "feature_service": [{"name": NAME + "_service", "features": [f"{NAME}:trips", f"{NAME}:conv_rate"]}],
}


@pytest.fixture(scope="module")
def python():
    """A Python that has Feast, in the user's cache: 600 MB, fetched once."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = cache / "thaw-tests" / FEAST.replace("==", "-")
    done, executable = folder / "done", folder / "bin" / "python"
    if not done.exists():
        for words in (["/usr/bin/python3", "-m", "venv", folder], [executable, "-m", "pip", "install", "--quiet", FEAST]):
            fetched = subprocess.run(words, capture_output=True, text=True, timeout=FETCH_S, check=False)
            if fetched.returncode != 0:
                pytest.skip(f"{FEAST} could not be installed: {(fetched.stdout + fetched.stderr).strip()[-300:]}")
        done.touch()
    return executable


def test_feasts_client_writes_and_reads(daemon, python):
    assert daemon.request("POST", "/thaw/v1/features", json=DEFINITIONS).status_code == 200
    client = pathlib.Path(__file__).with_name("feast_client.py")
    environment = {**os.environ, "FEAST_USAGE": "False", "no_proxy": "127.0.0.1"}
    done = subprocess.run(
        [python, client, daemon.url, NAME], capture_output=True, text=True, timeout=5 * harness.HANG_S, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    read = json.loads(done.stdout.splitlines()[-1])
    drivers = {"driver_id": [1002, 1001, 1]}
    values = {"conv_rate": [None, 0.5, None], "trips": [9, 7, None], "words": [["b", "c"], ["a"], None]}
    assert read["features"] == {**drivers, **values}
    assert read["service"] == {**drivers, "trips": values["trips"], "conv_rate": values["conv_rate"]}
    assert read["full"] == {**drivers, NAME + "__conv_rate": values["conv_rate"]}
