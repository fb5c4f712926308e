// `thaw models`: what the daemon fetches into memory, and the objects that it fetches from.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <thread>

#include "api.h"
#include "base/digest/sha256.h"
#include "base/sys.h"
#include "commands.h"
#include "config.h"
#include "interrupt.h"
#include "model_stores.h"
#include "store/model_uri.h"
#include "text.h"

namespace thaw::cli {
namespace json = boost::json;
namespace {

constexpr const char* kModels = "/thaw/v1/models";
constexpr std::chrono::milliseconds kFirstLookAgain{20};
constexpr std::chrono::milliseconds kLastLookAgain{250};
// The daemon and the store bound each step of an upload; this bounds the whole.
constexpr std::chrono::hours kUploadMax{24};

void print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

Error interrupted_error(std::string message) {
  return {ErrorKind::unavailable, std::move(message), "Client.Interrupted"};
}

std::vector<json::object> objects_of(const json::object& answer, const char* member) {
  std::vector<json::object> found;
  const json::value* items = answer.if_contains(member);
  if (items == nullptr || !items->is_array()) return found;
  for (const json::value& item : items->get_array()) {
    if (item.is_object()) found.push_back(item.get_object());
  }
  return found;
}

ErrorKind kind_of(const std::string& name) {
  for (const ErrorKind kind : {ErrorKind::invalid_argument, ErrorKind::forbidden, ErrorKind::not_found,
                               ErrorKind::conflict, ErrorKind::too_large, ErrorKind::overloaded, ErrorKind::timeout,
                               ErrorKind::unavailable, ErrorKind::unsupported, ErrorKind::corrupt}) {
    if (to_string(kind) == name) return kind;
  }
  return ErrorKind::internal;
}

// The model's line of the daemon's list once the pull is over.
Result<json::object> wait_for_pull(Session& session, const std::string& uri) {
  const std::string target = std::string(kModels) + "?uri=" + percent_encode(uri);
  std::optional<ProgressBar> bar;
  const InterruptGuard guard;
  for (auto pause = kFirstLookAgain;; pause = std::min(pause * 2, kLastLookAgain)) {
    ASSIGN_OR_RETURN(const json::object answer, get_object(session.client, target));
    const json::object& pull = object_field(answer, "Pull");
    const std::string state = text_field(pull, "State");
    if (state == "failed") return Error{kind_of(text_field(pull, "Kind")), text_field(pull, "Error")};
    for (const json::object& model : objects_of(answer, "Models")) {
      if (state == "ready" && text_field(model, "Id") == text_field(pull, "Id")) return model;
      if (text_field(model, "State") != "fetching" || count_field(model, "Bytes") == 0) continue;
      if (!bar) bar.emplace(session.terminal, "Fetching", count_field(model, "Bytes"));
      bar->update(count_field(model, "FetchedBytes"));
    }
    if (state == "ready") return Error{ErrorKind::conflict, "the model was fetched and dropped again meanwhile"};
    if (state.empty()) return Error{ErrorKind::unavailable, "the daemon knows nothing of this pull: was it restarted?"};
    if (InterruptGuard::signal_seen() != 0)
      return interrupted_error("interrupted; the daemon goes on fetching: `thaw models rm` would stop it");
    std::this_thread::sleep_for(pause);
  }
}

Result<json::object> begin_pull(Session& session, const std::string& uri, const std::string& sha256) {
  if (const auto parsed = store::parse_model_uri(uri); !parsed.ok()) return parsed.error();
  json::object body{{"Uri", uri}};
  if (!sha256.empty()) {
    if (!is_sha256_hex(sha256)) return invalid_argument("--sha256 must be 64 lower-case hex digits");
    body["Sha256"] = sha256;
  }
  return send_json(session.client, "POST", kModels, body);
}

Status pull(Session& session, const ModelsOptions& options) {
  ASSIGN_OR_RETURN(json::object model, begin_pull(session, options.uri, options.sha256));
  if (!options.no_wait) {
    ASSIGN_OR_RETURN(model, wait_for_pull(session, options.uri));
  }
  if (session.json()) {
    print_json(model);
    return {};
  }
  if (options.no_wait) {
    print("the daemon fetches " + printable(options.uri) + "; look at it with: thaw models list\n");
    return {};
  }
  const std::uint64_t bytes = count_field(model, "Bytes");
  const std::uint64_t took_ms = std::max<std::uint64_t>(1, count_field(model, "FetchMilliseconds"));
  print(session.terminal.out(Color::green, "in memory") + " " + printable(options.uri) + "\n  " + human_bytes(bytes) +
        " in " + std::to_string(took_ms) + " ms (" + human_bytes(bytes * 1000 / took_ms) + "/s)\n  id " +
        printable(text_field(model, "Id")) + "\n");
  return {};
}

struct LocalFile {
  UniqueFd fd;
  std::uint64_t bytes = 0;
};

Result<LocalFile> open_local(const std::string& path) {
  auto fd = sys::open(path, O_RDONLY | O_NONBLOCK);
  if (!fd.ok()) return std::move(fd).error();
  struct stat info {};
  if (::fstat(fd->get(), &info) != 0) return sys::errno_error(path);
  if (!S_ISREG(info.st_mode)) return invalid_argument(path + " is no file");
  return LocalFile{std::move(*fd), static_cast<std::uint64_t>(info.st_size)};
}

// From here, with the caller's own credentials.
Result<json::object> push_to_s3(Session& session, const LocalFile& file, const store::ModelUri& uri,
                                const std::string& key) {
  ASSIGN_OR_RETURN(StoreSettings settings, load_store_settings(process_sources({}, {}).environment));
  ModelStores stores(std::move(settings));
  ASSIGN_OR_RETURN(const auto store, stores.open(uri));
  std::atomic<bool> cancelled{false};
  ProgressBar bar(session.terminal, "Uploading", file.bytes);
  const InterruptGuard guard;
  ports::ObjectUpload upload{.key = key, .bytes = file.bytes};
  upload.on_progress = [&](std::uint64_t sent) {
    bar.update(sent);
    if (InterruptGuard::signal_seen() != 0) cancelled = true;
  };
  const ports::Call call{.deadline = std::chrono::steady_clock::now() + kUploadMax, .cancelled = &cancelled};
  auto stored = store->put(upload, file.fd, call);
  bar.clear();
  if (cancelled) return interrupted_error("interrupted; nothing was stored");
  if (!stored.ok()) return std::move(stored).error();
  return json::object{{"Uri", "s3://" + uri.place + "/" + key}, {"Bytes", stored->bytes}, {"ETag", stored->etag}};
}

Result<json::object> push_to_daemon(Session& session, const LocalFile& file, const std::string& name) {
  ProgressBar bar(session.terminal, "Uploading", file.bytes);
  Request request{.method = "PUT", .target = "/thaw/v1/objects/" + percent_encode_path(name)};
  request.headers.emplace_back("Content-Type", "application/octet-stream");
  request.body_bytes = file.bytes;
  std::uint64_t sent = 0;
  request.body = [&](std::span<char> into) -> Result<std::size_t> {
    const std::size_t count = std::min<std::uint64_t>(into.size(), file.bytes - sent);
    if (count == 0) return std::size_t{0};
    ASSIGN_OR_RETURN(const std::size_t got, sys::read_some(file.fd, into.first(count)));
    if (got == 0) return Error{ErrorKind::conflict, "the file has become shorter meanwhile"};
    sent += got;
    bar.update(sent);
    return got;
  };
  request.keep_going = [&]() -> Status {
    if (InterruptGuard::signal_seen() != 0) return interrupted_error("interrupted; nothing was stored");
    return {};
  };
  const InterruptGuard guard;
  ASSIGN_OR_RETURN(const Response response, session.client.send(request));
  return object_of(response);
}

Status push(Session& session, const ModelsOptions& options) {
  const std::string name = std::filesystem::path(options.file).filename().string();
  const std::string target = options.uri.empty() ? "file:" + name : options.uri;
  // A folder's address is completed with the file's name, so "file:" alone is one too.
  ASSIGN_OR_RETURN(const store::ModelUri uri, store::parse_model_uri(target == "file:" ? "file:" + name : target));
  const std::string key = uri.folder ? uri.key + name : uri.key;
  if (uri.scheme != store::ModelScheme::s3 && uri.scheme != store::ModelScheme::file)
    return invalid_argument("a file is pushed to s3://BUCKET/KEY or file:NAME");
  if (uri.scheme == store::ModelScheme::file && key.starts_with('/'))
    return invalid_argument("push stores into the daemon's own folder: write file:NAME, without '/' in front");
  ASSIGN_OR_RETURN(const LocalFile file, open_local(options.file));
  ASSIGN_OR_RETURN(const json::object stored, uri.scheme == store::ModelScheme::s3
                                                  ? push_to_s3(session, file, uri, key)
                                                  : push_to_daemon(session, file, key));
  if (session.json()) {
    print_json(stored);
    return {};
  }
  print(session.terminal.out(Color::green, "stored") + " " + printable(text_field(stored, "Uri")) + " (" +
        human_bytes(count_field(stored, "Bytes")) + ")\n");
  return {};
}

std::string state_text(const json::object& model) {
  const std::string state = text_field(model, "State");
  if (state == "fetching" && count_field(model, "Bytes") > 0)
    return state + " " + std::to_string(count_field(model, "FetchedBytes") * 100 / count_field(model, "Bytes")) + " %";
  if (state == "failed") return state + ": " + text_field(model, "Error");
  if (count_field(model, "Holds") > 0) return "in use by " + std::to_string(count_field(model, "Holds"));
  return state == "ready" ? "unused for " + human_seconds(count_field(model, "UnusedSeconds")) : state;
}

Status list(Session& session) {
  ASSIGN_OR_RETURN(const json::object answer, get_object(session.client, kModels));
  if (session.json()) {
    print_json(answer);
    return {};
  }
  const std::vector<json::object> models = objects_of(answer, "Models");
  if (models.empty()) {
    std::fputs("no model is in memory; fetch one with: thaw models pull URI\n", stderr);
    return {};
  }
  std::vector<std::vector<std::string>> rows = {{"ID", "SIZE", "STATE", "URI"}};
  for (const json::object& model : models) {
    const std::string id = text_field(model, "Id");
    rows.push_back({id.empty() ? "-" : id.substr(0, 12), human_bytes(count_field(model, "Bytes")), state_text(model),
                    text_field(model, "Uri")});
  }
  print(format_table(rows, session.terminal));
  return {};
}

// An id may be shortened, as the list shows it.
Result<std::string> full_id(Session& session, const std::string& given) {
  ASSIGN_OR_RETURN(const json::object answer, get_object(session.client, kModels));
  std::vector<std::string> ids;
  for (const json::object& model : objects_of(answer, "Models")) {
    if (const std::string id = text_field(model, "Id"); !id.empty() && id.starts_with(given)) ids.push_back(id);
  }
  if (ids.size() > 1) return invalid_argument("more than one model's id begins with " + given);
  return ids.empty() ? given : ids.front();
}

Status remove(Session& session, const ModelsOptions& options) {
  const bool is_uri = options.uri.find(':') != std::string::npos;
  if (options.object && !options.uri.starts_with("file:"))
    return invalid_argument("--object deletes what file:NAME stores; elsewhere use the store's own tools");
  std::string target = kModels;
  if (is_uri) {
    target += "?uri=" + percent_encode(options.uri);
  } else {
    ASSIGN_OR_RETURN(const std::string id, full_id(session, options.uri));
    target += "?id=" + percent_encode(id);
  }
  ASSIGN_OR_RETURN(const Response response, session.client.send({.method = "DELETE", .target = target}));
  // With --object there need be no model in memory.
  if (!response.ok() && !(options.object && response.status == 404)) return error_of(response);
  if (options.object) {
    const std::string object = "/thaw/v1/objects/" + percent_encode_path(options.uri.substr(5));
    ASSIGN_OR_RETURN(const Response deleted, session.client.send({.method = "DELETE", .target = object}));
    if (!deleted.ok()) return error_of(deleted);
  }
  if (session.json()) {
    print_json({{"Removed", json::array{options.uri}}});
  } else {
    print(session.terminal.out(Color::green, "removed") + " " + printable(options.uri) + "\n");
  }
  return {};
}

}  // namespace

Result<json::object> pull_model(Session& session, const std::string& uri, const std::string& sha256) {
  ASSIGN_OR_RETURN([[maybe_unused]] const json::object begun, begin_pull(session, uri, sha256));
  return wait_for_pull(session, uri);
}

int run_models(Session& session, ModelsAction action, const ModelsOptions& options) {
  const Status result = action == ModelsAction::pull   ? pull(session, options)
                        : action == ModelsAction::push ? push(session, options)
                        : action == ModelsAction::list ? list(session)
                                                       : remove(session, options);
  if (result.ok()) return kExitOk;
  const bool was_interrupted = result.error().code == "Client.Interrupted";
  (void)report(session, result.error());
  return was_interrupted ? kExitInterrupted : kExitError;
}

}  // namespace thaw::cli
