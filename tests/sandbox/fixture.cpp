#include "fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

namespace thaw::sandbox {

void SpawnerFixture::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: namespaces, cgroups and mounts";
  std::string pattern = "/tmp/thaw-sandbox-test-XXXXXX";
  folder_ = ::mkdtemp(pattern.data());
  package_ = folder_ + "/package";
  ASSERT_EQ(::mkdir(package_.c_str(), 0755), 0);
  std::ofstream(package_ + "/hello.txt") << "hello from the package\n";
  cgroup_name_ = cgroup_name_for(folder_);
  launch();
}

void SpawnerFixture::launch() {
  SpawnerOptions options;
  options.spawner_path = THAW_BINARY_DIR "/bin/thaw-spawner";
  options.stub_path = THAW_BINARY_DIR "/bin/thaw-stub";
  options.engine_folder = THAW_BINARY_DIR "/bin";
  options.cgroup_name = cgroup_name_;
  options.slots_max = 256;
  options.freeze_s = freeze_s_;
  options.egress_program = egress_program_;
  options.log_level = ::getenv("THAW_TEST_LOG") != nullptr ? ::getenv("THAW_TEST_LOG") : "warn";
  auto launched = launch_spawner(options);
  ASSERT_TRUE(launched.ok()) << launched.error().message;
  keeper_ = launched->pid;
  lost_ = false;
  host_ = std::make_unique<SpawnerClient>(std::move(launched).value());
  host_->set_on_exit([this](ExitInfo info) {
    const std::lock_guard lock(mutex_);
    exits_[info.id] = info;
    changed_.notify_all();
  });
  host_->set_on_spawner_lost([this] {
    const std::lock_guard lock(mutex_);
    lost_ = true;
    changed_.notify_all();
  });
}

void SpawnerFixture::TearDown() {
  if (host_ != nullptr) {
    const Status ended = host_->shut_down(kPatience);
    EXPECT_TRUE(ended.ok()) << ended.error().message;
    EXPECT_TRUE(cgroups_named(cgroup_name_).empty()) << "cgroups are left";
  }
  host_.reset();
  if (!folder_.empty()) std::filesystem::remove_all(folder_);
}

EnvironmentSpec SpawnerFixture::make_spec(const std::vector<std::string>& argv, const StartOptions& options,
                                          UniqueFd output) {
  EnvironmentSpec spec;
  spec.id = id_next_++;
  spec.memory_bytes = options.memory_bytes;
  spec.tmp_bytes = options.tmp_bytes;
  spec.cpu_milli = options.cpu_milli;
  spec.pids_max = options.pids_max;
  spec.sockets = options.sockets;
  spec.argv = argv;
  spec.environment = options.environment;
  spec.package = UniqueFd(::open(package_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  spec.output = std::move(output);
  return spec;
}

Result<Running> SpawnerFixture::try_start(const std::vector<std::string>& argv, const StartOptions& options) {
  ASSIGN_OR_RETURN(sys::Pipe pipe, sys::pipe());
  EnvironmentSpec spec = make_spec(argv, options, std::move(pipe.write_end));
  Running running{.id = spec.id, .output = std::move(pipe.read_end)};
  auto answer = std::make_shared<std::promise<Result<Started>>>();
  auto answered = answer->get_future();
  host_->start(std::move(spec), [answer](Result<Started> started) { answer->set_value(std::move(started)); });
  if (answered.wait_for(kPatience) != std::future_status::ready) return Error{ErrorKind::timeout, "no answer"};
  ASSIGN_OR_RETURN(running.started, answered.get());
  return running;
}

Running SpawnerFixture::start(const std::vector<std::string>& argv, const StartOptions& options) {
  auto running = try_start(argv, options);
  if (!running.ok()) {
    ADD_FAILURE() << running.error().message;
    return {};
  }
  return std::move(running).value();
}

ExitInfo SpawnerFixture::wait_exit(std::uint64_t id) {
  std::unique_lock lock(mutex_);
  EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return exits_.contains(id); })) << "no exit of " << id;
  return exits_[id];
}

std::string SpawnerFixture::read_all(const Running& running) {
  auto text = sys::read_fd(running.output, 1 << 20, "output");
  return text.ok() ? *text : "ERROR: " + text.error().message;
}

std::string SpawnerFixture::run(const std::vector<std::string>& argv, const StartOptions& options) {
  const Running running = start(argv, options);
  if (running.id == 0) return "NOT STARTED";
  std::string text = read_all(running);
  exit_ = wait_exit(running.id);
  return text;
}

std::vector<pid_t> SpawnerFixture::host_processes() const {
  std::vector<pid_t> found;
  for (const pid_t spawner : children_of(keeper_)) {
    for (const pid_t stub : children_of(spawner)) {
      const std::vector<pid_t> children = children_of(stub);
      if (children.empty()) continue;  // prepared, or just ending
      found.push_back(stub);
      found.insert(found.end(), children.begin(), children.end());
    }
  }
  return found;
}

std::vector<std::string> cgroups_named(const std::string& name) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/fs/cgroup")) {
    if (entry.path().filename() == name) found.push_back(entry.path());
    std::error_code ignored;
    if (std::filesystem::exists(entry.path() / name, ignored)) found.push_back(entry.path() / name);
  }
  return found;
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> found;
  const std::string path = "/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children";
  std::ifstream text(path);
  for (pid_t child; text >> child;) found.push_back(child);
  return found;
}

bool exists(pid_t pid) { return ::kill(pid, 0) == 0; }

std::uint64_t cpu_time_us(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/schedstat");
  std::uint64_t ns = 0;
  file >> ns;
  return ns / 1000;
}

Status connect_within(const UniqueFd& socket, std::uint16_t port, std::chrono::milliseconds wait_max) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const auto ends = std::chrono::steady_clock::now() + wait_max;
  while (std::chrono::steady_clock::now() < ends) {
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return {};
    if (errno == EISCONN) return {};
    if (errno == EINPROGRESS || errno == EALREADY) {
      pollfd watched{.fd = socket.get(), .events = POLLOUT};
      ::poll(&watched, 1, 100);
      int error = 0;
      socklen_t size = sizeof(error);
      ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
      if (error == 0 && (watched.revents & POLLOUT) != 0) return {};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return Error{ErrorKind::timeout, "nobody listens"};
}

}  // namespace thaw::sandbox
