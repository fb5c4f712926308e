"""Published versions and aliases: what they serve, who goes when, and the shapes of Lambda's API."""

import collections

import pytest

import harness

API = "/2015-03-31/functions"
APP = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = ("CODE " + os.environ["AWS_LAMBDA_FUNCTION_VERSION"] + " " + self.path).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


class Versions:
    """A function whose answer names the code and the version that gave it."""

    def __init__(self, daemon, folder, name):
        self.daemon, self.folder, self.name = daemon, folder, name
        self.target = f"{API}/{name}"
        folder.mkdir(exist_ok=True)

    def deploy(self, code, **settings):
        (self.folder / "thaw.toml").write_text('command = ["python3", "app.py"]\nconcurrency = 8\n')
        (self.folder / "app.py").write_text(APP.replace("CODE", code))
        return self.daemon.deploy(self.folder, self.name, **settings)

    def get(self, qualifier="", path="/"):
        response = self.daemon.get(f"/fn/{self.name}{':' + qualifier if qualifier else ''}{path}")
        assert response.status_code == 200, response.text
        return response.text

    def api(self, method, path="", **body):
        return self.daemon.request(method, self.target + path, json=body or None)

    def publish(self, **body):
        response = self.api("POST", "/versions", **body)
        assert response.status_code == 201, response.text
        return response.json()["Version"]

    def alias(self, name, version, **body):
        response = self.api("POST", "/aliases", Name=name, FunctionVersion=version, **body)
        assert response.status_code == 201, response.text
        return response.json()

    def environments(self, qualifier):
        return self.api("GET", f"?Qualifier={qualifier}").json()["Thaw"]["Environments"]


@pytest.fixture
def versions(daemon, tmp_path, request):
    function = Versions(daemon, tmp_path / "app", "v-" + str(abs(hash(request.node.name)) % 10**9))
    yield function
    function.api("DELETE")


def assert_refused(response, status, error_type, words=""):
    assert response.status_code == status, response.text
    assert response.headers["x-amzn-ErrorType"] == error_type
    assert words in response.json()["Message"]


def test_a_version_serves_on_when_the_function_is_deployed_again(versions):
    versions.deploy("one")
    assert versions.publish() == "1"
    assert versions.get("1", "/a?b=c:d") == "one 1 /a?b=c:d"
    versions.deploy("two")
    assert versions.get() == "two $LATEST /"
    assert versions.get("1") == "one 1 /"
    assert versions.get("$LATEST") == "two $LATEST /"
    assert versions.get("%24LATEST") == "two $LATEST /"
    assert versions.publish() == "2"
    assert versions.get("2") == "two 2 /"
    log = harness.wait_for(
        lambda: (text := versions.daemon.get(f"/thaw/v1/functions/{versions.name}/logs?bytes=100000").text)
        and "Version: 2\n" in text
        and text,
        "the START line of version 2",
    )
    assert "Version: 1\n" in log and "Version: $LATEST\n" in log


def test_publishing_what_has_not_changed_gives_the_newest_version_again(versions):
    versions.deploy("one")
    assert versions.publish(Description="first") == "1"
    again = versions.api("POST", "/versions", Description="second").json()
    assert (again["Version"], again["Description"]) == ("1", "first")
    versions.deploy("one")
    assert versions.publish() == "1"
    versions.deploy("one", memory_mb=640)
    assert versions.publish() == "2"


