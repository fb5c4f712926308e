#include "config.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <unistd.h>

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_UNRELEASED_FEATURES 0
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "adapters/nats/event_queue.h"
#include "adapters/nats/urls.h"
#include "base/sys.h"
#include "text.h"

namespace thaw::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kConfigFileBytesMax = 1 << 20;
constexpr uid_t kFallbackUserId = 64300;  // Above Debian's dynamic range, below its reserved one (Debian Policy 9.2).

constexpr ConfigKey kKeys[] = {
    {"listen", ValueType::text, "127.0.0.1:8080", "", 0, 0,
     "Address and port to serve on, like 127.0.0.1:8080 or [::1]:8080; port 0 takes any free one"},
    {"data", ValueType::text, "/var/lib/thaw as root, else ~/.local/state/thaw", "", 0, 0,
     "Folder that holds everything: catalog, packages, logs and control.sock"},
    {"user", ValueType::text, "thaw where that user exists, else uid 64300", "", 0, 0,
     "User (name or uid) that the server half becomes when started as root"},
    {"threads", ValueType::count, "0 = one per core", "", 0, 1024, "Threads that serve requests"},
    {"memory_max_mb", ValueType::count, "0 = 90 % of the machine's, or of the cgroup's limit", "MB", 0, 1ULL << 30,
     "Memory that all environments together may take"},
    {"freeze_after_ms", ValueType::count, "100", "ms", 0, 3600000,
     "How long an environment is idle before it is frozen"},
    {"drain_s", ValueType::count, "30", "s", 0, 3600, "On SIGTERM, how long running invocations may take to finish"},
    {"upload_max_mb", ValueType::count, "4096", "MB", 1, 1 << 20, "Largest package that is taken in"},
    {"body_max_mb", ValueType::count, "10240", "MB", 0, 1 << 20,
     "Largest request body passed to a function; bodies are streamed; 0 = no bound"},
    {"header_max_kb", ValueType::count, "64", "kB", 1, 1024, "Largest request head (request line and headers)"},
    {"connections_max", ValueType::count, "10000", "", 1, 1000000, "Client connections open at a time"},
    {"concurrent_executions_max", ValueType::count, "1000", "", 1, 1000000,
     "Invocations at a time of all functions together; one more is answered 429"},
    {"log_level", ValueType::text, "info", "", 0, 0,
     "What the daemon logs on standard error: debug, info, warn or error"},
    {"log_file_max_mb", ValueType::count, "4", "MB", 1, 1024,
     "A function's log file is rotated at this size; one older file is kept"},
    {"logs_max_mb", ValueType::count, "1024", "MB", 1, 1 << 20, "Disk for the logs of all functions together"},
    {"snapshots_max_mb", ValueType::count, "10240", "MB", 0, 1ULL << 30,
     "Disk for all snapshots together; beyond it those used longest ago go, and are made again when they are called"},
    {"aws_region", ValueType::text, "us-east-1", "", 0, 0, "Region of functions, in their ARNs and for themselves"},
    {"aws_account", ValueType::text, "000000000000", "", 0, 0, "Account of functions, in their ARNs: 12 digits"},
    {"aws_credentials", ValueType::text, "none: calls from this machine, unsigned", "", 0, 0,
     "File of access keys, like ~/.aws/credentials: whoever calls the API over TCP must sign with one of them, and may "
     "come "
     "from anywhere"},
    {"events_queue", ValueType::text, "events.db in DATA", "", 0, 0,
     "Where asynchronous invocations wait instead: NATS JetStream, like nats://[USER:PASSWORD@]HOST:PORT, or tls://; "
     "with ',' between the servers of a cluster"},
    {"events_stream", ValueType::text, "THAW", "", 0, 0,
     "Name of the JetStream stream; nodes that give the same share the work"},
    {"events_credentials", ValueType::text, "none but the address's", "", 0, 0,
     "Credentials file of a NATS user (a JWT and its seed)"},
    {"events_max", ValueType::count, "100000", "", 1, 100000000, "Asynchronous invocations that may wait in the queue"},
    {"events_max_mb", ValueType::count, "1024", "MB", 4, 1 << 20, "Payloads that may wait in the queue"},
    {"events_parallel_max", ValueType::count, "64", "", 1, 10000,
     "Asynchronous invocations that run at a time; a quarter of them, but one at least, of one function"},
    {"events_retry_ms", ValueType::count, "60000", "ms", 1, 3600000,
     "Before an event that its function failed is tried again; twice as long before the second time"},
    {"events_backoff_ms", ValueType::count, "1000", "ms", 1, 300000,
     "Before an event that could not be run is tried again; doubled each time, up to 300 times as long"},
    {"features_online_store", ValueType::text, "embedded", "", 0, 0,
     "Where the feature store keeps the latest values: embedded, a file of the data folder; or redis://HOST:PORT/DB, "
     "postgresql://HOST/DATABASE"},
    {"features_cache", ValueType::text, "none", "", 0, 0,
     "Redis server that daemons share as a cache before PostgreSQL: redis://HOST:PORT/DB"},
    {"features_cache_mb", ValueType::count, "64", "MB", 0, 1 << 20,
     "Memory for the values of a Redis or PostgreSQL store; 0: they are not cached"},
    {"features_cache_ttl_s", ValueType::count, "60", "s", 1, 86400,
     "A cached value is given out this long before its store is asked again"},
    {"features_cache_negative_ttl_s", ValueType::count, "5", "s", 0, 86400, "The same for an entity without values"},
    {"features_cache_stale_s", ValueType::count, "0", "s", 0, 30 * 86400,
     "A cached value is given out this much longer, marked as stale, while its store is away"},
    {"features_store_timeout_ms", ValueType::count, "2000", "ms", 10, 60000,
     "One command of a Redis or PostgreSQL store may take this long"},
    {"models", ValueType::text, "DATA/objects", "", 0, 0,
     "Folders that models at file: addresses may lie in, with ':' between them; the first is what file:NAME means"},
    {"engines", ValueType::text, "found beside the executable", "", 0, 0, "Folder that holds the engine thaw-onnx"},
    {"runtimes", ValueType::text, "found beside the executable", "", 0, 0,
     "Folder that holds the managed runtimes of event functions"},
    {"spawner", ValueType::text, "found beside the executable", "", 0, 0, "The program thaw-spawner"},
};

