// Environments for the making of snapshots: started, asked and ended one at a time, lent to nobody.

#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>

#include "base/log.h"
#include "http/awaited.h"
#include "pool/function_pool.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::pool {
namespace {

using http::TimePoint;
using Clock = std::chrono::steady_clock;
using Timer = boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>, http::Executor>;

constexpr std::chrono::seconds kMemoryWaitMax{60};
constexpr std::chrono::milliseconds kMemoryLookEvery{50};
constexpr std::chrono::seconds kEndWaitMax{10};
constexpr std::chrono::milliseconds kEndLookEvery{2};
constexpr std::chrono::milliseconds kCloseLookEvery{1};
constexpr std::chrono::milliseconds kQuiet{20};
constexpr std::chrono::seconds kQuietWaitMax{2};
constexpr std::chrono::seconds kCallsWaitMax{10};
// As Lambda bounds it ("Runtime hooks for Lambda SnapStart", AWS Lambda Developer Guide).
constexpr std::chrono::seconds kAfterRestoreMax{10};

http::Task<> pause(http::Loop& loop, std::chrono::milliseconds time) {
  Timer timer(loop.executor(), time);
  co_await timer.async_wait(http::use_task);
}

std::string request_text(const FunctionPool::Ask& ask) {
  std::string text = ask.method + " " + ask.path +
                     " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: thaw-snapshot\r\nConnection: close\r\n";
  if (!ask.body.empty()) text += "Content-Type: " + ask.content_type + "\r\n";
  if (ask.method != "GET" || !ask.body.empty()) text += "Content-Length: " + std::to_string(ask.body.size()) + "\r\n";
  return text + "\r\n" + ask.body;
}

// The status of a whole answer.
http::Task<Result<int>> exchange(http::ClientConnection& connection, const boost::asio::ip::tcp::endpoint& endpoint,
                                 const std::string& request) {
  if (const Status connected = co_await connection.connect(endpoint); !connected.ok()) co_return connected.error();
  if (const Status sent = co_await connection.send(boost::asio::buffer(request)); !sent.ok()) co_return sent.error();
  const auto head = co_await connection.read_head();
  if (!head.ok()) co_return head.error();
  const int status = (*head)->status;
  for (;;) {
    const auto piece = co_await connection.read_body();
    if (!piece.ok()) co_return piece.error();
    if (piece->empty()) co_return status;
  }
}

std::string ended_text(const sandbox::ExitInfo& exit, std::uint32_t memory_mb) {
  switch (exit.reason) {
    case sandbox::ExitReason::out_of_memory:
      return "the function ran out of memory (memory_mb " + std::to_string(memory_mb) + ")";
    case sandbox::ExitReason::signaled:
      return "the function was killed by signal " + std::to_string(exit.code);
    case sandbox::ExitReason::destroyed:
      return "the function's environment was ended";
    case sandbox::ExitReason::exited:
      break;
  }
  return "the function exited with status " + std::to_string(exit.code);
}

// The first call for an event may have others behind it, of a runtime's other threads: how many have come when no more
// do.
http::Task<std::uint64_t> until_quiet(const invoke::RuntimeApi& runtime, http::Loop& loop) {
  const TimePoint until = Clock::now() + kQuietWaitMax;
  for (;;) {
    const std::uint64_t calls = runtime.calls_seen();
    co_await pause(loop, kQuiet);
    if (runtime.calls_seen() == calls || Clock::now() >= until) co_return calls;
  }
}

// A call that is under way at a freeze would be lost in the image. How many there have been when none is and no other
// comes.
http::Task<Result<std::uint64_t>> until_calls_over(const CallServer& calls, http::Loop& loop) {
  const TimePoint until = Clock::now() + kCallsWaitMax;
  for (;;) {
    const std::uint64_t begun = calls.requests().begun;
    co_await pause(loop, kQuiet);
    const std::uint64_t ended = calls.requests().ended;
    const std::uint64_t since = calls.requests().begun;
    if (since == ended && since == begun) co_return begun;
    if (Clock::now() >= until) {
      co_return Error{ErrorKind::unavailable,
                      since == ended ? "the function calls THAW_URL again and again: let it stop before the snapshot"
                                     : "the function waits for " + std::to_string(since - ended) +
                                           " of its calls to THAW_URL: let them end before the snapshot"};
    }
  }
}

}  // namespace

http::Task<Result<std::shared_ptr<Environment>>> FunctionPool::start_apart(
    http::Loop& loop, std::shared_ptr<const snapshot::ImageMemory> image) {
  if (memory_bytes() > pool_.limits_.memory_bytes_max) {
    co_return Error{ErrorKind::unsupported, "memory_mb is " + std::to_string(config().memory_mb) +
                                                ", but this host admits " +
                                                std::to_string(pool_.limits_.memory_bytes_max >> 20) + " MB in all"};
  }
  const TimePoint until = Clock::now() + kMemoryWaitMax;
  while (!pool_.admit(memory_bytes(), this)) {
    if (pool_.stopping_) co_return Error{ErrorKind::unavailable, "Thaw is shutting down"};
    if (Clock::now() >= until)
      co_return Error{ErrorKind::unavailable, "there was no memory for an environment of the version's own"};
    co_await pause(loop, kMemoryLookEvery);
  }
  auto environment = new_environment();
  bool stopped = false;
  {
    const std::lock_guard lock(mutex_);
    environments_.push_back(environment);
    trial_image_ = std::move(image);
    stopped = retired_;
  }
  if (stopped) {
    forget(environment);
    co_return Error{ErrorKind::unavailable, "the version was deleted, or Thaw is shutting down"};
  }
  const Status started = co_await http::awaited<Status>(loop, [&](auto done) {
    environment->apart = std::move(done);
    post_start(environment);
  });
  if (!started.ok()) co_return started.error();
  co_return environment;
}

