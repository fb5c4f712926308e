// The Lambda Runtime API of one environment ("Using the Lambda runtime API for custom runtimes", AWS Lambda Developer
// Guide): the runtime inside asks for events and posts what came of them.
//
//   GET  /2018-06-01/runtime/invocation/next
//   POST /2018-06-01/runtime/invocation/ID/response, /2018-06-01/runtime/invocation/ID/error
//   POST /2018-06-01/runtime/init/error
//   GET  /2018-06-01/runtime/restore/next
//   POST /2018-06-01/runtime/restore/error
//   /2020-01-01/extension/…: extensions_api.h
//
// A response with Lambda-Runtime-Function-Response-Mode: streaming is passed on while it comes, and may report an error
// in its trailers ("Building a custom runtime for AWS Lambda").
#pragma once

#include <atomic>
#include <boost/asio/thread_pool.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "http/server.h"
#include "invoke/event.h"
#include "invoke/extensions_api.h"

namespace thaw::invoke {

// What serves it, inside the environment's network namespace.
inline constexpr std::uint16_t kRuntimeApiPort = 9001;

// What becomes of a runtime that calls restore/next, which is where it wants its snapshot to be taken. park: it is
// ready and waits there, to be frozen. pass: it goes on at once, being a clone, or one that was asked for no snapshot.
enum class AtRestore : std::uint8_t { pass, park };

// A call that waits for its answer: the function's port, and the request as it came.
struct WaitingCall {
  std::uint16_t port = 0;
  std::string request;
};

struct RuntimeApiSetup {
  std::size_t header_bytes_max = 65536;
  FunctionIdentity function;
  AtRestore at_restore = AtRestore::pass;
  std::vector<std::string> external_extensions;  // those that the init waits for, by their names
};

// Ownership: owns the listener; borrows loops and reaper, which outlive it. Threads: every method from any thread.
class RuntimeApi : public std::enable_shared_from_this<RuntimeApi> {
 public:
  // listener: a socket bound in the environment. The last reference may be dropped anywhere: connections are waited for
  // on a thread of reaper.
  static Result<std::shared_ptr<RuntimeApi>> open(http::Loops& loops, boost::asio::thread_pool& reaper,
                                                  UniqueFd listener, RuntimeApiSetup setup);

  ~RuntimeApi();

  // Until the runtime asks for its first event, and so do all extensions, or it is parked. Errors: function_failed with
  // what it says of its init or of its restore, or with what became of an extension; timeout; unavailable after end().
  http::Task<Status> ready(http::Loop& loop, http::TimePoint deadline);
  // What the runtime has said of an init that failed: its JSON; empty when it has said nothing.
  std::string init_error_document();
  // Hands one event over and waits for what comes of it. Errors: in the outcome.
  http::Task<EventOutcome> invoke(http::Loop& loop, Event event);
  // With AtRestore::park: how many calls have come so far, and those that wait. A snapshot is whole when the first has
  // not changed while it was taken.
  std::uint64_t calls_seen() const { return calls_seen_; }
  std::vector<WaitingCall> waiting_calls();
  ExtensionsApi& extensions() { return extensions_; }
  // Until every extension that heard of the invocation asks for its next event. Errors: as ready().
  http::Task<Status> rest(http::Loop& loop, http::TimePoint deadline);
  // Whether the environment may be frozen: all wait for an event, or the last event's time is over.
  bool at_rest(http::TimePoint now);
  // The environment is over: whoever waits gets `unavailable`.
  void end();

 private:
  struct Work {
    Event event;
    std::function<void(EventOutcome)> done;
    bool being_answered = false;
  };
  struct Waiting {
    std::uint64_t id = 0;
    std::function<void(std::shared_ptr<Work>)> done;
  };

  RuntimeApi(http::Loops& loops, RuntimeApiSetup setup);

  http::Task<> handle(http::Exchange& exchange);
  http::Task<> route(http::Exchange& exchange);
  http::Task<> next(http::Exchange& exchange);
  http::Task<> restore_next(http::Exchange& exchange);
  http::Task<> take_answer(http::Exchange& exchange, std::string id, bool is_error);
  http::Task<> take_init_error(http::Exchange& exchange);
  void wait_for_work(http::Exchange& exchange, std::function<void(std::shared_ptr<Work>)> done);
  void offer(std::shared_ptr<Work> work);
  void settle_init(Status status);
  void on_extensions_changed();
  void settle_rest(const Status& status);
  bool has_ended();
  // False when nobody waits for it any more.
  bool finish(const std::string& id, EventOutcome outcome);
  // The same with an error of the function.
  void fail(const std::string& id, const char* error_type, const std::string& message);
  // nullptr when nobody waits for it, or another answer to it is on its way: each event has room for one.
  std::shared_ptr<Work> begin_answer(const std::string& id);

  std::mutex mutex_;
  // Below: guarded by mutex_.
  std::deque<Waiting> waiting_;  // calls of next without an event; or of restore/next, which get none
  std::map<const http::Exchange*, WaitingCall> open_;  // with AtRestore::park: calls that are not answered
  std::deque<std::shared_ptr<Work>> offered_;          // events that no call has taken
  std::unordered_map<std::string, std::shared_ptr<Work>> works_;
  std::optional<Status> init_;  // how it went, once that is known
  std::string init_error_document_;
  std::function<void(Status)> on_init_;
  std::vector<std::function<void(Status)>> on_rest_;
  http::TimePoint busy_until_{};  // the latest deadline of all events so far
  std::uint64_t next_id_ = 0;
  bool init_error_coming_ = false;
  bool ended_ = false;

  std::atomic<bool> runtime_asked_{false};
  ExtensionsApi extensions_;
  const AtRestore at_restore_;
  std::atomic<std::uint64_t> calls_seen_{0};
  http::Loops& loops_;
  http::Server server_;  // last: its connections use all of the above
};

}  // namespace thaw::invoke