// [aws] region = … is aws_region.
constexpr std::string_view kTables[] = {"aws", "features"};

// Variables that are Thaw's but no keys of the daemon.
constexpr std::string_view kOtherVariables[] = {"THAW_CONFIG", "THAW_URL", "THAW_SOCKET"};

const ConfigKey* find_key(std::string_view name) {
  const auto* key =
      std::find_if(std::begin(kKeys), std::end(kKeys), [&](const ConfigKey& k) { return k.name == name; });
  return key == std::end(kKeys) ? nullptr : key;
}

std::vector<std::string> key_names(std::string (*spell)(std::string_view)) {
  std::vector<std::string> names;
  for (const ConfigKey& key : kKeys) names.push_back(spell(key.name));
  return names;
}

// A value together with where it was said, for messages.
struct Given {
  std::string text;
  std::string where;
};
using Values = std::map<std::string_view, Given>;

Status check(const ConfigKey& key, const Given& given) {
  if (key.type == ValueType::text) {
    if (given.text.empty()) return invalid_argument(given.where + ": must not be empty");
    if (given.text.find('\0') != std::string::npos) return invalid_argument(given.where + ": holds a NUL character");
    return {};
  }
  const std::optional<std::uint64_t> value = parse_count(given.text);
  const std::string range = std::to_string(key.min) + " to " + std::to_string(key.max) +
                            (key.unit.empty() ? "" : " " + std::string(key.unit));
  if (!value) return invalid_argument(given.where + ": '" + given.text + "' is not a whole number from " + range);
  if (*value < key.min || *value > key.max) {
    return invalid_argument(given.where + ": " + given.text + " is outside of " + range);
  }
  return {};
}

