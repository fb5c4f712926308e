// The life of one invocation: an environment is lent, the exchange forwarded, the outcome reported, the environment
// given back.

#include "base/log.h"
#include "base/uuid.h"
#include "control/function_settings.h"
#include "gateway/answers.h"
#include "gateway/control_request.h"
#include "gateway/cors.h"
#include "gateway/function_url.h"
#include "gateway/gateway.h"
#include "http/message.h"
#include "invoke/forward.h"
#include "observe/report.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::gateway {
namespace {

using Clock = std::chrono::steady_clock;
using Connection = std::unique_ptr<http::ClientConnection>;

// START, END and REPORT of one invocation together.
constexpr std::size_t kLinesBytes = 512;

bool is_idempotent(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "PUT" || method == "DELETE";
}

Error exit_error(const sandbox::ExitInfo& exit, const model::FunctionConfig& config) {
  switch (exit.reason) {
    case sandbox::ExitReason::out_of_memory:
      return {ErrorKind::function_failed,
              "the function ran out of memory (memory_mb " + std::to_string(config.memory_mb) + ")",
              "Function.OutOfMemory"};
    case sandbox::ExitReason::signaled:
      return {ErrorKind::function_failed, "the function was killed by signal " + std::to_string(exit.code),
              "Function.Crashed"};
    case sandbox::ExitReason::destroyed:
      return {ErrorKind::unavailable, "the function's environment was ended"};
    case sandbox::ExitReason::exited:
      break;
  }
  return {ErrorKind::function_failed, "the function exited with status " + std::to_string(exit.code),
          "Function.Exited"};
}

// In the words of the API that the caller speaks.
http::Task<Status> answer_failure(http::Exchange& exchange, const Route& route, const Error& error,
                                  std::string_view request_id) {
  return route.kind == RouteKind::openai ? answer_openai_error(exchange, error, request_id)
                                         : answer_error(exchange, error, request_id);
}

// One invocation that has its environment.
class Invocation {
 public:
  Invocation(http::Exchange& exchange, const Route& route, HeldBody* body, const model::FunctionRecord& record,
             std::string request_id, pool::Lease lease)
      : exchange_(exchange),
        route_(route),
        body_(body),
        record_(record),
        config_(record.config),
        request_id_(std::move(request_id)),
        lease_(std::move(lease)) {}

  http::Task<> run() {
    lines_.reserve(kLinesBytes);
    observe::append_start(lines_, request_id_, record_.version);
    lease_.log().append(lines_);
    began_ = Clock::now();
    const invoke::ForwardOutcome outcome = co_await forward();
    std::optional<Error> error;
    if (!outcome.status.ok() && !outcome.client_gone) error = co_await explain(outcome.status.error());
    report(error);
    if (error && !outcome.answered) co_await answer_failure(exchange_, route_, *error, request_id_);
    settle(outcome, error);
  }

 private:
  http::Task<invoke::ForwardOutcome> forward() {
    const http::TimePoint deadline = began_ + std::chrono::seconds(config_.timeout_s);
    invoke::ForwardRequest request{route_.target, route_.prefix, request_id_, deadline};
    request.hops = route_.hops;
    if (body_ != nullptr) {
      request.body = body_->bytes();
      request.on_body_sent = [this] { body_->release(); };
    }
    if (route_.kind == RouteKind::openai) request.id_field = "x-request-id";
    // What a page may do is then for the URL's configuration to say, and not for the function.
    if (!exchange_.own_fields().empty()) request.withheld = kCorsFieldPrefix;
    for (int attempt = 1;; ++attempt) {
      connection_ = lease_.take_idle(exchange_.loop());
      if (connection_ == nullptr) {
        auto connected = co_await lease_.connect(exchange_.loop(), deadline);
        if (!connected.ok()) {
          invoke::ForwardOutcome refused;
          refused.status = std::move(connected).error();
          co_return refused;
        }
        connection_ = std::move(*connected);
      }
      invoke::ForwardOutcome outcome = co_await invoke::forward(exchange_, *connection_, request);
      // A function may close a kept-alive connection just when a request is on its way.
      const bool again =
          attempt == 1 && outcome.may_retry && lease_.reused() && is_idempotent(exchange_.request().method);
      if (!again || outcome.client_gone) co_return outcome;
    }
  }

