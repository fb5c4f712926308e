"""The managed Python runtime: runs a Lambda handler against the Runtime API (2018-06-01).

One plain keep-alive connection, so that an environment can be frozen while this waits for its next event.
"""

import http.client
import importlib
import json
import logging
import os
import random
import sys
import time
import traceback
import types

API = "/2018-06-01/runtime"
FRAMES_OF_OUR_OWN = (__file__, "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>", importlib.__file__)


class Fault(Exception):
    """An error with a name that Lambda gives it."""

    def __init__(self, error_type, message, frames=()):
        super().__init__(message)
        self.error_type = error_type
        self.frames = list(frames)


class Connection:
    def __init__(self, address):
        self._http = http.client.HTTPConnection(address)

    def call(self, method, path, body=None, headers=None):
        self._http.request(method, API + path, body, headers or {})
        answer = self._http.getresponse()
        content = answer.read()
        if answer.status >= 400 and method == "GET":
            raise RuntimeError(f"the Runtime API answered {answer.status} to {path}: {content[:200]!r}")
        return answer, content


class Context:
    """What a handler gets as its second argument."""

    def __init__(self, headers):
        env = os.environ.get
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers.get("Lambda-Runtime-Invoked-Function-Arn")
        self.function_name = env("AWS_LAMBDA_FUNCTION_NAME")
        self.function_version = env("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = env("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = env("AWS_LAMBDA_LOG_STREAM_NAME")
        self.tenant_id = headers.get("Lambda-Runtime-Aws-Tenant-Id")
        self._deadline_ms = int(headers.get("Lambda-Runtime-Deadline-Ms") or 0)
        identity = json.loads(headers.get("Lambda-Runtime-Cognito-Identity") or "null") or {}
        self.identity = types.SimpleNamespace(
            cognito_identity_id=identity.get("cognitoIdentityId"),
            cognito_identity_pool_id=identity.get("cognitoIdentityPoolId"),
        )
        client = json.loads(headers.get("Lambda-Runtime-Client-Context") or "null")
        self.client_context = None if client is None else client_context(client)

    def get_remaining_time_in_millis(self):
        return max(self._deadline_ms - int(time.time() * 1000), 0)

    def log(self, message):
        print(message, end="", flush=True)


def client_context(document):
    client = document.get("client") or {}
    names = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")
    return types.SimpleNamespace(
        custom=document.get("custom"),
        env=document.get("env"),
        client=types.SimpleNamespace(**{name: client.get(name) for name in names}),
    )


class RequestId(logging.Filter):
    current = ""

    def filter(self, record):
        record.aws_request_id = RequestId.current
        return True


class JsonFormatter(logging.Formatter):
    def format(self, record):
        line = {
            "timestamp": self.formatTime(record),
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
        }
        if record.aws_request_id:
            line["requestId"] = record.aws_request_id
        if record.exc_info:
            line["errorType"] = record.exc_info[0].__name__
            line["errorMessage"] = str(record.exc_info[1])
            line["stackTrace"] = traceback.format_tb(record.exc_info[2])
        return json.dumps(line, default=str)


def set_up_logging():
    handler = logging.StreamHandler(sys.stdout)
    if os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON":
        formatter = JsonFormatter(datefmt="%Y-%m-%dT%H:%M:%SZ")
    else:
        formatter = logging.Formatter(
            "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S"
        )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(RequestId())
    logging.getLogger().addHandler(handler)
    level = {"TRACE": "DEBUG", "FATAL": "CRITICAL"}.get(os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper())
    level = level or os.environ.get("AWS_LAMBDA_LOG_LEVEL", "").upper()
    if level in ("DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"):
        logging.getLogger().setLevel(level)


def load_handler(name):
    module, dot, function = name.rpartition(".")
    if not dot or not module:
        raise Fault("Runtime.MalformedHandlerName", f"Bad handler '{name}': not enough values to unpack (expected 2, got 1)")
    try:
        loaded = importlib.import_module(module.replace("/", "."))
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", f"Unable to import module '{module}': {error}") from error
    except SyntaxError as error:
        where = f'  File "{error.filename}" Line {error.lineno}\n    {(error.text or "").strip()}\n'
        raise Fault("Runtime.UserCodeSyntaxError", f"Syntax error in module '{module}': {error}", [where]) from error
    if not hasattr(loaded, function):
        raise Fault("Runtime.HandlerNotFound", f"Handler '{function}' missing on module '{module}'")
    return getattr(loaded, function)


def describe(error, request_id=None):
    """An exception as the Runtime API takes it, and its line in the log."""
    if isinstance(error, Fault):
        kind, frames = error.error_type, error.frames
    else:
        kind = "Runtime.ExitError" if isinstance(error, SystemExit) else type(error).__name__
        stack = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename not in FRAMES_OF_OUR_OWN]
        frames = traceback.format_list(stack)
    document = {"errorMessage": str(error), "errorType": kind, "requestId": request_id or "", "stackTrace": frames}
    trace = "Traceback (most recent call last):\n" + "".join(frames) if frames else ""
    print(f"[ERROR] {kind}: {error}\n{trace}".rstrip("\n").replace("\n", "\r"), flush=True)
    return json.dumps(document).encode(), {
        "Content-Type": "application/json",
        "Lambda-Runtime-Function-Error-Type": kind if kind.startswith("Runtime.") else "Unhandled",
    }