// line: "FILE line N".
Status read_file_value(const std::string& line, const std::string& name, const toml::node& node, Values& values) {
  const std::string where = line + ": " + name;
  const ConfigKey* key = find_key(name);
  if (key == nullptr) {
    const auto known = key_names([](std::string_view k) { return std::string(k); });
    return invalid_argument(line + ": unknown key '" + name + "'" + did_you_mean(name, known));
  }
  std::string value;
  if (key->type == ValueType::text && node.is_string()) {
    value = **node.as_string();
  } else if (key->type == ValueType::count && node.is_integer()) {
    value = std::to_string(**node.as_integer());
  } else if (key->name == "user" && node.is_integer()) {
    value = std::to_string(**node.as_integer());
  } else {
    return invalid_argument(where + ": must be a " + (key->type == ValueType::text ? "string" : "whole number"));
  }
  Given given{std::move(value), where};
  RETURN_IF_ERROR(check(*key, given));
  values[key->name] = std::move(given);
  return {};
}

Status read_file_values(const std::string& path, Values& values) {
  const Result<std::string> text = sys::read_file(path, kConfigFileBytesMax);
  if (!text.ok()) return invalid_argument("configuration file " + text.error().message);
  const toml::parse_result parsed = toml::parse(*text, path);
  const auto line_of = [&](const toml::source_region& at) { return path + " line " + std::to_string(at.begin.line); };
  if (!parsed)
    return invalid_argument(line_of(parsed.error().source()) + ": " + std::string(parsed.error().description()));
  for (const auto& [key, node] : parsed.table()) {
    const toml::table* const table = node.as_table();
    if (table == nullptr || std::find(std::begin(kTables), std::end(kTables), key.str()) == std::end(kTables)) {
      RETURN_IF_ERROR(read_file_value(line_of(key.source()), std::string(key.str()), node, values));
      continue;
    }
    for (const auto& [inner, value] : *table) {
      const std::string name = std::string(key.str()) + "_" + std::string(inner.str());
      RETURN_IF_ERROR(read_file_value(line_of(inner.source()), name, value, values));
    }
  }
  return {};
}

// Kubernetes gives every pod variables for each service; those of a service named "thaw" look like this.
bool is_service_link(std::string_view variable) {
  return variable.starts_with("THAW_SERVICE_") || variable == "THAW_PORT" || variable.starts_with("THAW_PORT_");
}

Status read_environment_values(const std::map<std::string, std::string>& environment, Values& values) {
  const std::vector<std::string> known = key_names(environment_name);
  for (const auto& [name, value] : environment) {
    if (!name.starts_with("THAW_") || is_service_link(name)) continue;
    if (std::find(std::begin(kOtherVariables), std::end(kOtherVariables), name) != std::end(kOtherVariables)) continue;
    const auto at = std::find(known.begin(), known.end(), name);
    if (at == known.end()) {
      return invalid_argument("environment variable " + name + ": unknown key" + did_you_mean(name, known));
    }
    const ConfigKey& key = kKeys[at - known.begin()];
    Given given{value, "environment variable " + name};
    RETURN_IF_ERROR(check(key, given));
    values[key.name] = std::move(given);
  }
  return {};
}

Status read_flag_values(const std::map<std::string, std::string>& flags, Values& values) {
  for (const auto& [name, value] : flags) {
    const ConfigKey* key = find_key(name);
    if (key == nullptr) return invalid_argument("unknown flag --" + name);
    Given given{value, flag_name(name)};
    RETURN_IF_ERROR(check(*key, given));
    values[key->name] = std::move(given);
  }
  return {};
}