  // What the caller may know of a failed exchange.
  http::Task<Error> explain(const Error& error) {
    if (error.code == "Client.Stalled" || error.kind == ErrorKind::too_large ||
        error.kind == ErrorKind::invalid_argument) {
      Error clients = error;
      if (error.kind == ErrorKind::timeout) clients.kind = ErrorKind::invalid_argument;
      co_return clients;
    }
    if (error.kind == ErrorKind::timeout) {
      co_return Error{ErrorKind::timeout,
                      "the function did not answer within timeout_s (" + std::to_string(config_.timeout_s) + " s)",
                      "Function.TimedOut"};
    }
    if (error.kind == ErrorKind::function_failed) co_return Error{error.kind, error.message, "Function.BadResponse"};
    if (const auto exit = co_await lease_.exit_reason(exchange_.loop())) co_return exit_error(*exit, config_);
    co_return Error{ErrorKind::function_failed, "the function closed the connection without a complete answer",
                    "Function.ConnectionClosed"};
  }

  void report(const std::optional<Error>& error) {
    lines_.clear();
    const http::TimePoint now = Clock::now();
    lease_.take_output(now);
    const bool timed_out = error && error->code == "Function.TimedOut";
    const bool out_of_memory = error && error->code == "Function.OutOfMemory";  // the peak is the limit then
    if (timed_out)
      lines_ += request_id_ + " Task timed out after " + std::to_string(config_.timeout_s) + ".00 seconds\n";
    observe::append_end(lines_, request_id_);
    observe::append_report(
        lines_,
        {.request_id = request_id_,
         .duration = std::chrono::duration_cast<std::chrono::microseconds>(now - began_),
         .memory_mb = config_.memory_mb,
         .memory_peak_bytes = out_of_memory ? std::uint64_t{config_.memory_mb} << 20 : lease_.memory_peak_bytes(),
         .init_duration = lease_.init_duration(),
         .restore_duration = lease_.restore_duration(),
         .restore_billed = lease_.hook_duration(),
         .status = timed_out                                            ? "timeout"
                   : error && error->kind == ErrorKind::function_failed ? "error"
                                                                        : "",
         .error_type = error && !timed_out ? std::string_view(error->code) : std::string_view()});
    lease_.log().append(lines_);
  }

  void settle(const invoke::ForwardOutcome& outcome, const std::optional<Error>& error) {
    const bool finished = connection_ != nullptr && connection_->answered() && connection_->body_done();
    if (connection_ != nullptr && (!connection_->next_exchange() || !outcome.status.ok())) connection_.reset();
    // A function that hangs may hang for ever: it is not lent again. Neither is one that takes one invocation at a time
    // and still works for a client that went away: it would let the next one wait.
    const bool broken = error && (error->code == "Function.TimedOut" || error->code == "Function.Crashed" ||
                                  error->code == "Function.Exited" || error->code == "Function.OutOfMemory");
    const bool abandoned = outcome.client_gone && !finished && config_.concurrency == 1;
    if (broken || abandoned) {
      lease_.retire();
    } else {
      lease_.give_back(std::move(connection_));
    }
  }

  http::Exchange& exchange_;
  const Route& route_;
  HeldBody* const body_;
  const model::FunctionRecord& record_;
  const model::FunctionConfig& config_;
  const std::string request_id_;
  pool::Lease lease_;
  Connection connection_;
  http::TimePoint began_{};
  std::string lines_;
};

std::string shown(std::string_view name) { return std::string(name.substr(0, model::kAliasNameBytesMax)); }

Error no_function(const Route& route) {
  const std::string name = shown(route.function_name);
  if (route.kind == RouteKind::openai) {
    const std::string qualifier =
        http::percent_decode(route.qualifier).ok() ? *http::percent_decode(route.qualifier) : "";
    return no_model(qualifier.empty() ? name : name + ":" + shown(qualifier));
  }
  if (route.qualifier.empty())
    return {ErrorKind::not_found, "there is no function " + name + ": deploy it with `thaw deploy`"};
  return {ErrorKind::not_found, "there is no function " + name + " with a version or alias " + shown(route.qualifier) +
                                    ": `thaw versions` and `thaw alias list` show those there are"};
}

// Callers from outside do not reseed a function, nor make it close its connections.
bool is_hook(const model::FunctionConfig& config, std::string_view target) {
  if (config.after_restore_path.empty() && config.before_snapshot_path.empty()) return false;
  const std::string_view path = target.substr(0, target.find_first_of("?#"));
  const auto is = [&](std::string_view hook) {
    return !hook.empty() && path == hook.substr(0, hook.find_first_of("?#"));
  };
  return is(config.after_restore_path) || is(config.before_snapshot_path);
}

}  // namespace

