// doctor's checks of what surrounds the daemon: configuration, folders, programs, port, name resolution.
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "api.h"
#include "base/sys.h"
#include "doctor.h"
#include "sandbox/spawner_options.h"
#include "text.h"

namespace thaw::cli {
namespace {

namespace fs = std::filesystem;

Check configuration(const Result<ServeConfig>& config) {
  if (config.ok()) return {"configuration", Finding::ok, "listens on " + config->listen + ", data in " + config->data};
  return {"configuration", Finding::missing, config.error().message,
          "correct it; `thaw serve --help` explains each key"};
}

Check disk(const ServeConfig& config) {
  fs::path folder = config.data;
  std::error_code ignored;
  while (!fs::exists(folder, ignored) && folder.has_relative_path()) folder = folder.parent_path();
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0) {
    return {"disk", Finding::warning, folder.string() + ": " + std::strerror(errno), "give another folder with --data"};
  }
  const std::uint64_t free_bytes = static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
  Check check{"disk", Finding::ok, human_bytes(free_bytes) + " free for " + config.data};
  if ((info.f_flag & ST_RDONLY) != 0) {
    check = {"disk", Finding::missing, folder.string() + " is read-only", "give another folder with --data"};
  } else if (free_bytes < 100'000'000) {
    check.finding = Finding::missing;
    check.advice = "make room, or give another folder with --data";
  } else if (free_bytes < 2'000'000'000) {
    check.finding = Finding::warning;
    check.advice = "models are large; make room, or give another folder with --data";
  }
  return check;
}

Check open_files(const ServeConfig& config) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  // A client's connection, one into an environment, and a few for each environment.
  const std::uint64_t wanted = 2 * static_cast<std::uint64_t>(config.connections_max) + 4096;
  Check check{"open files", Finding::ok,
              "limit " + (limit.rlim_max == RLIM_INFINITY ? "none" : std::to_string(limit.rlim_max))};
  if (limit.rlim_max < wanted && ::geteuid() != 0) {
    check.finding = Finding::warning;
    check.advice = "raise it to " + std::to_string(wanted) + " (ulimit -Hn), or lower connections_max";
  }
  return check;
}

