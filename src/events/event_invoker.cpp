#include "events/event_invoker.h"

#include <cstring>

#include "observe/log_tail.h"
#include "observe/report.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::events {
namespace {

using Clock = std::chrono::steady_clock;

// START, END and REPORT of one invocation together.
constexpr std::size_t kLinesBytes = 512;

// What Lambda calls an end of the runtime, behind "RequestId: … Error: ".
std::string exit_text(const sandbox::ExitInfo& exit) {
  if (exit.reason == sandbox::ExitReason::out_of_memory) return "Runtime exited with error: signal: killed";
  if (exit.reason == sandbox::ExitReason::signaled)
    return std::string("Runtime exited with error: signal: ") + ::strsignal(exit.code);
  if (exit.code == 0) return "Runtime exited without providing a reason";
  return "Runtime exited with error: exit status " + std::to_string(exit.code);
}

void set_error(EventResult& result, std::string_view type, std::string_view message) {
  result.function_error = "Unhandled";
  result.payload = invoke::error_document(type, message);
}

// One event that has its environment.
class Run {
 public:
  Run(http::Loop& loop, const EventRequest& request, pool::Lease lease)
      : loop_(loop), request_(request), config_(request.record->config), lease_(std::move(lease)) {
    if (request.log_tail) tail_ = std::make_shared<observe::LogTail>();
  }

  http::Task<EventResult> go(std::string payload) {
    if (tail_ != nullptr) lease_.copy_output(tail_);
    std::string lines;
    lines.reserve(kLinesBytes);
    observe::append_start(lines, request_.request_id, request_.record->version);
    log(lines);
    began_ = Clock::now();
    EventResult result = co_await answer(std::move(payload));
    result.executed_version = request_.record->version;
    report(result);
    if (tail_ != nullptr) result.log_tail = tail_->text();
    if (healthy_) {
      lease_.give_back(nullptr);
    } else {
      lease_.retire();
    }
    co_return result;
  }

 private:
  http::Task<EventResult> answer(std::string payload) {
    invoke::Event event{.request_id = request_.request_id,
                        .function_arn = request_.function_arn,
                        .payload = std::move(payload),
                        .client_context = request_.client_context,
                        .cognito_identity = request_.cognito_identity,
                        .trace_id = request_.trace_id,
                        .deadline = began_ + std::chrono::seconds(config_.timeout_s)};
    // An environment that was lent has answered to its Runtime API before.
    invoke::EventOutcome outcome = co_await lease_.runtime()->invoke(loop_, std::move(event));
    EventResult result;
    if (outcome.status.ok()) {
      if (outcome.function_error) result.function_error = "Unhandled";
      error_type_ = std::move(outcome.error_type);
      result.payload = std::move(outcome.payload);
      co_return result;
    }
    healthy_ = false;
    co_await explain(outcome.status.error(), result);
    co_return result;
  }

  // What became of an event that has no answer.
  http::Task<> explain(const Error& error, EventResult& result) {
    if (error.kind == ErrorKind::function_failed) co_return fail(result, "Runtime.InvalidResponse", error.message);
    const std::string id = "RequestId: " + request_.request_id + " Error: ";
    if (error.kind == ErrorKind::timeout) {
      timed_out_ = true;
      co_return fail(result, "Sandbox.Timedout",
                     id + "Task timed out after " + std::to_string(config_.timeout_s) + ".00 seconds");
    }
    const auto exit = co_await lease_.exit_reason(loop_);
    if (!exit) co_return fail(result, "Runtime.Unknown", "the runtime closed its connection while it had the event");
    if (exit->reason == sandbox::ExitReason::destroyed) {
      result.status = Error{ErrorKind::unavailable, "the function's environment was ended"};
      co_return;
    }
    const bool out_of_memory = exit->reason == sandbox::ExitReason::out_of_memory;
    fail(result, out_of_memory ? "Runtime.OutOfMemory" : "Runtime.ExitError", id + exit_text(*exit));
  }

  void fail(EventResult& result, const char* type, const std::string& message) {
    error_type_ = type;
    set_error(result, type, message);
  }

  void log(const std::string& lines) {
    lease_.log().append(lines);
    if (tail_ != nullptr) tail_->append(lines);
  }

  void report(const EventResult& result) {
    const http::TimePoint now = Clock::now();
    if (tail_ != nullptr) {
      lease_.take_output_now();
    } else {
      lease_.take_output(now);
    }
    std::string lines;
    if (timed_out_)
      lines += request_.request_id + " Task timed out after " + std::to_string(config_.timeout_s) + ".00 seconds\n";
    observe::append_end(lines, request_.request_id);
    observe::append_report(
        lines, {.request_id = request_.request_id,
                .duration = std::chrono::duration_cast<std::chrono::microseconds>(now - began_),
                .memory_mb = config_.memory_mb,
                .memory_peak_bytes = lease_.memory_peak_bytes(),
                .init_duration = lease_.init_duration(),
                .restore_duration = lease_.restore_duration(),
                .restore_billed = lease_.hook_duration(),
                .status = timed_out_                      ? "timeout"
                          : result.function_error.empty() ? ""
                                                          : "error",
                .error_type = result.function_error.empty() ? std::string_view() : std::string_view(error_type_)});
    log(lines);
  }

  http::Loop& loop_;
  const EventRequest& request_;
  const model::FunctionConfig& config_;
  pool::Lease lease_;
  std::shared_ptr<observe::LogTail> tail_;  // where it was asked for
  http::TimePoint began_{};
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
