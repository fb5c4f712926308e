"""What a Python function does around a snapshot: callables to run before it and after each restore, and new seeds.

Copy this file into the package; it needs the standard library alone. All clones of a snapshot begin as the same process,
with the same state of every random generator. In an app that speaks ASGI (FastAPI, Starlette) one line sees to that,

    app.add_middleware(thaw_runtime.Asgi)

in one that speaks WSGI (Flask, Django)

    app.wsgi_app = thaw_runtime.wsgi(app.wsgi_app)

together with the keys that tell Thaw where the hooks are, in thaw.toml:

    snapshot = true
    before_snapshot_path = "/thaw/before-snapshot"
    after_restore_path = "/thaw/after-restore"

What else must not be the same in all clones, or does not survive the freeze, is the app's to say:

    @thaw_runtime.register_before_snapshot
    def close_connections(): ...

    @thaw_runtime.register_after_restore
    def open_connections(): ...

The names are those of AWS's snapshot_restore_py ("Lambda SnapStart runtime hooks for Python", AWS Lambda Developer Guide).
An exception in a callable fails the snapshot, or the restore; Thaw then starts the function by init.
"""

import inspect
import os
import sys

__all__ = [
    "AFTER_RESTORE_PATH",
    "BEFORE_SNAPSHOT_PATH",
    "Asgi",
    "after_restore",
    "before_snapshot",
    "register_after_restore",
    "register_before_snapshot",
    "reseed",
    "wsgi",
]

BEFORE_SNAPSHOT_PATH = "/thaw/before-snapshot"
AFTER_RESTORE_PATH = "/thaw/after-restore"

_before_snapshot = []
_after_restore = []


def register_before_snapshot(function, /, *args, **kwargs):
    """Runs function(*args, **kwargs) before the snapshot is taken; what was registered last runs first.

    Also a decorator. With Asgi the function may be a coroutine function.
    """
    _before_snapshot.append((function, args, kwargs))
    return function


def register_after_restore(function, /, *args, **kwargs):
    """Runs function(*args, **kwargs) in each clone before it serves, after reseed(), in the order of registration.

    Also a decorator. With Asgi the function may be a coroutine function.
    """
    _after_restore.append((function, args, kwargs))
    return function


def reseed():
    """New seeds from the kernel for the generators that are the same in all clones.

    random, numpy's global generator and OpenSSL, where they have been imported. secrets, uuid4 and os.urandom draw from
    the kernel each time and need nothing. Generators that the app has made itself (random.Random(),
    numpy.random.default_rng()) are not known here: register a callable for each.
    """
    modules = sys.modules
    if "random" in modules:
        modules["random"].seed()
    if "numpy.random" in modules:
        modules["numpy.random"].seed()
    if "ssl" in modules:
        # Into OpenSSL's first generator, from which those of all threads seed themselves anew on their next use.
        modules["ssl"].RAND_add(os.urandom(64), 64.0)
    if "tempfile" in modules:
        modules["tempfile"]._name_sequence = None
    if "uuid" in modules:
        modules["uuid"]._last_timestamp = None


def _calls(registered):
    for function, args, kwargs in registered:
        yield function(*args, **kwargs)


def _run(registered):
    for result in _calls(registered):
        if inspect.isawaitable(result):
            result.close()
            raise TypeError("a coroutine function was registered, but nothing can await it here: use thaw_runtime.Asgi")


def before_snapshot():
    """What the before-snapshot hook does, for servers that speak neither ASGI nor WSGI."""
    _run(reversed(_before_snapshot))


def after_restore():
    """What the after-restore hook does, for servers that speak neither ASGI nor WSGI."""
    reseed()
    _run(_after_restore)


async def _run_async(registered):
    for result in _calls(registered):
        if inspect.isawaitable(result):
            await result


class Asgi:
    """ASGI middleware that answers the hooks' paths; everything else goes to the app.

    What carries x-amzn-requestid comes from outside, by whatever way, and goes to the app too.
    """

    def __init__(self, app, before_snapshot_path=BEFORE_SNAPSHOT_PATH, after_restore_path=AFTER_RESTORE_PATH):
        self.app = app
        self.before_snapshot_path = before_snapshot_path
        self.after_restore_path = after_restore_path

    async def __call__(self, scope, receive, send):
        hook = None
        if scope["type"] == "http" and scope["method"] == "POST":
            if not any(name.lower() == b"x-amzn-requestid" for name, _ in scope["headers"]):
                if scope["path"] == self.before_snapshot_path:
                    hook = self._before
                elif scope["path"] == self.after_restore_path:
                    hook = self._after
        if hook is None:
            return await self.app(scope, receive, send)
        # An exception goes to the server, which answers 500 and logs it.
        await hook()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def _before(self):
        await _run_async(reversed(_before_snapshot))

    async def _after(self):
        reseed()
        await _run_async(_after_restore)


def wsgi(app, before_snapshot_path=BEFORE_SNAPSHOT_PATH, after_restore_path=AFTER_RESTORE_PATH):
    """A WSGI app that answers the hooks' paths; everything else goes to `app`, as with Asgi."""

    def application(environ, start_response):
        hook = None
        if environ["REQUEST_METHOD"] == "POST" and "HTTP_X_AMZN_REQUESTID" not in environ:
            path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
            if path == before_snapshot_path:
                hook = before_snapshot
            elif path == after_restore_path:
                hook = after_restore
        if hook is None:
            return app(environ, start_response)
        # An exception goes to the server, which answers 500 and logs it.
        hook()
        start_response("204 No Content", [])
        return []

    return application
