#include "adapters/s3/s3_store.h"

#include <unistd.h>

#include <algorithm>
#include <shared_mutex>

#include "adapters/curl/transport.h"
#include "adapters/s3/credentials.h"
#include "adapters/s3/xml.h"
#include "base/digest/sha256.h"
#include "base/sys.h"

namespace thaw::adapters {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

// S3 takes up to 5 GiB in one piece; parts keep a retry cheap and let the digest be made piece by piece.
constexpr std::uint64_t kPartBytes = 64ULL << 20;
// S3's own bound on the number of parts.
constexpr std::uint64_t kPartsMax = 10000;
constexpr std::uint64_t kObjectBytesMax = 5ULL << 40;
constexpr std::size_t kListAnswerBytesMax = 8 << 20;
constexpr std::size_t kListKeysMax = 1000;

Status check_key(const std::string& key) {
  if (key.empty()) return invalid_argument("the object's key is empty");
  if (key.size() > ports::kObjectKeyBytesMax)
    return invalid_argument("the object's key is longer than " + std::to_string(ports::kObjectKeyBytesMax) + " bytes");
  if (key.find('\0') != std::string::npos) return invalid_argument("the object's key holds a NUL character");
  return {};
}

// S3's rules, and those of older buckets and of other servers. A bucket's name becomes part of a host's.
Status check_bucket(const std::string& bucket) {
  const auto may_be = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_';
  };
  if (bucket.size() < 3 || bucket.size() > 255 || !std::all_of(bucket.begin(), bucket.end(), may_be) ||
      bucket.front() == '.' || bucket.find("..") != std::string::npos)
    return invalid_argument("'" + bucket + "' is no bucket's name (3 to 255 of letters, digits, '.', '-', '_')");
  return {};
}

// "q1w2…==" of 32 bytes as hex; empty for anything else, like the "…-3" of an object in parts.
std::string hex_of_base64(std::string_view text) {
  if (text.size() != 44 || text.back() != '=') return "";
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  Sha256Digest digest{};
  std::size_t filled = 0;
  for (const char c : text.substr(0, 43)) {
    const std::size_t value = kAlphabet.find(c);
    if (value == std::string_view::npos) return "";
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8 && filled < digest.size()) {
      count -= 8;
      digest[filled++] = static_cast<unsigned char>(bits >> count & 0xFF);
    }
  }
  return filled == digest.size() ? hex(digest) : "";
}

Result<std::string> file_sha256(const UniqueFd& file, std::uint64_t offset, std::uint64_t bytes) {
  Sha256 hash;
  std::string piece;
  while (bytes > 0) {
    piece.resize(std::min<std::uint64_t>(bytes, 1 << 20));
    const ssize_t got = ::pread(file.get(), piece.data(), piece.size(), static_cast<off_t>(offset));
    if (got < 0) return sys::errno_error("the file that is uploaded");
    if (got == 0) return Error{ErrorKind::conflict, "the file that is uploaded has become shorter meanwhile"};
    hash.update(std::string_view(piece).substr(0, static_cast<std::size_t>(got)));
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::uint64_t>(got);
  }
  return hex(hash.finish());
}

struct Operation {
  std::string method = "GET";
  std::string key = {};  // empty: the bucket
  Pairs query = {};
  Pairs fields = {};  // lower-case names
  std::string payload_sha256 = hex(sha256(""));
};

class S3Store : public ports::ObjectStore {
 public:
  S3Store(S3Settings settings, S3Bucket bucket, const std::string& user_agent)
      : settings_(std::move(settings)),
        bucket_(std::move(bucket.name)),
        version_(std::move(bucket.version)),
        region_(settings_.region),
        transport_({.user_agent = user_agent, .ca_file = settings_.ca_file}),
        credentials_(settings_, transport_) {}

