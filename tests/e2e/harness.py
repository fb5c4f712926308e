"""Starts the real daemon, speaks to it, and looks from outside at what it leaves in the machine."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import requests

SOURCE = pathlib.Path(__file__).resolve().parents[2]
FUNCTIONS = pathlib.Path(__file__).resolve().parent / "functions"
BINARIES = pathlib.Path(os.environ.get("THAW_BIN") or SOURCE / "build" / "release" / "bin").resolve()
THAW = BINARIES / "thaw"

# Bounds against hanging alone; nothing is measured with them.
HANG_S = 60

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
START_LINE = re.compile(rf"^START RequestId: ({UUID}) Version: \$LATEST$", re.M)
END_LINE = re.compile(rf"^END RequestId: ({UUID})$", re.M)
REPORT_LINE = re.compile(
    rf"^REPORT RequestId: (?P<id>{UUID})\tDuration: (?P<duration>\d+\.\d\d) ms\tBilled Duration: (?P<billed>\d+) ms\t"
    r"Memory Size: (?P<size>\d+) MB\tMax Memory Used: (?P<used>\d+) MB\t"
    r"(?:Init Duration: (?P<init>\d+\.\d\d) ms\t)?(?:Status: (?P<status>\w+))?(?:\tError Type: (?P<error>[\w.]+))?$",
    re.M,
)


def wait_for(condition, what, timeout_s=HANG_S, every_s=0.02):
    """What condition() gives once that is true."""
    until = time.monotonic() + timeout_s
    while True:
        if value := condition():
            return value
        if time.monotonic() > until:
            raise AssertionError(f"waited {timeout_s} s for: {what}")
        time.sleep(every_s)


def read(path):
    """The text of a file of /proc or /sys that may vanish at any time."""
    try:
        return pathlib.Path(path).read_text(errors="replace")
    except OSError:
        return ""


def processes():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def children_of(pid):
    children = []
    for child in processes():
        stat = read(f"/proc/{child}/stat")
        if stat and int(stat.rsplit(")", 1)[1].split()[1]) == pid:
            children.append(child)
    return children


def rss_kb(pid):
    match = re.search(r"^VmRSS:\s+(\d+)", read(f"/proc/{pid}/status"), re.M)
    return int(match[1]) if match else 0


def anonymous_kb(pid):
    """What the process holds for itself alone, beside the files that it maps."""
    match = re.search(r"^RssAnon:\s+(\d+)", read(f"/proc/{pid}/status"), re.M)
    return int(match[1]) if match else 0


def pss_kb(pid):
    """What the process takes of the machine's memory; pages that several share count in parts."""
    match = re.search(r"^Pss:\s+(\d+)", read(f"/proc/{pid}/smaps_rollup"), re.M)
    return int(match[1]) if match else 0


def cpu_s(pid):
    stat = read(f"/proc/{pid}/stat")
    if not stat:
        return 0.0
    fields = stat.rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def function_of(pid):
    """The name of the function whose process this is; empty for any other."""
    for variable in read(f"/proc/{pid}/environ").split("\0"):
        if variable.startswith("AWS_LAMBDA_FUNCTION_NAME="):
            return variable.partition("=")[2]
    return ""