def test_a_version_has_the_shape_of_lambdas_function_configuration(versions):
    versions.deploy("one")
    latest = versions.api("GET").json()["Configuration"]
    version = versions.api("POST", "/versions", Description="the first").json()
    assert version["Version"] == "1"
    assert version["Description"] == "the first"
    assert version["FunctionArn"] == latest["FunctionArn"] + ":1"
    assert version["CodeSha256"] == latest["CodeSha256"]
    assert version["RevisionId"] != latest["RevisionId"]
    assert version["State"] == "Active"
    assert version["Thaw"]["Url"].endswith(f"/fn/{versions.name}:1/")
    assert versions.api("GET", "?Qualifier=1").json()["Configuration"] == version
    assert versions.daemon.get(f"{versions.target}:1").json()["Configuration"] == version
    assert versions.daemon.get(f"{versions.target}%3A1").json()["Configuration"] == version
    assert_refused(versions.api("GET", "?Qualifier=2"), 404, "ResourceNotFoundException", f"{versions.name}:2")
    assert_refused(versions.daemon.get(f"{versions.target}:1?Qualifier=2"), 400, "InvalidParameterValueException")


def test_preconditions_of_publishing(versions):
    versions.deploy("one")
    latest = versions.api("GET").json()["Configuration"]
    wrong = versions.api("POST", "/versions", CodeSha256="A" * 43 + "=")
    assert_refused(wrong, 400, "InvalidParameterValueException", "CodeSha256")
    wrong = versions.api("POST", "/versions", RevisionId="00000000-0000-4000-8000-000000000000")
    assert_refused(wrong, 412, "PreconditionFailedException", "Revision Id")
    assert_refused(versions.api("POST", "/versions", Description=7), 400, "InvalidParameterValueException", "Description")
    wrong = versions.api("POST", "/versions", Description="x" * 257)
    assert_refused(wrong, 400, "InvalidParameterValueException", "Description")
    wrong = versions.daemon.request("POST", versions.target + "/versions", data="[1]")
    assert_refused(wrong, 400, "InvalidParameterValueException", "JSON object")
    wrong = versions.daemon.request("POST", versions.target + "/versions", data=" " * 100000)
    assert_refused(wrong, 413, "RequestTooLargeException")
    assert versions.publish(CodeSha256=latest["CodeSha256"], RevisionId=latest["RevisionId"]) == "1"
    assert_refused(versions.daemon.request("POST", f"{API}/nobody/versions"), 404, "ResourceNotFoundException", "nobody")
    assert_refused(versions.api("PATCH", "/versions"), 400, "InvalidParameterValueException")
    wrong = versions.daemon.request("POST", f"{versions.target}:1/versions")
    assert_refused(wrong, 400, "InvalidParameterValueException", "Qualifier")


def test_versions_are_listed_page_after_page(versions):
    for memory_mb in (200, 201, 202):
        versions.deploy("one", memory_mb=memory_mb)
        versions.publish()
    found, marker = [], ""
    for _ in range(10):
        page = versions.api("GET", f"/versions?MaxItems=3{marker}").json()
        found += [(one["Version"], one["MemorySize"]) for one in page["Versions"]]
        if "NextMarker" not in page:
            break
        marker = f"&Marker={page['NextMarker']}"
    assert found == [("$LATEST", 202), ("1", 200), ("2", 201), ("3", 202)]
    # A page's last version may be gone when the next one is asked for.
    assert versions.api("DELETE", "?Qualifier=2").status_code == 204
    page = versions.api("GET", "/versions?Marker=2").json()
    assert [one["Version"] for one in page["Versions"]] == ["3"]
    page = versions.api("GET", "/versions?Marker=%24LATEST&MaxItems=1").json()
    assert ([one["Version"] for one in page["Versions"]], page["NextMarker"]) == (["1"], "1")


def test_numbers_are_never_given_twice(versions):
    versions.deploy("one")
    versions.publish()
    versions.deploy("two")
    versions.publish()
    assert versions.api("DELETE", "?Qualifier=2").status_code == 204
    assert versions.publish() == "3"
    assert versions.api("DELETE").status_code == 204
    versions.deploy("one")
    assert versions.publish() == "4"
    assert [one["Version"] for one in versions.api("GET", "/versions").json()["Versions"]] == ["$LATEST", "4"]


