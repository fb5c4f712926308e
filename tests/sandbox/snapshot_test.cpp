// Functions frozen and thawed as they really run: PID 2 of an environment, unprivileged, behind the seccomp filter.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <future>
#include <sstream>

#include "fixture.h"
#include "snapshot/image_memory.h"

namespace thaw::sandbox {
namespace {

class SnapshotTest : public SpawnerFixture {
 protected:
  static UniqueFd new_file() { return UniqueFd(::memfd_create("snapshot", MFD_CLOEXEC)); }

  Running start_spec(EnvironmentSpec spec, UniqueFd output) {
    auto running = try_start_spec(std::move(spec), std::move(output));
    EXPECT_TRUE(running.ok()) << running.error().message;
    return running.ok() ? std::move(running).value() : Running{};
  }

  Result<Running> try_start_spec(EnvironmentSpec spec, UniqueFd output) {
    Running running;
    running.id = spec.id;
    running.output = std::move(output);
    auto promise = std::make_shared<std::promise<Result<Started>>>();
    auto future = promise->get_future();
    host_->start(std::move(spec), [promise](Result<Started> started) { promise->set_value(std::move(started)); });
    if (future.wait_for(kPatience) != std::future_status::ready) return Error{ErrorKind::timeout, "no answer"};
    auto started = future.get();
    if (!started.ok()) return started.error();
    running.started = std::move(started).value();
    return running;
  }

  Result<Running> try_thaw(const UniqueFd& image, Engine engine = Engine::none) {
    auto pipe = sys::pipe();
    EnvironmentSpec spec = make_spec({"-"}, {}, std::move(pipe->write_end));
    spec.engine = engine;
    auto memory = snapshot::load_image(image);
    if (!memory.ok()) return memory.error();
    spec.image = std::move(memory->pages);
    spec.working_set = std::move(memory->working_set);
    return try_start_spec(std::move(spec), std::move(pipe->read_end));
  }

  Running start_with_engine(const std::vector<std::string>& argv) {
    auto pipe = sys::pipe();
    EnvironmentSpec spec = make_spec(argv, {}, std::move(pipe->write_end));
    spec.engine = Engine::installed;
    return start_spec(std::move(spec), std::move(pipe->read_end));
  }

  Result<Frozen> freeze(const Running& running, const UniqueFd& image) {
    auto promise = std::make_shared<std::promise<Result<Frozen>>>();
    auto future = promise->get_future();
    FreezeSpec spec;
    spec.id = running.id;
    spec.image = std::move(sys::duplicate(image)).value();
    host_->freeze(std::move(spec), [promise](Result<Frozen> frozen) { promise->set_value(std::move(frozen)); });
    if (future.wait_for(kPatience) != std::future_status::ready) return Error{ErrorKind::timeout, "no answer"};
    return future.get();
  }

  static std::string line(const Running& running) {
    std::string text;
    for (char byte = 0;;) {
      pollfd ready{running.output.get(), POLLIN, 0};
      if (::poll(&ready, 1, kLineWaitMs) != 1) return text + "(no line)";
      if (::read(running.output.get(), &byte, 1) != 1) return text + "(ended)";
      if (byte == '\n') return text;
      text += byte;
    }
  }

  static std::string status_of(pid_t pid, const std::string& key) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/status");
    for (std::string text; std::getline(file, text);) {
      if (text.starts_with(key + ":")) return text.substr(text.find_first_not_of(" \t", key.size() + 1));
    }
    return "";
  }

  pid_t pager() const {
    for (const pid_t pid : children_of(children_of(keeper_).at(0))) {
      if (status_of(pid, "Name") == "thaw-pager") return pid;
    }
    return -1;
  }