http::Task<> FunctionPool::end_apart(std::shared_ptr<Environment> environment, http::Loop& loop) {
  {
    const std::lock_guard lock(mutex_);
    if (!environment->exit) destroy_locked(environment);
  }
  const TimePoint until = Clock::now() + kEndWaitMax;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (environment->exit) co_return;
    }
    if (Clock::now() >= until) break;
    co_await pause(loop, kEndLookEvery);
  }
  log::error("environment_not_ended id={}", environment->id);
}

http::Task<Status> FunctionPool::wait_until_ready(std::shared_ptr<Environment> environment, http::Loop& loop) {
  std::unique_ptr<http::ClientConnection> connection;
  co_return co_await poll_readiness(environment, loop, connection);
}

http::Task<> FunctionPool::until_closed(http::ClientConnection& connection, http::Loop& loop,
                                        std::chrono::milliseconds wait_max) {
  const TimePoint until = Clock::now() + wait_max;
  while (connection.still_open() && Clock::now() < until) co_await pause(loop, kCloseLookEvery);
}

http::Task<Result<int>> FunctionPool::ask(std::shared_ptr<Environment> environment, http::Loop& loop, Ask request) {
  auto socket = co_await more_sockets(environment, loop);
  Result<int> answer(0);
  if (!socket.ok()) {
    answer = std::move(socket).error();
  } else {
    http::ClientConnection connection(loop, std::move(*socket), pool_.limits_.header_bytes_max);
    connection.begin_exchange(Clock::now() + request.wait_max);
    const std::string text = request_text(request);
    answer = co_await exchange(connection, environment->endpoint, text);
    if (answer.ok() && request.close_wait_max.count() > 0)
      co_await until_closed(connection, loop, request.close_wait_max);
    connection.next_exchange();
  }
  if (answer.ok()) co_return answer;
  if (answer.error().kind == ErrorKind::timeout) {
    co_return Error{ErrorKind::function_failed, "no answer within " + std::to_string(request.wait_max.count()) + " ms"};
  }
  if (pool_.stopping_) co_return Error{ErrorKind::unavailable, "Thaw is shutting down"};
  if (const auto exit = co_await exit_reason(environment, loop)) {
    const bool ended = exit->reason == sandbox::ExitReason::destroyed;
    co_return Error{ended ? ErrorKind::unavailable : ErrorKind::function_failed, ended_text(*exit, config().memory_mb)};
  }
  co_return Error{ErrorKind::function_failed, "no complete answer: " + answer.error().message};
}

http::Task<Status> FunctionPool::after_restore(std::shared_ptr<Environment> environment, http::Loop& loop) {
  const std::string& path = config().after_restore_path;
  const TimePoint began = Clock::now();
  if (config().kind == model::FunctionKind::event) {
    // Its hooks run between the restore and its asking for an event.
    Status asks = co_await await_runtime(environment, loop, began + kAfterRestoreMax);
    environment->hook_took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began);
    co_return asks;
  }
  if (path.empty()) co_return Status();
  Ask request;
  request.method = "POST";
  request.path = path;
  request.wait_max = kAfterRestoreMax;
  const auto answer = co_await ask(environment, loop, std::move(request));
  environment->hook_took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - began);
  if (answer.ok() && *answer < 300) co_return Status();
  const std::string why = answer.ok() ? "status " + std::to_string(*answer) : answer.error().message;
  const ErrorKind kind = answer.ok() ? ErrorKind::function_failed : answer.error().kind;
  co_return Error(kind, "the after-restore hook, POST " + path + ": " + why, "Snapshot.AfterRestoreFailed");
}

http::Task<Result<sandbox::Frozen>> FunctionPool::write_image(std::shared_ptr<Environment> environment,
                                                              http::Loop& loop, UniqueFd file) {
  sandbox::FreezeSpec spec;
  spec.id = environment->id;
  spec.image = std::move(file);
  spec.strict_connections = config().strict_connections;
  std::shared_ptr<invoke::RuntimeApi> runtime;
  std::shared_ptr<CallServer> calls;
  {
    const std::lock_guard lock(mutex_);
    runtime = environment->runtime;
    calls = environment->calls;
  }
  if (runtime != nullptr && runtime->extensions().any())
    co_return Error{ErrorKind::unsupported, "a function with extensions has no snapshot"};
  std::uint64_t asked = 0;
  if (runtime != nullptr) {
    asked = co_await until_quiet(*runtime, loop);
    spec.runtime_api_port = invoke::kRuntimeApiPort;
    for (invoke::WaitingCall& call : runtime->waiting_calls())
      spec.pending.push_back({call.port, std::move(call.request)});
  }
  std::uint64_t called = 0;
  if (calls != nullptr) {
    const auto over = co_await until_calls_over(*calls, loop);
    if (!over.ok()) co_return over.error();
    called = *over;
    spec.calls_port = model::kCallsPort;
  }
  auto frozen = co_await http::awaited<Result<sandbox::Frozen>>(
      loop, [&](auto done) { pool_.host_.freeze(std::move(spec), std::move(done)); });
  if (frozen.ok() && runtime != nullptr && runtime->calls_seen() != asked)
    co_return Error{ErrorKind::unavailable, "the runtime called the Runtime API while its snapshot was taken"};
  if (frozen.ok() && calls != nullptr && calls->requests().begun != called)
    co_return Error{ErrorKind::unavailable, "the function called THAW_URL while its snapshot was taken",
                    kCalledMeanwhile};
  co_return frozen;
}

}  // namespace thaw::pool
