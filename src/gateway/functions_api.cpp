// The control API's operations that make and change functions: Lambda's CreateFunction, UpdateFunctionCode and
// UpdateFunctionConfiguration.

#include <fcntl.h>

#include <boost/asio/post.hpp>
#include <vector>

#include "base/digest/sha256.h"
#include "base/log.h"
#include "base/sys.h"
#include "gateway/control_api.h"
#include "gateway/control_request.h"
#include "gateway/function_json.h"
#include "gateway/function_name.h"
#include "gateway/function_request.h"
#include "gateway/zip_body.h"
#include "http/off_loop.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

namespace json = boost::json;

// "Request must be smaller than 70167211 bytes", AWS Lambda: 50 MB of zip in base64, and what stands around it.
constexpr std::uint64_t kRequestBytesMax = 70167211;
// "The unzipped size of all files" ("Lambda quotas", AWS Lambda Developer Guide): 250 MB.
constexpr std::uint64_t kUnzippedBytesMax = 262144000;
constexpr std::size_t kPieceBytes = 1 << 20;

// An upload that goes, whatever comes of it. Ownership: workers outlive it.
class UploadFile {
 public:
  UploadFile(boost::asio::thread_pool& workers, std::string at) : path(std::move(at)), workers_(workers) {}
  UploadFile(const UploadFile&) = delete;
  UploadFile& operator=(const UploadFile&) = delete;
  ~UploadFile() {
    boost::asio::post(workers_, [at = path] { (void)sys::remove_tree(at).ok(); });
  }

  const std::string path;

 private:
  boost::asio::thread_pool& workers_;
};

Error too_large_request(std::string_view operation) {
  return {ErrorKind::too_large,
          "Request must be smaller than " + std::to_string(kRequestBytesMax) + " bytes for the " +
              std::string(operation) + " operation",
          "RequestEntityTooLargeException"};
}

// In Lambda's words.
Error package_error(Error error) {
  if (error.code != control::kBadPackage) return error;
  const bool large = error.kind == ErrorKind::too_large;
  const std::string why = " (" + error.message + ")";
  if (large)
    return invalid_argument("Unzipped size must be smaller than " + std::to_string(kUnzippedBytesMax) + " bytes" + why);
  return invalid_argument("Could not unzip uploaded file. Please check your file, then try to upload again." + why);
}

}  // namespace

http::Task<Result<ControlApi::CodeRequest>> ControlApi::receive_code(http::Exchange& exchange, const std::string& path,
                                                                     std::string_view operation) {
  if (!exchange.set_body_bytes_max(kRequestBytesMax)) {
    exchange.close_after();
    co_return too_large_request(operation);
  }
  auto file = co_await http::off_loop(workers_, exchange.loop(),
                                      [&] { return sys::open(path, O_WRONLY | O_CREAT | O_EXCL, 0600); });
  if (!file.ok()) co_return file.error();
  ZipBody body;
  Sha256 hash;
  std::string zip;
  for (bool more = true; more;) {
    const auto piece = co_await exchange.read_body();
    if (!piece.ok() && piece.error().kind == ErrorKind::too_large) co_return too_large_request(operation);
    if (!piece.ok()) co_return piece.error();
    more = !piece->empty();
    if (Status read = body.read(*piece, zip); !read.ok()) {
      exchange.close_after();
      co_return read.error();
    }
    if (zip.empty() || (more && zip.size() < kPieceBytes)) continue;
    const Status written = co_await http::off_loop(workers_, exchange.loop(), [&] {
      hash.update(zip);
      return sys::write_all(*file, zip);
    });
    if (!written.ok()) {
      exchange.close_after();
      co_return written.error();
    }
    zip.clear();
  }
  auto parsed = parse_object(body.json());
  if (!parsed.ok()) co_return parsed.error();
  CodeRequest request;
  request.body = std::move(*parsed);
  request.has_zip = body.has_zip();
  request.zip.bytes = body.zip_bytes();
  request.zip.sha256 = hex(hash.finish());
  co_return request;
}

