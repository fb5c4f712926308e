"""Who may use the control API: programs of this machine, never a web page."""

import http.client
import json
import socket
import subprocess

import pytest

import harness


def control(daemon, **headers):
    return daemon.get("/thaw/v1/status", headers=headers)


def assert_refused(response):
    assert response.status_code == 403, response.text
    assert response.headers["x-amzn-ErrorType"] == "AccessDeniedException"
    assert response.json()["Type"] == "User"


def test_programs_on_loopback_may(daemon):
    for host in ("localhost", f"localhost:{daemon.port}", "127.0.0.1", "127.0.0.1:1", "[::1]:8080"):
        assert control(daemon, Host=host).status_code == 200
    assert control(daemon, **{"Sec-Fetch-Site": "none"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8080"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "10.0.0.1"},
    ],
    ids=str,
)
def test_what_a_browser_sends_for_a_page_is_refused(daemon, headers):
    assert_refused(control(daemon, **headers))


def test_a_page_of_a_function_cannot_reach_the_control_api(daemon, kit):
    """At NAME.localhost every path is the function's."""
    response = daemon.get("/thaw/v1/status", headers={"Host": f"kit.localhost:{daemon.port}"})
    assert response.json()["path"] == "/thaw/v1/status"


def test_a_refused_deploy_changes_nothing(daemon):
    before = daemon.json("list")
    response = daemon.request("PUT", "/thaw/v1/functions/evil/package", data=b"x" * 1000, headers={"Origin": "http://evil.example"})
    assert_refused(response)
    response = daemon.request("DELETE", "/2015-03-31/functions/kit", headers={"Origin": "http://evil.example"})
    assert_refused(response)
    assert daemon.json("list") == before


def test_the_unix_socket_needs_no_host(daemon):
    connection = http.client.HTTPConnection("anything")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(daemon.data / "control.sock"))
    connection.request("GET", "/thaw/v1/status", headers={"Host": "anything"})
    assert json.loads(connection.getresponse().read())["Listen"].endswith(str(daemon.port))
    connection.close()


def own_address():
    addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True).stdout.split()
    return next((address for address in addresses if "." in address), None)


def test_from_another_address_functions_answer_and_the_control_api_does_not(serve):
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    daemon = serve(listen="0.0.0.0:0")
    daemon.deploy(harness.FUNCTIONS / "kit", "kit")
    outside = f"http://{address}:{daemon.port}"
    assert daemon.http.get(outside + "/fn/kit/", timeout=harness.HANG_S).status_code == 200
    assert_refused(daemon.http.get(outside + "/thaw/v1/status", headers={"Host": "localhost"}, timeout=harness.HANG_S))
    assert_refused(daemon.http.put(outside + "/thaw/v1/functions/x/package", data=b"x", headers={"Host": "localhost"}, timeout=harness.HANG_S))


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("POST", "/thaw/v1/status", 400),
        ("GET", "/thaw/v1/nothing", 404),
        ("GET", "/2015-03-31/functions/nobody", 404),
        ("DELETE", "/2015-03-31/functions/nobody", 404),
        ("GET", "/thaw/v1/functions/nobody/logs", 404),
        ("GET", "/2015-03-31/functions?MaxItems=0", 400),
        ("GET", "/2015-03-31/functions?MaxItems=99999999999999999999", 400),
        ("GET", "/2015-03-31/functions?Marker=%00&MaxItems=many", 400),
        ("POST", "/2015-03-31/functions/nobody", 400),
    ],
)
def test_bad_requests_have_lambdas_shape(daemon, method, path, status):
    response = daemon.request(method, path)
    assert response.status_code == status
    assert set(response.json()) == {"Type", "Message", "message"}
    assert response.headers["x-amzn-ErrorType"] in ("InvalidParameterValueException", "ResourceNotFoundException")


def test_describe_and_list_have_lambdas_fields(daemon, kit):
    described = daemon.get("/2015-03-31/functions/kit").json()
    configuration = described["Configuration"]
    assert configuration["FunctionName"] == "kit"
    assert configuration["MemorySize"] == 1769
    assert configuration["Timeout"] == 20
    assert configuration["State"] == "Active"
    assert configuration["PackageType"] == "Zip"
    assert configuration["Thaw"]["Url"] == f"{daemon.url}/fn/kit/"
    listed = daemon.get("/2015-03-31/functions").json()["Functions"]
    assert configuration in listed


def test_a_list_comes_in_pages(daemon, deploy):
    for letter in "abcde":
        deploy(name=f"page-{letter}")
    names, marker = [], ""
    while True:
        page = daemon.get(f"/2015-03-31/functions?MaxItems=2&Marker={marker}").json()
        assert len(page["Functions"]) <= 2
        names += [function["FunctionName"] for function in page["Functions"]]
        marker = page.get("NextMarker")
        if not marker:
            break
    assert [name for name in names if name.startswith("page-")] == [f"page-{letter}" for letter in "abcde"]
    assert len(names) == len(set(names))