  Result<ports::ObjectInfo> head(const std::string& key, const ports::Call& call) override {
    RETURN_IF_ERROR(check_key(key));
    HttpRequest request;
    const Operation operation{
        .method = "HEAD", .key = key, .query = version_query(), .fields = {{"x-amz-checksum-mode", "ENABLED"}}};
    ASSIGN_OR_RETURN(HttpAnswer answer, perform(operation, request, call));
    if (answer.status != 200) {
      // A HEAD's answer has no body to say why; a small GET's has.
      HttpRequest again;
      const Operation first{.key = key, .query = version_query(), .fields = {{"range", "bytes=0-0"}}};
      ASSIGN_OR_RETURN(const HttpAnswer why, perform(first, again, call));
      return why.status >= 400 ? error_of(why, key) : error_of(answer, key);
    }
    return info_of(answer, key);
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
    Operation operation{.key = range.key, .query = version_query()};
    operation.fields.emplace_back(
        "range", "bytes=" + std::to_string(range.offset) + "-" + std::to_string(range.offset + range.bytes - 1));
    if (!range.if_match.empty()) operation.fields.emplace_back("if-match", range.if_match);
    ASSIGN_OR_RETURN(const HttpAnswer answer, perform(operation, request, call));
    if (answer.status != 200 && answer.status != 206) return error_of(answer, range.key);
    return {};
  }

  Result<ports::ObjectPage> list(const ports::ObjectList& list, const ports::Call& call) override {
    HttpRequest request;
    request.collect_bytes_max = kListAnswerBytesMax;
    Operation operation;
    operation.query = {{"list-type", "2"}, {"max-keys", std::to_string(std::min(list.count_max, kListKeysMax))}};
    if (!list.prefix.empty()) operation.query.emplace_back("prefix", list.prefix);
    if (!list.after.empty()) operation.query.emplace_back("continuation-token", list.after);
    ASSIGN_OR_RETURN(const HttpAnswer answer, perform(operation, request, call));
    if (answer.status != 200) return error_of(answer, list.prefix);
    return parse_list(answer.body);
  }

  Result<ports::ObjectInfo> put(const ports::ObjectUpload& upload, const UniqueFd& file,
                                const ports::Call& call) override {
    RETURN_IF_ERROR(check_key(upload.key));
    if (upload.bytes > kObjectBytesMax)
      return Error{ErrorKind::too_large, "the file is larger than S3's 5 TiB for an object"};
    if (upload.bytes > kPartBytes) return put_in_parts(upload, file, call);
    Operation operation{.method = "PUT", .key = upload.key};
    ASSIGN_OR_RETURN(operation.payload_sha256, file_sha256(file, 0, upload.bytes));
    HttpRequest request;
    request.body_file = &file;
    request.body_bytes = upload.bytes;
    request.on_sent = upload.on_progress;
    ASSIGN_OR_RETURN(const HttpAnswer answer, perform(operation, request, call));
    if (answer.status != 200) return error_of(answer, upload.key);
    return ports::ObjectInfo{upload.key, upload.bytes, std::string(answer.field("etag")), operation.payload_sha256};
  }

  Status remove(const std::string& key, const ports::Call& call) override {
    RETURN_IF_ERROR(check_key(key));
    // S3 answers 204 whether the object was there or not.
    ASSIGN_OR_RETURN([[maybe_unused]] const ports::ObjectInfo there, head(key, call));
    HttpRequest request;
    ASSIGN_OR_RETURN(const HttpAnswer answer, perform({.method = "DELETE", .key = key}, request, call));
    if (answer.status != 204 && answer.status != 200) return error_of(answer, key);
    return {};
  }

 private:
  std::string region() {
    const std::shared_lock lock(region_mutex_);
    return region_;
  }

  Pairs version_query() const { return version_.empty() ? Pairs() : Pairs{{"versionId", version_}}; }

  std::string name(const std::string& key) const { return "s3://" + bucket_ + "/" + key; }

