#include "events/event_invoker.h"

#include <boost/json.hpp>
#include <cstdio>
#include <cstring>

#include "observe/report.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::events {
namespace {

using Clock = std::chrono::steady_clock;

// START, END and REPORT of one invocation together.
constexpr std::size_t kLinesBytes = 512;

void set_error(EventResult& result, std::string_view type, std::string_view message) {
  result.function_error = "Unhandled";
  result.content_type = "application/json";
  result.payload = boost::json::serialize(boost::json::object{{"errorType", type}, {"errorMessage", message}});
}

// What Lambda calls an end of the runtime.
void set_exit_error(EventResult& result, const std::string& request_id, const sandbox::ExitInfo& exit) {
  const std::string id = "RequestId: " + request_id + " Error: ";
  switch (exit.reason) {
    case sandbox::ExitReason::out_of_memory:
      return set_error(result, "Runtime.OutOfMemory", id + "Runtime exited with error: signal: killed");
    case sandbox::ExitReason::signaled:
      return set_error(result, "Runtime.ExitError",
                       id + "Runtime exited with error: signal: " + ::strsignal(exit.code));
    case sandbox::ExitReason::exited:
      if (exit.code == 0)
        return set_error(result, "Runtime.ExitError", id + "Runtime exited without providing a reason");
      return set_error(result, "Runtime.ExitError",
                       id + "Runtime exited with error: exit status " + std::to_string(exit.code));
    case sandbox::ExitReason::destroyed:
      result.status = Error{ErrorKind::unavailable, "the function's environment was ended"};
      return;
  }
}

// One event that has its environment.
class Run {
 public:
  Run(http::Loop& loop, const EventRequest& request, pool::Lease lease)
      : loop_(loop), request_(request), config_(request.record->config), lease_(std::move(lease)) {}

  http::Task<EventResult> go(std::string payload) {
    std::string lines;
    lines.reserve(kLinesBytes);
    observe::append_start(lines, request_.request_id, request_.record->version);
    lease_.log().append(lines);
    const http::TimePoint began = Clock::now();
    invoke::Event event{.request_id = request_.request_id,
                        .function_arn = request_.function_arn,
                        .payload = std::move(payload),
                        .client_context = request_.client_context,
                        .cognito_identity = request_.cognito_identity,
                        .trace_id = request_.trace_id,
                        .deadline = began + std::chrono::seconds(config_.timeout_s)};
    invoke::EventOutcome outcome;
    if (const auto runtime = lease_.runtime(); runtime != nullptr) {
      outcome = co_await runtime->invoke(loop_, std::move(event));
    } else {
      outcome.status = Error{ErrorKind::unavailable, "the environment has ended"};
    }
    EventResult result;
    result.executed_version = request_.record->version;
    co_await take(result, std::move(outcome));
    report(result, began);
    if (healthy_) {
      lease_.give_back(nullptr);
    } else {
      lease_.retire();
    }
    co_return result;
  }

 private:
  http::Task<> take(EventResult& result, invoke::EventOutcome outcome) {
    if (outcome.status.ok()) {
      if (outcome.function_error) result.function_error = "Unhandled";
      error_type_ = std::move(outcome.error_type);
      result.payload = std::move(outcome.payload);
      result.content_type = std::move(outcome.content_type);
      co_return;
    }
    healthy_ = false;
    if (outcome.status.error().kind == ErrorKind::timeout) {
      char seconds[32];
      std::snprintf(seconds, sizeof(seconds), "%u.00", config_.timeout_s);
      timed_out_ = true;
      set_error(result, "Sandbox.Timedout",
                "RequestId: " + request_.request_id + " Error: Task timed out after " + seconds + " seconds");
      co_return;
    }
    if (outcome.status.error().kind == ErrorKind::function_failed) {
      error_type_ = "Runtime.InvalidResponse";
      set_error(result, error_type_, outcome.status.error().message);
      co_return;
    }
    const auto exit = co_await lease_.exit_reason(loop_);
    if (exit) {
      set_exit_error(result, request_.request_id, *exit);
      error_type_ = exit->reason == sandbox::ExitReason::out_of_memory ? "Runtime.OutOfMemory" : "Runtime.ExitError";
    } else {
      error_type_ = "Runtime.Unknown";
      set_error(result, error_type_, "the runtime closed its connection while it had the event");
    }
  }

  void report(const EventResult& result, http::TimePoint began) {
    const http::TimePoint now = Clock::now();
    lease_.take_output(now);
    std::string lines;
    if (timed_out_)
      lines += request_.request_id + " Task timed out after " + std::to_string(config_.timeout_s) + ".00 seconds\n";
    observe::append_end(lines, request_.request_id);
    observe::append_report(
        lines, {.request_id = request_.request_id,
                .duration = std::chrono::duration_cast<std::chrono::microseconds>(now - began),
                .memory_mb = config_.memory_mb,
                .memory_peak_bytes = lease_.memory_peak_bytes(),
                .init_duration = lease_.init_duration(),
                .restore_duration = lease_.restore_duration(),
                .restore_billed = lease_.hook_duration(),
                .status = timed_out_                      ? "timeout"
                          : result.function_error.empty() ? ""
                                                          : "error",
                .error_type = result.function_error.empty() ? std::string_view() : std::string_view(error_type_)});
    lease_.log().append(lines);
  }

  http::Loop& loop_;
  const EventRequest& request_;
  const model::FunctionConfig& config_;
  pool::Lease lease_;
  std::string error_type_;
  bool timed_out_ = false;
  bool healthy_ = true;
};

}  // namespace

http::Task<EventResult> EventInvoker::run(http::Loop& loop, EventRequest request) {
  EventResult result;
  result.executed_version = request.record->version;
  if (request.record->config.kind != model::FunctionKind::event) {
    result.status = Error{ErrorKind::unsupported, "it is a web function: it takes no events"};
    co_return result;
  }
  auto lease = pool_.try_acquire(request.record);
  if (!lease) {
    auto waited = co_await pool_.acquire(loop, request.record);
    if (!waited.ok()) {
      // An init that failed is the function's own doing.
      if (waited.error().kind == ErrorKind::function_failed) {
        set_error(result, waited.error().code, waited.error().message);
      } else {
        result.status = std::move(waited).error();
      }
      co_return result;
    }
    lease = std::move(*waited);
  }
  std::string payload = std::move(request.payload);
  Run run(loop, request, *std::move(lease));
  co_return co_await run.go(std::move(payload));
}

}  // namespace thaw::events
