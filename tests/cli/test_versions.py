"""publish, versions, alias and NAME:QUALIFIER against answers of a stand-in daemon."""

import json

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
    assert rows[0] == ["VERSION", "ALIASES", "CODE", "MODIFIED", "DESCRIPTION"]
    assert rows[1][:2] == ["$LATEST", "-"]
    assert rows[2][:2] == ["1", "live"]
    assert rows[3][:3] == ["2", "live,", "next"]
    assert rows[3][-1] == "tested"
    listed = json.loads(thaw("versions", "weather", "--json").stdout)
    assert [one["Version"] for one in listed["Versions"]] == ["$LATEST", "1", "2"]


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