  Result<ports::ObjectInfo> info_of(const HttpAnswer& answer, const std::string& key) const {
    ports::ObjectInfo info{key, 0, std::string(answer.field("etag")), ""};
    const std::string_view length = answer.field("content-length");
    char* end = nullptr;
    const std::string text(length);
    info.bytes = std::strtoull(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0')
      return Error{ErrorKind::unavailable, name(key) + ": the server does not tell the object's size"};
    info.sha256 = hex_of_base64(answer.field("x-amz-checksum-sha256"));
    return info;
  }

  Error error_of(const HttpAnswer& answer, const std::string& key) const {
    const S3ErrorBody body = parse_error(answer.body);
    std::string detail = body.code;
    if (!body.message.empty()) detail += (detail.empty() ? "" : ": ") + body.message;
    if (answer.status == 403 && !settings_.credentials && settings_.source == "the instance's metadata")
      detail += "; no credentials were found in the environment, a profile or the instance's metadata";
    else if (answer.status == 403)
      detail += "; the credentials are of " + settings_.source;
    Error error = status_error(answer.status, name(key), detail);
    if (body.code == "SlowDown" || body.code == "RequestTimeout") error.kind = ErrorKind::unavailable;
    if (body.code == "AuthorizationHeaderMalformed" || body.code == "InvalidToken" || body.code == "ExpiredToken")
      error.kind = ErrorKind::forbidden;
    if (answer.status == 301) {
      error.kind = ErrorKind::invalid_argument;
      error.message += "; the bucket is elsewhere: set AWS_REGION or AWS_ENDPOINT_URL_S3";
    }
    return error;
  }

  // Signs and sends. Once more where that helps: with new credentials, or for the region that the bucket is in.
  Result<HttpAnswer> perform(const Operation& operation, HttpRequest& request, const ports::Call& call) {
    for (bool again = false;; again = true) {
      ASSIGN_OR_RETURN(const auto credentials, prepare(operation, request, call));
      ASSIGN_OR_RETURN(HttpAnswer answer, transport_.perform(request, call));
      if (again || answer.status < 300) return answer;
      const std::string_view elsewhere = answer.field("x-amz-bucket-region");
      if (!elsewhere.empty() && elsewhere != region() && (answer.status == 301 || answer.status == 400)) {
        const std::unique_lock lock(region_mutex_);
        region_ = elsewhere;
        continue;
      }
      const bool expired = parse_error(answer.body).code == "ExpiredToken";
      if (!expired || !credentials || !credentials_.renew(*credentials)) return answer;
    }
  }

  // The credentials that it is signed with; nothing where there are none.
  Result<std::optional<Credentials>> prepare(const Operation& operation, HttpRequest& request,
                                             const ports::Call& call) {
    const std::string in_region = region();
    const std::string endpoint =
        settings_.endpoint.empty() ? "https://s3." + in_region + ".amazonaws.com" : settings_.endpoint;
    const std::size_t host_at = endpoint.find("://") + 3;
    // Amazon's certificate for *.s3.REGION covers no bucket with a dot in its name.
    const bool in_path = settings_.path_style || bucket_.find('.') != std::string::npos;
    UnsignedRequest to_sign;
    to_sign.method = operation.method;
    to_sign.host = (in_path ? "" : bucket_ + ".") + endpoint.substr(host_at);
    to_sign.path = (in_path ? "/" + bucket_ : "") + "/" + encode_path(operation.key);
    to_sign.query = operation.query;
    to_sign.fields = operation.fields;
    to_sign.payload_sha256 = operation.payload_sha256;
    ASSIGN_OR_RETURN(std::optional<Credentials> credentials, credentials_.get(call));
    request.fields = credentials ? sign(to_sign, *credentials, in_region, amazon_time()) : operation.fields;
    request.method = operation.method;
    request.url = endpoint.substr(0, host_at) + to_sign.host + to_sign.path;
    if (!operation.query.empty()) request.url += "?" + canonical_query(operation.query);
    return credentials;
  }

  Result<ports::ObjectInfo> put_in_parts(const ports::ObjectUpload& upload, const UniqueFd& file,
                                         const ports::Call& call) {
    HttpRequest begin;
    const Operation operation{.method = "POST", .key = upload.key, .query = {{"uploads", ""}}};
    ASSIGN_OR_RETURN(const HttpAnswer answer, perform(operation, begin, call));
    if (answer.status != 200) return error_of(answer, upload.key);
    const std::string id = first_text(answer.body, "UploadId");
    if (id.empty()) return Error{ErrorKind::unavailable, name(upload.key) + ": the server gives no UploadId"};
    auto done = put_parts(upload, file, id, call);
    if (!done.ok()) {
      // Parts of an upload that is left alone cost their owner money. The caller's time may be over; this has its own.
      HttpRequest end;
      const ports::Call last{.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10)};
      (void)perform({.method = "DELETE", .key = upload.key, .query = {{"uploadId", id}}}, end, last);
    }
    return done;
  }

