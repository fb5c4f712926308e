"""Clones of one snapshot differ in what must differ: runtimes/python/thaw_runtime.py, alone and at work."""

import asyncio
import concurrent.futures
import importlib.util
import pathlib
import random
import re
import shutil

import pytest

import harness
from test_snapshots import APP, Version

RUNTIME = harness.SOURCE / "runtimes" / "python" / "thaw_runtime.py"
EXAMPLE = harness.SOURCE / "examples" / "fastapi-hello"

DRAW = """
import json, random, secrets, ssl, tempfile, threading, time, urllib.parse, uuid
import thaw_runtime
ssl.RAND_bytes(16)
random.random()
next(tempfile._get_candidate_names())
own = random.Random(1)
if os.environ.get('REGISTER'):
    thaw_runtime.register_after_restore(own.seed)
def draw():
    return {
        'random': random.random(), 'uuid4': str(uuid.uuid4()), 'token': secrets.token_hex(),
        'ssl': ssl.RAND_bytes(16).hex(), 'urandom': os.urandom(16).hex(),
        'temporary': next(tempfile._get_candidate_names()), 'own': own.random(), 'hash': hash('x'),
    }
def do_GET(self):
    time.sleep(0.4)
    drawn = draw()
    # OpenSSL keeps a generator for each thread.
    thread = threading.Thread(target=lambda: drawn.update(ssl_thread=ssl.RAND_bytes(16).hex()))
    thread.start()
    thread.join()
    self.say(json.dumps(drawn))
def do_POST(self):
    if self.path == thaw_runtime.AFTER_RESTORE_PATH:
        thaw_runtime.after_restore()
    self.say('')
Handler.do_GET = do_GET
Handler.do_POST = do_POST
# The generator of the thread that handles a request is made before the snapshot.
http.server.ThreadingHTTPServer = http.server.HTTPServer
"""


@pytest.fixture
def package(tmp_path):
    def write(manifest):
        (tmp_path / "thaw.toml").write_text(f'command = ["python3", "app.py"]\n{manifest}')
        (tmp_path / "app.py").write_text(APP + DRAW + "\nserve()\n")
        shutil.copy(RUNTIME, tmp_path)
        return tmp_path

    return write


def draws_of_two_clones(version):
    with concurrent.futures.ThreadPoolExecutor(2) as clients:
        answers = list(clients.map(lambda _: version.get(), range(2)))
    assert [one.status_code for one in answers] == [200, 200]
    assert version.function.wait_log("Billed Restore Duration").count("RESTORE_REPORT") >= 2
    return [one.json() for one in answers]


def test_two_clones_draw_different_numbers(serve, package):
    daemon = serve()
    hooks = 'before_snapshot_path = "/thaw/before-snapshot"\nafter_restore_path = "/thaw/after-restore"\n'
    version = Version(daemon, "draw", package(hooks), environment__REGISTER="yes", warm_up='[{path = "/"}]')
    one, other = draws_of_two_clones(version)
    for name in ("random", "uuid4", "token", "ssl", "ssl_thread", "urandom", "temporary", "own"):
        assert one[name] != other[name], name
    assert one["hash"] == other["hash"], "both are clones of one process"


def test_without_the_hook_clones_draw_the_same(serve, package):
    daemon = serve()
    version = Version(daemon, "draw", package(""), warm_up='[{path = "/"}]')
    one, other = draws_of_two_clones(version)
    for name in ("random", "own"):
        assert one[name] == other[name], name
    for name in ("uuid4", "token", "urandom"):
        assert one[name] != other[name], name


def test_the_example_starts_from_a_snapshot_with_seeds_of_its_own(serve, tmp_path):
    assert (EXAMPLE / "thaw_runtime.py").read_text() == RUNTIME.read_text(), "the example's copy is another one"
    package = tmp_path / "fastapi-hello"
    shutil.copytree(EXAMPLE, package, ignore=shutil.ignore_patterns("static", "__pycache__"))
    with open(package / "main.py", "a") as main:
        main.write("\nimport random\n\n\n@app.get('/random')\nasync def draw():\n    return random.random()\n")
    daemon = serve()
    version = Version(daemon, "fastapi-hello", package)
    assert version.snapshot()["Bytes"] > 0, version.configuration()
    drawn = set()
    for _ in range(3):
        assert version.get().json() == {"message": "Hello from FastAPI!"}
        drawn.add(version.get("/random").json())
        version.wait_zero()
    assert len(drawn) == 3
    assert version.snapshot()["Restores"] == 3
    # From outside the hook's path is nobody's.
    assert daemon.request("POST", version.url + "/thaw/after-restore").status_code == 404
    assert daemon.request("POST", version.url + "/thaw/./after%2Drestore").status_code in (404, 405)


