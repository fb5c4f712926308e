#include "gateway/models_api.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/json/array.hpp>
#include <filesystem>

#include "base/digest/sha256.h"
#include "base/log.h"
#include "base/sys.h"
#include "base/uuid.h"
#include "gateway/upload.h"
#include "http/off_loop.h"
#include "store/model_uri.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

namespace json = boost::json;

constexpr std::string_view kModels = "/thaw/v1/models";
constexpr std::string_view kObjects = "/thaw/v1/objects";
constexpr std::size_t kPullsKeptMax = 256;
constexpr std::size_t kPullsAtOnceMax = 64;  // under way and waiting
constexpr std::size_t kObjectsListedMax = 10000;

std::string_view state_name(store::ModelState state) {
  switch (state) {
    case store::ModelState::fetching:
      return "fetching";
    case store::ModelState::ready:
      return "ready";
    case store::ModelState::failed:
      return "failed";
  }
  return "unknown";
}

json::object model_json(const store::ModelView& view) {
  json::object object{{"Uri", view.info.uri},
                      {"State", state_name(view.state)},
                      {"Bytes", view.info.bytes},
                      {"FetchedBytes", view.fetched_bytes},
                      {"FetchMilliseconds", view.fetch_took.count()}};
  if (view.state == store::ModelState::failed) object["Error"] = view.error;
  if (view.state != store::ModelState::ready) return object;
  object["Id"] = view.info.id;
  object["Digest"] = view.info.digest;
  object["File"] = view.info.file;
  object["ETag"] = view.info.etag;
  object["Holds"] = view.holds;
  object["UnusedSeconds"] = view.unused.count();
  return object;
}

json::object object_json(const ports::ObjectInfo& info) {
  return {{"Name", info.key}, {"Uri", "file:" + info.key}, {"Bytes", info.bytes}, {"ETag", info.etag}};
}

}  // namespace

ModelsApi::ModelsApi(store::ModelMemory& memory, ports::ObjectStore& objects, ModelsApiOptions options)
    : memory_(memory), objects_(objects), options_(std::move(options)) {}

ModelsApi::~ModelsApi() {
  stop();
  fetchers_.join();
  workers_.join();
}

void ModelsApi::stop() {
  std::vector<std::string> uris;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const Pull& pull : pulls_) {
      if (!pull.done) uris.push_back(pull.uri);
    }
  }
  // Those that have not begun see that it is over; those under way are told by their memory. A model that is held is
  // none of these.
  for (const store::ModelView& view : memory_.list()) {
    if (view.state == store::ModelState::fetching && std::find(uris.begin(), uris.end(), view.info.uri) != uris.end())
      (void)memory_.remove(view.info.uri);
  }
}

bool ModelsApi::is_path(std::string_view path) {
  return path == kModels || path == kObjects || path.starts_with("/thaw/v1/objects/");
}

http::Task<Status> ModelsApi::handle(http::Exchange& exchange, std::string_view path, const Query& query) {
  const std::string_view method = exchange.request().method;
  if (path == kModels) {
    if (method == "GET") co_return co_await list(exchange, query);
    if (method == "POST" || method == "PUT") co_return co_await pull(exchange);
    if (method == "DELETE") co_return co_await remove(exchange, query);
    co_return no_method();
  }
  if (path == kObjects) {
    if (method == "GET") co_return co_await list_objects(exchange, query);
    co_return no_method();
  }
  const auto name = http::percent_decode(path.substr(kObjects.size() + 1));
  if (!name.ok()) co_return name.error();
  if (!http::is_utf8(*name) || !store::is_safe_path(*name) || name->size() > ports::kObjectKeyBytesMax)
    co_return invalid_argument("the object's name must be a path without empty parts, '.' and '..'");
  if (method == "PUT") co_return co_await put_object(exchange, *name);
  if (method == "DELETE") co_return co_await remove_object(exchange, *name);
  co_return no_method();
}

http::Task<Status> ModelsApi::list(http::Exchange& exchange, const Query& query) {
  const std::string uri = value_of(query, "uri");
  json::array models;
  for (const store::ModelView& view : memory_.list()) {
    if (uri.empty() || view.info.uri == uri) models.push_back(model_json(view));
  }
  json::object body{{"Models", std::move(models)}};
  if (!uri.empty()) {
    if (const auto last = find_pull(uri)) {
      json::object pull{{"Uri", uri}, {"State", !last->done ? "fetching" : last->error ? "failed" : "ready"}};
      if (last->done && !last->error) pull["Id"] = last->id;
      if (last->error) {
        pull["Kind"] = to_string(last->error->kind);
        pull["Error"] = last->error->message;
      }
      body["Pull"] = std::move(pull);
    }
  }
  co_return co_await answer_json(exchange, 200, body);
}

http::Task<Status> ModelsApi::pull(http::Exchange& exchange) {
  const auto body = co_await read_json(exchange);
  if (!body.ok()) co_return body.error();
  const auto uri = string_of(*body, "Uri");
  if (!uri.ok()) co_return uri.error();
  const auto sha256 = string_of(*body, "Sha256");
  if (!sha256.ok()) co_return sha256.error();
  if (!*uri) co_return invalid_argument("Uri is missing");
  store::ModelSource source{**uri, sha256->value_or(""), ""};
  const auto parsed = store::parse_model_uri(source.uri);
  if (!parsed.ok()) co_return parsed.error();
  if (!source.sha256.empty() && (!is_sha256_hex(source.sha256) || parsed->folder))
    co_return invalid_argument("Sha256 must be 64 lower-case hex digits, and not of a folder");
  const Status begun = begin(source);
  if (!begun.ok()) co_return begun;
  const json::object answer{{"Uri", source.uri}, {"State", "fetching"}};
  co_return co_await answer_json(exchange, 202, answer);
}

