"""What the benchmarks share: the daemon under test, figures of processes, the machine's description, tables.

Python's standard library only: the benchmarks run on a machine that has just been set up.
"""

import glob
import http.client
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OWN_PROGRAMS = ("thaw", "thaw-spawner", "thaw-pager")  # what else a daemon has for descendants belongs to an environment
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The benchmark cannot run, or an answer was wrong. The message is for the person who started it."""


def main(run):
    """Runs run() with root's rights and turns failures into one line."""
    if os.geteuid() != 0:
        sudo = shutil.which("sudo")
        if sudo is None:
            sys.exit("thaw serve makes sandboxes and needs root: run this as root, or install sudo")
        print("thaw serve needs root (namespaces, cgroups): asking sudo", file=sys.stderr)
        os.execv(sudo, [sudo, f"THAW_BIN={bin_folder()}", sys.executable, *sys.argv])
    # A stopped benchmark unwinds, so that it leaves nothing running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(run())
    except BenchError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def bin_folder():
    return os.environ.get("THAW_BIN") or os.path.join(ROOT, "build", "release", "bin")


def need_program(name, package):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if path is None:
        raise BenchError(f"{name} is missing: apt-get install {package}")
    return path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Folder:
    """A folder of its own for a run, that other users may pass through."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="thaw-bench-")
        os.chmod(self.path, 0o755)
        return self.path

    def __exit__(self, *_):
        # The memory of models outlives the daemon, on purpose.
        for memory in glob.glob(f"{self.path}/**/memory", recursive=True):
            subprocess.run(["umount", memory], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.path, ignore_errors=True)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon:
    """`thaw serve` on a free port of loopback. `url` is where it listens."""

    def __init__(self, data, flags=()):
        self.data = data
        self.flags = list(flags)
        self.thaw = os.path.join(bin_folder(), "thaw")
        if not os.access(self.thaw, os.X_OK):
            raise BenchError(f"{self.thaw} is missing: build it with ./dev build release")
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self.log_path = self.data + ".log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("THAW_")}
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [self.thaw, "serve", "--listen", "127.0.0.1:0", "--data", self.data, *self.flags],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + 60
        while True:
            text = self.log_text()
            found = re.search(r"serves .* on (http://127\.0\.0\.1:(\d+))", text)
            if found:
                self.url, self.port = found.group(1), int(found.group(2))
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise BenchError("thaw serve did not start:\n" + text)
            time.sleep(0.005)

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def log_text(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def control(self):
        return UnixConnection(os.path.join(self.data, "control.sock"))

    def cli(self, *arguments):
        done = subprocess.run([self.thaw, "--socket", os.path.join(self.data, "control.sock"), *arguments],
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise BenchError(f"thaw {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def processes(self):
        """Every process of Thaw's own and of its environments, by pid: {pid: name}."""
        return descendants(self.process.pid)

    def own_pids(self):
        """The server half and the spawner; not what runs inside environments."""
        return [pid for pid, name in self.processes().items() if name in OWN_PROGRAMS]


# ---- Processes -------------------------------------------------------------------------------------------------------


def _stat(pid):
    """Name and the fields of /proc/PID/stat from `state` on (proc(5)); None when the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()


def descendants(root):
    parents, names = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = _stat(entry)
            if stat is not None:
                names[int(entry)], parents[int(entry)] = stat[0], int(stat[1][1])
    found = {}
    for pid in names:
        at = pid
        while at not in (0, root):
            at = parents.get(at, 0)
        if at == root:
            found[pid] = names[pid]
    return found


def cpu_s(pids):
    """CPU time of the processes with all their threads, user and system, in seconds."""
    total = 0
    for pid in pids:
        stat = _stat(pid)
        if stat is not None:
            total += int(stat[1][11]) + int(stat[1][12])
    return total / TICKS_PER_S


def pss_bytes(pid):
    """Proportional set size: shared pages count by their share."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Pss:")) << 10


# ---- Words and tables ------------------------------------------------------------------------------------------------


def machine():
    model = "unknown CPU"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(),
            "load_before": round(os.getloadavg()[0], 2), "utc": time.strftime("%Y-%m-%d %H:%M", time.gmtime())}


def machine_line(about):
    return (f"{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, {about['utc']} UTC, "
            f"load average before {about['load_before']}")


def version_of(command, pattern):
    """The first match of the pattern in what the command says about itself."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return "missing"
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else "unknown"


def thaw_version():
    version = version_of([os.path.join(bin_folder(), "thaw"), "--version"], r"thaw (\S+)")
    commit = version_of(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], r"^([0-9a-f]{7,})$")
    return f"{version} ({commit})" if commit not in ("missing", "unknown") else version


def median(values):
    return statistics.median(values)


def spread(values):
    """Lowest, median and highest of the rounds."""
    return min(values), median(values), max(values)


def table(rows):
    """Lines of text, the first column to the left and the others to the right; rows[0] is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def print_json(value):
    print(json.dumps(value, indent=2))