// Binds the daemon's address for a moment.
int try_listen(const ServeConfig& config) {
  const bool v6 = config.listen_host.find(':') != std::string::npos;
  const UniqueFd fd(::socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return errno;
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in6 six{};
  sockaddr_in four{};
  six.sin6_family = AF_INET6;
  six.sin6_port = htons(config.listen_port);
  four.sin_family = AF_INET;
  four.sin_port = htons(config.listen_port);
  ::inet_pton(AF_INET6, config.listen_host.c_str(), &six.sin6_addr);
  ::inet_pton(AF_INET, config.listen_host.c_str(), &four.sin_addr);
  const auto* address = v6 ? reinterpret_cast<const sockaddr*>(&six) : reinterpret_cast<const sockaddr*>(&four);
  if (::bind(fd.get(), address, v6 ? sizeof six : sizeof four) != 0) return errno;
  return ::listen(fd.get(), 1) != 0 ? errno : 0;
}

Check daemon_or_port(Session& session, const ServeConfig& config) {
  const Result<boost::json::object> status = get_object(session.client, "/thaw/v1/status");
  if (status.ok()) {
    return {"daemon", Finding::ok,
            "thaw " + text_field(*status, "Version") + " runs, and listens on " + text_field(*status, "Listen")};
  }
  if (status.error().kind == ErrorKind::forbidden) {
    return {"daemon", Finding::warning, "runs, but " + status.error().message, "try: sudo thaw doctor"};
  }
  if (const int error = try_listen(config); error != 0) {
    return {"daemon", Finding::missing,
            "does not run, and cannot listen on " + config.listen + ": " + std::strerror(error),
            error == EADDRINUSE ? "end the program that holds the port (ss -ltnp), or give another with --listen"
                                : "give another address with --listen"};
  }
  return {"daemon", Finding::ok, "does not run; " + config.listen + " is free for it"};
}

Check spawner(const ServeConfig& config) {
  if (config.spawner.empty()) {
    return {"spawner", Finding::missing, "thaw-spawner is not beside the executable",
            "build it (./dev build), or name it with --spawner"};
  }
  if (::access(config.spawner.c_str(), X_OK) != 0) {
    return {"spawner", Finding::missing, config.spawner + ": " + std::strerror(errno),
            "build it, or name it with --spawner"};
  }
  return {"spawner", Finding::ok, config.spawner};
}

std::string find_engine(const std::string& folder, const char* name) {
  std::error_code ignored;
  const fs::path path = fs::path(folder) / name;
  return fs::is_regular_file(path, ignored) ? path.string() : "";
}

Check engine(const ServeConfig& config) {
  const char* advice =
      "functions with a command work without; for models build it (./dev build), or name its folder "
      "with --engines";
  if (config.engines.empty()) return {"engines", Finding::warning, "no folder with engines was found", advice};
  std::string found;
  for (const char* name : {"thaw-onnx", "llama-server"}) {
    const std::string path = find_engine(config.engines, name);
    if (path.empty()) return {"engines", Finding::warning, config.engines + " holds no " + name, advice};
    found += (found.empty() ? "" : ", ") + path;
  }
  return {"engines", Finding::ok, found};
}

Check egress() {
  const sandbox::SpawnerOptions defaults;
  const char* const tunnel = "/dev/net/tun";
  const bool program = ::access(defaults.egress_program.c_str(), X_OK) == 0;
  if (program && ::access(tunnel, F_OK) == 0) return {"egress", Finding::ok, defaults.egress_program};
  return {"egress", Finding::warning, std::string("there is no ") + (program ? tunnel : defaults.egress_program),
          program ? "functions with egress = true need it: modprobe tun; in a container: --device /dev/net/tun"
                  : "functions with egress = true need it: apt-get install slirp4netns"};
}

std::vector<std::string> onnxruntime_candidates(const ServeConfig& config) {
  std::vector<std::string> paths;
  std::error_code error;
  if (!config.engines.empty()) {
    constexpr std::size_t kFilesMax = 2000;
    std::size_t seen = 0;
    for (fs::recursive_directory_iterator at(config.engines, error), end; !error && at != end && seen < kFilesMax;
         at.increment(error), ++seen) {
      if (at->path().filename().string().starts_with("libonnxruntime.so")) paths.push_back(at->path().string());
    }
  }
  paths.emplace_back("libonnxruntime.so.1");
  paths.emplace_back("libonnxruntime.so");
  return paths;
}

// The library's version, learnt in a child process: loading runs its code.
Result<std::string> load_onnxruntime(const std::string& path) {
  ASSIGN_OR_RETURN(sys::Pipe pipe, sys::pipe());
  const pid_t child = ::fork();
  if (child < 0) return sys::errno_error("fork");
  if (child == 0) {
    std::string answer;
    void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    // The head of OrtApiBase: GetApi, then GetVersionString (onnxruntime_c_api.h).
    struct ApiBase {
      const void* (*get_api)(std::uint32_t);
      const char* (*get_version)();
    };
    void* symbol = library != nullptr ? ::dlsym(library, "OrtGetApiBase") : nullptr;
    if (symbol != nullptr) {
      const auto get_base = reinterpret_cast<const ApiBase* (*)()>(symbol);
      answer = std::string("+") + get_base()->get_version();
    } else {
      const char* text = ::dlerror();
      answer = std::string("-") + (text != nullptr ? text : "no such library");
    }
    (void)sys::write_all(pipe.write_end, answer).ok();
    ::_exit(0);
  }
  pipe.write_end.reset();
  const Result<std::string> answer = sys::read_fd(pipe.read_end, 65536, "pipe");
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!answer.ok() || answer->empty()) return internal_error("it crashes when it is loaded");
  if ((*answer)[0] == '-') return internal_error(answer->substr(1));
  return answer->substr(1);
}

Check onnxruntime(const ServeConfig& config) {
  std::string reason;
  for (const std::string& path : onnxruntime_candidates(config)) {
    const Result<std::string> version = load_onnxruntime(path);
    if (version.ok()) return {"ONNX Runtime", Finding::ok, *version + " (" + path + ")"};
    if (reason.empty()) reason = version.error().message;
  }
  return {"ONNX Runtime", Finding::warning, "cannot be loaded: " + reason,
          "only models need it; ./dev build fetches and places it"};
}

Check localhost_names() {
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo("thaw-doctor.localhost", nullptr, nullptr, &found);
  if (error == 0) {
    ::freeaddrinfo(found);
    return {"*.localhost", Finding::ok, "names under localhost resolve"};
  }
  return {"*.localhost", Finding::ok,
          "browsers and curl resolve such names themselves; the system's resolver does not"};
}

}  // namespace

std::vector<Check> setup_checks(Session& session, const Result<ServeConfig>& config) {
  std::vector<Check> checks = {configuration(config)};
  if (!config.ok()) return checks;
  checks.push_back(disk(*config));
  checks.push_back(open_files(*config));
  checks.push_back(daemon_or_port(session, *config));
  checks.push_back(spawner(*config));
  checks.push_back(engine(*config));
  checks.push_back(egress());
  checks.push_back(onnxruntime(*config));
  checks.push_back(localhost_names());
  return checks;
}

}  // namespace thaw::cli