def test_a_deleted_version_ends_its_environments_and_no_others(versions):
    versions.deploy("one")
    versions.publish()
    versions.deploy("two")
    versions.publish()
    for qualifier in ("", "1", "2"):
        versions.get(qualifier)
    each = len(versions.daemon.function_processes(versions.name)) // 3
    assert each > 0

    def wait_for_environments(count, what):
        harness.wait_for(lambda: len(versions.daemon.function_processes(versions.name)) == count * each, what, 15)

    assert versions.api("DELETE", "?Qualifier=1").status_code == 204
    wait_for_environments(2, "version 1 to end")
    response = versions.daemon.get(f"/fn/{versions.name}:1/")
    assert "no function" in harness.assert_error(response, 404, "NotFound")
    assert len(versions.environments("$LATEST")) == 1
    assert len(versions.environments("2")) == 1
    versions.deploy("three")
    wait_for_environments(1, "$LATEST to end")
    assert len(versions.environments("2")) == 1
    assert versions.api("DELETE").status_code == 204
    wait_for_environments(0, "everything to end")
    harness.assert_error(versions.daemon.get(f"/fn/{versions.name}:2/"), 404, "NotFound")


def test_deploying_under_another_case_replaces_the_same_function(versions):
    versions.deploy("one")
    versions.publish()
    assert versions.get() == "one $LATEST /"
    assert versions.get("1") == "one 1 /"
    upper = Versions(versions.daemon, versions.folder, versions.name.upper())
    upper.deploy("two")
    harness.wait_for(lambda: not versions.environments("$LATEST"), "the old $LATEST to end", 15)
    assert len(upper.environments("1")) == 1
    assert upper.get("1") == "one 1 /"
    assert upper.get() == "two $LATEST /"
    assert upper.publish() == "2"


def test_what_a_delete_with_a_qualifier_refuses(versions):
    versions.deploy("one")
    versions.publish()
    versions.alias("live", "1")
    assert_refused(versions.api("DELETE", "?Qualifier=1"), 409, "ResourceConflictException", "live")
    for qualifier in ("$LATEST", "live", "01", "-1", "1" * 40):
        assert_refused(versions.api("DELETE", f"?Qualifier={qualifier}"), 400, "InvalidParameterValueException", "Qualifier")
    # A script whose variable is empty must not delete the function.
    assert_refused(versions.api("DELETE", "?Qualifier="), 400, "InvalidParameterValueException", "Qualifier")
    assert_refused(versions.daemon.request("DELETE", versions.target + ":"), 400, "InvalidParameterValueException")
    assert_refused(versions.api("DELETE", "?Qualifier=7"), 404, "ResourceNotFoundException", "7")
    assert versions.get("live") == "one 1 /"


def test_an_alias_is_pointed_from_one_version_to_the_next(versions):
    versions.deploy("one")
    versions.publish()
    versions.deploy("two")
    versions.publish()
    made = versions.alias("live", "1", Description="what people see")
    assert made["AliasArn"].endswith(f":function:{versions.name}:live")
    assert "RoutingConfig" not in made
    assert versions.get("live") == "one 1 /"
    assert versions.api("GET", "/aliases/live").json() == made
    described = versions.api("GET", "?Qualifier=live").json()["Configuration"]
    assert described["Version"] == "1"
    assert described["FunctionArn"].endswith(":live")
    moved = versions.api("PUT", "/aliases/live", FunctionVersion="2").json()
    assert (moved["FunctionVersion"], moved["Description"]) == ("2", "what people see")
    assert moved["RevisionId"] != made["RevisionId"]
    assert versions.get("live") == "two 2 /"
    late = versions.api("PUT", "/aliases/live", FunctionVersion="1", RevisionId=made["RevisionId"])
    assert_refused(late, 412, "PreconditionFailedException")
    assert versions.api("PUT", "/aliases/live", FunctionVersion="$LATEST", RevisionId=moved["RevisionId"]).status_code == 200
    assert versions.get("live") == "two $LATEST /"
    assert versions.api("DELETE", "/aliases/live").status_code == 204
    harness.assert_error(versions.daemon.get(f"/fn/{versions.name}:live/"), 404, "NotFound")
    assert_refused(versions.api("GET", "/aliases/live"), 404, "ResourceNotFoundException", "live")
    assert_refused(versions.api("DELETE", "/aliases/live"), 404, "ResourceNotFoundException", "live")


