#include "events/event_invoker.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <exception>

#include "base/uuid.h"
#include "invoke/exit.h"
#include "invoke/response_stream.h"
#include "observe/log_tail.h"
#include "observe/report.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::events {
namespace {

using Clock = std::chrono::steady_clock;

// START, END and REPORT of one invocation together.
constexpr std::size_t kLinesBytes = 512;

// A trace that nobody samples, where the caller began none ("Tracing header", AWS X-Ray Developer Guide).
std::string new_trace_id() {
  std::string hex = random_uuid() + random_uuid();
  std::erase(hex, '-');
  char time[9];
  std::snprintf(time, sizeof(time), "%08x", static_cast<unsigned>(std::time(nullptr)));
  return "Root=1-" + std::string(time) + "-" + hex.substr(0, 24) + ";Parent=" + hex.substr(24, 16) + ";Sampled=0";
}

// One event, from its START line to its REPORT line. Lives until its extensions are done with it, too.
class Run : public std::enable_shared_from_this<Run> {
 public:
  Run(pool::Pool& pool, http::Loop& loop, EventRequest request)
      : pool_(pool),
        loop_(loop),
        request_(std::move(request)),
        config_(request_.record->config),
        log_(pool.log_of(*request_.record)) {
    if (request_.log_tail) tail_ = std::make_shared<observe::LogTail>();
  }

  // stream: where a streamed response goes; nullptr gathers it.
  http::Task<EventResult> go(std::shared_ptr<invoke::ResponseStream> stream) {
    std::string payload = std::move(request_.payload);
    EventResult result;
    result.executed_version = request_.record->version;
    auto lease = pool_.try_acquire(request_.record);
    if (!lease) {
      if (Status places = pool::check_places(request_.waiting.get(), *request_.record); !places.ok()) {
        result.status = std::move(places);
        co_return result;
      }
      pool::InitAttempt attempt;
      auto waited = co_await pool_.acquire(loop_, request_.record, attempt);
      if (!waited.ok() && waited.error().kind != ErrorKind::function_failed) {
        result.status = std::move(waited).error();
        co_return result;
      }
      if (waited.ok()) lease = std::move(*waited);
    }
    begin();
    // Where the init has failed it is tried once more, now within the invocation's own time.
    if (lease) {
      lease_ = std::move(*lease);
    } else {
      co_await try_again(result);
    }
    if (lease_.valid()) {
      lease_.note_call(request_.hops, request_.waiting);
      if (tail_ != nullptr) lease_.copy_output(tail_);
      co_await answer(std::move(payload), std::move(stream), result);
    }
    failed_ = !result.function_error.empty();
    if (!is_over() && tail_ == nullptr) {
      // The caller has its answer; what extensions still do with the invocation goes on beside it.
      boost::asio::co_spawn(
          loop_.executor(), [self = shared_from_this()] { return self->finish_at_rest(); }, boost::asio::detached);
      co_return result;
    }
    if (!is_over()) co_await rest();
    finish();
    if (tail_ != nullptr) result.log_tail = tail_->text();
    co_return result;
  }

 private:
  bool is_over() { return !lease_.valid() || !healthy_ || lease_.runtime()->extensions().at_rest(); }

  // Until all extensions have asked for their next event.
  http::Task<> rest() {
    const std::shared_ptr<invoke::RuntimeApi> runtime = lease_.runtime();
    const Status rested = co_await runtime->rest(loop_, deadline_);
    if (rested.ok()) co_return;
    healthy_ = false;
    if (rested.error().kind == ErrorKind::timeout) {
      timed_out_ = true;
      error_type_ = "Sandbox.Timedout";
    } else if (rested.error().kind == ErrorKind::function_failed) {
      failed_ = true;
      error_type_ = rested.error().code;
      log(id_prefix() + rested.error().message + "\n" + error_type_ + "\n");
    }
  }

  http::Task<> finish_at_rest() {
    co_await rest();
    finish();
  }

