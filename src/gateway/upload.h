// Request bodies that become files. Internal to src/gateway.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <string>

#include "base/result.h"
#include "http/server.h"

namespace thaw::gateway {

struct Upload {
  std::string path;  // must not exist
  std::uint64_t bytes_max = 0;
  // For messages: "package", and the folder whose disk may be full.
  std::string what;
  std::string data_folder;
};

// The body, written by workers as it comes. What was written before an error is the caller's to remove. Errors:
// too_large names upload_max_mb; unavailable when the disk is full.
http::Task<Status> receive_upload(http::Exchange& exchange, boost::asio::thread_pool& workers, const Upload& upload);

}  // namespace thaw::gateway
