#!/usr/bin/env python3
"""thaw-onnx against a bare ONNX Runtime loop on the same texts and threads, interleaved in one run; and against the same
model behind FastAPI where that can be had.

    bench/onnx/run.py --build build/release [--model models/qa] [--threads 1] [--rounds 60]
"""

import argparse
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PACKAGES = ["onnxruntime", "tokenizers", "numpy", "fastapi", "uvicorn"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(url, process, wait_s=60):
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        if process.poll() is not None:
            sys.exit(f"{url}: the server ended with status {process.returncode}")
        try:
            urllib.request.urlopen(url, timeout=1).read()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{url}: no answer in {wait_s} s")


def python_with_fastapi(build):
    """A Python that has PACKAGES, or None with a word why."""
    check = "import " + ",".join(PACKAGES)
    venv = build / "bench-venv"
    for python in (sys.executable, str(venv / "bin" / "python")):
        if shutil.which(python) and subprocess.run([python, "-c", check], capture_output=True).returncode == 0:
            return python
    print("fetching Python's ONNX Runtime and FastAPI for the comparison ...", flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, capture_output=True)
        subprocess.run([str(venv / "bin" / "pip"), "-q", "install", *PACKAGES], check=True, capture_output=True, timeout=600)
        return str(venv / "bin" / "python")
    except (subprocess.SubprocessError, OSError) as error:
        print(f"skipping FastAPI: its packages cannot be had ({error})")
        return None


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    arguments.add_argument("--model", type=pathlib.Path, default=ROOT / "models" / "qa")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--rounds", type=int, default=60)
    arguments.add_argument("--without-fastapi", action="store_true")
    options = arguments.parse_args()
    servers = []
    running = []
    try:
        port = free_port()
        thaw = subprocess.Popen([options.build / "engines" / "thaw-onnx", "--model", options.model,
                                 "--listen", f"127.0.0.1:{port}", "--threads", str(options.threads)],
                                stderr=subprocess.DEVNULL)
        running.append(thaw)
        wait_for(f"http://127.0.0.1:{port}/healthz", thaw)
        servers += ["--server", f"thaw-onnx=127.0.0.1:{port}"]
        has_tokenizer = (options.model / "tokenizer.json").exists()
        python = None if options.without_fastapi or not has_tokenizer else python_with_fastapi(options.build)
        if python:
            port = free_port()
            environment = dict(os.environ, MODEL=str(options.model), THREADS=str(options.threads))
            fastapi = subprocess.Popen([python, "-m", "uvicorn", "--app-dir", HERE, "fastapi_server:app", "--port", str(port),
                                        "--log-level", "error"], env=environment)
            running.append(fastapi)
            wait_for(f"http://127.0.0.1:{port}/openapi.json", fastapi)
            servers += ["--server", f"fastapi=127.0.0.1:{port}"]
        subprocess.run([options.build / "bin" / "thaw_bench_onnx", "--model", options.model, "--texts", HERE / "texts.jsonl",
                        "--threads", str(options.threads), "--rounds", str(options.rounds), *servers], check=True)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


if __name__ == "__main__":
    main()
