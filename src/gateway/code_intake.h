// The code of functions and layers on its way in: a zip inside the request's JSON, or an object of a bucket that the
// request names. What both of CreateFunction, UpdateFunctionCode and PublishLayerVersion have in common.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/catalog.h"
#include "gateway/code_source.h"
#include "http/server.h"
#include "store/fetch.h"

namespace thaw::gateway {

// "The unzipped size of all files, layers included" ("Lambda quotas", AWS Lambda Developer Guide): 250 MB.
inline constexpr std::uint64_t kUnzippedBytesMax = 262144000;

// Where a request's code may lie meanwhile; what is there goes in the end, whatever comes of it.
// Ownership: workers outlive it.
class CodeFiles {
 public:
  CodeFiles(boost::asio::thread_pool& workers, control::Catalog& catalog)
      : zip(catalog.new_upload_path()), object(catalog.new_upload_path()), workers_(workers) {}
  CodeFiles(const CodeFiles&) = delete;
  CodeFiles& operator=(const CodeFiles&) = delete;
  ~CodeFiles();

  const std::string zip;     // of the request's body
  const std::string object;  // of a bucket

 private:
  boost::asio::thread_pool& workers_;
};

// Ownership: borrows the workers. Threads: any loop; files are written by the workers, buckets read by threads of its
// own. Memory: pieces of a zip, never the whole.
class CodeIntake {
 public:
  explicit CodeIntake(boost::asio::thread_pool& workers) : workers_(workers) {}
  // Ends what is being fetched.
  ~CodeIntake();

  // Before the first request. Without it packages come with their requests alone.
  void use_buckets(OpenBucket open) { open_bucket_ = std::move(open); }

  struct Request {
    boost::json::object body;  // ZipFile in it is empty
    bool has_zip = false;
    model::UploadedZip zip;
  };
  // operation: Lambda's name for it, for messages. Errors: RequestEntityTooLargeException, and those of ZipBody.
  http::Task<Result<Request>> receive(http::Exchange& exchange, const CodeFiles& files, std::string_view operation);

  struct Code {
    std::string path;  // one of the files'
    model::UploadedZip zip;
  };
  // what: the object of the request that says where the code is.
  http::Task<Result<Code>> find(http::Exchange& exchange, const boost::json::object& what, const Request& request,
                                const CodeFiles& files);

 private:
  boost::asio::thread_pool& workers_;
  OpenBucket open_bucket_;
  store::FetchState fetching_;  // of all packages that come from buckets
  // They wait for others: apart from the workers, which do not.
  boost::asio::thread_pool fetchers_{2};
};

// A catalog's error about a package, in Lambda's words.
Error package_error(Error error);
// Gives a kept zip out.
http::Task<Status> send_zip(http::Exchange& exchange, boost::asio::thread_pool& workers, const UniqueFd& zip);
// Where the caller of this exchange reaches a path of the daemon: the way that it came is open to it. own: HOST:PORT.
std::string url_of(const http::Exchange& exchange, const std::string& own, const std::string& path);

}  // namespace thaw::gateway