def test_a_weighted_alias_shares_requests_out(versions):
    versions.deploy("one")
    versions.publish()
    versions.deploy("two")
    versions.publish()
    routing = {"AdditionalVersionWeights": {"2": 0.25}}
    assert versions.alias("live", "1", RoutingConfig=routing)["RoutingConfig"] == routing

    def shares(count):
        return collections.Counter(versions.get("live") for _ in range(count))

    seen = shares(400)
    # 400 draws of a quarter: 100, give or take 8.7; this is more than six times that.
    assert 45 < seen["two 2 /"] < 155
    assert seen["one 1 /"] == 400 - seen["two 2 /"]
    assert_refused(versions.api("DELETE", "?Qualifier=2"), 409, "ResourceConflictException", "live")
    versions.api("PUT", "/aliases/live", RoutingConfig={"AdditionalVersionWeights": {"2": 1}})
    assert set(shares(20)) == {"two 2 /"}
    versions.api("PUT", "/aliases/live", RoutingConfig={"AdditionalVersionWeights": {}})
    assert set(shares(20)) == {"one 1 /"}
    assert versions.api("DELETE", "?Qualifier=2").status_code == 204


@pytest.mark.parametrize(
    "body, field",
    [
        ({"FunctionVersion": "1"}, "Name"),
        ({"Name": "12", "FunctionVersion": "1"}, "Name"),
        ({"Name": "a b", "FunctionVersion": "1"}, "Name"),
        ({"Name": "x" * 129, "FunctionVersion": "1"}, "Name"),
        ({"Name": ["live"], "FunctionVersion": "1"}, "Name"),
        ({"Name": "live"}, "FunctionVersion"),
        ({"Name": "live", "FunctionVersion": "other"}, "FunctionVersion"),
        ({"Name": "live", "FunctionVersion": 1}, "FunctionVersion"),
        ({"Name": "live", "FunctionVersion": "1", "Description": "x" * 257}, "Description"),
        ({"Name": "live", "FunctionVersion": "1", "RoutingConfig": 1}, "RoutingConfig"),
        ({"Name": "live", "FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"2": 1.5}}}, "Weights"),
        ({"Name": "live", "FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"2": "1"}}}, "Weights"),
        ({"Name": "live", "FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.5}}}, "Weights"),
        ({"Name": "live", "FunctionVersion": "1", "RoutingConfig": {"AdditionalVersionWeights": {"2": 0.1, "3": 0.1}}},
         "Weights"),
        ({"Name": "live", "FunctionVersion": "$LATEST", "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.1}}},
         "FunctionVersion"),
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_alias_is_refused_by_its_field(versions, body, field):
    versions.deploy("one")
    versions.publish()
    assert_refused(versions.api("POST", "/aliases", **body), 400, "InvalidParameterValueException", field)
    assert versions.api("GET", "/aliases").json() == {"Aliases": []}


def test_aliases_are_listed(versions):
    versions.deploy("one")
    versions.publish()
    versions.deploy("two")
    versions.publish()
    versions.alias("b", "1")
    versions.alias("a", "2")
    versions.alias("c", "2", RoutingConfig={"AdditionalVersionWeights": {"1": 0.5}})
    assert_refused(versions.api("POST", "/aliases", Name="a", FunctionVersion="1"), 409, "ResourceConflictException")
    assert_refused(versions.api("POST", "/aliases", Name="d", FunctionVersion="9"), 404, "ResourceNotFoundException", "9")

    def names(query=""):
        return [one["Name"] for one in versions.api("GET", "/aliases" + query).json()["Aliases"]]

    assert names() == ["a", "b", "c"]
    assert names("?FunctionVersion=1") == ["b", "c"]
    assert names("?MaxItems=1") == ["a"]
    assert versions.api("GET", "/aliases?MaxItems=1").json()["NextMarker"] == "a"
    assert names("?MaxItems=5&Marker=a") == ["b", "c"]


def test_unknown_qualifiers_are_answered_404(versions):
    versions.deploy("one")
    for qualifier in ("1", "live", "0", "%00", "%ff", "%zz", "x" * 3000):
        response = versions.daemon.get(f"/fn/{versions.name}:{qualifier}/")
        assert response.status_code in (400, 404), qualifier
        assert response.headers["x-amzn-requestid"]


def test_a_version_answers_at_a_host_of_its_own(versions):
    versions.deploy("one")
    versions.publish()
    response = versions.daemon.get("/docs", headers={"Host": f"1.{versions.name}.localhost:{versions.daemon.port}"})
    assert response.text == "one 1 /docs"
    redirect = versions.daemon.get(f"/fn/{versions.name}:1?x=1")
    assert (redirect.status_code, redirect.headers["Location"]) == (307, f"/fn/{versions.name}:1/?x=1")


def test_versions_and_aliases_survive_kill_9(serve, tmp_path):
    daemon = serve()
    versions = Versions(daemon, tmp_path / "app", "kept")
    versions.deploy("one")
    versions.publish(Description="first")
    versions.deploy("two")
    versions.publish()
    versions.api("DELETE", "?Qualifier=2")
    versions.alias("live", "1", RoutingConfig={"AdditionalVersionWeights": {}})
    before = versions.api("GET", "/versions").json(), versions.api("GET", "/aliases").json()
    daemon.kill()
    daemon.start()
    after = versions.api("GET", "/versions").json(), versions.api("GET", "/aliases").json()
    for listing in (before, after):
        for one in listing[0]["Versions"]:
            del one["Thaw"]  # it names the port
    assert after == before
    assert versions.get("live") == "one 1 /"
    assert versions.publish() == "3"


def test_the_command_line_publishes_names_and_deletes(versions):
    versions.deploy("one")
    daemon, name = versions.daemon, versions.name
    done = daemon.run("publish", name, "--description", "the first")
    assert done.returncode == 0, done.stderr
    assert f"published {name}:1" in done.stdout
    versions.deploy("two")
    assert daemon.json("publish", name)["Version"] == "2"
    assert daemon.run("alias", "set", name, "live", "1").stdout == f"created {name}:live -> 1\n"
    done = daemon.run("alias", "set", name, "live", "1", "--weight", "2=0.25")
    assert done.stdout == f"updated {name}:live -> 1, 25 % to 2\n"
    assert daemon.json("alias", "list", name)["Aliases"][0]["Name"] == "live"
    rows = [line.split() for line in daemon.run("versions", name).stdout.splitlines()]
    assert [row[:2] for row in rows] == [["VERSION", "ALIASES"], ["$LATEST", "-"], ["1", "live"], ["2", "live"]]
    assert rows[2][-2:] == ["the", "first"]
    assert daemon.run("invoke", f"{name}:1", "/x").stdout.strip() == "one 1 /x"
    assert daemon.run("invoke", f"{name}:$LATEST").stdout.strip() == "two $LATEST /"
    assert daemon.json("describe", f"{name}:live")["Configuration"]["Version"] == "1"
    done = daemon.run("delete", "--yes", f"{name}:1")
    assert done.returncode == 1
    assert "named by the alias live" in done.stderr
    assert daemon.run("alias", "rm", name, "live").returncode == 0
    assert daemon.run("rm", "--yes", f"{name}:1").returncode == 0
    done = daemon.run("invoke", f"{name}:1")
    assert done.returncode == 1
    assert "no function" in done.stderr and "thaw versions" in done.stderr
    assert daemon.run("delete", "--yes", f"{name}:").returncode == 1
    assert versions.get() == "two $LATEST /"