  void finish() {
    report();
    if (!lease_.valid()) return;
    if (healthy_) {
      lease_.give_back(nullptr);
    } else {
      lease_.retire(timed_out_ ? "TIMEOUT" : "FAILURE");
    }
  }

  void begin() {
    std::string lines;
    lines.reserve(kLinesBytes);
    observe::append_start(lines, request_.request_id, request_.record->version);
    log(lines);
    began_ = Clock::now();
    deadline_ = began_ + std::chrono::seconds(config_.timeout_s);
  }

  http::Task<> try_again(EventResult& result) {
    tried_again_ = true;
    pool::InitAttempt attempt;
    attempt.deadline = deadline_;
    auto waited = co_await pool_.acquire(loop_, request_.record, attempt);
    if (waited.ok()) {
      lease_ = std::move(*waited);
      co_return;
    }
    const Error& error = waited.error();
    if (error.code == "Sandbox.Timedout" || (error.kind == ErrorKind::overloaded && Clock::now() >= deadline_)) {
      time_out(result);
    } else if (error.kind != ErrorKind::function_failed) {
      result.status = error;
    } else if (!attempt.error_document.empty()) {
      error_type_ = error.code;
      result.function_error = "Unhandled";
      result.payload = std::move(attempt.error_document);
    } else {
      fail(result, error.code, id_prefix() + error.message);
    }
  }

  std::string id_prefix() const { return "RequestId: " + request_.request_id + " "; }

  http::Task<> answer(std::string payload, std::shared_ptr<invoke::ResponseStream> stream, EventResult& result) {
    invoke::Event event{.request_id = request_.request_id,
                        .function_arn = request_.function_arn,
                        .payload = std::move(payload),
                        .client_context = request_.client_context,
                        .trace_id = request_.trace_id.empty() ? new_trace_id() : request_.trace_id,
                        .deadline = deadline_,
                        .stream = std::move(stream)};
    // An environment that was lent has answered to its Runtime API before.
    invoke::EventOutcome outcome = co_await lease_.runtime()->invoke(loop_, std::move(event));
    if (outcome.status.ok()) {
      if (outcome.function_error) result.function_error = "Unhandled";
      error_type_ = std::move(outcome.error_type);
      result.payload = std::move(outcome.payload);
      co_return;
    }
    healthy_ = false;
    co_await explain(outcome.status.error(), result);
  }

  // What became of an event that has no answer.
  http::Task<> explain(const Error& error, EventResult& result) {
    if (error.kind == ErrorKind::function_failed && error.code.empty())
      co_return fail(result, "Runtime.InvalidResponse", error.message);
    if (error.kind == ErrorKind::function_failed) co_return fail(result, error.code, id_prefix() + error.message);
    if (error.kind == ErrorKind::timeout) co_return time_out(result);
    const auto exit = co_await lease_.exit_reason(loop_);
    if (!exit) {
      const bool named = !error.code.empty();
      co_return fail(result, named ? error.code : "Runtime.Unknown",
                     named ? error.message : "the runtime closed its connection while it had the event");
    }
    if (exit->reason == sandbox::ExitReason::destroyed) {
      result.status = Error{ErrorKind::unavailable, "the function's environment was ended"};
      co_return;
    }
    fail(result, invoke::exit_type(*exit), id_prefix() + "Error: " + invoke::exit_text(*exit));
  }

  void time_out(EventResult& result) {
    timed_out_ = true;
    set_error(result, "Sandbox.Timedout",
              id_prefix() + "Error: Task timed out after " + std::to_string(config_.timeout_s) + ".00 seconds");
  }

  // What ended the runtime is told in the log too, as the platform's own word.
  void fail(EventResult& result, const std::string& type, const std::string& message) {
    set_error(result, type, message);
    take_output(Clock::now());
    log(message + "\n" + type + "\n");
  }

  void set_error(EventResult& result, const std::string& type, const std::string& message) {
    error_type_ = type;
    result.function_error = "Unhandled";
    result.payload = invoke::error_document(type, message);
  }

  void log(const std::string& lines) {
    log_->append(lines);
    if (tail_ != nullptr) tail_->append(lines);
  }

