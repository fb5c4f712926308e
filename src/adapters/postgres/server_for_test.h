// A PostgreSQL server of a test program's own: Debian's, on a socket in a temporary folder.
#pragma once

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/folder_for_test.h"

namespace thaw::adapters {

class PostgresForTest {
 public:
  // Nothing where PostgreSQL is not installed, or there is no user to run it as: it refuses root.
  static PostgresForTest* shared() {
    static PostgresForTest server;
    return server.running_ ? &server : nullptr;
  }
  std::string url() const { return "postgresql:///postgres?host=" + folder_.path() + "&user=thaw"; }

  PostgresForTest(const PostgresForTest&) = delete;
  PostgresForTest& operator=(const PostgresForTest&) = delete;

  // One of its own, for tests that stop it.
  PostgresForTest() {
    for (const auto& entry :
         std::filesystem::directory_iterator("/usr/lib", std::filesystem::directory_options::skip_permission_denied))
      if (entry.path().filename() == "postgresql") find_binaries(entry.path());
    if (binaries_.empty()) return;
    if (::geteuid() == 0) {
      const passwd* user = ::getpwnam("postgres");
      if (user == nullptr || ::chown(folder_.path().c_str(), user->pw_uid, user->pw_gid) != 0) return;
    }
    if (tool("initdb -D " + folder_.at("data") + " -U thaw --auth trust --encoding UTF8 --locale C.UTF-8 --no-sync"))
      start();
  }
  ~PostgresForTest() { stop(); }

  bool running() const { return running_; }
  void start() {
    running_ = tool("pg_ctl -D " + folder_.at("data") + " -w -t 60 -l " + folder_.at("log") +
                    " -o \"-c fsync=off -c listen_addresses= -k " + folder_.path() + "\" start");
  }
  // At once, as a crash would.
  void stop() {
    if (running_) (void)tool("pg_ctl -D " + folder_.at("data") + " -m immediate -w stop");
    running_ = false;
  }

 private:
  void find_binaries(const std::filesystem::path& versions) {
    for (const auto& version : std::filesystem::directory_iterator(versions))
      if (std::filesystem::exists(version.path() / "bin/initdb")) binaries_ = (version.path() / "bin").string();
  }
  bool tool(const std::string& words) const {
    const std::string user = ::geteuid() == 0 ? "runuser -u postgres -- " : "";
    return std::system(("cd / && " + user + binaries_ + "/" + words + " >/dev/null 2>&1 </dev/null").c_str()) == 0;
  }

  FolderForTest folder_;
  std::string binaries_;
  bool running_ = false;
};

}  // namespace thaw::adapters
