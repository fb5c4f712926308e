"""A headless Chromium that shows what a page looks like once its scripts have run."""

import shutil
import subprocess
import tempfile

import pytest

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDED = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")


def page(url, until):
    """The document once its scripts have made it hold a text, or as it is when they had long enough."""
    # Virtual time, which stands still while the network is waited for: little is enough, and much takes long.
    for budget_ms in (1000, 10000):
        document = dump(url, budget_ms)
        if until in document:
            break
    return document


def dump(url, budget_ms):
    with tempfile.TemporaryDirectory(prefix="thaw-e2e-chromium-", ignore_cleanup_errors=True) as profile:
        done = subprocess.run(
            [
                PROGRAM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--no-proxy-server",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-default-apps",
                "--disable-extensions",
                "--disable-sync",
                "--metrics-recording-only",
                # Nothing but this machine: a page that needs a CDN must not pass here.
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost",
                f"--user-data-dir={profile}",
                f"--virtual-time-budget={budget_ms}",
                "--dump-dom",
                url,
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