class Daemon:
    """`thaw serve` with a data folder of its own."""

    def __init__(self, data=None, **flags):
        self.owned = data is None
        self.data = pathlib.Path(data or tempfile.mkdtemp(prefix="thaw-e2e-"))
        self.flags = flags
        self.process = None
        self.port = None
        self.cgroup = None
        fd, path = tempfile.mkstemp(prefix="thaw-e2e-", suffix=".log")
        os.close(fd)
        self.log_path = pathlib.Path(path)
        self.http = requests.Session()
        self.http.trust_env = False

    # ---- Its life

    def environment(self):
        # The daemon takes every THAW_ variable for configuration.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("THAW_")}
        return {**kept, "THAW_DATA": str(self.data), "THAW_CONFIG": "/dev/null", "NO_COLOR": "1"}

    def command(self):
        flags = {"listen": "127.0.0.1:0", **self.flags}
        words = [str(THAW), "serve", "--data", str(self.data)]
        for name, value in flags.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        return words

    def start(self):
        offset = self.log_path.stat().st_size
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

        def started():
            match = re.search(r"serves (\d+) functions? on http://\S+:(\d+) ", self.log()[offset:])
            if match is None and self.process.poll() is not None:
                raise AssertionError(f"thaw serve ended with {self.process.returncode}:\n{self.log()}")
            return match

        match = wait_for(started, "the daemon's start line")
        self.functions_at_start, self.port = int(match[1]), int(match[2])
        keeper = wait_for(lambda: children_of(self.process.pid), "the spawner")[0]
        self.cgroup = re.search(r"--cgroup-name=([\w-]+)", read(f"/proc/{keeper}/cmdline"))[1]
        return self

    def stop(self):
        """Ends it in good order; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(HANG_S)

    def kill(self):
        self.process.kill()
        self.process.wait(HANG_S)

    def close(self):
        """Whatever happened: afterwards nothing is left."""
        self.http.close()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(45)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(HANG_S)
        self.log_path.unlink(missing_ok=True)
        # The memory of models outlives the daemon, on purpose.
        subprocess.run(["umount", self.data / "memory"], stderr=subprocess.DEVNULL, check=False)
        if self.owned:
            shutil.rmtree(self.data, ignore_errors=True)

    def log(self):
        return self.log_path.read_text(errors="replace")

    # ---- What belongs to it

    def spawner_processes(self):
        """The keeper, the spawner, and the environments that the spawner has prepared ahead."""
        found, todo = [], [self.process.pid]
        while todo:
            for child in children_of(todo.pop()):
                if read(f"/proc/{child}/comm").startswith("thaw-spawner"):
                    found.append(child)
                    todo.append(child)
        return found

    def cgroup_folders(self):
        found = []
        for root, folders, _ in os.walk("/sys/fs/cgroup"):
            if os.path.basename(root) == self.cgroup:
                found.append(pathlib.Path(root))
                folders.clear()
        return found

    def group_processes(self):
        """Every process in the daemon's cgroups."""
        return [pid for pid in processes() if f"/{self.cgroup}/" in read(f"/proc/{pid}/cgroup")]

    def function_processes(self, name=None):
        found = []
        for pid in self.group_processes():
            function = function_of(pid)
            if function and name in (None, function):
                found.append(pid)
        return found

    def assert_nothing_left(self):
        """No process, cgroup or mount of a daemon that has ended."""
        wait_for(lambda: not self.group_processes(), "the last process to be gone", 15)
        wait_for(lambda: not self.cgroup_folders(), "the cgroups to be gone", 15)
        self.assert_no_mounts()

    def assert_no_mounts(self):
        """But for the memory of models, which outlives it on purpose."""
        mounts = [line.split()[4] for line in read("/proc/self/mountinfo").splitlines()]
        assert [place for place in mounts if place.startswith(f"{self.data}/")] in ([], [f"{self.data}/memory"])

    # ---- Speaking to it

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def request(self, method, path, **options):
        options.setdefault("timeout", HANG_S)
        options.setdefault("allow_redirects", False)
        return self.http.request(method, self.url + path, **options)

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=HANG_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def raw(self, request):
        """Everything that comes back on a connection until its end."""
        with self.connect() as connection:
            try:
                connection.sendall(request)
            except OSError:
                pass  # refused while it was still being sent; the answer may be here all the same
            received = b""
            try:
                while piece := connection.recv(65536):
                    received += piece
            except ConnectionResetError:
                pass
            return received

    def run(self, *words, **options):
        options.setdefault("timeout", HANG_S)
        return subprocess.run(
            [str(THAW), *map(str, words)], env=self.environment(), capture_output=True, text=True, **options
        )

    def json(self, *words):
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def status(self):
        return self.get("/thaw/v1/status").json()

    def deploy(self, path, name, **settings):
        words = ["deploy", path, "--name", name]
        for key, value in settings.items():
            words += ["--set", f"{key.replace('__', '.')}={value}"]
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return Function(self, name)


class Function:
    """A deployed function."""

    def __init__(self, daemon, name):
        self.daemon, self.name = daemon, name
        self.path = f"/fn/{name}"

    def request(self, method, path="/", **options):
        return self.daemon.request(method, self.path + path, **options)

    def get(self, path="/", **options):
        return self.request("GET", path, **options)

    def log(self):
        return self.daemon.get(f"/thaw/v1/functions/{self.name}/logs?bytes=1000000").text

    def wait_log(self, text):
        """Its log once it holds text: output goes through a pipe."""
        return wait_for(lambda: text in self.log() and self.log(), f"{text!r} in the log of {self.name}", 15)

    def reports(self, count):
        """The REPORT lines once there are so many; they are written after the answer."""
        wait_for(lambda: len(REPORT_LINE.findall(self.log())) >= count, f"{count} REPORT lines", 15)
        return [match.groupdict() for match in REPORT_LINE.finditer(self.log())]

    def view(self):
        return self.daemon.get(f"/2015-03-31/functions/{self.name}").json()["Thaw"]

    def environments(self, *states):
        return [one for one in self.view()["Environments"] if not states or one["State"] in states]

    def processes(self):
        return self.daemon.function_processes(self.name)

    def delete(self):
        return self.daemon.request("DELETE", f"/2015-03-31/functions/{self.name}")


def read_response(stream):
    """One response with Content-Length or no body, off a file of a socket: status, headers, body."""
    line = stream.readline()
    if not line:
        return None
    status = int(line.split()[1])
    headers = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = b""
    if status >= 200 and status not in (204, 304):
        body = stream.read(int(headers.get("content-length", 0)))
    return status, headers, body


def assert_error(response, status, kind, code=None):
    """A Thaw error as its callers get it; its message."""
    assert response.status_code == status, response.text
    body = response.json()
    assert body["kind"] == kind
    assert body.get("code") == code
    assert re.fullmatch(UUID, body["requestId"])
    assert response.headers["x-amzn-requestid"] == body["requestId"]
    assert set(body) <= {"kind", "code", "message", "requestId"}
    assert "secret" not in response.text
    return body["message"]