Status parse_listen(const Given& given, ServeConfig& config) {
  const std::string& text = given.text;
  const std::string hint = given.where + ": '" + text + "' is not ADDRESS:PORT, like 127.0.0.1:8080 or [::1]:8080";
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos) return invalid_argument(hint);
  std::string host = text.substr(0, colon);
  const std::optional<std::uint64_t> port = parse_count(std::string_view(text).substr(colon + 1));
  if (!port) return invalid_argument(hint);
  if (*port > 65535) return invalid_argument(given.where + ": port " + std::to_string(*port) + " is above 65535");
  if (host == "localhost") host = "127.0.0.1";
  std::array<unsigned char, 16> address;
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    if (inet_pton(AF_INET6, host.c_str(), address.data()) != 1) return invalid_argument(hint);
  } else if (inet_pton(AF_INET, host.c_str(), address.data()) != 1) {
    return invalid_argument(hint);
  }
  config.listen = text;
  config.listen_host = host;
  config.listen_port = static_cast<std::uint16_t>(*port);
  return {};
}

std::string absolute(const std::string& path) {
  std::error_code error;
  const fs::path result = fs::absolute(path, error).lexically_normal();
  std::string text = error ? path : result.string();
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  return text;
}

Status parse_models(const Given& given, ServeConfig& config) {
  for (std::size_t at = 0; at <= given.text.size();) {
    const std::size_t end = std::min(given.text.find(':', at), given.text.size());
    const std::string path = given.text.substr(at, end - at);
    if (path.empty()) return invalid_argument(given.where + ": a folder between two ':' is empty");
    config.models.push_back(absolute(path));
    if (config.models.back() == "/") return invalid_argument(given.where + ": must not be the whole file system");
    at = end + 1;
  }
  return {};
}

Status resolve_user(const Given* given, ServeConfig& config) {
  const std::string name = given != nullptr ? given->text : "thaw";
  const passwd* entry = nullptr;
  if (const std::optional<std::uint64_t> id = parse_count(name)) {
    if (*id >= 0xFFFFFFFFULL) return invalid_argument(given->where + ": uid " + name + " is above 4294967294");
    config.user = name;
    config.user_id = static_cast<uid_t>(*id);
    entry = getpwuid(config.user_id);  // NOLINT: configuration is read while there is one thread
    config.group_id = entry != nullptr ? entry->pw_gid : static_cast<gid_t>(*id);
  } else {
    entry = getpwnam(name.c_str());  // NOLINT: configuration is read while there is one thread
    if (entry == nullptr && given != nullptr) {
      return invalid_argument(given->where + ": there is no user named '" + name + "'");
    }
    config.user = entry != nullptr ? name : std::to_string(kFallbackUserId);
    config.user_id = entry != nullptr ? entry->pw_uid : kFallbackUserId;
    config.group_id = entry != nullptr ? entry->pw_gid : kFallbackUserId;
  }
  if (given != nullptr && config.user_id == 0) {
    return invalid_argument(given->where + ": must not be root; the server half gives its privileges up");
  }
  return {};
}

Status set_queue(const Given* queue, const Given* stream, const Given* credentials, ServeConfig& config) {
  if (queue != nullptr) {
    if (const Status fits = adapters::check_nats_urls(queue->text); !fits.ok())
      return invalid_argument(queue->where + ": " + fits.error().message);
    config.events_queue = queue->text;
  }
  if (stream != nullptr) {
    if (const Status fits = adapters::check_nats_stream(stream->text); !fits.ok())
      return invalid_argument(stream->where + ": " + fits.error().message);
    config.events_stream = stream->text;
  }
  if (credentials != nullptr) config.events_credentials = absolute(credentials->text);
  return {};
}

std::uint32_t cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return static_cast<std::uint32_t>(CPU_COUNT(&set));
  return static_cast<std::uint32_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

std::string first_existing(std::initializer_list<fs::path> candidates) {
  std::error_code ignored;
  for (const fs::path& path : candidates) {
    if (fs::exists(path, ignored)) return fs::weakly_canonical(path, ignored).string();
  }
  return "";
}

