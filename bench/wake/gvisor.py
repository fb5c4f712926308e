"""The peer: the same server in gVisor, checkpointed and restored with Debian's runsc.

How it runs (runsc 0.0~20221219, the one in Debian 12), found by trying:

- `--platform=ptrace`: without /dev/kvm this version has no other.
- `--network=sandbox` in a network namespace made here, with a veth pair: gVisor's own TCP stack takes the address off the
  interface and answers at it, so the first answer can be timed from outside. (`--network=host` cannot be checkpointed.)
- runsc believes to be in the root network namespace where /proc/sys/net/core/rmem_default exists, which since Linux 6.x
  is in every one: its processes get a mount namespace with a /proc/sys of two files.
- No connection may be left in TIME_WAIT when the checkpoint is made ("endpoint cannot be saved in connected state"):
  who looks whether the server is up closes first and asks nothing.
- A listener that somebody waits for with epoll cannot be checkpointed ("endpoint still has waiters upon save"). Servers
  that can wait with poll or in accept are compared; for the others (thaw-onnx, Node) the output says so.
- The root is a read-only bind of the host's /, the package a bind at /mnt, as a function in Thaw sees the host's /usr.

The clock starts before `runsc restore --detach` is executed and stops at the first byte of the answer. The network
namespace stands already, with the address set and the neighbour known, and connections are tried from the moment that
runsc says that the container runs.
"""

import json
import os
import shutil
import socket
import subprocess
import time

import harness
from functions import PEER_PORT

OUTER, INNER = "198.18.77.1", "198.18.77.2"  # of the block for benchmarks (RFC 2544)
START_WAIT_S = 60
FLAGS = ("--platform=ptrace", "--network=sandbox", "--ignore-cgroups")
HIDE_SYSCTL = """
set -e
zero=$(cat /proc/sys/vm/mmap_min_addr) last=$(cat /proc/sys/kernel/cap_last_cap)
mount -t tmpfs none /proc/sys
mkdir /proc/sys/vm /proc/sys/kernel
echo "$zero" >/proc/sys/vm/mmap_min_addr
echo "$last" >/proc/sys/kernel/cap_last_cap
mount --bind / "$1"
mount -o remount,bind,ro "$1"
echo ready
read -r _ || true
"""


def _run(*words):
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise harness.BenchError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()[-6000:]}")
    return done.stdout


