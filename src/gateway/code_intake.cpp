#include "gateway/code_intake.h"

#include <fcntl.h>

#include <boost/asio/post.hpp>
#include <vector>

#include "base/digest/sha256.h"
#include "base/sys.h"
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
constexpr std::size_t kPieceBytes = 1 << 20;

Error too_large_request(std::string_view operation) {
  return {ErrorKind::too_large,
          "Request must be smaller than " + std::to_string(kRequestBytesMax) + " bytes for the " +
              std::string(operation) + " operation",
          "RequestEntityTooLargeException"};
}

}  // namespace

CodeFiles::~CodeFiles() {
  boost::asio::post(workers_, [first = zip, second = object] {
    (void)sys::remove_tree(first).ok();
    (void)sys::remove_tree(second).ok();
  });
}

CodeIntake::~CodeIntake() {
  fetching_.stop = true;
  fetchers_.join();
}

http::Task<Result<CodeIntake::Request>> CodeIntake::receive(http::Exchange& exchange, const CodeFiles& files,
                                                            std::string_view operation) {
  if (!exchange.set_body_bytes_max(kRequestBytesMax)) {
    exchange.close_after();
    co_return too_large_request(operation);
  }
  auto file = co_await http::off_loop(workers_, exchange.loop(),
                                      [&] { return sys::open(files.zip, O_WRONLY | O_CREAT | O_EXCL, 0600); });
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
  Request request;
  request.body = std::move(*parsed);
  request.has_zip = body.has_zip();
  request.zip.bytes = body.zip_bytes();
  request.zip.sha256 = hex(hash.finish());
  co_return request;
}

http::Task<Result<CodeIntake::Code>> CodeIntake::find(http::Exchange& exchange, const json::object& what,
                                                      const Request& request, const CodeFiles& files) {
  const json::value* image = what.if_contains("ImageUri");
  if (image != nullptr && !image->is_null()) co_return invalid_argument("ImageUri is not supported");
  const auto object = bucket_object_of(what);
  if (!object.ok()) co_return object.error();
  Code code;
  if (object->has_value()) {
    if (request.has_zip) co_return invalid_argument("ZipFile and S3Bucket exclude each other");
    if (!open_bucket_) co_return Error{ErrorKind::unsupported, "this daemon reads no buckets"};
    const auto zip = co_await http::off_loop(fetchers_, exchange.loop(), [&]() -> Result<model::UploadedZip> {
      ASSIGN_OR_RETURN(const auto store, open_bucket_((*object)->bucket, (*object)->version));
      return fetch_zip(*store, **object, files.object, kUnzippedBytesMax, fetching_);
    });
    if (!zip.ok()) co_return zip.error();
    code.path = files.object;
    code.zip = *zip;
    co_return code;
  }
  if (!request.has_zip) co_return invalid_argument("Please provide a source for function code.");
  if (request.zip.bytes == 0) co_return invalid_argument("Uploaded file must be a non-empty zip");
  code.path = files.zip;
  code.zip = request.zip;
  co_return code;
}

Error package_error(Error error) {
  if (error.code != control::kBadPackage) return error;
  const bool large = error.kind == ErrorKind::too_large;
  const std::string why = " (" + error.message + ")";
  if (large)
    return invalid_argument("Unzipped size must be smaller than " + std::to_string(kUnzippedBytesMax) + " bytes" + why);
  return invalid_argument("Could not unzip uploaded file. Please check your file, then try to upload again." + why);
}

http::Task<Status> send_zip(http::Exchange& exchange, boost::asio::thread_pool& workers, const UniqueFd& zip) {
  if (const Status begun = co_await exchange.start_stream({.content_type = "application/zip"}); !begun.ok())
    co_return begun;
  std::vector<char> piece(kPieceBytes);
  for (;;) {
    const auto count = co_await http::off_loop(workers, exchange.loop(), [&] { return sys::read_some(zip, piece); });
    if (!count.ok()) {
      exchange.reset_after();
      co_return count.error();
    }
    if (*count == 0) break;
    if (const Status sent = co_await exchange.write_stream({piece.data(), *count}); !sent.ok()) co_return sent;
  }
  co_return co_await exchange.finish_stream();
}

std::string url_of(const http::Exchange& exchange, const std::string& own, const std::string& path) {
  const std::string_view host =
      exchange.peer().unix_socket ? std::string_view() : exchange.request().fields.find("host");
  return "http://" + (host.empty() ? own : std::string(host)) + path;
}

}  // namespace thaw::gateway
