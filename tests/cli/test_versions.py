"""publish, versions, alias and NAME:QUALIFIER against answers of a stand-in daemon."""

import json
import os
import subprocess
import time

import pytest

from conftest import function

TARGET = "/2015-03-31/functions/weather"


def version(number, description=""):
    fields = function("weather", Url=f"http://127.0.0.1:8080/fn/weather:{number}/")
    return {**fields, "Version": number, "Description": description}


@pytest.fixture
def published(daemon):
    daemon.answer("POST", f"{TARGET}/versions", 201, version("2", "tested"))
    daemon.answer("GET", f"{TARGET}/versions", 200, {"Versions": [version("$LATEST"), version("1"), version("2", "tested")]})
    live = {"Name": "live", "FunctionVersion": "1", "Description": "", "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.1}}}
    daemon.answer("GET", f"{TARGET}/aliases", 200, {"Aliases": [live, {"Name": "next", "FunctionVersion": "2"}]})
    daemon.answer("GET", f"{TARGET}/aliases/live", 200, live)
    daemon.answer("PUT", f"{TARGET}/aliases/live", 200, live)
    daemon.answer("POST", f"{TARGET}/aliases", 201, {"Name": "new", "FunctionVersion": "1"})
    daemon.answer("DELETE", f"{TARGET}/aliases/live", 204)
    daemon.answer("DELETE", TARGET, 204)
    daemon.answer("GET", "/2015-03-31/functions", 200, {"Functions": [function("weather")]})
    return daemon


def sent(daemon):
    request = daemon.requests[-1]
    return request.method, request.path, json.loads(request.body or "null")


def test_publish(thaw, published):
    result = thaw("publish", "weather", "--description", "tested")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "published weather:2\n  http://127.0.0.1:8080/fn/weather:2/\n"
    assert sent(published) == ("POST", f"{TARGET}/versions", {"Description": "tested"})
    assert json.loads(thaw("publish", "weather", "--json").stdout)["Version"] == "2"
    assert sent(published)[2] == {}


def test_versions(thaw, published):
    rows = [line.split() for line in thaw("versions", "weather").stdout.splitlines()]
    assert rows[0] == ["VERSION", "ALIASES", "STATE", "SNAPSHOT", "CODE", "MODIFIED", "DESCRIPTION"]
    assert rows[1][:2] == ["$LATEST", "-"]
    assert rows[2][:4] == ["1", "live", "Active", "-"]
    assert rows[3][:3] == ["2", "live,", "next"]
    assert rows[3][-1] == "tested"
    listed = json.loads(thaw("versions", "weather", "--json").stdout)
    assert [one["Version"] for one in listed["Versions"]] == ["$LATEST", "1", "2"]


def made(state, number="2", reason="", **snapshot):
    """A version with snapshot = true."""
    fields = version(number)
    fields["State"] = state
    if reason:
        fields |= {"StateReason": reason, "StateReasonCode": "FunctionError"}
    fields["Thaw"]["SnapshotState"] = {
        "Bytes": 0, "MadeAt": "", "NoneBecause": "", "Making": "", "Restores": 0, "RestoresFailed": 0, **snapshot,
    }  # fmt: skip
    return fields


def described(daemon, fields):
    daemon.answer("GET", TARGET, 200, {"Configuration": fields, "Thaw": {"Environments": [], "Queued": 0}})


SNAPSHOT = {"Bytes": 4200000, "MadeAt": "2026-01-31T12:00:00.000+0000"}


def publish_and_then(thaw, daemon, fields, *words):
    """`thaw publish` of a version that is Pending, and becomes `fields` while the command waits."""
    daemon.answer("POST", f"{TARGET}/versions", 201, made("Pending", Making="init"))
    described(daemon, made("Pending", Making="freeze"))
    running = thaw.start("publish", "weather", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not any(one.method == "GET" for one in daemon.requests):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert running.poll() is None, "it waits"
    assert [one.path for one in daemon.requests if one.method == "GET"][0] == f"{TARGET}?Qualifier=2"
    described(daemon, fields)
    out, err = running.communicate(timeout=60)
    return running.returncode, out, err


def test_publish_waits_for_the_snapshot(thaw, published):
    assert publish_and_then(thaw, published, made("Active", **SNAPSHOT)) == (
        0,
        "published weather:2\n  http://127.0.0.1:8080/fn/weather:2/\n  snapshot: 4.2 MB, made 2026-01-31T12:00:00\n",
        "",
    )


def test_publish_says_on_a_terminal_what_is_being_done(thaw, published):
    published.answer("POST", f"{TARGET}/versions", 201, made("Pending", Making="init"))
    described(published, made("Pending", Making="warm-up request 1 of 2"))
    ours, theirs = os.openpty()
    running = thaw.start("publish", "weather", stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown = b""
    while b"making the snapshot of weather:2: warm-up request 1 of 2 (0 s)" not in shown:
        shown += os.read(ours, 4096)
    assert b"making the snapshot of weather:2: init" in shown
    described(published, made("Active", **SNAPSHOT))
    out, _ = running.communicate(timeout=60)
    shown += os.read(ours, 4096)
    os.close(ours)
    assert shown.endswith(b"\r\x1b[K"), "the line is cleared"
    assert out.startswith("published weather:2\n")


def test_publish_says_why_there_is_no_snapshot(thaw, published):
    why = "descriptor 7 is an io_uring instance"
    status, out, _ = publish_and_then(thaw, published, made("Active", NoneBecause=why))
    assert status == 0
    assert out.endswith(f"  snapshot: none: {why}\n")


def test_publish_of_a_version_that_fails(thaw, published):
    failed = made("Failed", reason="the function exited with status 7 during init; its log says more")
    status, out, err = publish_and_then(thaw, published, failed)
    assert (status, out) == (1, "")
    assert "error: version weather:2 failed: the function exited with status 7 during init; its log says more" in err
    published.requests.clear()
    status, out, err = publish_and_then(thaw, published, failed, "--json")
    assert status == 1
    assert json.loads(out)["State"] == "Failed"
    assert "failed" in err


def test_publish_that_does_not_wait(thaw, published):
    published.answer("POST", f"{TARGET}/versions", 201, made("Pending", Making="init"))
    result = thaw("publish", "weather", "--no-wait")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("  snapshot: none yet (being made: init)\n")
    assert json.loads(thaw("publish", "weather", "--no-wait", "--json").stdout)["State"] == "Pending"
    assert {one.method for one in published.requests} == {"POST"}


def test_states_and_snapshots_in_lists_and_descriptions(thaw, published):
    published.answer("GET", f"{TARGET}/versions", 200, {"Versions": [
        made("Active", "4", **SNAPSHOT), made("Pending", "5", Making="init"), made("Failed", "6", "it broke"),
    ]})  # fmt: skip
    rows = [line.split() for line in thaw("versions", "weather").stdout.splitlines()]
    # Sizes have their unit in a word of its own.
    assert [" ".join(row[2:4]) for row in rows[1:]] == ["Active 4.2", "Pending none", "Failed none"]
    described(published, made("Active", Restores=12, RestoresFailed=1, **SNAPSHOT))
    text = thaw("describe", "weather:2").stdout
    assert "snapshot   4.2 MB, made 2026-01-31T12:00:00\n" in text
    assert "restores   12, 1 failed, since the daemon's start\n" in text
    described(published, made("Failed", reason="it broke"))
    text = thaw("describe", "weather:2").stdout
    assert "state      Failed: it broke\n" in text
    assert "snapshot   none\n" in text


def test_alias_set_makes_or_changes(thaw, published):
    assert thaw("alias", "set", "weather", "new", "1").stdout == "created weather:new -> 1\n"
    assert sent(published) == ("POST", f"{TARGET}/aliases", {
        "FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {}}, "Name": "new",
    })  # fmt: skip
    result = thaw("alias", "set", "weather", "live", "1", "--weight", "2=0.1", "--description", "shown")
    assert result.stdout == "updated weather:live -> 1, 10 % to 2\n"
    assert sent(published) == ("PUT", f"{TARGET}/aliases/live", {
        "FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.1}}, "Description": "shown",
    })  # fmt: skip


@pytest.mark.parametrize("weight", ["2", "2=", "=0.1", "2=1.5", "2=-1", "2=nan", "x=0.1", "2=0.1x"])
def test_alias_weights_that_are_none(thaw, published, weight):
    result = thaw("alias", "set", "weather", "live", "1", "--weight", weight)
    assert result.returncode == 1
    assert "--weight" in result.stderr
    assert not published.requests


def test_alias_list_and_rm(thaw, published):
    rows = [line.split() for line in thaw("alias", "list", "weather").stdout.splitlines()]
    assert rows == [["ALIAS", "VERSION", "DESCRIPTION"], ["live", "1,", "10", "%", "to", "2"], ["next", "2"]]
    assert thaw("alias", "rm", "weather", "live").stdout == "deleted weather:live\n"
    assert sent(published)[:2] == ("DELETE", f"{TARGET}/aliases/live")


def test_qualified_names(thaw, published):
    published.answer("GET", "/fn/weather:%24LATEST/", 200, b"sunny")
    assert thaw("invoke", "weather:$LATEST").stdout == "sunny"
    assert thaw("rm", "--yes", "weather:1").stdout == "deleted weather:1\n"
    assert published.requests[-1].path == f"{TARGET}?Qualifier=1"
    published.answer("GET", TARGET, 200, {"Configuration": version("1", "tested"), "Thaw": {"Environments": [], "Queued": 0}})
    described = thaw("describe", "weather:1").stdout
    assert "version      1\n" in described
    assert "description  tested\n" in described
    assert published.requests[-1].path == f"{TARGET}?Qualifier=1"


def test_an_unknown_version_is_not_called_an_unknown_function(thaw, published):
    published.answer("GET", TARGET, 404, {"Type": "User", "Message": "Function not found: weather:9"})
    result = thaw("describe", "weather:9")
    assert result.returncode == 1
    assert "error: Function not found: weather:9" in result.stderr
    assert "did you mean weather?" in thaw("describe", "wether:9").stderr


def test_commands_on_the_function_take_no_qualifier(thaw, published):
    for words in (["publish", "weather:1"], ["versions", "weather:1"], ["alias", "list", "weather:live"]):
        result = thaw(*words)
        assert result.returncode == 1
        assert "leave :" in result.stderr
    assert not published.requests


def test_completion_of_nested_commands(thaw, published):
    assert [line.split("\t")[0] for line in thaw("__complete", "--", "alias", "").stdout.splitlines()] == [
        "set", "list", "rm", ":none",
    ]  # fmt: skip
    assert thaw("__complete", "--", "alias", "set", "w").stdout == "weather\n:none\n"
    assert thaw("__complete", "--", "rm", "w").stdout == "weather\n:none\n"
    assert "--weight" in thaw("__complete", "--", "alias", "set", "--").stdout