  static std::string get(const UniqueFd& socket) {
    const std::string request = "GET /hello.txt HTTP/1.0\r\n\r\n";
    ::fcntl(socket.get(), F_SETFL, 0);
    if (!sys::write_all(socket, request).ok()) return "";
    std::string answer;
    char bytes[4096];
    for (ssize_t got = 0; (got = ::read(socket.get(), bytes, sizeof(bytes))) > 0;)
      answer.append(bytes, static_cast<std::size_t>(got));
    return answer;
  }
};

const std::vector<std::string> kBusy = {"/opt/thaw/busy_subject", "1"};

TEST_F(SnapshotTest, AFunctionGoesOnAndItsClonesGoOnToo) {
  const Running original = start_with_engine(kBusy);
  ASSERT_EQ(line(original), "ok 0");
  const UniqueFd image = new_file();
  const auto frozen = freeze(original, image);
  ASSERT_TRUE(frozen.ok()) << frozen.error().message;
  EXPECT_GE(frozen->threads, 11U);
  std::vector<Running> clones;
  for (int i = 0; i < 2; ++i) {
    auto thawed = try_thaw(image, Engine::installed);
    ASSERT_TRUE(thawed.ok()) << thawed.error().message;
    clones.push_back(std::move(thawed).value());
  }
  for (int i = 0; i < 12; ++i) {
    EXPECT_TRUE(line(original).starts_with("ok "));
    for (const Running& clone : clones) {
      const std::string said = line(clone);
      ASSERT_TRUE(said.starts_with("ok ")) << said;
    }
  }
}

TEST_F(SnapshotTest, AClonesPrivilegesAreThoseOfAnyFunction) {
  const Running original = start({"/bin/sleep", "1000"});
  const std::vector<pid_t> before = host_processes();
  const UniqueFd image = new_file();
  const auto frozen = freeze(original, image);
  ASSERT_TRUE(frozen.ok()) << frozen.error().message;
  const auto thawed = try_thaw(image);
  ASSERT_TRUE(thawed.ok()) << thawed.error().message;
  std::vector<pid_t> clone;
  for (const pid_t pid : host_processes()) {
    if (std::find(before.begin(), before.end(), pid) == before.end()) clone.push_back(pid);
  }
  ASSERT_EQ(clone.size(), 2U);  // PID 1 and the function
  const pid_t function = clone[1];
  EXPECT_EQ(status_of(function, "Name"), "sleep");
  EXPECT_NE(status_of(function, "Uid"), status_of(before[1], "Uid"));  // a user of its own
  EXPECT_FALSE(status_of(function, "Uid").starts_with("0"));
  EXPECT_EQ(status_of(function, "NoNewPrivs"), "1");
  EXPECT_EQ(status_of(function, "Seccomp"), "2");
  for (const char* set : {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"})
    EXPECT_EQ(status_of(function, set), "0000000000000000") << set;
  // It ends as any function does.
  host_->destroy(thawed->id);
  EXPECT_EQ(wait_exit(thawed->id).reason, ExitReason::destroyed);
}

TEST_F(SnapshotTest, AServerListensAgainInItsOwnNetwork) {
  const Running original = start({"/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", "8080"});
  ASSERT_TRUE(connect_within(original.started.sockets.at(0), 8080, kPatience).ok());
  ASSERT_NE(get(original.started.sockets.at(0)).find("hello from the package"), std::string::npos);
  const UniqueFd image = new_file();
  const auto frozen = freeze(original, image);
  ASSERT_TRUE(frozen.ok()) << frozen.error().message;
  for (int i = 0; i < 3; ++i) {
    const auto thawed = try_thaw(image);
    ASSERT_TRUE(thawed.ok()) << thawed.error().message;
    const UniqueFd& socket = thawed->started.sockets.at(0);
    // No waiting: it listens from the first moment.
    ASSERT_TRUE(connect_within(socket, 8080, std::chrono::milliseconds(1)).ok());
    EXPECT_NE(get(socket).find("hello from the package"), std::string::npos);
  }
}

TEST_F(SnapshotTest, WhatCannotBeFrozenIsNamed) {
  const Running child = start({"/bin/sh", "-c", "sleep 1000 & echo ready; wait"});
  ASSERT_EQ(line(child), "ready");
  const auto refused = freeze(child, new_file());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::unsupported);
  EXPECT_NE(refused.error().message.find("child processes"), std::string::npos) << refused.error().message;

  const Running real_file = start({"/usr/bin/python3", "-c",
                                   "import fcntl, time\n"
                                   "file = open('/usr/bin/env')\n"
                                   "fcntl.flock(file, fcntl.LOCK_EX)\n"
                                   "print('ready', flush=True)\n"
                                   "time.sleep(1000)\n"});
  ASSERT_EQ(line(real_file), "ready");
  const auto locked = freeze(real_file, new_file());
  ASSERT_FALSE(locked.ok());
  EXPECT_NE(locked.error().message.find("an exclusive lock on a file"), std::string::npos) << locked.error().message;
}

// What a function has written into its folders and into memory of its own kind is each clone's, under each clone's
// user.
constexpr const char* kKeeper = R"(
import mmap, os, socket, tempfile, time
os.mkdir('/tmp/cache', 0o700)
kept = open('/tmp/cache/kept', 'w+')
kept.write('secret')
kept.flush()
segment = os.open('/dev/shm/segment', os.O_RDWR | os.O_CREAT, 0o600)
os.ftruncate(segment, 8192)
mapped = mmap.mmap(segment, 8192)
mapped[:7] = b'segment'
gone = tempfile.TemporaryFile()
gone.write(b'deleted')
gone.flush()
memory = os.memfd_create('memory')
os.write(memory, b'memory')
shared = mmap.mmap(-1, 4096)
shared[:6] = b'shared'
status = open('/proc/self/status')
server = socket.socket(socket.AF_UNIX)
server.bind('/tmp/cache/server')
server.listen(3)
print('ready', flush=True)
turns = 0
while True:
    time.sleep(0.05)
    turns += 1
    own = os.open('/proc/self/fd/%d' % memory, os.O_RDWR)
    client = socket.socket(socket.AF_UNIX)
    client.connect('/tmp/cache/server')
    server.accept()[0].close()
    open('/tmp/cache/turn', 'w').write(str(turns))
    mapped[4096] = turns % 256
    status.seek(0)
    found = [status.read().split()[:2], open('/tmp/cache/kept').read(), os.pread(gone.fileno(), 99, 0), os.pread(own, 99, 0), shared[:6],
             os.pread(segment, 7, 0), os.pread(segment, 1, 4096)[0] == turns % 256,
             {os.stat(path).st_uid for path in ('/tmp/cache', '/tmp/cache/kept', '/tmp/cache/server', '/dev/shm/segment')}
             | {os.fstat(memory).st_uid, os.fstat(gone.fileno()).st_uid} == {os.getuid()}]
    os.close(own)
    right = found == [['Name:', 'python3'], 'secret', b'deleted', b'memory', b'shared', b'segment', True, True]
    print('right' if right else 'wrong %s' % found, flush=True)
)";

TEST_F(SnapshotTest, ItsFoldersAndSharedMemoryComeBackAsEachClonesOwn) {
  const Running original = start({"/usr/bin/python3", "-c", kKeeper});
  ASSERT_EQ(line(original), "ready");
  ASSERT_EQ(line(original), "right");
  const UniqueFd image = new_file();
  const auto frozen = freeze(original, image);
  ASSERT_TRUE(frozen.ok()) << frozen.error().message;
  std::vector<Running> clones;
  for (int i = 0; i < 2; ++i) {
    auto thawed = try_thaw(image);
    ASSERT_TRUE(thawed.ok()) << thawed.error().message;
    clones.push_back(std::move(thawed).value());
  }
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(line(original), "right");
    for (const Running& clone : clones) ASSERT_EQ(line(clone), "right");
  }
}