  // What the function has printed goes before the lines that follow.
  void take_output(http::TimePoint now) {
    if (!lease_.valid()) return;
    if (tail_ != nullptr) {
      lease_.take_output_now();
    } else {
      lease_.take_output(now);
    }
  }

  void report() {
    const http::TimePoint now = Clock::now();
    take_output(now);
    std::string lines;
    if (timed_out_)
      lines += request_.request_id + " Task timed out after " + std::to_string(config_.timeout_s) + ".00 seconds\n";
    observe::append_end(lines, request_.request_id);
    observe::append_report(lines,
                           {.request_id = request_.request_id,
                            .duration = std::chrono::duration_cast<std::chrono::microseconds>(now - began_),
                            .memory_mb = config_.memory_mb,
                            .memory_peak_bytes = lease_.valid() ? lease_.memory_peak_bytes() : 0,
                            // A second try is part of the duration.
                            .init_duration = tried_again_ ? std::nullopt : lease_.init_duration(),
                            .restore_duration = lease_.restore_duration(),
                            .restore_billed = lease_.valid() ? lease_.hook_duration() : std::chrono::microseconds(0),
                            .status = timed_out_ ? "timeout"
                                      : failed_  ? "error"
                                                 : "",
                            .error_type = timed_out_ || failed_ ? std::string_view(error_type_) : std::string_view()});
    log(lines);
  }

  pool::Pool& pool_;
  http::Loop& loop_;
  EventRequest request_;
  const model::FunctionConfig& config_;
  const std::shared_ptr<observe::FunctionLog> log_;
  pool::Lease lease_;                       // empty until there is an environment
  std::shared_ptr<observe::LogTail> tail_;  // where it was asked for
  http::TimePoint began_{};
  http::TimePoint deadline_{};
  std::string error_type_;
  bool failed_ = false;
  bool timed_out_ = false;
  bool tried_again_ = false;
  bool healthy_ = true;
};

// Hands pieces to the sink until the stream is closed. Whether there were any.
http::Task<bool> take(http::Loop& loop, invoke::ResponseStream& stream, ResponseSink& sink) {
  bool began = false;
  bool taking = true;
  for (;;) {
    auto piece = co_await stream.next(loop);
    if (!piece) co_return began;
    began = true;
    if (!taking) continue;
    Status taken;
    if (piece->content_type) {
      taken = co_await sink.begin(*piece->content_type);
    } else {
      taken = co_await sink.write(piece->bytes);
    }
    taking = taken.ok();
    if (!taking) stream.abandon();
  }
}

// The run and the taking of its response, both at once on the one loop.
http::Task<EventResult> go_streamed(http::Loop& loop, std::shared_ptr<Run> run, ResponseSink& sink) {
  const auto stream = std::make_shared<invoke::ResponseStream>();
  const auto result = std::make_shared<EventResult>();
  result->status = internal_error("the invocation ended without a result");
  boost::asio::co_spawn(loop.executor(), run->go(stream),
                        [stream, result](const std::exception_ptr& thrown, EventResult came) {
                          if (thrown == nullptr) *result = std::move(came);
                          stream->close();
                        });
  const bool began = co_await take(loop, *stream, sink);
  result->streamed = began;
  co_return std::move(*result);
}

}  // namespace

http::Task<EventResult> EventInvoker::run(http::Loop& loop, EventRequest request) {
  EventResult result;
  result.executed_version = request.record->version;
  if (request.record->config.kind != model::FunctionKind::event) {
    result.status = Error{ErrorKind::unsupported, "it is a web function: it takes no events"};
    co_return result;
  }
  const auto permit = gate_.enter(request.record->config.name);
  if (!permit.ok()) {
    result.status = permit.error();
    co_return result;
  }
  ResponseSink* const sink = request.sink;
  const auto run = std::make_shared<Run>(pool_, loop, std::move(request));
  if (sink != nullptr) co_return co_await go_streamed(loop, run, *sink);
  co_return co_await run->go(nullptr);
}

}  // namespace thaw::events
