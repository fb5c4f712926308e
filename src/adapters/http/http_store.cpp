#include "adapters/http/http_store.h"

#include <boost/json.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "adapters/curl/transport.h"

namespace thaw::adapters {
namespace {

constexpr int kRedirectsMax = 5;
constexpr std::size_t kRememberedMax = 4096;
constexpr std::size_t kListAnswerBytesMax = 16 << 20;

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// "…" without its quotes and a weak mark.
std::string_view bare_etag(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  return etag;
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::optional<std::uint64_t> count_of(std::string_view text) {
  if (text.empty() || text.size() > 18 || text.find_first_not_of("0123456789") != std::string_view::npos)
    return std::nullopt;
  return std::stoull(std::string(text));
}

// What the answers on the way to an object have said of it.
struct Followed {
  HttpAnswer answer;          // the last one
  std::string url;            // that gave it
  std::string linked_sha256;  // X-Linked-ETag of the hub's own answer, which the server behind it knows nothing of
};

class HttpStore : public ports::ObjectStore {
 public:
  explicit HttpStore(HttpStoreOptions options)
      : options_(std::move(options)), transport_({.user_agent = options_.user_agent, .ca_file = options_.ca_file}) {}

  Result<ports::ObjectInfo> head(const std::string& key, const ports::Call& call) override {
    RETURN_IF_ERROR(check_key(key));
    HttpRequest request;
    request.method = "HEAD";
    ASSIGN_OR_RETURN(Followed followed, follow(key, request, call));
    const int status = followed.answer.status;
    if (status == 405 || status == 501 || (status == 200 && followed.answer.field("content-length").empty()))
      return head_by_range(key, call);
    if (status != 200) return status_error(status, shown(key), "");
    const auto bytes = count_of(followed.answer.field("content-length"));
    if (!bytes) return Error{ErrorKind::unsupported, shown(key) + ": the server does not tell the size"};
    return ports::ObjectInfo{key, *bytes, std::string(followed.answer.field("etag")), followed.linked_sha256};
  }

  Status read(const ports::ObjectRange& range, const ports::PieceSink& sink, const ports::Call& call) override {
    RETURN_IF_ERROR(check_key(range.key));
    if (range.bytes == 0) return {};
    HttpRequest request;
    request.sink = &sink;
    request.sink_bytes = range.bytes;
    request.check_head = [&](int status, const HttpFields& fields) -> Status {
      RETURN_IF_ERROR(check_etag(fields, range));
      return check_range(status, fields, range);
    };
    request.fields.emplace_back(
        "Range", "bytes=" + std::to_string(range.offset) + "-" + std::to_string(range.offset + range.bytes - 1));
    // A weak ETag never matches in If-Match (RFC 9110, section 13.1.1); check_etag() looks at it instead.
    if (!range.if_match.empty() && !range.if_match.starts_with("W/"))
      request.fields.emplace_back("If-Match", range.if_match);
    ASSIGN_OR_RETURN(const Followed followed, follow(range.key, request, call));
    const int status = followed.answer.status;
    if (status != 200 && status != 206) return status_error(status, shown(range.key), "");
    return {};
  }

  Result<ports::ObjectPage> list(const ports::ObjectList&, const ports::Call&) override {
    return Error{ErrorKind::unsupported, "an https: address has no list of objects: name a single file"};
  }
  Result<ports::ObjectInfo> put(const ports::ObjectUpload&, const UniqueFd&, const ports::Call&) override {
    return Error{ErrorKind::unsupported, "this store is read only"};
  }
  Status remove(const std::string&, const ports::Call&) override {
    return Error{ErrorKind::unsupported, "this store is read only"};
  }

 protected:
  virtual std::string url_of(const std::string& key) const { return options_.base + "/" + key; }
  // How messages call it: without the query, which may hold a signature.
  virtual std::string shown(const std::string& key) const { return options_.base + "/" + key.substr(0, key.find('?')); }

  static Status check_key(const std::string& key) {
    if (key.empty() || key.size() > 4 * ports::kObjectKeyBytesMax)
      return invalid_argument("the address's path must have 1 to " + std::to_string(4 * ports::kObjectKeyBytesMax) +
                              " bytes");
    for (const char c : key) {
      if (static_cast<unsigned char>(c) <= ' ' || c == 0x7f)
        return invalid_argument("the address holds a space or a control character");
    }
    return {};
  }

  HttpFields own_fields(const std::string& url) const {
    if (options_.token.empty()) return {};
    const auto ours = origin_of(options_.base);
    const auto other = origin_of(url);
    if (!ours.ok() || !other.ok() || *ours != *other) return {};
    return {{"Authorization", "Bearer " + options_.token}};
  }

  // The request, sent to the key's address or to where that led before, and on along redirects.
  Result<Followed> follow(const std::string& key, HttpRequest request, const ports::Call& call) {
    const HttpFields fields = request.fields;
    Followed followed;
    // Ranges go where the object was found; a HEAD asks the first server, which knows the object's own digest.
    const std::string remembered = request.method == "HEAD" ? "" : recall(key);
    followed.url = remembered.empty() ? url_of(key) : remembered;
    const bool plain = options_.base.starts_with("http://");
    for (int redirects = 0;; ++redirects) {
      request.url = followed.url;
      request.fields = fields;
      for (auto& field : own_fields(followed.url)) request.fields.push_back(std::move(field));
      ASSIGN_OR_RETURN(followed.answer, transport_.perform(request, call));
      const int status = followed.answer.status;
      if (const auto linked = bare_etag(followed.answer.field("x-linked-etag")); is_sha256(linked))
        followed.linked_sha256 = linked;
      if (!is_redirect(status)) {
        const bool refused = status == 401 || status == 403 || status == 404 || status == 410;
        if (refused && !remembered.empty() && redirects == 0) {  // a signed address that has run out
          forget(key);
          followed.url = url_of(key);
          continue;
        }
        if (status == 200 || status == 206) remember(key, followed.url);
        return followed;
      }
      if (redirects >= kRedirectsMax)
        return Error{ErrorKind::invalid_argument,
                     shown(key) + ": redirected more than " + std::to_string(kRedirectsMax) + " times"};
      ASSIGN_OR_RETURN(followed.url, resolve_url(followed.url, std::string(followed.answer.field("location"))));
      if (!plain && !followed.url.starts_with("https://"))
        return Error{ErrorKind::forbidden, shown(key) + ": redirected from https: to http:"};
    }
  }

  // For servers that do not know HEAD: the first byte's Content-Range tells the size.
  Result<ports::ObjectInfo> head_by_range(const std::string& key, const ports::Call& call) {
    HttpRequest request;
    const ports::PieceSink no_one = [](std::span<const std::byte>) { return Status(); };
    ports::ObjectInfo info{key, 0, "", ""};
    std::optional<std::uint64_t> bytes;
    request.sink = &no_one;
    request.sink_bytes = 1;
    request.fields.emplace_back("Range", "bytes=0-0");
    request.check_head = [&](int status, const HttpFields& fields) -> Status {
      const std::string_view range = find_field(fields, "content-range");
      const std::size_t slash = range.find('/');
      if (status == 206 && slash != std::string_view::npos) bytes = count_of(range.substr(slash + 1));
      info.etag = find_field(fields, "etag");
      if (bytes) return {};
      return Error{ErrorKind::unsupported, shown(key) + ": the server does not tell the size, or answers no ranges"};
    };
    ASSIGN_OR_RETURN(const Followed followed, follow(key, request, call));
    if (followed.answer.status != 206) return status_error(followed.answer.status, shown(key), "");
    info.bytes = *bytes;
    info.sha256 = followed.linked_sha256;
    return info;
  }

  std::string recall(const std::string& key) {
    const std::lock_guard lock(mutex_);
    const auto at = found_.find(key);
    return at == found_.end() ? "" : at->second;
  }
  void remember(const std::string& key, const std::string& url) {
    const std::lock_guard lock(mutex_);
    if (found_.size() >= kRememberedMax) found_.clear();
    found_[key] = url;
  }
  void forget(const std::string& key) {
    const std::lock_guard lock(mutex_);
    found_.erase(key);
  }

  const HttpStoreOptions options_;
  Transport transport_;

 private:
  std::mutex mutex_;
  std::map<std::string, std::string> found_;  // guarded by mutex_; key to where redirects led
};

HttpStoreOptions http_options(const HubOptions& hub) {
  return {.base = hub.endpoint, .token = hub.token, .user_agent = hub.user_agent, .ca_file = hub.ca_file};
}

class HubStore : public HttpStore {
 public:
  explicit HubStore(HubOptions hub) : HttpStore(http_options(hub)), hub_(std::move(hub)) {}

  Result<ports::ObjectPage> list(const ports::ObjectList& list, const ports::Call& call) override {
    HttpRequest request;
    request.collect_bytes_max = kListAnswerBytesMax;
    // `after` is the address of the next page, which the hub has given.
    request.url = list.after.empty() ? hub_.endpoint + "/api/models/" + encode_path(hub_.repository) + "/tree/" +
                                           encode_query_part(hub_.revision) + "?recursive=true"
                                     : list.after;
    request.fields = own_fields(request.url);
    ASSIGN_OR_RETURN(const HttpAnswer answer, transport_.perform(request, call));
    if (answer.status != 200) return status_error(answer.status, "hf:" + hub_.repository, "");
    ASSIGN_OR_RETURN(ports::ObjectPage page, parse_tree(answer.body, list.prefix));
    page.next = next_of(answer, request.url);
    return page;
  }

 protected:
  std::string url_of(const std::string& key) const override {
    return hub_.endpoint + "/" + encode_path(hub_.repository) + "/resolve/" + encode_query_part(hub_.revision) + "/" +
           encode_path(key);
  }
  std::string shown(const std::string& key) const override { return "hf:" + hub_.repository + "/" + key; }

 private:
  // [{"type": "file", "path": …, "size": …, "oid": …, "lfs": {"oid": SHA-256, "size": …}}, …]
  static Result<ports::ObjectPage> parse_tree(const std::string& json, const std::string& prefix) {
    const Error bad(ErrorKind::unavailable, "the hub's list of files is not what it should be");
    boost::json::error_code error;
    const boost::json::value value = boost::json::parse(json, error);
    if (error || !value.is_array()) return bad;
    ports::ObjectPage page;
    for (const boost::json::value& item : value.get_array()) {
      const boost::json::object* file = item.if_object();
      if (file == nullptr) return bad;
      const auto text = [](const boost::json::object& object, std::string_view key) {
        const boost::json::value* field = object.if_contains(key);
        return field != nullptr && field->is_string() ? std::string(field->get_string()) : std::string();
      };
      if (text(*file, "type") != "file") continue;
      ports::ObjectInfo info;
      info.key = text(*file, "path");
      const boost::json::value* size = file->if_contains("size");
      if (info.key.empty() || size == nullptr || !size->is_int64() || size->get_int64() < 0) return bad;
      if (!info.key.starts_with(prefix)) continue;
      info.bytes = static_cast<std::uint64_t>(size->get_int64());
      const boost::json::value* lfs = file->if_contains("lfs");
      if (lfs != nullptr && lfs->is_object()) {
        if (const std::string oid = text(lfs->get_object(), "oid"); is_sha256(oid)) info.sha256 = oid;
      } else if (const std::string oid = text(*file, "oid"); !oid.empty()) {
        info.etag = "\"" + oid + "\"";
      }
      page.objects.push_back(std::move(info));
    }
    return page;
  }

  // Of "Link: <ADDRESS>; rel="next"", when it is the hub's own.
  std::string next_of(const HttpAnswer& answer, const std::string& url) const {
    const std::string_view link = answer.field("link");
    const std::size_t open = link.find('<');
    const std::size_t close = link.find('>');
    if (open == std::string_view::npos || close == std::string_view::npos || close < open ||
        link.find("rel=\"next\"") == std::string_view::npos)
      return "";
    const auto next = resolve_url(url, std::string(link.substr(open + 1, close - open - 1)));
    const auto ours = origin_of(hub_.endpoint);
    if (!next.ok() || !ours.ok()) return "";
    const auto origin = origin_of(*next);
    return origin.ok() && *origin == *ours ? *next : "";
  }

  const HubOptions hub_;
};

}  // namespace

std::shared_ptr<ports::ObjectStore> open_http_store(HttpStoreOptions options) {
  while (options.base.ends_with('/')) options.base.pop_back();
  return std::make_shared<HttpStore>(std::move(options));
}

std::shared_ptr<ports::ObjectStore> open_hub_store(HubOptions options) {
  while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
  return std::make_shared<HubStore>(std::move(options));
}

}  // namespace thaw::adapters
