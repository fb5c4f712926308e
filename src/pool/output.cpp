#include "pool/output.h"

#include <unistd.h>

#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <cerrno>
#include <chrono>
#include <utility>

#include "base/sys.h"

namespace thaw::pool {
namespace {

constexpr std::size_t kLineBytesMax = 65536;
// What one call takes at most: a function that prints without end must not hold its own invocation up.
constexpr std::size_t kTakeBytesMax = 1 << 20;

}  // namespace

FunctionOutput::FunctionOutput(UniqueFd pipe, std::shared_ptr<observe::FunctionLog> log)
    : pipe_(std::move(pipe)), log_(std::move(log)) {}

FunctionOutput::~FunctionOutput() {
  if (!pending_.empty()) log_->append(pending_);
}

bool FunctionOutput::take_waiting() {
  const std::lock_guard lock(mutex_);
  char chunk[16384];
  for (std::size_t taken = 0; taken < kTakeBytesMax;) {
    const ssize_t count = ::read(pipe_.get(), chunk, sizeof(chunk));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    if (count == 0) return false;
    taken += static_cast<std::size_t>(count);
    pending_.append(chunk, static_cast<std::size_t>(count));
    const std::size_t end = pending_.rfind('\n');
    if (end != std::string::npos) {
      log_locked(std::string_view(pending_).substr(0, end + 1));
      pending_.erase(0, end + 1);
    } else if (pending_.size() >= kLineBytesMax) {
      log_locked(pending_);
      pending_.clear();
    }
  }
  return true;
}

void FunctionOutput::log_locked(std::string_view lines) {
  log_->append(lines);
  for (const auto& held : tails_) {
    if (const auto tail = held.lock(); tail != nullptr) tail->append(lines);
  }
}

void FunctionOutput::copy_to(const std::shared_ptr<observe::LogTail>& tail) {
  take_waiting();
  const std::lock_guard lock(mutex_);
  std::erase_if(tails_, [](const auto& held) { return held.expired(); });
  tails_.push_back(tail);
}

void FunctionOutput::take_waiting_if_due(http::TimePoint now) {
  constexpr std::chrono::milliseconds kEvery{1};
  const http::TimePoint::duration since(now.time_since_epoch().count() - taken_at_.load());
  if (since < kEvery) return;
  taken_at_ = now.time_since_epoch().count();
  take_waiting();
}

http::Task<> FunctionOutput::follow(http::Loop& loop) {
  const auto self = shared_from_this();
  // The loop needs a descriptor of its own to wait on.
  auto watched = sys::duplicate(pipe_);
  if (!watched.ok()) co_return;
  boost::asio::posix::basic_stream_descriptor<http::Executor> stream(loop.executor(), std::move(*watched).release());
  boost::system::error_code error;
  while (!error && take_waiting()) {
    co_await stream.async_wait(boost::asio::posix::descriptor_base::wait_read,
                               boost::asio::redirect_error(http::use_task, error));
  }
}

}  // namespace thaw::pool
