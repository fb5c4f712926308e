"""Functions with egress reach other machines, and nothing of the host's loopback; those without reach nobody."""

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

import harness
import pytest

# Addresses for documentation (RFC 5737): nobody's.
HOST, OTHER = "198.51.100.1", "198.51.100.2"
GATEWAY = "10.0.2.2"  # how slirp4netns calls the host
# Inside the other machine: answers HTTP with who has asked, and UDP with what it was sent.
SERVER = """
import http.server, socket, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"hello {self.client_address[0]}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
def echo(udp):
    while True:
        data, sender = udp.recvfrom(100)
        udp.sendto(data.upper(), sender)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 8053))
threading.Thread(target=echo, args=(udp,), daemon=True).start()
server = http.server.ThreadingHTTPServer(("", 8000), Handler)
print("ready", flush=True)
server.serve_forever()
"""

pytestmark = pytest.mark.skipif(
    not (os.path.exists("/usr/bin/slirp4netns") and os.path.exists("/dev/net/tun")),
    reason="no slirp4netns or no /dev/net/tun",
)


def ip(*words):
    subprocess.run(["ip", *words], check=True)


@pytest.fixture(scope="module")
def other_machine():
    """A network namespace, linked with the host's by a pair of interfaces."""
    name = f"thaw-e2e-{os.getpid()}"
    ip("netns", "add", name)
    server = None
    try:
        ip("link", "add", "thaw-e2e0", "type", "veth", "peer", "name", "thaw-e2e1", "netns", name)
        ip("addr", "add", f"{HOST}/30", "dev", "thaw-e2e0")
        ip("link", "set", "thaw-e2e0", "up")
        ip("-n", name, "addr", "add", f"{OTHER}/30", "dev", "thaw-e2e1")
        ip("-n", name, "link", "set", "thaw-e2e1", "up")
        command = ["ip", "netns", "exec", name, sys.executable, "-c", SERVER]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout.readline() == "ready\n"
        yield f"http://{OTHER}:8000/"
    finally:
        if server is not None:
            server.kill()
            server.wait()
        ip("netns", "delete", name)


@contextlib.contextmanager
def host_server(address):
    """A server of the host itself."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"a secret of the host")

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer((address, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def ask(function, **event):
    path = f"/2015-03-31/functions/{function.name}/invocations"
    answer = function.daemon.request("POST", path, data=json.dumps(event))
    assert answer.status_code == 200 and "X-Amz-Function-Error" not in answer.headers, answer.text
    return answer.json()


def egress_processes(daemon):
    spawners = set(daemon.spawner_processes())
    return [
        pid
        for parent in spawners
        for pid in harness.children_of(parent)
        if harness.read(f"/proc/{pid}/comm").strip() == "slirp4netns"
    ]


def test_a_function_with_egress_reaches_another_machine(deploy, other_machine):
    function = deploy("egress", egress="true", environment__AT_INIT=other_machine)
    assert ask(function, url=other_machine) == f"hello {HOST}"
    assert ask(function, first=True) == f"hello {HOST}"
    assert ask(function, udp=[OTHER, 8053]) == "PING"
    assert ask(function, read="/etc/resolv.conf").startswith("nameserver 10.0.2.3\n")


def test_it_reaches_addresses_of_the_host_but_nothing_of_its_loopback(deploy, other_machine):
    function = deploy("egress", egress="true")
    with host_server(HOST) as port:
        assert ask(function, url=f"http://{HOST}:{port}/") == "a secret of the host"
    with host_server("127.0.0.1") as port:
        for address in (GATEWAY, "127.0.0.1", HOST, "10.0.2.100"):
            assert "secret" not in ask(function, url=f"http://{address}:{port}/"), address


def test_a_function_without_egress_reaches_nobody(deploy, other_machine):
    function = deploy("egress", environment__AT_INIT=other_machine)
    for url in (other_machine, f"http://{GATEWAY}:8000/"):
        assert "Network is unreachable" in ask(function, url=url)
    assert "unreachable" in ask(function, first=True)
    began = time.monotonic()
    assert "Error" in ask(function, url="http://name.example/")
    assert time.monotonic() - began < harness.HANG_S
    assert "unreachable" in ask(function, udp=[OTHER, 8053])


def test_the_way_out_ends_with_its_environment_and_with_the_daemon(serve, other_machine):
    daemon = serve()
    function = daemon.deploy(harness.FUNCTIONS / "egress", "out", egress="true")
    assert ask(function, url=other_machine) == f"hello {HOST}"
    assert len(egress_processes(daemon)) == 1
    harness.wait_for(lambda: function.environments("frozen"), "the environment to freeze")
    assert ask(function, url=other_machine) == f"hello {HOST}"
    function.delete()
    harness.wait_for(lambda: not egress_processes(daemon), "the process to go with its environment")
    function = daemon.deploy(harness.FUNCTIONS / "egress", "out", egress="true")
    assert ask(function, url=other_machine) == f"hello {HOST}"
    (left,) = egress_processes(daemon)
    daemon.kill()
    harness.wait_for(lambda: not os.path.exists(f"/proc/{left}"), "the process to go with the daemon")
    daemon.assert_nothing_left()


def test_an_environment_that_loses_its_way_out_is_replaced(serve, other_machine):
    daemon = serve()
    function = daemon.deploy(harness.FUNCTIONS / "egress", "cut", egress="true")
    assert ask(function, url=other_machine) == f"hello {HOST}"
    (before,) = egress_processes(daemon)
    os.kill(before, signal.SIGKILL)
    harness.wait_for(lambda: not function.environments(), "the environment to end")
    assert ask(function, url=other_machine) == f"hello {HOST}"
    assert egress_processes(daemon) != [before]


def test_the_process_can_do_little(serve, other_machine):
    daemon = serve()
    function = daemon.deploy(harness.FUNCTIONS / "egress", "held", egress="true")
    mounts = harness.read("/proc/self/mountinfo")
    assert ask(function, url=other_machine) == f"hello {HOST}"
    (pid,) = egress_processes(daemon)
    status = dict(line.split(":\t") for line in harness.read(f"/proc/{pid}/status").splitlines() if ":\t" in line)
    # Ports below 1024 alone; and a filter.
    assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == 1 << 10
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    assert not os.path.exists(f"/proc/{pid}/root/usr") and not os.path.exists(f"/proc/{pid}/root/root")
    sockets = [fd for fd in os.listdir(f"/proc/{pid}/fd") if "socket" in os.readlink(f"/proc/{pid}/fd/{fd}")]
    assert len(sockets) < 8
    assert harness.read("/proc/self/mountinfo") == mounts


def test_egress_beside_a_snapshot_is_refused(daemon):
    done = daemon.run("deploy", harness.FUNCTIONS / "kit", "--name", "both", "--set", "egress=true", "--set", "snapshot=true")
    assert done.returncode == 1
    assert "egress and snapshot exclude each other" in done.stderr


def test_doctor_knows_whether_functions_can_have_it(daemon):
    checks = {check["name"]: check for check in json.loads(daemon.run("doctor", "--json").stdout)["checks"]}
    assert (checks["egress"]["finding"], checks["egress"]["detail"]) == ("ok", "/usr/bin/slirp4netns")


def test_several_environments_have_ways_of_their_own(serve, other_machine):
    daemon = serve()
    function = daemon.deploy(harness.FUNCTIONS / "egress", "many", egress="true")
    results = []
    threads = [threading.Thread(target=lambda: results.append(ask(function, url=other_machine))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(harness.HANG_S)
    assert results == [f"hello {HOST}"] * 6
    assert len(egress_processes(daemon)) == len(function.environments())