class Gvisor:
    """One function's server in runsc. Leaves no container, namespace, mount or interface."""

    @staticmethod
    def lacks():
        """What is missing to compare with gVisor; empty when it can be tried."""
        for name, package in (("runsc", "runsc"), ("ip", "iproute2"), ("unshare", "util-linux")):
            if shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin") is None:
                return f"{name} is missing: apt-get install {package}"
        return ""

    def __init__(self, folder, function):
        self.folder = os.path.join(folder, f"runsc-{function.name}")
        self.function = function
        self.name = f"thawb{os.getpid()}"
        self.keeper = None

    def __enter__(self):
        for part in ("bundle/rootfs", "state", "image"):
            os.makedirs(os.path.join(self.folder, part))
        try:
            self._make_network()
            # A process that holds the mount namespace; it ends with its standard input.
            self.keeper = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-c", HIDE_SYSCTL, "sh",
                 os.path.join(self.folder, "bundle/rootfs")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if (line := self.keeper.stdout.readline()) != "ready\n":
                raise harness.BenchError(f"no mount namespace for runsc: {line.strip()}")
            with open(os.path.join(self.folder, "bundle/config.json"), "w", encoding="utf-8") as file:
                json.dump(self._config(), file)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.keeper is not None:
            for name in ("original", "restored"):
                self._delete(name)
            self.keeper.stdin.close()
            self.keeper.wait()
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)
        subprocess.run(["ip", "link", "del", self.name + "a"], capture_output=True)

    def _make_network(self):
        _run("ip", "netns", "add", self.name)
        _run("ip", "link", "add", self.name + "a", "type", "veth", "peer", "name", self.name + "b")
        _run("ip", "link", "set", self.name + "b", "netns", self.name)
        _run("ip", "addr", "add", OUTER + "/30", "dev", self.name + "a")
        _run("ip", "link", "set", self.name + "a", "up")
        _run("ip", "-n", self.name, "link", "set", "lo", "up")
        _run("ip", "-n", self.name, "link", "set", self.name + "b", "up")
        link = json.loads(_run("ip", "-n", self.name, "-json", "link", "show", self.name + "b"))
        _run("ip", "neigh", "replace", INNER, "lladdr", link[0]["address"], "dev", self.name + "a", "nud", "permanent")

    def _give_address(self):
        """runsc takes the address off the interface with each start."""
        subprocess.run(["ip", "-n", self.name, "addr", "add", INNER + "/30", "dev", self.name + "b"], capture_output=True)

    def _config(self):
        return {
            "ociVersion": "1.0.2",
            "process": {"user": {"uid": 0, "gid": 0}, "args": self.function.peer_command, "cwd": "/mnt",
                        "env": ["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "LANG=C.UTF-8", "PYTHONUNBUFFERED=1",
                                f"PORT={PEER_PORT}", "BIND=0.0.0.0"]},
            "root": {"path": "rootfs", "readonly": True},
            "hostname": "peer",
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                       {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                       {"destination": "/sys", "type": "sysfs", "source": "sysfs"},
                       {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
                       {"destination": "/mnt", "type": "bind", "source": self.function.package, "options": ["ro"]}],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")] +
                      [{"type": "network", "path": f"/run/netns/{self.name}"}]},
        }

    def _command(self, *words):
        return ["nsenter", "-t", str(self.keeper.pid), "--mount", "runsc", "--root", os.path.join(self.folder, "state"),
                *FLAGS, *words]

    def _bundle(self):
        return ("--bundle", os.path.join(self.folder, "bundle"))

    def _image(self):
        return f"--image-path={os.path.join(self.folder, 'image')}"

    def _start(self, *words):
        # Its output goes to a file: the container's server inherits it and lives on.
        with open(os.path.join(self.folder, "output"), "ab") as output:
            done = subprocess.run(self._command(*words), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        if done.returncode != 0:
            raise harness.BenchError(f"runsc {words[0]}: {self.output_tail()}")

    def output_tail(self):
        with open(os.path.join(self.folder, "output"), encoding="utf-8", errors="replace") as file:
            return file.read()[-800:].strip()

    def _delete(self, name):
        subprocess.run(self._command("kill", "--all", name, "KILL"), capture_output=True, stdin=subprocess.DEVNULL)
        subprocess.run(self._command("delete", "--force", name), capture_output=True, stdin=subprocess.DEVNULL)

    def _connect(self, wait_s):
        deadline = time.monotonic() + wait_s
        while True:
            connection = socket.socket()
            connection.settimeout(0.02)  # a lost SYN comes again after a second only
            try:
                connection.connect((INNER, PEER_PORT))
                connection.settimeout(30)
                return connection
            except OSError:
                connection.close()
                if time.monotonic() > deadline:
                    raise harness.BenchError(f"nobody listens in runsc: {self.output_tail()}") from None
                time.sleep(0.0005)

    def _ask(self, connection):
        """The moments of the answer's first and last byte."""
        connection.sendall(self.function.bytes_for(""))
        text = connection.recv(65536)
        first = time.perf_counter()
        while piece := connection.recv(65536):
            text += piece
        if not text.startswith(b"HTTP/1.1 20") or self.function.expected not in text:
            raise harness.BenchError(f"a wrong answer from runsc: {text[:300]!r}")
        return first, time.perf_counter()

    def checkpoint(self):
        """Starts the server and makes the checkpoint; its size."""
        self._give_address()
        self._start("run", "--detach", *self._bundle(), "original")
        self._connect(START_WAIT_S).close()
        time.sleep(0.3)  # the server has seen that the connection is closed
        try:
            _run(*self._command("checkpoint", self._image(), "original"))
        finally:
            self._delete("original")
        return sum(entry.stat().st_size for entry in os.scandir(os.path.join(self.folder, "image")))

    def restore(self):
        """One restore, in ms: until runsc says that it runs, and until the first and the last byte of an answer."""
        self._give_address()
        began = time.perf_counter()
        self._start("restore", "--detach", *self._bundle(), self._image(), "restored")
        running = time.perf_counter()
        with self._connect(START_WAIT_S) as connection:
            first, last = self._ask(connection)
        self._delete("restored")
        return {"running_ms": (running - began) * 1e3, "first_ms": (first - began) * 1e3, "last_ms": (last - began) * 1e3}