TEST_F(SnapshotTest, ABrokenImageFailsTheStartAndNothingElse) {
  const Running original = start({"/bin/sleep", "1000"});
  const UniqueFd image = new_file();
  ASSERT_TRUE(freeze(original, image).ok());
  ASSERT_EQ(::pwrite(image.get(), "x", 1, 100), 1);
  const auto refused = try_thaw(image);
  ASSERT_FALSE(refused.ok());
  const UniqueFd empty = new_file();
  EXPECT_FALSE(try_thaw(empty).ok());
  EXPECT_TRUE(try_start({"/bin/sleep", "1000"}).ok());
}

// Memory that nobody serves would read wrongly: its function ends, others do not, and there is a new pager.
TEST_F(SnapshotTest, WithThePagerItsClonesEnd) {
  const Running original = start({"/bin/sleep", "1000"});
  const UniqueFd image = new_file();
  ASSERT_TRUE(freeze(original, image).ok());
  const auto thawed = try_thaw(image);
  ASSERT_TRUE(thawed.ok()) << thawed.error().message;
  const pid_t first = pager();
  ASSERT_GT(first, 0);
  EXPECT_EQ(status_of(first, "CapEff"), "0000000000000000");
  EXPECT_FALSE(status_of(first, "Uid").starts_with("0"));
  ASSERT_EQ(::kill(first, SIGKILL), 0);
  EXPECT_EQ(wait_exit(thawed->id).reason, ExitReason::signaled);
  EXPECT_TRUE(try_start({"/bin/sleep", "1000"}).ok());
  const auto again = try_thaw(image);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_NE(pager(), first);
  EXPECT_EQ(exits_.count(original.id), 0U);
}

TEST_F(SnapshotTest, AnUnknownEnvironmentIsNotFound) {
  Running nobody;
  nobody.id = 999;
  const auto refused = freeze(nobody, new_file());
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::not_found);
}

}  // namespace
}  // namespace thaw::sandbox