  Result<ports::ObjectInfo> put_parts(const ports::ObjectUpload& upload, const UniqueFd& file, const std::string& id,
                                      const ports::Call& call) {
    const std::uint64_t part_bytes = std::max(kPartBytes, (upload.bytes + kPartsMax - 1) / kPartsMax);
    std::string parts;
    for (std::uint64_t offset = 0, number = 1; offset < upload.bytes; offset += part_bytes, ++number) {
      const std::uint64_t bytes = std::min(part_bytes, upload.bytes - offset);
      Operation operation{.method = "PUT", .key = upload.key};
      operation.query = {{"partNumber", std::to_string(number)}, {"uploadId", id}};
      ASSIGN_OR_RETURN(operation.payload_sha256, file_sha256(file, offset, bytes));
      HttpRequest request;
      request.body_file = &file;
      request.body_offset = offset;
      request.body_bytes = bytes;
      request.on_sent = [&](std::uint64_t sent) {
        if (upload.on_progress) upload.on_progress(offset + sent);
      };
      ASSIGN_OR_RETURN(const HttpAnswer answer, perform(operation, request, call));
      if (answer.status != 200) return error_of(answer, upload.key);
      parts += "<Part><PartNumber>" + std::to_string(number) + "</PartNumber><ETag>" +
               std::string(answer.field("etag")) + "</ETag></Part>";
    }
    const std::string body = "<CompleteMultipartUpload>" + parts + "</CompleteMultipartUpload>";
    Operation operation{.method = "POST", .key = upload.key, .query = {{"uploadId", id}}};
    operation.payload_sha256 = hex(sha256(body));
    HttpRequest request;
    request.body = body;
    ASSIGN_OR_RETURN(const HttpAnswer answer, perform(operation, request, call));
    // S3 may answer 200 and put an error into the body, because it began to answer before it was done.
    if (answer.status != 200 || !parse_error(answer.body).code.empty()) {
      Error error = error_of(answer, upload.key);
      if (answer.status == 200) error.kind = ErrorKind::unavailable;
      return error;
    }
    return ports::ObjectInfo{upload.key, upload.bytes, first_text(answer.body, "ETag"), ""};
  }

  const S3Settings settings_;
  const std::string bucket_;
  const std::string version_;
  std::shared_mutex region_mutex_;
  std::string region_;  // guarded by region_mutex_
  Transport transport_;
  CredentialProvider credentials_;
};

}  // namespace

Result<std::shared_ptr<ports::ObjectStore>> open_s3_store(const S3Settings& settings, const S3Bucket& bucket,
                                                          const std::string& user_agent) {
  RETURN_IF_ERROR(check_bucket(bucket.name));
  return std::shared_ptr<ports::ObjectStore>(std::make_shared<S3Store>(settings, bucket, user_agent));
}

}  // namespace thaw::adapters
