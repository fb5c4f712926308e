#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <future>
#include <thread>

#include "fixture.h"

namespace thaw::sandbox {
namespace {

class Environment : public SpawnerFixture {
 protected:
  Result<Started> start_with_egress() {
    auto pipe = sys::pipe();
    EnvironmentSpec spec = make_spec({"/bin/true"}, {}, std::move(pipe->write_end));
    spec.egress = true;
    std::promise<Result<Started>> promise;
    host_->start(std::move(spec), [&](Result<Started> started) { promise.set_value(std::move(started)); });
    return promise.get_future().get();
  }

  Running start_with_runtime_api(const char* python) {
    auto pipe = sys::pipe();
    EnvironmentSpec spec = make_spec({"python3", "-c", python}, {}, std::move(pipe->write_end));
    spec.runtime_api_port = 9001;
    Running running{.id = spec.id, .output = std::move(pipe->read_end)};
    std::promise<Result<Started>> promise;
    host_->start(std::move(spec), [&](Result<Started> started) { promise.set_value(std::move(started)); });
    auto started = promise.get_future().get();
    EXPECT_TRUE(started.ok()) << started.error().message;
    if (started.ok()) running.started = std::move(*started);
    return running;
  }
};

std::string http_exchange(const UniqueFd& socket, const std::string& request) {
  if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return "send failed";
  std::string answer;
  for (;;) {
    pollfd watched{.fd = socket.get(), .events = POLLIN};
    if (::poll(&watched, 1, 5000) <= 0) return answer + " (timeout)";
    char bytes[4096];
    const ssize_t size = ::recv(socket.get(), bytes, sizeof(bytes), 0);
    if (size <= 0) return answer;
    answer.append(bytes, static_cast<std::size_t>(size));
  }
}

std::string http_get(const UniqueFd& socket, const std::string& path) {
  return http_exchange(socket, "GET " + path + " HTTP/1.0\r\n\r\n");
}

TEST_F(Environment, PythonServerAnswersThroughAHandedOverSocket) {
  const Running server = start({"/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "8080"});
  ASSERT_EQ(server.started.sockets.size(), 1u);
  const Status connected = connect_within(server.started.sockets[0], 8080, kPatience);
  ASSERT_TRUE(connected.ok()) << connected.error().message;
  EXPECT_NE(http_get(server.started.sockets[0], "/hello.txt").find("hello from the package"), std::string::npos);
  host_->destroy(server.id);
  EXPECT_EQ(wait_exit(server.id).reason, ExitReason::destroyed);
}

TEST_F(Environment, EgressWithoutItsProgramIsRefusedByName) {
  host_.reset();
  egress_program_ = "/no/such/program";
  launch();
  const auto missing = start_with_egress();
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().kind, ErrorKind::unsupported);
  EXPECT_NE(missing.error().message.find("apt-get install slirp4netns"), std::string::npos) << missing.error().message;
}

TEST_F(Environment, EgressThatDoesNotComeUpFailsTheStart) {
  host_.reset();
  egress_program_ = "/bin/false";
  launch();
  const auto failed = start_with_egress();
  ASSERT_FALSE(failed.ok());
  EXPECT_NE(failed.error().message.find("egress"), std::string::npos) << failed.error().message;
}

TEST_F(Environment, ASpawnerThatFollowsAtOnceKeepsItsGroups) {
  for (int round = 0; round < 10; ++round) {
    const Running before = start({"/bin/sleep", "1000"});
    host_.reset();  // its spawner goes on ending what it has
    launch();
    EXPECT_EQ(run({"/bin/echo", "here"}), "here\n") << round;
  }
}

TEST_F(Environment, FunctionIsPidTwoOfItsOwnNamespaces) {
  EXPECT_EQ(run({"/bin/sh", "-c", "echo $$ $PPID $(hostname) $GREETING; pwd; cat hello.txt"}),
            "2 1 function hello\n/var/task\nhello from the package\n");
  EXPECT_EQ(exit_.reason, ExitReason::exited);
  EXPECT_EQ(exit_.code, 0);
  // Of the machine's processes it sees none.
  EXPECT_EQ(run_python("import os; print(sorted(int(p) for p in os.listdir('/proc') if p.isdigit() and p != '1'))"),
            "[2]\n");
}

TEST_F(Environment, HostFilesAreOutOfSight) {
  EXPECT_EQ(run_python(R"(
import os
print(sorted(set(os.listdir('/')) - {'lib32', 'libx32'}))
for path in ('/root', '/home', '/run', '/mnt', '/etc/shadow', '/etc/ssh', '/sys/fs', '/dev/sda', '/dev/vda', '/boot'):
    if os.path.exists(path): print('sees', path)
for path in ('/', '/usr/x', '/etc/x', '/var/task/x', '/var/x', '/dev/x', '/opt/x', '/proc/sys/kernel/hostname'):
    try:
        open(path if path != '/' else '/x', 'w'); print('wrote', path)
    except OSError: pass
for path in ('/proc/kallsyms', '/proc/keys', '/proc/kcore', '/proc/cmdline'):
    try: print('read', path, len(open(path).read(10))) if open(path).read(10) else None
    except OSError: pass
)"),
            "['bin', 'dev', 'etc', 'lib', 'lib64', 'opt', 'proc', 'sbin', 'sys', 'thaw-stub', 'tmp', 'usr', 'var']\n");
}

TEST_F(Environment, MountsAreReadOnlyAndWithoutSetUid) {
  EXPECT_EQ(run_python(R"(
for line in open('/proc/self/mountinfo'):
    w = line.split(); point, options = w[4], w[5].split(',')
    if point in ('/', '/usr', '/var/task', '/proc/sys') and 'ro' not in options: print('writable', line)
    if 'nosuid' not in options: print('suid', line)
    if point not in ('/dev', ) and 'nodev' not in options and not point.startswith('/proc/'): print('dev', line)
)"),
            "");
}

TEST_F(Environment, NetworkIsItsOwnLoopback) {
  EXPECT_EQ(run_python(R"(
import socket, os
print([n for _, n in socket.if_nameindex()])
s = socket.create_server(('127.0.0.1', 0)); c = socket.create_connection(s.getsockname()); print('loopback')
try: socket.create_connection(('192.0.2.1', 80), 1); print('outside')
except OSError as e: print(e.strerror)
)"),
            "['lo']\nloopback\nNetwork is unreachable\n");
}

TEST_F(Environment, HasNoPrivileges) {
  EXPECT_EQ(run_python(R"(
import os
status = dict(l.split(':', 1) for l in open('/proc/self/status'))
print([status[k].strip() for k in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')] == ['0' * 16] * 5)
print(status['NoNewPrivs'].strip(), status['Seccomp'].strip(), repr(status['Groups'].strip()))
print(len(set(status['Uid'].split())), len(set(status['Gid'].split())), os.getuid() >= 1900000000)
import pwd; print(pwd.getpwuid(os.getuid()).pw_dir)
print(sorted(os.listdir('/proc/self/fd')))
print(oct(os.umask(0)))
)"),
            "True\n1 2 ''\n1 1 True\n/tmp\n['0', '1', '2', '3']\n0o22\n");  // 3: the listing itself
}

TEST_F(Environment, RefusesForbiddenCalls) {
  EXPECT_EQ(run_python(R"(
import ctypes, errno, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(name, number, *arguments):
    result = libc.syscall(number, *arguments)
    print(name, errno.errorcode[ctypes.get_errno()] if result < 0 else 'allowed')
call('mount', 165, 0, 0, 0, 0, 0)
call('unshare', 272, 0x10000000)
call('setns', 308, 0, 0)
call('bpf', 321, 0, 0, 0)
call('keyctl', 250, 0, 0)
call('io_uring_setup', 425, 1, 0)
call('clone3', 435, 0, 0)
call('clone newuser', 56, 0x10000000 | 17, 0, 0, 0, 0)
call('userfaultfd', 323, 0)
call('a call of the future', 4000)
call('an x32 call', 0x40000000 | 39)
for family in (17, 38, 40, 44):
    try: socket.socket(family, socket.SOCK_DGRAM); print('family', family)
    except OSError as e: print(errno.errorcode[e.errno])
)"),
            "mount EPERM\nunshare EPERM\nsetns EPERM\nbpf EPERM\nkeyctl EPERM\nio_uring_setup ENOSYS\nclone3 ENOSYS\n"
            "clone newuser EPERM\nuserfaultfd EPERM\na call of the future ENOSYS\nan x32 call ENOSYS\n"
            "EAFNOSUPPORT\nEAFNOSUPPORT\nEAFNOSUPPORT\nEAFNOSUPPORT\n");
}

TEST_F(Environment, CannotTouchItsPidOne) {
  EXPECT_EQ(run_python(R"(
import os, signal
for path in ('/proc/1/mem', '/proc/1/environ', '/proc/1/fd'):
    try: os.listdir(path) if path.endswith('fd') else open(path, 'rb').read(1); print('opened', path)
    except OSError: pass
os.kill(1, signal.SIGKILL); print('alive')
)"),
            "alive\n");
}

TEST_F(Environment, TmpIsBoundedAndItsOwn) {
  EXPECT_EQ(run_python(R"(
import errno, os
written = 0
try:
    with open('/tmp/big', 'wb', buffering=0) as f:
        while written < 64 << 20: written += f.write(b'x' * (1 << 20))
except OSError as e: print(errno.errorcode[e.errno], written >> 20)
print(os.readlink('/var/tmp'), sorted(os.listdir('/tmp')))
)"),
            "ENOSPC 8\n/tmp ['big']\n");
  EXPECT_EQ(run({"/bin/ls", "/tmp"}), "");
}

TEST_F(Environment, ExceedingMemoryIsToldApart) {
  run_python("b = bytearray(400 << 20)", {.memory_bytes = 64ULL << 20});
  EXPECT_EQ(exit_.reason, ExitReason::out_of_memory);
}

TEST_F(Environment, PagesOfTmpCountAsItsMemory) {
  run_python("open('/tmp/big', 'wb').write(b'x' * (200 << 20))",
             {.memory_bytes = 64ULL << 20, .tmp_bytes = 512ULL << 20});
  EXPECT_EQ(exit_.reason, ExitReason::out_of_memory);
}

TEST_F(Environment, ForkBombStaysWithinItsBound) {
  const std::string count = run_python(R"(
import os
n = 0
try:
    while True:
        if os.fork() == 0:
            import time; time.sleep(60); os._exit(0)
        n += 1
except OSError as e: print(n, e.errno)
)",
                                       {.pids_max = 20});
  EXPECT_EQ(count.substr(0, 5), "19 11");
}

TEST_F(Environment, ExitCodeAndSignalAreReported) {
  run({"/bin/sh", "-c", "exit 42"});
  EXPECT_EQ(exit_.reason, ExitReason::exited);
  EXPECT_EQ(exit_.code, 42);
  run({"/bin/sh", "-c", "kill -SEGV $$"});
  EXPECT_EQ(exit_.reason, ExitReason::signaled);
  EXPECT_EQ(exit_.code, 11);
}

TEST_F(Environment, OrphansAreReapedAndDieWithTheFunction) {
  EXPECT_EQ(
      run({"/bin/sh", "-c", "(sleep 0.05; sleep 100) & sleep 0.2; ls -d /proc/[0-9]* | wc -l >&2; exit 0"}).empty(),
      false);
  EXPECT_TRUE(eventually([&] { return host_processes().empty(); }));
}

TEST_F(Environment, SignalsToPidOneReachTheFunction) {
  const Running function =
      start({"/bin/sh", "-c", "trap 'echo term; exit 7' TERM; echo up; while :; do sleep 0.05; done"});
  char bytes[3];
  ASSERT_EQ(::read(function.output.get(), bytes, sizeof(bytes)), 3);
  ASSERT_FALSE(host_processes().empty());
  ::kill(host_processes().front(), SIGTERM);
  EXPECT_EQ(read_all(function), "term\n");
  EXPECT_EQ(wait_exit(function.id).code, 7);
}

TEST_F(Environment, CommandThatIsMissingFailsTheStart) {
  const auto missing = try_start({"no-such-program"});
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, "Function.ExecFailed");
  EXPECT_NE(missing.error().message.find("No such file"), std::string::npos) << missing.error().message;
  const auto folder = try_start({"/usr"});
  ASSERT_FALSE(folder.ok());
  EXPECT_NE(folder.error().message.find("Permission denied"), std::string::npos) << folder.error().message;
  // And the next one works.
  EXPECT_EQ(run({"echo", "found", "by", "PATH"}), "found by PATH\n");
}

TEST_F(Environment, FreezingStopsAndThawingContinues) {
  const Running busy = start({"/bin/sh", "-c", "while :; do :; done"});
  const std::vector<pid_t> pids = host_processes();
  ASSERT_EQ(pids.size(), 2u);
  ASSERT_TRUE(eventually([&] { return cpu_time_us(pids[1]) > 10'000; }));
  ASSERT_TRUE(busy.started.controls->freeze().ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const std::uint64_t frozen_at = cpu_time_us(pids[1]);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(cpu_time_us(pids[1]), frozen_at);
  ASSERT_TRUE(busy.started.controls->thaw().ok());
  EXPECT_TRUE(eventually([&] { return cpu_time_us(pids[1]) > frozen_at + 10'000; }));
}

TEST_F(Environment, FrozenOneCanBeDestroyed) {
  const Running busy = start({"/bin/sh", "-c", "while :; do :; done"});
  ASSERT_TRUE(busy.started.controls->freeze().ok());
  host_->destroy(busy.id);
  EXPECT_EQ(wait_exit(busy.id).reason, ExitReason::destroyed);
  EXPECT_FALSE(busy.started.controls->thaw().ok());
}

TEST_F(Environment, ThrottlingHoldsItToItsShare) {
  const Running busy = start({"/bin/sh", "-c", "while :; do :; done"}, {.cpu_milli = 100});
  const pid_t pid = host_processes().at(1);
  ASSERT_TRUE(busy.started.controls->throttle().ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const std::uint64_t before = cpu_time_us(pid);
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const std::uint64_t used = cpu_time_us(pid) - before;
  EXPECT_LT(used, 160'000u);
  EXPECT_GT(used, 20'000u);
}

TEST_F(Environment, MemoryPeakIsItsOwn) {
  const Running function = start(
      {"/usr/bin/python3", "-c", "b = bytearray(100 << 20); print('up', flush=True); import time; time.sleep(60)"});
  char bytes[3];
  ASSERT_EQ(::read(function.output.get(), bytes, sizeof(bytes)), 3);
  const auto peak = function.started.controls->memory_peak_bytes();
  ASSERT_TRUE(peak.ok()) << peak.error().message;
  EXPECT_GT(*peak, 100u << 20);
  EXPECT_LT(*peak, 160u << 20);
}

TEST_F(Environment, MoreSocketsComeLater) {
  const Running server =
      start({"/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "8080"}, {.sockets = 0});
  EXPECT_TRUE(server.started.sockets.empty());
  std::promise<Result<std::vector<UniqueFd>>> answer;
  host_->make_sockets(server.id, 64, [&](Result<std::vector<UniqueFd>> made) { answer.set_value(std::move(made)); });
  auto made = answer.get_future().get();
  ASSERT_TRUE(made.ok()) << made.error().message;
  ASSERT_EQ(made->size(), 64u);
  ASSERT_TRUE(connect_within(made->back(), 8080, kPatience).ok());
  EXPECT_NE(http_get(made->back(), "/hello.txt").find("hello from the package"), std::string::npos);

  std::promise<Result<std::vector<UniqueFd>>> refused;
  host_->make_sockets(9999, 1, [&](Result<std::vector<UniqueFd>> none) { refused.set_value(std::move(none)); });
  EXPECT_EQ(refused.get_future().get().error().kind, ErrorKind::not_found);
}

TEST_F(Environment, NodeRuns) {
  if (::access("/usr/bin/node", X_OK) != 0) GTEST_SKIP() << "no /usr/bin/node on this machine";
  EXPECT_EQ(run({"node", "-e", "fetch('data:,fetched').then(r => r.text()).then(t => console.log(process.pid, t))"},
                {.memory_bytes = 512ULL << 20}),
            "2 fetched\n");
}

TEST_F(Environment, OutputCanBeOpenedByName) {
  EXPECT_EQ(run({"/bin/sh", "-c", "echo out > /dev/stdout; echo err > /dev/stderr; cat /dev/stdin"}), "out\nerr\n");
}

TEST_F(Environment, JavaRuns) {
  if (::access("/usr/bin/java", X_OK) != 0) GTEST_SKIP() << "no /usr/bin/java on this machine";
  const std::string text =
      run({"java", "-XX:+UseSerialGC", "-version"}, {.memory_bytes = 512ULL << 20, .pids_max = 256});
  EXPECT_NE(text.find("Runtime Environment"), std::string::npos) << text;
}

TEST_F(Environment, UvicornServesFastApi) {
  if (::access("/usr/lib/python3/dist-packages/uvicorn", R_OK) != 0) GTEST_SKIP() << "no python3-uvicorn";
  std::ofstream(package_ + "/app.py") << "from fastapi import FastAPI\napp = FastAPI()\n\n@app.get('/')\ndef root():\n"
                                         "    return {'pid': __import__('os').getpid()}\n";
  const Running server =
      start({"python3", "-m", "uvicorn", "--port", "8080", "app:app"}, {.memory_bytes = 512ULL << 20});
  ASSERT_EQ(server.started.sockets.size(), 1u);
  ASSERT_TRUE(connect_within(server.started.sockets[0], 8080, kPatience).ok());
  const std::string request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  EXPECT_NE(http_exchange(server.started.sockets[0], request).find("{\"pid\":2}"), std::string::npos);
}

TEST_F(Environment, EngineFolderComesOnlyWhenAskedFor) {
  EXPECT_EQ(run({"/bin/ls", "/opt/thaw"}), "");
  auto pipe = sys::pipe();
  EnvironmentSpec spec = make_spec({"/bin/ls", "/opt/thaw"}, {}, std::move(pipe->write_end));
  spec.engine = Engine::installed;
  const Running listing{.id = spec.id, .output = std::move(pipe->read_end)};
  host_->start(std::move(spec), [](Result<Started> started) { EXPECT_TRUE(started.ok()); });
  EXPECT_NE(read_all(listing).find("thaw-stub"), std::string::npos);
  wait_exit(listing.id);
}

TEST_F(Environment, FunctionReachesTheListenerFromItsFirstStep) {
  Running running = start_with_runtime_api(R"(
import socket
c = socket.create_connection(('127.0.0.1', 9001))
c.sendall(b'ping')
print(c.recv(100).decode(), c.recv(1))
)");
  EXPECT_EQ(running.started.sockets.size(), 1u);
  ASSERT_TRUE(running.started.listener.valid());
  EXPECT_NE(::fcntl(running.started.listener.get(), F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(running.started.listener.get(), F_GETFD) & FD_CLOEXEC, 0);
  pollfd watched{.fd = running.started.listener.get(), .events = POLLIN};
  ASSERT_EQ(::poll(&watched, 1, kLineWaitMs), 1);
  UniqueFd accepted(::accept4(running.started.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(accepted.valid());
  char bytes[4];
  ASSERT_EQ(::recv(accepted.get(), bytes, sizeof(bytes), MSG_WAITALL), 4);
  ASSERT_EQ(::send(accepted.get(), "pong", 4, MSG_NOSIGNAL), 4);
  accepted.reset();
  EXPECT_EQ(read_all(running), "pong b''\n");
  EXPECT_EQ(wait_exit(running.id).code, 0);
}

TEST_F(Environment, NobodyListensWhereNoneIsAskedFor) {
  const Running running = start({"/bin/true"});
  EXPECT_FALSE(running.started.listener.valid());
  wait_exit(running.id);
}

TEST_F(Environment, ListeningEndsWithTheListener) {
  Running running = start_with_runtime_api(R"(
import os, socket, time
while not os.path.exists('/var/task/go'): time.sleep(0.01)
try: socket.create_connection(('127.0.0.1', 9001)); print('connected')
except OSError as e: print(e.strerror)
)");
  ASSERT_TRUE(running.started.listener.valid());
  running.started.listener.reset();
  std::ofstream(folder_ + "/package/go") << "";
  EXPECT_EQ(read_all(running), "Connection refused\n");
  wait_exit(running.id);
}

TEST_F(Environment, RuntimeAndLayersAreBoundReadOnly) {
  for (const char* name : {"/runtime", "/layers"}) {
    ASSERT_EQ(::mkdir((folder_ + name).c_str(), 0755), 0);
    std::ofstream(folder_ + name + "/name.txt") << name << "\n";
  }
  auto pipe = sys::pipe();
  EnvironmentSpec spec = make_spec({"/bin/sh", "-c",
                                    "cat /var/runtime/name.txt /opt/name.txt; ls /opt; "
                                    "touch /opt/x /var/runtime/x 2>/dev/null || echo read-only"},
                                   {}, std::move(pipe->write_end));
  spec.runtime = UniqueFd(::open((folder_ + "/runtime").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  spec.layers = UniqueFd(::open((folder_ + "/layers").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const Running running{.id = spec.id, .output = std::move(pipe->read_end)};
  host_->start(std::move(spec), [](Result<Started> started) { EXPECT_TRUE(started.ok()); });
  EXPECT_EQ(read_all(running), "/runtime\n/layers\nname.txt\nread-only\n");
  wait_exit(running.id);
}

TEST_F(Environment, LayersBesideAnEngineAreRefused) {
  auto pipe = sys::pipe();
  EnvironmentSpec spec = make_spec({"/bin/true"}, {}, std::move(pipe->write_end));
  spec.engine = Engine::installed;
  spec.layers = UniqueFd(::open(package_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  std::promise<Result<Started>> promise;
  host_->start(std::move(spec), [&](Result<Started> started) { promise.set_value(std::move(started)); });
  auto started = promise.get_future().get();
  ASSERT_FALSE(started.ok());
  EXPECT_NE(started.error().message.find("layers"), std::string::npos) << started.error().message;
}

TEST_F(Environment, FiftyStartTogether) {
  std::mutex mutex;
  std::vector<UniqueFd> outputs;
  std::vector<std::uint64_t> ids;
  std::vector<std::int64_t> took_us;
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 50; ++i) {
    auto pipe = sys::pipe();
    EnvironmentSpec spec = make_spec({"/bin/sleep", "100"}, {}, std::move(pipe->write_end));
    outputs.push_back(std::move(pipe->read_end));
    ids.push_back(spec.id);
    host_->start(std::move(spec), [&](Result<Started> started) {
      const std::lock_guard lock(mutex);
      EXPECT_TRUE(started.ok()) << started.error().message;
      took_us.push_back(started.ok() ? started->took.count() : -1);
    });
  }
  ASSERT_TRUE(eventually([&] {
    const std::lock_guard lock(mutex);
    return took_us.size() == 50;
  }));
  const auto all_us = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - began);
  std::printf("50 environments running after %lld us\n", static_cast<long long>(all_us.count()));
  EXPECT_EQ(host_processes().size(), 100u);
  for (const std::uint64_t id : ids) host_->destroy(id);
  for (const std::uint64_t id : ids) EXPECT_EQ(wait_exit(id).reason, ExitReason::destroyed);
  EXPECT_TRUE(host_processes().empty());
}

}  // namespace
}  // namespace thaw::sandbox