Status ModelsApi::begin(const store::ModelSource& source) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return Error{ErrorKind::unavailable, "the daemon is stopping"};
  const auto same = std::find_if(pulls_.begin(), pulls_.end(), [&](const Pull& one) { return one.uri == source.uri; });
  if (same != pulls_.end() && !same->done) return {};  // it is on its way: whoever asks again looks at the same pull
  const auto running = std::count_if(pulls_.begin(), pulls_.end(), [](const Pull& one) { return !one.done; });
  if (running >= static_cast<std::ptrdiff_t>(kPullsAtOnceMax)) {
    return Error{ErrorKind::overloaded,
                 "more than " + std::to_string(kPullsAtOnceMax) + " models are being pulled: retry later"};
  }
  if (same != pulls_.end()) pulls_.erase(same);
  pulls_.push_back({source.uri, false, "", std::nullopt});
  while (pulls_.size() > kPullsKeptMax) {
    const auto oldest = std::find_if(pulls_.begin(), pulls_.end(), [](const Pull& one) { return one.done; });
    if (oldest == pulls_.end()) break;
    pulls_.erase(oldest);
  }
  boost::asio::post(fetchers_, [this, source] {
    bool stopped = false;
    {
      const std::lock_guard still(mutex_);
      stopped = stopping_;
    }
    finish(source.uri, stopped ? Result<store::ModelHold>(Error{ErrorKind::unavailable, "the daemon is stopping"})
                               : memory_.fetch(source));
  });
  return {};
}

void ModelsApi::finish(const std::string& uri, const Result<store::ModelHold>& held) {
  const std::lock_guard lock(mutex_);
  for (Pull& pull : pulls_) {
    if (pull.uri != uri || pull.done) continue;
    pull.done = true;
    if (held.ok()) {
      pull.id = held->info.id;
    } else {
      pull.error = held.error();
    }
  }
}

std::optional<ModelsApi::Pull> ModelsApi::find_pull(const std::string& uri) {
  const std::lock_guard lock(mutex_);
  const auto at = std::find_if(pulls_.begin(), pulls_.end(), [&](const Pull& one) { return one.uri == uri; });
  return at == pulls_.end() ? std::nullopt : std::optional<Pull>(*at);
}

http::Task<Status> ModelsApi::remove(http::Exchange& exchange, const Query& query) {
  const std::string what = has(query, "uri") ? value_of(query, "uri") : value_of(query, "id");
  if (what.empty()) co_return invalid_argument("uri or id is missing");
  const Status removed = co_await http::off_loop(workers_, exchange.loop(), [&] { return memory_.remove(what); });
  if (!removed.ok()) co_return removed;
  co_return co_await exchange.respond({.status = 204});
}

http::Task<Status> ModelsApi::list_objects(http::Exchange& exchange, const Query& query) {
  const ports::ObjectList list{value_of(query, "prefix"), value_of(query, "Marker"), kObjectsListedMax};
  const auto page =
      co_await http::off_loop(workers_, exchange.loop(), [&] { return objects_.list(list, ports::Call()); });
  if (!page.ok()) co_return page.error();
  json::array objects;
  for (const ports::ObjectInfo& info : page->objects) objects.push_back(object_json(info));
  json::object body{{"Objects", std::move(objects)}};
  if (!page->next.empty()) body["NextMarker"] = page->next;
  co_return co_await answer_json(exchange, 200, body);
}

// Beside its place first, on the same disk: a reader sees the object of before or the new one, whole.
http::Task<Status> ModelsApi::put_object(http::Exchange& exchange, const std::string& name) {
  const std::string beside = options_.objects_folder + "/.thaw-upload-" + random_uuid();
  const Upload upload{beside, options_.upload_bytes_max, "object", options_.data_folder};
  Status stored = co_await receive_upload(exchange, workers_, upload);
  if (stored.ok()) {
    stored = co_await http::off_loop(workers_, exchange.loop(), [&]() -> Status {
      ASSIGN_OR_RETURN(const UniqueFd file, sys::open(beside, O_RDONLY));
      if (::fsync(file.get()) != 0 || ::fchmod(file.get(), 0644) != 0) return sys::errno_error("the object");
      const std::filesystem::path place = std::filesystem::path(options_.objects_folder) / name;
      const std::string parent = place.parent_path().string();
      RETURN_IF_ERROR(sys::make_directories(parent));
      if (::rename(beside.c_str(), place.c_str()) != 0) {
        if (errno == EISDIR || errno == ENOTDIR || errno == ENOTEMPTY || errno == EEXIST)
          return Error{ErrorKind::conflict, "'" + name + "' is a folder, or lies below an object"};
        return sys::errno_error("the object");
      }
      ASSIGN_OR_RETURN(const UniqueFd folder, sys::open(parent, O_RDONLY));
      if (::fsync(folder.get()) != 0) return sys::errno_error("the object");
      return {};
    });
  }
  if (!stored.ok()) {
    co_await http::off_loop(workers_, exchange.loop(), [&] { return sys::remove_tree(beside).ok(); });
    co_return stored;
  }
  const auto info =
      co_await http::off_loop(workers_, exchange.loop(), [&] { return objects_.head(name, ports::Call()); });
  if (!info.ok()) co_return info.error();
  log::info("object_stored bytes={}", info->bytes);
  co_return co_await answer_json(exchange, 201, object_json(*info));
}

http::Task<Status> ModelsApi::remove_object(http::Exchange& exchange, const std::string& name) {
  const Status removed =
      co_await http::off_loop(workers_, exchange.loop(), [&] { return objects_.remove(name, ports::Call()); });
  if (!removed.ok()) co_return removed;
  co_return co_await exchange.respond({.status = 204});
}

}  // namespace thaw::gateway
