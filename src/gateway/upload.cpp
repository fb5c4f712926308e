#include "gateway/upload.h"

#include <fcntl.h>

#include "base/sys.h"
#include "http/off_loop.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

constexpr std::size_t kUploadPieceBytes = 1 << 20;

}  // namespace

http::Task<Status> receive_upload(http::Exchange& exchange, boost::asio::thread_pool& workers, const Upload& upload) {
  if (!exchange.set_body_bytes_max(upload.bytes_max)) {
    exchange.close_after();
    co_return Error{ErrorKind::too_large, "the " + upload.what + " is larger than " +
                                              std::to_string(upload.bytes_max >> 20) + " MB (upload_max_mb)"};
  }
  auto file = co_await http::off_loop(workers, exchange.loop(),
                                      [&] { return sys::open(upload.path, O_WRONLY | O_CREAT | O_EXCL, 0600); });
  if (!file.ok()) co_return file.error();
  std::string pending;
  for (;;) {
    const auto piece = co_await exchange.read_body();
    if (!piece.ok()) co_return piece.error();
    pending.append(*piece);
    if (pending.size() >= kUploadPieceBytes || (piece->empty() && !pending.empty())) {
      Status written =
          co_await http::off_loop(workers, exchange.loop(), [&] { return sys::write_all(*file, pending); });
      if (!written.ok()) {
        exchange.close_after();
        if (written.error().kind == ErrorKind::unavailable) {
          co_return Error(ErrorKind::unavailable, "the disk is full: free space below " + upload.data_folder);
        }
        co_return written;
      }
      pending.clear();
    }
    if (piece->empty()) co_return Status();
  }
}

}  // namespace thaw::gateway