// First number of a one-line file; nothing for "max" or no file.
std::optional<std::uint64_t> read_number(const std::string& path) {
  std::ifstream in(path);
  std::uint64_t value = 0;
  if (in >> value) return value;
  return std::nullopt;
}

}  // namespace

std::span<const ConfigKey> config_keys() { return kKeys; }

std::string environment_name(std::string_view key) {
  std::string name = "THAW_";
  for (const char c : key) name += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return name;
}

std::string flag_name(std::string_view key) {
  std::string name = "--";
  for (const char c : key) name += c == '_' ? '-' : c;
  return name;
}

ConfigSources process_sources(std::string file, std::map<std::string, std::string> flags) {
  ConfigSources sources;
  sources.file = std::move(file);
  sources.flags = std::move(flags);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos) sources.environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  sources.uid = geteuid();
  std::error_code ignored;
  sources.executable = fs::read_symlink("/proc/self/exe", ignored).string();
  return sources;
}

std::string default_data_folder(uid_t uid, const std::map<std::string, std::string>& environment) {
  if (uid == 0) return "/var/lib/thaw";
  const auto state = environment.find("XDG_STATE_HOME");
  // The XDG Base Directory Specification has relative paths ignored.
  if (state != environment.end() && state->second.starts_with('/')) return state->second + "/thaw";
  const auto home = environment.find("HOME");
  if (home != environment.end() && home->second.starts_with('/')) return home->second + "/.local/state/thaw";
  return "/var/lib/thaw";
}

std::string client_data_folder(const ConfigSources& sources) {
  const auto variable = sources.environment.find("THAW_DATA");
  if (variable != sources.environment.end() && !variable->second.empty()) return absolute(variable->second);
  const auto config = sources.environment.find("THAW_CONFIG");
  const std::string file = config != sources.environment.end() ? config->second : sources.default_file;
  Values values;
  // A file that the daemon would refuse is the daemon's to complain about.
  if (::access(file.c_str(), R_OK) == 0) (void)read_file_values(file, values).ok();
  if (const auto data = values.find("data"); data != values.end()) return absolute(data->second.text);
  const std::string folder = default_data_folder(sources.uid, sources.environment);
  std::error_code ignored;
  const std::string system_folder = default_data_folder(0, {});
  const bool own = fs::exists(folder + "/control.sock", ignored);
  if (!own && fs::exists(system_folder + "/control.sock", ignored)) return system_folder;
  return folder;
}

