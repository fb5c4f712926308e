"""Extensions of event functions, by Lambda's Extensions API."""

import json
import re

import harness

EXTENSIONS = harness.FUNCTIONS / "extensions"


def ask(daemon, name, event=None):
    return daemon.request("POST", f"/2015-03-31/functions/{name}/invocations", data=json.dumps(event or {}).encode())


def lines_of(function, request_id):
    """The log of one invocation, from START to END."""
    log = function.wait_log(f"REPORT RequestId: {request_id}")
    return log[log.index(f"START RequestId: {request_id}") : log.index(f"END RequestId: {request_id}")]


def test_an_invocation_lasts_until_an_internal_extension_asks_for_the_next(daemon):
    function = daemon.deploy(EXTENSIONS, "internal", environment__INTERNAL="inside")
    answer = ask(daemon, "internal", {"n": 1})
    assert answer.json() == {"n": 1}
    request_id = answer.headers["x-amzn-requestid"]
    assert f"inside saw INVOKE {request_id}\n" in lines_of(function, request_id)
    log = function.log()
    assert float(re.search(rf"^REPORT RequestId: {request_id}\tDuration: ([\d.]+) ms", log, re.M)[1]) >= 300
    told = json.loads(re.search(r"^registered inside (.*)$", log, re.M)[1])
    assert (told["functionName"], told["functionVersion"], told["handler"]) == ("internal", "$LATEST", "any.thing")
    assert re.fullmatch(r"\d{12}", told["accountId"])
    harness.wait_for(lambda: function.environments("frozen"), "the environment to freeze")
    second = ask(daemon, "internal").headers["x-amzn-requestid"]
    assert f"inside saw INVOKE {second}\n" in lines_of(function, second)


def test_an_extension_that_gives_up_ends_the_environment(daemon):
    function = daemon.deploy(EXTENSIONS, "tired", environment__INTERNAL="inside", environment__GIVES_UP="yes")
    answer = ask(daemon, "tired", {"n": 1})
    assert answer.json() == {"n": 1}  # it had its response already
    log = function.wait_log("REPORT RequestId: " + answer.headers["x-amzn-requestid"])
    assert "\tStatus: error\tError Type: Extension.ExitError\n" in log
    assert "Error: extension inside reported that it exits: Extension.Tired\n" in log
    harness.wait_for(lambda: not function.environments(), "the environment to end")


def test_what_a_runtime_does_after_its_response_is_not_frozen(daemon):
    function = daemon.deploy(EXTENSIONS, "afterwards", environment__AFTERWARDS="1.5")
    answer = ask(daemon, "afterwards", {"n": 1})
    function.wait_log("the runtime is done with " + answer.headers["x-amzn-requestid"])
    harness.wait_for(lambda: function.environments("frozen"), "the environment to freeze")