http::Task<Status> ControlApi::use_code(http::Exchange& exchange, const json::object& code, const CodeRequest& request,
                                        const std::string& path, control::Catalog::Change& change) {
  const json::value* image = code.if_contains("ImageUri");
  if (image != nullptr && !image->is_null()) co_return invalid_argument("ImageUri is not supported");
  const auto object = bucket_object_of(code);
  if (!object.ok()) co_return object.error();
  change.unpacked_bytes_max = kUnzippedBytesMax;
  if (object->has_value()) {
    if (request.has_zip) co_return invalid_argument("ZipFile and S3Bucket exclude each other");
    if (!open_bucket_) co_return Error{ErrorKind::unsupported, "this daemon reads no buckets"};
    const auto zip = co_await http::off_loop(fetchers_, exchange.loop(), [&]() -> Result<model::UploadedZip> {
      ASSIGN_OR_RETURN(const auto store, open_bucket_((*object)->bucket, (*object)->version));
      return fetch_zip(*store, **object, path, kUnzippedBytesMax, fetching_);
    });
    if (!zip.ok()) co_return zip.error();
    change.zip = *zip;
    change.package_path = path;
    co_return Status();
  }
  if (!request.has_zip) co_return invalid_argument("Please provide a source for function code.");
  if (request.zip.bytes == 0) co_return invalid_argument("Uploaded file must be a non-empty zip");
  change.zip = request.zip;
  co_return Status();
}

http::Task<Status> ControlApi::create_function(http::Exchange& exchange) {
  const UploadFile upload(workers_, catalog_.new_upload_path());
  const auto request = co_await receive_code(exchange, upload.path, "CreateFunction");
  if (!request.ok()) co_return request.error();
  const json::object& body = request->body;
  const auto given_name = string_of(body, "FunctionName");
  if (!given_name.ok()) co_return given_name.error();
  if (!*given_name) co_return validation_error("functionName", std::nullopt, "Member must not be null");
  const auto name = parse_function_name(**given_name);
  if (!name.ok()) co_return name.error();
  if (const Status fits = check_lambda_name(name->name); !fits.ok()) co_return fits;
  if (const Status complete = check_required(body); !complete.ok()) co_return complete;
  const auto publish = bool_of(body, "Publish", false);
  if (!publish.ok()) co_return publish.error();
  const json::value& code = body.at("Code");
  if (!code.is_object())
    co_return Error{ErrorKind::invalid_argument, "Code must be an object", "SerializationException"};
  model::FunctionConfig config = lambda_defaults();
  config.name = name->name;
  if (const Status applied = apply_configuration(body, config); !applied.ok()) co_return applied;

  control::Catalog::Change change;
  change.kind = control::Catalog::Change::Kind::create;
  change.name = name->name;
  change.package_path = upload.path;
  change.edit = [&](model::FunctionConfig& fresh) {
    fresh = config;
    return Status();
  };
  const UploadFile fetched(workers_, catalog_.new_upload_path());
  const Status used = co_await use_code(exchange, code.get_object(), *request, fetched.path, change);
  if (!used.ok()) co_return used;
  co_return co_await finish_change(exchange, change, *publish);
}

http::Task<Status> ControlApi::update_code(http::Exchange& exchange, const std::string& name) {
  const UploadFile upload(workers_, catalog_.new_upload_path());
  const auto request = co_await receive_code(exchange, upload.path, "UpdateFunctionCode");
  if (!request.ok()) co_return request.error();
  const json::object& body = request->body;
  const auto publish = bool_of(body, "Publish", false);
  if (!publish.ok()) co_return publish.error();
  const auto dry_run = bool_of(body, "DryRun", false);
  if (!dry_run.ok()) co_return dry_run.error();
  const auto revision = string_of(body, "RevisionId");
  if (!revision.ok()) co_return revision.error();
  if (const Status possible = check_architectures(body); !possible.ok()) co_return possible;
  if (catalog_.find(name) == nullptr) co_return no_function(name);
  control::Catalog::Change change;
  change.name = name;
  change.package_path = upload.path;
  change.revision_id = revision->value_or("");
  change.dry_run = *dry_run;
  const UploadFile fetched(workers_, catalog_.new_upload_path());
  const Status used = co_await use_code(exchange, body, *request, fetched.path, change);
  if (!used.ok()) co_return used;
  co_return co_await finish_change(exchange, change, *publish);
}