def marshal(result):
    if isinstance(result, bytes):
        return result, {"Content-Type": "application/octet-stream"}
    try:
        return json.dumps(result, ensure_ascii=False).encode(), {"Content-Type": "application/json"}
    except Exception as error:
        raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from error


def handle(connection, handler, headers, payload):
    request_id = headers["Lambda-Runtime-Aws-Request-Id"]
    RequestId.current = request_id
    os.environ.pop("_X_AMZN_TRACE_ID", None)
    if headers.get("Lambda-Runtime-Trace-Id"):
        os.environ["_X_AMZN_TRACE_ID"] = headers["Lambda-Runtime-Trace-Id"]
    ended = False
    try:
        try:
            event = json.loads(payload)
        except ValueError as error:
            raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from error
        body, content_type = marshal(handler(event, Context(headers)))
        path = f"/invocation/{request_id}/response"
    except BaseException as error:
        ended = isinstance(error, (SystemExit, KeyboardInterrupt))
        body, content_type = describe(error, request_id)
        path = f"/invocation/{request_id}/error"
    sys.stdout.flush()
    sys.stderr.flush()
    connection.call("POST", path, body, content_type)
    RequestId.current = ""
    if ended:
        sys.exit(1)


def take_snapshot(connection):
    """Waits where the snapshot is taken: what follows runs anew in every environment made from it."""
    hooks = importlib.import_module("snapshot_restore_py")
    try:
        hooks.run_before_snapshot()
    except BaseException as error:
        connection.call("POST", "/init/error", *describe(error))
        sys.exit(1)
    connection.call("GET", "/restore/next")
    random.seed()
    try:
        hooks.run_after_restore()
    except BaseException as error:
        connection.call("POST", "/restore/error", *describe(error))
        sys.exit(1)


def tell_version():
    asked = os.environ.get("AWS_EXECUTION_ENV", "").removeprefix("AWS_Lambda_")
    here = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if asked and asked != here:
        print(f"the machine has no {asked}: this runs on {here}")


def layer_folders():
    """Where layers hold modules: for the version that the function names, for the one that runs, and for any."""
    named = os.environ.get("AWS_EXECUTION_ENV", "").removeprefix("AWS_Lambda_")
    running = f"python{sys.version_info.major}.{sys.version_info.minor}"
    versions = dict.fromkeys(one for one in (named, running) if one.startswith("python"))
    return [*(f"/opt/python/lib/{one}/site-packages" for one in versions), "/opt/python"]


def main():
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    tell_version()
    set_up_logging()
    connection = Connection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    sys.path[:0] = [os.environ.get("LAMBDA_TASK_ROOT", os.getcwd()), *layer_folders()]
    try:
        handler = load_handler(os.environ["_HANDLER"])
    except BaseException as error:
        connection.call("POST", "/init/error", *describe(error))
        sys.exit(1)
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        take_snapshot(connection)
    while True:
        answer, payload = connection.call("GET", "/invocation/next")
        handle(connection, handler, answer.headers, payload)


if __name__ == "__main__":
    main()
