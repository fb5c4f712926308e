// The calls that the functions in one environment make to others, at THAW_URL: a listener inside the environment's
// network namespace, whose requests go to a handler that the gateway gives (docs/calls.md).
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "http/server.h"
#include "model/function.h"

namespace thaw::pool {

// An invocation of a function with `calls`, and those that wait for it.
struct CallLink {
  std::shared_ptr<const CallLink> waiting;  // the one whose call it is; nullptr: a request from outside, or an event
  std::string revision_id;                  // of the function's version
  std::uint32_t hops = 0;                   // how many calls have led to it
};

// Before an invocation waits for an environment of the version. waiting: the one whose call it is, or nullptr.
// Errors: overloaded when that and those that wait for it hold every place that the version has, so that none becomes
// free.
Status check_places(const CallLink* waiting, const model::FunctionRecord& record);

// Who calls: the listener says it, no field of the request.
struct Caller {
  std::string function;
  std::string version;
  // Of the invocation that calls; of several at a time, of that which the most calls have led to.
  std::uint32_t hops = 0;
  std::shared_ptr<const CallLink> waiting = {};
};
using CallHandler = std::function<http::Task<>(http::Exchange&, Caller)>;

struct CallSetup {
  CallHandler handler;
  http::ServerLimits limits;  // connections_max and keep_alive_wait_max are the server's own
};

// The invocations that an environment has. Threads: any.
class CallLinks {
 public:
  void enter(std::shared_ptr<const CallLink> link);
  void leave(const CallLink* link);
  // Fills in whose call one is that comes now: of that invocation which the most calls have led to. Of an environment
  // without any: of the last one, whose call may come behind its answer, and which waits for nothing any more.
  void identify(Caller& caller) const;

 private:
  mutable std::mutex mutex_;
  // Below: guarded by mutex_.
  std::vector<std::shared_ptr<const CallLink>> running_;
  std::uint32_t last_hops_ = 0;
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

  CallLinks& links() { return links_; }
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
  CallLinks links_;
  http::RequestCount requests_;
  http::Server server_;  // last: its connections use all of the above
};

}  // namespace thaw::pool
