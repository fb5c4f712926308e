"""examples/fastapi-hello: an ordinary FastAPI app, unmodified, with its own /docs in a browser."""

import json
import shutil
import subprocess
import time

import pytest

import browser
import harness

EXAMPLE = harness.SOURCE / "examples" / "fastapi-hello"
SWAGGER_UI = harness.SOURCE / "tools" / "npm" / "node_modules" / "swagger-ui-dist"


@pytest.fixture(scope="module")
def deployed(shared_daemon, tmp_path_factory):
    """The example as its README deploys it, with Swagger UI where the build has it."""
    package = tmp_path_factory.mktemp("fastapi") / "fastapi-hello"
    shutil.copytree(EXAMPLE, package, ignore=shutil.ignore_patterns("static", "__pycache__"))
    if SWAGGER_UI.exists():
        subprocess.run([package / "get-swagger-ui", SWAGGER_UI], check=True)
    function = shared_daemon.deploy(package, "fastapi-hello")
    yield function
    function.delete()


@pytest.fixture
def app(daemon, deployed):
    return deployed


def test_hello(app):
    assert app.get().json() == {"message": "Hello from FastAPI!"}


def test_typed_path_and_query(app):
    assert app.get("/squares/7?times=2").json() == {"number": 7, "result": 343}
    assert app.get("/squares/seven").status_code == 422
    assert app.get("/squares/7?times=11").status_code == 400


def test_a_model_in_the_body(app):
    response = app.request("POST", "/orders", json={"item": "Pinsel für Öl", "count": 3, "price": 2.5})
    assert response.status_code == 201
    assert response.json() == {"item": "Pinsel für Öl", "total": 7.5}
    assert app.request("POST", "/orders", json={"item": "", "price": 1}).status_code == 422
    assert app.request("POST", "/orders", data=b"{not json").status_code == 422


def test_events_come_as_they_are_made(app):
    app.get()
    response = app.get("/events?count=4&every_ms=300", stream=True)
    arrived, made = [], []
    for line in response.iter_lines(chunk_size=1):
        if line.startswith(b"data: "):
            arrived.append(time.time())
            made.append(json.loads(line[6:])["time"])
    assert len(arrived) == 4
    assert arrived[0] < made[-1]


def test_it_thinks_it_is_called_by_its_host_name(app):
    host = f"fastapi-hello.localhost:{app.daemon.port}"
    response = app.daemon.get("/openapi.json", headers={"Host": host})
    assert set(response.json()["paths"]) == {"/", "/squares/{number}", "/orders", "/events"}


def test_the_report_counts_its_memory(app):
    app.get()
    report = app.reports(1)[-1]
    now = max(harness.anonymous_kb(pid) for pid in app.processes()) / 1024
    assert now <= int(report["used"]) <= now + 200


@browser.NEEDED
@pytest.mark.skipif(not SWAGGER_UI.exists(), reason="the build has not installed Swagger UI")
def test_its_docs_show_the_operations_in_a_browser(app):
    document = browser.page(f"http://fastapi-hello.localhost:{app.daemon.port}/docs", until='class="opblock ')
    for path in ("/squares/{number}", "/orders", "/events"):
        # Swagger UI breaks long paths with zero-width spaces.
        assert path in document.replace("\u200b", ""), document[-3000:]
    assert document.count('class="opblock ') >= 4
