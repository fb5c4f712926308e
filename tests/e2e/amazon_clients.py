"""Amazon's own clients, unmodified, against a daemon: boto3's, and the aws command."""

import io
import json
import os
import subprocess
import zipfile

import boto3
import botocore.config
import harness

ROLE = "arn:aws:iam::000000000000:role/any"
ID, SECRET = "any", "thing"


def client(daemon, key=ID, secret=SECRET, token=None, **config):
    """config: of botocore.config.Config."""
    return boto3.client(
        "lambda",
        endpoint_url=daemon.url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=botocore.config.Config(retries={"max_attempts": 0}, **config),
    )


def run(daemon, words, folder=None, key=ID, secret=SECRET, region="us-east-1"):
    """`aws lambda WORDS` when it has ended."""
    variables = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_DEFAULT_REGION": region}
    return subprocess.run(
        ["/usr/bin/aws", "lambda", *words, "--endpoint-url", daemon.url, "--output", "json"],
        capture_output=True, text=True, cwd=folder, timeout=harness.HANG_S,
        env={**os.environ, **variables, "AWS_PAGER": "", "AWS_MAX_ATTEMPTS": "1"},
    )


def output(done):
    """What the command has printed, as JSON; None when it printed nothing."""
    assert done.returncode == 0, f"{done.args}: {done.stderr}"
    return json.loads(done.stdout) if done.stdout.strip() else None


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()
