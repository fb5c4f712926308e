// The calls that the functions in one environment make to others, at THAW_URL: a listener inside the environment's
// network namespace, whose requests go to a handler that the gateway gives (docs/calls.md).
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "http/server.h"
#include "model/function.h"

namespace thaw::pool {

// Who calls: the listener says it, no field of the request.
struct Caller {
  std::string function;
  std::string version;
  // How many calls have led to the invocation that calls; of several at a time the most.
  std::uint32_t hops = 0;
};
using CallHandler = std::function<http::Task<>(http::Exchange&, const Caller&)>;

struct CallSetup {
  CallHandler handler;
  http::ServerLimits limits;  // connections_max and keep_alive_wait_max are the server's own
};

// How many calls have led to each of the invocations that an environment has. Threads: any.
class CallDepths {
 public:
  void enter(std::uint32_t hops);
  void leave(std::uint32_t hops);
  // The most of those that run. Of an environment without any: that of the last one, whose call may come behind its
  // answer.
  std::uint32_t most() const;

 private:
  std::array<std::atomic<std::uint32_t>, model::kCallHopsMax + 1> running_{};
  std::atomic<std::uint32_t> last_{0};
};

// Ownership: owns the listener; borrows loops, reaper and running, which outlive it. Threads: any.
class CallServer : public std::enable_shared_from_this<CallServer> {
 public:
  struct Options {
    Caller caller;
    std::uint32_t concurrency = 1;  // of the environment: connections are bounded by it
  };
  // running: counts the calls that have no answer yet. The last reference may be dropped anywhere: connections are
  // waited for on a thread of reaper.
  static Result<std::shared_ptr<CallServer>> open(http::Loops& loops, boost::asio::thread_pool& reaper,
                                                  UniqueFd listener, const CallSetup& setup, Options options,
                                                  std::atomic<std::size_t>& running);
  ~CallServer();

  CallDepths& depths() { return depths_; }
  // Of the function's requests, so far.
  const http::RequestCount& requests() const { return requests_; }
  // The environment is over: its ends of the connections are gone, and what they wait for is cancelled as if a client
  // had gone away. Nothing is waited for.
  void end() { server_.stop_accepting(); }

 private:
  CallServer(http::Loops& loops, const CallSetup& setup, Options options, std::atomic<std::size_t>& running);

  http::Task<> handle(http::Exchange& exchange);

  http::Loops& loops_;
  const CallHandler handler_;
  const Caller caller_;
  std::atomic<std::size_t>& running_;
  CallDepths depths_;
  http::RequestCount requests_;
  http::Server server_;  // last: its connections use all of the above
};

}  // namespace thaw::pool