std::uint64_t machine_memory_mb() {
  std::uint64_t bytes =
      static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  // Every cgroup from this process's own up to the root may set a limit.
  std::ifstream cgroups("/proc/self/cgroup");
  for (std::string line; std::getline(cgroups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool unified = controllers.empty();
    if (!unified && controllers != "memory") continue;
    const std::string root = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    const char* file = unified ? "/memory.max" : "/memory.limit_in_bytes";
    for (fs::path path = line.substr(second + 1);; path = path.parent_path()) {
      const std::string folder = path == "/" ? root : root + path.string();
      if (const auto limit = read_number(folder + file)) bytes = std::min(bytes, *limit);
      if (path == "/" || path.empty()) break;
    }
  }
  return bytes >> 20;
}

Result<ServeConfig> load_config(const ConfigSources& sources) {
  Values values;
  std::string file = sources.file;
  if (file.empty()) {
    const auto variable = sources.environment.find("THAW_CONFIG");
    if (variable != sources.environment.end()) file = variable->second;
  }
  if (file.empty() && ::access(sources.default_file.c_str(), F_OK) == 0) file = sources.default_file;
  if (!file.empty()) RETURN_IF_ERROR(read_file_values(file, values));
  RETURN_IF_ERROR(read_environment_values(sources.environment, values));
  RETURN_IF_ERROR(read_flag_values(sources.flags, values));

  ServeConfig config;
  const auto given = [&](std::string_view key) -> const Given* {
    const auto at = values.find(key);
    return at == values.end() ? nullptr : &at->second;
  };
  const auto set_count = [&](std::string_view key, auto& field) {
    if (const Given* value = given(key)) {
      field = static_cast<std::remove_reference_t<decltype(field)>>(*parse_count(value->text));
    }
  };
  if (const Given* value = given("listen")) RETURN_IF_ERROR(parse_listen(*value, config));
  config.data =
      given("data") != nullptr ? absolute(given("data")->text) : default_data_folder(sources.uid, sources.environment);
  RETURN_IF_ERROR(resolve_user(given("user"), config));
  if (const Given* value = given("models")) RETURN_IF_ERROR(parse_models(*value, config));
  if (const Given* value = given("aws_credentials")) config.aws_credentials = absolute(value->text);
  RETURN_IF_ERROR(set_queue(given("events_queue"), given("events_stream"), given("events_credentials"), config));
  set_count("threads", config.threads);
  set_count("memory_max_mb", config.memory_max_mb);
  set_count("freeze_after_ms", config.freeze_after_ms);
  set_count("drain_s", config.drain_s);
  set_count("upload_max_mb", config.upload_max_mb);
  set_count("body_max_mb", config.body_max_mb);
  set_count("header_max_kb", config.header_max_kb);
  set_count("connections_max", config.connections_max);
  set_count("concurrent_executions_max", config.concurrent_executions_max);
  set_count("log_file_max_mb", config.log_file_max_mb);
  set_count("logs_max_mb", config.logs_max_mb);
  set_count("snapshots_max_mb", config.snapshots_max_mb);
  set_count("events_max", config.events_max);
  set_count("events_max_mb", config.events_max_mb);
  set_count("events_parallel_max", config.events_parallel_max);
  set_count("events_retry_ms", config.events_retry_ms);
  set_count("events_backoff_ms", config.events_backoff_ms);
  if (const Given* value = given("features_online_store")) config.features_online_store = value->text;
  if (const Given* value = given("features_cache")) config.features_cache = value->text;
  set_count("features_cache_mb", config.features_cache_mb);
  set_count("features_cache_ttl_s", config.features_cache_ttl_s);
  set_count("features_cache_negative_ttl_s", config.features_cache_negative_ttl_s);
  set_count("features_cache_stale_s", config.features_cache_stale_s);
  set_count("features_store_timeout_ms", config.features_store_timeout_ms);
  if (const Given* value = given("log_level")) {
    const std::vector<std::string> levels = {"debug", "info", "warn", "error"};
    if (std::find(levels.begin(), levels.end(), value->text) == levels.end()) {
      return invalid_argument(value->where + ": '" + value->text + "' is none of debug, info, warn, error" +
                              did_you_mean(value->text, levels));
    }
    config.log_level = value->text;
  }
  if (const Given* value = given("aws_region")) {
    if (const Status fits = model::check_region(value->text); !fits.ok())
      return invalid_argument(value->where + ": " + fits.error().message);
    config.place.region = value->text;
  }
  if (const Given* value = given("aws_account")) {
    if (const Status fits = model::check_account(value->text); !fits.ok())
      return invalid_argument(value->where + ": " + fits.error().message);
    config.place.account = value->text;
  }
  if (config.threads == 0) config.threads = cores();
  if (config.memory_max_mb == 0) config.memory_max_mb = machine_memory_mb() * 9 / 10;

  const fs::path beside = fs::path(sources.executable).parent_path();
  config.engines =
      given("engines") != nullptr
          ? absolute(given("engines")->text)
          : first_existing({beside / "../engines", beside / "../lib/thaw/engines", beside / "../lib/thaw"});
  config.runtimes = given("runtimes") != nullptr
                        ? absolute(given("runtimes")->text)
                        : first_existing({beside / "../runtimes", beside / "../lib/thaw/runtimes"});
  config.spawner = given("spawner") != nullptr
                       ? absolute(given("spawner")->text)
                       : first_existing({beside / "thaw-spawner", beside / "../lib/thaw/thaw-spawner"});
  return config;
}

}  // namespace thaw::cli
