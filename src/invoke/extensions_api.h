// The Extensions API of one environment ("Lambda Extensions API", AWS Lambda Developer Guide): processes beside the
// runtime, or threads within it, that hear of invocations and of the environment's end.
//
//   POST /2020-01-01/extension/register
//   GET  /2020-01-01/extension/event/next
//   POST /2020-01-01/extension/init/error, /2020-01-01/extension/exit/error
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/server.h"
#include "invoke/event.h"

namespace thaw::invoke {

inline constexpr std::size_t kExtensionsMax = 10;  // "Lambda quotas", AWS Lambda Developer Guide

// What an extension is told of its function when it registers.
struct FunctionIdentity {
  std::string name;
  std::string version;
  std::string handler;
  std::string account_id;
};

// Ownership: belongs to its RuntimeApi, whose connections use it. Threads: any.
class ExtensionsApi {
 public:
  // Somebody registered, asked for its next event, or failed: the owner looks at the state again. Runs without a lock.
  using OnChange = std::function<void()>;
  ExtensionsApi(FunctionIdentity function, OnChange on_change);

  // Those that are started beside the runtime, by the names of their files; all others are internal. Before the first
  // request.
  void expect(std::vector<std::string> external_names);

  // The path's beginning.
  static constexpr std::string_view kRoot = "/2020-01-01/extension/";
  http::Task<> handle(http::Exchange& exchange, std::string_view path);

  // What apps/thaw-extensions asks and tells, which starts them.
  static constexpr std::string_view kLauncherRoot = "/thaw/extensions/";
  http::Task<> handle_launcher(http::Exchange& exchange, std::string_view path);

  // No more may register: the runtime has asked for its first event.
  void close_registration();
  // All that are expected have registered, and all that have registered wait for an event.
  bool ready();
  // Everybody who hears of invocations has asked for the next event since the last one.
  bool at_rest();
  // Whether there are any, internal ones and external ones.
  bool any();
  bool any_external();
  // The first extension that gave up or was lost: function_failed, with Lambda's name as its code.
  Status failure();

  void begin_invocation(const Event& event);
  // Whoever registered for SHUTDOWN hears of the end. reason: "SPINDOWN", "TIMEOUT", "FAILURE".
  void shut_down(std::string_view reason, http::TimePoint deadline);
  // The launcher has said that the runtime is gone, after it was told to end.
  bool runtime_ended() const { return runtime_ended_; }
  // The environment is over: calls that wait are answered.
  void end();

 private:
  struct Extension {
    std::string id;  // UUID; empty until it has registered
    std::string name;
    bool external = false;
    bool hears_invocations = false;
    bool hears_shutdown = false;
    bool has_waited = false;             // has asked for an event at least once
    std::optional<std::string> pending;  // the event that it has not taken yet; at most one
    std::function<void(std::optional<std::string>)> waiting;
  };

  http::Task<> register_one(http::Exchange& exchange);
  http::Task<> next(http::Exchange& exchange);
  http::Task<> take_error(http::Exchange& exchange, const char* failure_type, const char* what);
  // Registers or says why not. Returns the identifier.
  Result<std::string> add(const std::string& name, const std::vector<std::string>& events);
  void wait_for_event(http::Exchange& exchange, const std::string& id,
                      std::function<void(std::optional<std::string>)> done);
  void wait_for_registrations(http::Exchange& exchange, std::function<void(bool)> done);
  bool registered_locked() const;
  // Answers the launcher, once all have registered, or that they never will.
  void tell_registered(bool registered);
  // Of a request's Lambda-Extension-Identifier. Errors: forbidden.
  Result<std::string> identifier(const http::Exchange& exchange);
  Extension* find_locked(std::string_view id);
  void give(std::string event, bool shutdown);
  void fail(const std::string& type, const std::string& message);

  const FunctionIdentity function_;
  const OnChange on_change_;

  std::mutex mutex_;
  // Below: guarded by mutex_.
  std::vector<Extension> extensions_;
  Status failure_;
  std::function<void(bool)> on_registered_;
  bool closed_ = false;
  bool ended_ = false;

  std::atomic<bool> runtime_ended_{false};
};

}  // namespace thaw::invoke
