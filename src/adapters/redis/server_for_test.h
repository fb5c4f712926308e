// A Redis server of a test's own: Debian's, on a socket in a temporary folder.
#pragma once

#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/folder_for_test.h"
#include "base/unique_fd.h"

namespace thaw::adapters {

class RedisForTest {
 public:
  static bool installed() { return std::filesystem::exists("/usr/bin/redis-server"); }

  // words: further options, like {"--requirepass", "x"}.
  explicit RedisForTest(std::vector<std::string> words = {}) : words_(std::move(words)) {
    ::signal(SIGPIPE, SIG_IGN);
    start();
  }
  ~RedisForTest() { stop(); }
  RedisForTest(const RedisForTest&) = delete;
  RedisForTest& operator=(const RedisForTest&) = delete;

  std::string socket() const { return folder_.at("redis.sock"); }
  std::string url() const { return "redis+unix://" + socket(); }

  // Aborts when it does not listen.
  void start() {
    pid_ = ::fork();
    if (pid_ == 0) become_server();
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!listens()) {
      if (std::chrono::steady_clock::now() > until || ::waitpid(pid_, nullptr, WNOHANG) != 0) std::abort();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  void stop() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  // It keeps its connections, and answers nothing.
  void freeze() const { ::kill(pid_, SIGSTOP); }
  void thaw() const { ::kill(pid_, SIGCONT); }

 private:
  [[noreturn]] void become_server() {
    const std::string folder = folder_.path();
    if (::geteuid() == 0) {
      const passwd* user = ::getpwnam("nobody");
      if (user == nullptr || ::chown(folder.c_str(), user->pw_uid, user->pw_gid) != 0 || ::setgid(user->pw_gid) != 0 ||
          ::setuid(user->pw_uid) != 0)
        ::_exit(1);
    }
    std::vector<std::string> all = {"redis-server",
                                    "--port",
                                    "0",
                                    "--unixsocket",
                                    socket(),
                                    "--dir",
                                    folder,
                                    "--appendonly",
                                    "yes",
                                    "--appendfsync",
                                    "always",
                                    "--save",
                                    "",
                                    "--logfile",
                                    folder + "/log"};
    all.insert(all.end(), words_.begin(), words_.end());
    std::vector<char*> arguments;
    for (std::string& word : all) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ::execv("/usr/bin/redis-server", arguments.data());
    ::_exit(1);
  }
  bool listens() const {
    const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{.sun_family = AF_UNIX};
    socket().copy(address.sun_path, sizeof address.sun_path - 1);
    if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return false;
    const std::string ping = "PING\r\n";
    char answer[64] = {};
    if (::write(probe.get(), ping.data(), ping.size()) < 0) return false;
    const ssize_t got = ::read(probe.get(), answer, sizeof answer);
    // It reads its file first.
    return got > 0 && std::string(answer, static_cast<std::size_t>(got)).find("LOADING") == std::string::npos;
  }

  FolderForTest folder_;
  std::vector<std::string> words_;
  pid_t pid_ = -1;
};

}  // namespace thaw::adapters
