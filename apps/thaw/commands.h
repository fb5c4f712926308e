// The commands that talk to the daemon. Each returns the process's exit status, having said on standard error why when
// it is not 0.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client.h"
#include "terminal.h"

namespace thaw::cli {

enum ExitStatus : int { kExitOk = 0, kExitError = 1, kExitUsage = 2, kExitInterrupted = 130 };
enum class Output : std::uint8_t { human, json };

// What every command gets. Ownership: borrowed by the command for its run.
struct Session {
  Client client;
  Terminal terminal;
  Output output = Output::human;

  bool json() const { return output == Output::json; }
};

// Prints the error (as JSON with --json) and gives kExitError.
int report(const Session& session, const Error& error);

struct DeployOptions {
  std::string path;
  std::string name;
  std::optional<std::uint32_t> memory_mb;
  std::optional<std::uint32_t> timeout_s;
  std::optional<std::uint32_t> concurrency;
  std::vector<std::string> environment;  // "NAME=value"
  std::vector<std::string> settings;     // "key=value" of the manifest
};
int run_deploy(Session& session, const DeployOptions& options);

struct InvokeOptions {
  std::string name;
  std::string path = "/";
  std::string method;               // empty: POST with data, GET without
  std::optional<std::string> data;  // text, "@FILE" or "-"
  std::vector<std::string> headers;
  std::vector<std::string> query;
  bool include_head = false;
};
int run_invoke(Session& session, const InvokeOptions& options);

struct BatchOptions {
  std::string name;   // NAME or NAME:QUALIFIER
  std::string input;  // a folder, a file of lines or rows, or a database
  std::string table;  // of the database
  std::string query;
  std::string output;  // a file of JSON lines, or a database; empty: standard output
  std::string output_table;
  std::vector<std::string> include;
  std::string id_field;
  unsigned concurrency = 4;
  unsigned retries = 5;
  unsigned timeout_s = 900;
  std::optional<std::uint64_t> limit;
  std::optional<std::string> path;
  std::optional<std::string> method;
  std::string content_type;
  bool resume = false;
  bool restart = false;
  std::string schedule;  // when; empty: once, now
};
int run_batch(Session& session, const BatchOptions& options);

struct ChatOptions {
  std::string name;                     // NAME or NAME:QUALIFIER
  std::optional<std::string> question;  // none: standard input, or a chat where that is a terminal
  std::string system;
  std::optional<std::uint32_t> max_tokens;
  std::optional<double> temperature;
};
int run_chat(Session& session, const ChatOptions& options);

struct ListOptions {
  bool names_only = false;
};
int run_list(Session& session, const ListOptions& options);
int run_describe(Session& session, const std::string& name);

struct DeleteOptions {
  std::vector<std::string> names;  // NAME, or NAME:VERSION
  bool yes = false;
};
int run_delete(Session& session, const DeleteOptions& options);

struct PublishOptions {
  std::string name;
  std::string description;
  bool no_wait = false;
};
int run_publish(Session& session, const PublishOptions& options);
int run_versions(Session& session, const std::string& name);

struct AliasOptions {
  std::string name;
  std::string alias;
  std::string version;
  std::string weight;  // "VERSION=SHARE", or empty
  std::optional<std::string> description;
};
enum class AliasAction : std::uint8_t { set, list, remove };
int run_alias(Session& session, AliasAction action, const AliasOptions& options);

struct ScheduleOptions {
  std::string name;  // the function, or NAME:QUALIFIER; of list: may be empty
  std::string schedule;
  std::string expression;
  std::string input;
  bool disabled = false;
};
enum class ScheduleAction : std::uint8_t { add, list, remove };
int run_schedule(Session& session, ScheduleAction action, const ScheduleOptions& options);

struct LogsOptions {
  std::string name;
  bool follow = false;
  std::uint64_t lines = 100;
};
int run_logs(Session& session, const LogsOptions& options);

struct ModelsOptions {
  std::string uri;     // or an id, of rm
  std::string file;    // of push
  std::string sha256;  // of pull
  bool no_wait = false;
  bool object = false;  // of rm: the stored object too
};
enum class ModelsAction : std::uint8_t { pull, push, list, remove };
// Has the daemon fetch a model and waits for it, with a progress bar; the model's line of the daemon's list. Errors:
// those of the address and of the fetch; ctrl-C has the code Client.Interrupted.
Result<boost::json::object> pull_model(Session& session, const std::string& uri, const std::string& sha256);
int run_models(Session& session, ModelsAction action, const ModelsOptions& options);

int run_status(Session& session);

}  // namespace thaw::cli
