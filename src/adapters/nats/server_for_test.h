// A nats-server with JetStream of a test's own: on a free port of loopback, with a folder that goes with it.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/folder_for_test.h"

namespace thaw::adapters {

class NatsServerForTest {
 public:
  static bool installed() { return std::filesystem::exists("/usr/sbin/nats-server"); }

  // extra: further lines of the server's configuration.
  explicit NatsServerForTest(std::string extra = "max_payload: 10MB\n") : extra_(std::move(extra)) { start(); }
  ~NatsServerForTest() { kill(); }
  NatsServerForTest(const NatsServerForTest&) = delete;
  NatsServerForTest& operator=(const NatsServerForTest&) = delete;

  std::string url() const { return "nats://127.0.0.1:" + std::to_string(port_); }
  std::uint16_t port() const { return port_; }

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

  // Where it was before, with what was stored there. Returns once it listens; aborts when it does not.
  void start() {
    const std::string config = folder_.at("server.conf");
    std::ofstream(config) << "listen: \"127.0.0.1:" << (port_ == 0 ? -1 : int{port_}) << "\"\n"
                          << "ports_file_dir: \"" << folder_.path() << "\"\n"
                          << "jetstream: {store_dir: \"" << folder_.at("store") << "\"}\n"
                          << extra_;
    // It dies with this process, however that ends.
    std::vector<std::string> words{"/usr/bin/setpriv",      "--pdeathsig", "KILL", "--",
                                   "/usr/sbin/nats-server", "-c",          config, "-l",
                                   folder_.at("log")};
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    if (::posix_spawn(&pid_, arguments[0], nullptr, nullptr, arguments.data(), environ) != 0) std::abort();
    const std::string ports = folder_.at("nats-server_" + std::to_string(pid_) + ".ports");
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    // {"nats":["nats://127.0.0.1:PORT"]}
    while (true) {
      const std::string text = read_for_test(ports);
      if (const std::size_t at = text.find("127.0.0.1:"); text.ends_with('}') && at != std::string::npos) {
        port_ = static_cast<std::uint16_t>(std::stoi(text.substr(at + 10)));
        return;
      }
      if (std::chrono::steady_clock::now() > until || ::waitpid(pid_, nullptr, WNOHANG) != 0) std::abort();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

 private:
  FolderForTest folder_;
  const std::string extra_;
  std::uint16_t port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace thaw::adapters