std::shared_ptr<const model::FunctionRecord> Gateway::find(const Route& route) const {
  if (route.qualifier.empty()) return catalog_.find(route.function_name);
  const auto qualifier = http::percent_decode(route.qualifier);
  return qualifier.ok() ? catalog_.find({route.function_name, *qualifier}, draw_weight()) : nullptr;
}

Result<std::optional<model::FunctionUrlConfig>> Gateway::url_of(const Route& route) const {
  const auto qualifier = http::percent_decode(route.qualifier);
  return control::function_url(catalog_, {route.function_name, qualifier.ok() ? *qualifier : std::string()});
}

http::Task<> Gateway::invoke(http::Exchange& exchange, Route route, HeldBody* body) {
  std::string request_id = random_uuid();
  const auto record = find(route);
  std::optional<Error> refused;
  auto mode = model::InvokeMode::buffered;
  if (record != nullptr && route.kind == RouteKind::function) {
    const auto url = url_of(route);
    if (!url.ok()) refused = url.error();
    // Functions of this machine sign nothing, and have no page that CORS is for.
    if (url.ok() && *url) mode = (*url)->invoke_mode;
    if (url.ok() && *url && route.hops == 0) {
      const bool answered = co_await answer_by_url(exchange, **url, options_.access_keys, request_id);
      if (answered) co_return;
    }
  }
  if (refused) {
    log::error("function_url_damaged function={} error={}", record->config.name, refused->message);
  } else if (record == nullptr || (route.kind == RouteKind::openai && !may_speak_openai(record->config))) {
    refused = no_function(route);
  } else if (record->config.kind == model::FunctionKind::event) {
    const Status answered = co_await event_requests_.answer(exchange, route, record, request_id, mode);
    if (answered.ok() || exchange.responded() || exchange.client_gone()) co_return;
    refused = answered.error();
  } else if (is_hook(record->config, route.target)) {
    refused = Error{ErrorKind::not_found, "this path is a hook of the function's snapshots: only Thaw calls it"};
  } else if (body == nullptr && options_.body_bytes_max > 0 && !exchange.set_body_bytes_max(options_.body_bytes_max)) {
    refused = Error{ErrorKind::too_large, "the request body is larger than " +
                                              std::to_string(options_.body_bytes_max >> 20) + " MB (body_max_mb)"};
  }
  if (refused) {
    co_await answer_failure(exchange, route, *refused, request_id);
    co_return;
  }
  const auto permit = gate_.enter(record->config.name);
  if (!permit.ok()) {
    co_await answer_failure(exchange, route, permit.error(), request_id);
    co_return;
  }
  auto lease = pool_.try_acquire(record);
  if (!lease) {
    if (const Status places = pool::check_places(route.waiting.get(), *record); !places.ok()) {
      co_await answer_failure(exchange, route, places.error(), request_id);
      co_return;
    }
    auto waited = co_await pool_.acquire(exchange, record);
    if (!waited.ok()) {
      if (!exchange.client_gone()) co_await answer_failure(exchange, route, waited.error(), request_id);
      co_return;
    }
    lease = std::move(*waited);
  }
  lease->note_call(route.hops, route.waiting);
  Invocation invocation(exchange, route, body, *record, std::move(request_id), *std::move(lease));
  co_await invocation.run();
}

}  // namespace thaw::gateway