http::Task<Status> ControlApi::update_configuration(http::Exchange& exchange, const std::string& name) {
  const auto text = co_await exchange.read_whole_body(kJsonWithoutZipBytesMax);
  if (!text.ok()) co_return text.error();
  const auto body = parse_object(*text);
  if (!body.ok()) co_return body.error();
  const auto revision = string_of(*body, "RevisionId");
  if (!revision.ok()) co_return revision.error();
  control::Catalog::Change change;
  change.name = name;
  change.revision_id = revision->value_or("");
  change.edit = [&](model::FunctionConfig& config) { return apply_configuration(*body, config); };
  if (catalog_.find(name) == nullptr) co_return no_function(name);
  co_return co_await finish_change(exchange, change, false);
}

http::Task<Status> ControlApi::finish_change(http::Exchange& exchange, const control::Catalog::Change& change,
                                             bool publish) {
  const bool create = change.kind == control::Catalog::Change::Kind::create;
  const auto record = co_await http::off_loop(workers_, exchange.loop(), [&]() -> Result<model::FunctionRecord> {
    auto changed = catalog_.change(change);
    if (!changed.ok()) return package_error(std::move(changed).error());
    if (change.dry_run) return changed;
    // The revision before is not lent any more; its running invocations finish.
    pool_.retire(pool::PoolKeyView(*changed));
    log::info("{} name={} bytes={}", create ? "function_created" : "function_updated", change.name,
              changed->code_bytes);
    if (!publish) return changed;
    return catalog_.publish({.name = change.name, .description = changed->config.description});
  });
  if (!record.ok()) co_return record.error();
  const bool published = record->version != model::kLatestVersion;
  if (published && pool_.snapshots() != nullptr)
    pool_.snapshots()->add(std::make_shared<const model::FunctionRecord>(*record));
  const json::object answer = configuration(*record, published ? record->version : std::string());
  co_return co_await answer_json(exchange, create ? 201 : 200, answer);
}

std::string ControlApi::package_url(const http::Exchange& exchange, const model::FunctionRecord& record) const {
  // The way that the caller came is one that is open to it.
  const std::string_view host =
      exchange.peer().unix_socket ? std::string_view() : exchange.request().fields.find("host");
  const std::string own = options_.listen_host + ":" + std::to_string(port_);
  return "http://" + (host.empty() ? own : std::string(host)) + "/thaw/v1/functions/" + record.config.name +
         "/package?Qualifier=" + (record.version == model::kLatestVersion ? "%24LATEST" : record.version);
}

http::Task<Status> ControlApi::send_package(http::Exchange& exchange, const std::string& name, const Query& query) {
  const auto record = catalog_.find({name, value_of(query, "Qualifier")}, 1);
  if (record == nullptr) co_return no_function(name);
  const auto zip =
      co_await http::off_loop(workers_, exchange.loop(), [&] { return catalog_.open_zip(record->code_sha256); });
  if (!zip.ok()) co_return zip.error();
  if (const Status begun = co_await exchange.start_stream({.content_type = "application/zip"}); !begun.ok())
    co_return begun;
  std::vector<char> piece(kPieceBytes);
  for (;;) {
    const auto count = co_await http::off_loop(workers_, exchange.loop(), [&] { return sys::read_some(*zip, piece); });
    if (!count.ok()) {
      exchange.reset_after();
      co_return count.error();
    }
    if (*count == 0) break;
    if (const Status sent = co_await exchange.write_stream({piece.data(), *count}); !sent.ok()) co_return sent;
  }
  co_return co_await exchange.finish_stream();
}

}  // namespace thaw::gateway
