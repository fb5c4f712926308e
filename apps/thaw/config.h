// What `thaw serve` can be told, and by whom: a TOML file, then THAW_* environment variables, then flags. Each later
// one wins, key by key.
//
// One table (config_keys()) names every key with its default, unit and bounds. The file, the environment, the flags and
// the help are all read through it, so that they cannot drift apart.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/place.h"

namespace thaw::cli {

// After load_config() every field holds the value to use: zeros that mean "of this machine" are resolved.
struct ServeConfig {
  std::string listen = "127.0.0.1:8080";
  // The two parts of listen. The host is a numeric IPv4 or IPv6 address, without brackets. Port 0: any free one.
  std::string listen_host = "127.0.0.1";
  std::uint16_t listen_port = 8080;

  // The folder that holds everything: catalog, packages, logs, control.sock. Absolute.
  std::string data;

  // What the server half becomes when it is started as root; not used otherwise.
  std::string user;
  uid_t user_id = 0;
  gid_t group_id = 0;

  std::uint32_t threads = 0;
  std::uint64_t memory_max_mb = 0;
  std::uint32_t freeze_after_ms = 100;
  std::uint32_t drain_s = 30;
  std::uint64_t upload_max_mb = 4096;
  std::uint64_t body_max_mb = 10240;  // 0: no bound
  std::uint32_t header_max_kb = 64;
  std::uint32_t connections_max = 10000;
  std::uint32_t concurrent_executions_max = 1000;
  std::string log_level = "info";  // debug, info, warn or error
  std::uint64_t log_file_max_mb = 4;
  std::uint64_t logs_max_mb = 1024;
  std::uint64_t snapshots_max_mb = 10240;
  // Where the daemon's functions are, in their ARNs and for themselves.
  model::Place place;
  // The file of the access keys that the control API's requests over TCP are signed with, absolute; empty: unsigned
  // ones from loopback alone.
  std::string aws_credentials;
  // The NATS server that has the queue of events, which may hold a password; empty: events.db in the data folder.
  std::string events_queue;
  std::string events_stream = "THAW";
  std::string events_credentials;  // a file, absolute; empty: none
  // The queue of events: its bounds, how many run at a time, and what the waits between tries are made of.
  std::uint64_t events_max = 100000;
  std::uint64_t events_max_mb = 1024;
  std::uint32_t events_parallel_max = 64;
  std::uint32_t events_retry_ms = 60000;
  std::uint32_t events_backoff_ms = 1000;
  // Where features are kept for reading: "embedded" is a file of the data folder; or the address of a Redis or
  // PostgreSQL server, with its password.
  std::string features_online_store = "embedded";
  // The address of a Redis server that caches for several daemons, in front of PostgreSQL; empty: none.
  std::string features_cache;
  // The cache in memory in front of a server; 0: none.
  std::uint64_t features_cache_mb = 64;
  std::uint32_t features_cache_ttl_s = 60;
  std::uint32_t features_cache_negative_ttl_s = 5;
  std::uint32_t features_cache_stale_s = 0;
  std::uint32_t features_store_timeout_ms = 2000;
  // Folders that file: addresses of models are read from, absolute; the first is what relative ones lie below. Empty:
  // DATA/objects.
  std::vector<std::string> models;
  // The folder that holds thaw-onnx and what it needs. Empty: none was found.
  std::string engines;
  // The folder that holds the managed runtimes of event functions, python/ and node/. Empty: none was found.
  std::string runtimes;
  // The program that makes sandboxes. Empty: none was found.
  std::string spawner;

  std::string control_socket() const { return data + "/control.sock"; }
};

enum class ValueType : std::uint8_t { text, count };

struct ConfigKey {
  std::string_view name;
  ValueType type;
  std::string_view default_text;  // as the help shows it
  std::string_view unit;          // "" when it has none
  std::uint64_t min = 0;          // of a count
  std::uint64_t max = 0;
  std::string_view help;
};

std::span<const ConfigKey> config_keys();
// "freeze_after_ms" -> "THAW_FREEZE_AFTER_MS" and "--freeze-after-ms".
std::string environment_name(std::string_view key);
std::string flag_name(std::string_view key);

// What the outside gives: kept apart from the process so that tests can say all of it.
struct ConfigSources {
  // --config; empty: THAW_CONFIG, else /etc/thaw/thaw.toml when that exists.
  std::string file;
  // Every variable of the environment, not only Thaw's.
  std::map<std::string, std::string> environment;
  // Key (with underscores) to the flag's text.
  std::map<std::string, std::string> flags;
  uid_t uid = 0;
  // Of the running program, to find the spawner and the engines beside it.
  std::string executable;
  std::string default_file = "/etc/thaw/thaw.toml";
};

// The sources of this process, with its flags.
ConfigSources process_sources(std::string file, std::map<std::string, std::string> flags);

// Errors: invalid_argument, naming key, source (file and line, variable or flag) and the limit or the nearest known
// key.
Result<ServeConfig> load_config(const ConfigSources& sources);

// Where the data folder is for somebody who gives none: /var/lib/thaw for root, else under the user's state folder.
std::string default_data_folder(uid_t uid, const std::map<std::string, std::string>& environment);

// The data folder of the daemon that a command means: THAW_DATA, the configuration file's, the user's own default, or
// root's where only that one has a control socket.
std::string client_data_folder(const ConfigSources& sources);

// Memory of the machine, or the limit of this process's cgroup where that is lower.
std::uint64_t machine_memory_mb();

}  // namespace thaw::cli