NODE = """
require('crypto').randomUUID()
require('http').createServer((request, response) => setTimeout(() => response.end(JSON.stringify({
  uuid: require('crypto').randomUUID(), bytes: require('crypto').randomBytes(8).toString('hex'), random: Math.random(),
})), 400)).listen(process.env.PORT, '127.0.0.1')
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on this machine")
def test_the_documentations_recipe_for_node(serve, tmp_path):
    recipe = re.search(r"```js\n(.*?)```", (harness.SOURCE / "docs" / "snapshots.md").read_text(), re.S)[1]
    daemon = serve()
    for name, before, differ in (("bare", "", False), ("wrapped", recipe, True)):
        package = tmp_path / name
        package.mkdir()
        (package / "thaw.toml").write_text('command = ["node", "app.js"]\n')
        (package / "app.js").write_text(before + NODE)
        one, other = draws_of_two_clones(Version(daemon, name, package))
        for key in ("uuid", "bytes", "random"):
            assert (one[key] != other[key]) is differ, key
        assert len(one["uuid"]) == 36


# ---- The module alone


@pytest.fixture
def runtime():
    spec = importlib.util.spec_from_file_location("thaw_runtime", RUNTIME)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_callables_run_in_their_order_with_their_arguments(runtime):
    ran = []
    runtime.register_before_snapshot(ran.append, "first")
    runtime.register_before_snapshot(lambda *, what: ran.append(what), what="second")

    @runtime.register_after_restore
    def third():
        ran.append("third")

    runtime.register_after_restore(ran.append, "fourth")
    runtime.before_snapshot()
    runtime.after_restore()
    assert ran == ["second", "first", "third", "fourth"]
    assert third is not None, "a decorator leaves the function"


def test_reseed_gives_the_global_generator_another_state(runtime):
    random.seed(1)
    same = random.random()
    random.seed(1)
    runtime.reseed()
    assert random.random() != same


def ask_asgi(app, path, method="POST", headers=()):
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    asyncio.run(app(scope, None, send))
    return sent[0]["status"]


async def teapot(scope, receive, send):
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_asgi(runtime):
    ran = []

    @runtime.register_after_restore
    async def reconnect():
        await asyncio.sleep(0)
        ran.append("after")

    runtime.register_before_snapshot(ran.append, "before")
    app = runtime.Asgi(teapot)
    assert ask_asgi(app, "/thaw/before-snapshot") == 204
    assert ask_asgi(app, "/thaw/after-restore") == 204
    assert ran == ["before", "after"]
    assert ask_asgi(app, "/thaw/after-restore", method="GET") == 418
    assert ask_asgi(app, "/thaw/after-restore", headers=[(b"x-amzn-requestid", b"1")]) == 418
    assert ask_asgi(app, "/") == 418
    assert ran == ["before", "after"]
    with pytest.raises(TypeError, match="use thaw_runtime.Asgi"):
        runtime.after_restore()


def test_an_exception_reaches_the_server(runtime):
    def broken():
        raise RuntimeError("no database")

    runtime.register_after_restore(broken)
    with pytest.raises(RuntimeError):
        ask_asgi(runtime.Asgi(teapot), "/thaw/after-restore")


def test_wsgi(runtime):
    ran = []
    runtime.register_after_restore(ran.append, "after")

    def teapot_wsgi(environ, start_response):
        start_response("418 I'm a teapot", [])
        return []

    def ask(path, **more):
        statuses = []
        environ = {"REQUEST_METHOD": "POST", "SCRIPT_NAME": "", "PATH_INFO": path, **more}
        list(runtime.wsgi(teapot_wsgi)(environ, lambda status, headers: statuses.append(status[:3])))
        return statuses[0]

    assert ask("/thaw/after-restore") == "204"
    assert ask("/thaw/after-restore", HTTP_X_AMZN_REQUESTID="1") == "418"
    assert ask("/elsewhere") == "418"
    assert ran == ["after"]


@pytest.mark.parametrize("example", ["animals", "fastapi-hello"])
def test_the_examples_copy_of_the_runtime_is_the_runtime(example):
    root = pathlib.Path(__file__).resolve().parents[2]
    copy = root / "examples" / example / "thaw_runtime.py"
    assert copy.read_bytes() == (root / "runtimes" / "python" / "thaw_runtime.py").read_bytes()
