#include "invoke/runtime_api.h"

#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/post.hpp>
#include <boost/json.hpp>

#include "base/base64.h"
#include "http/awaited.h"
#include "invoke/response_stream.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::invoke {
namespace {

using Clock = std::chrono::steady_clock;
using Timer = boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>, http::Executor>;

constexpr std::string_view kRoot = "/2018-06-01/runtime/";
constexpr std::string_view kInvocation = "invocation/";
constexpr std::string_view kResponseMode = "lambda-runtime-function-response-mode";
constexpr std::string_view kErrorType = "lambda-runtime-function-error-type";
constexpr std::string_view kErrorBody = "lambda-runtime-function-error-body";
// What a runtime may still send when it has too much to say, so that its request is read and can be answered.
constexpr std::uint64_t kDrainBytesMax = 64ULL << 20;
constexpr std::size_t kConnectionsMax = 64;
// The event's own deadline bounds a response that comes slowly; no function's timeout is longer than this.
constexpr std::chrono::seconds kStallMax{900};
// A runtime waits for its next event as long as there is none.
constexpr std::chrono::seconds kKeepAliveMax{10L * 365 * 86400};

http::Task<> refuse(http::Exchange& exchange, int status, const char* type, const std::string& message) {
  const std::string body = error_document(type, message);
  co_await exchange.respond({.status = status, .body = body});
}

http::Task<> accept(http::Exchange& exchange) {
  co_await exchange.respond({.status = 202, .body = "{\"status\":\"OK\"}\n"});
}

// A member of the runtime's error, which may be anything.
std::string text_of(std::string_view payload, std::string_view key) {
  boost::json::error_code code;
  const boost::json::value value = boost::json::parse(payload, code);
  if (code || !value.is_object()) return {};
  const boost::json::value* member = value.get_object().if_contains(key);
  return member != nullptr && member->is_string() ? std::string(member->get_string()) : std::string();
}

std::string next_fields(const Event& event) {
  std::string fields;
  const auto field = [&](std::string_view name, std::string_view value) {
    if (!value.empty()) fields.append(name).append(": ").append(value).append("\r\n");
  };
  field("Lambda-Runtime-Aws-Request-Id", event.request_id);
  field("Lambda-Runtime-Deadline-Ms", std::to_string(epoch_ms(event.deadline)));
  field("Lambda-Runtime-Invoked-Function-Arn", event.function_arn);
  field("Lambda-Runtime-Trace-Id", event.trace_id);
  field("Lambda-Runtime-Client-Context", event.client_context);
  return fields;
}

std::string request_text(const http::RequestHead& request) {
  std::string text(request.method);
  text.append(" ").append(request.target).append(request.http_1_0 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
  for (const http::Field& field : request.fields)
    text.append(field.name).append(": ").append(field.value).append("\r\n");
  return text + "\r\n";
}

EventOutcome failed(Error error) {
  EventOutcome outcome;
  outcome.status = std::move(error);
  return outcome;
}

// The connection's end is most likely the runtime's own, which has a reason of its own.
Error broken_off(const Error& error) {
  const bool ended = error.kind == ErrorKind::unavailable;
  return {ended ? ErrorKind::unavailable : ErrorKind::function_failed,
          "the runtime's response broke off: " + error.message, "Runtime.InvalidResponse"};
}

// An error behind a streamed response: its type, and its JSON in base64.
void take_error_of_trailers(const http::Fields& trailers, EventOutcome& outcome) {
  if (!trailers.has(kErrorType) && !trailers.has(kErrorBody)) return;
  outcome.function_error = true;
  outcome.error_type = trailers.find(kErrorType);
  auto body = base64_decoded(trailers.find(kErrorBody));
  if (body && !body->empty() && http::is_utf8(*body)) {
    outcome.payload = *std::move(body);
    if (outcome.error_type.empty()) outcome.error_type = text_of(outcome.payload, "errorType");
  } else {
    outcome.payload = error_document(outcome.error_type, "the runtime reported an error without saying more");
  }
}

}  // namespace

RuntimeApi::RuntimeApi(http::Loops& loops, RuntimeApiSetup setup)
    : extensions_(std::move(setup.function), [this] { on_extensions_changed(); }),
      at_restore_(setup.at_restore),
      loops_(loops),
      server_(loops,
              {.header_bytes_max = setup.header_bytes_max,
               .connections_max = kConnectionsMax,
               .keep_alive_wait_max = kKeepAliveMax,
               .stall_wait_max = kStallMax},
              [this](http::Exchange& exchange) { return handle(exchange); }) {}

// The connections' coroutines use this object: it outlives them. Their other ends are gone, so they end soon.
RuntimeApi::~RuntimeApi() {
  server_.stop_accepting();
  do {
    server_.cut_off();
  } while (server_.connections() > 0 && loops_.running());
}

Result<std::shared_ptr<RuntimeApi>> RuntimeApi::open(http::Loops& loops, boost::asio::thread_pool& reaper,
                                                     UniqueFd listener, RuntimeApiSetup setup) {
  std::vector<std::string> external = std::move(setup.external_extensions);
  std::shared_ptr<RuntimeApi> api(new RuntimeApi(loops, std::move(setup)), [&reaper](RuntimeApi* last) {
    boost::asio::post(reaper, [owned = std::unique_ptr<RuntimeApi>(last)]() mutable { owned.reset(); });
  });
  api->extensions_.expect(std::move(external));
  ASSIGN_OR_RETURN(std::ignore, api->server_.listen_on(std::move(listener)));
  return api;
}

// ---- The runtime's calls --------------------------------------------------------------------------------------------

http::Task<> RuntimeApi::handle(http::Exchange& exchange) {
  ++calls_seen_;
  if (at_restore_ == AtRestore::pass) co_return co_await route(exchange);
  {
    const std::lock_guard lock(mutex_);
    open_[&exchange] = {exchange.peer().port, request_text(exchange.request())};
  }
  co_await route(exchange);
  const std::lock_guard lock(mutex_);
  open_.erase(&exchange);
}

std::vector<WaitingCall> RuntimeApi::waiting_calls() {
  std::vector<WaitingCall> calls;
  const std::lock_guard lock(mutex_);
  for (const auto& [exchange, call] : open_) calls.push_back(call);
  return calls;
}

http::Task<> RuntimeApi::route(http::Exchange& exchange) {
  const auto split = http::split_target(exchange.request().target);
  const std::string_view method = exchange.request().method;
  if (split.ok() && split->path.starts_with(kRoot)) {
    std::string_view path = split->path.substr(kRoot.size());
    if (method == "GET" && path == "invocation/next") co_return co_await next(exchange);
    if (method == "GET" && path == "restore/next") co_return co_await restore_next(exchange);
    // Both come before the runtime asks for its first event, and say that it never will.
    if (method == "POST" && (path == "init/error" || path == "restore/error"))
      co_return co_await take_init_error(exchange);
    if (method == "POST" && path.starts_with(kInvocation)) {
      path.remove_prefix(kInvocation.size());
      const std::size_t slash = path.find('/');
      const std::string_view what = slash == std::string_view::npos ? "" : path.substr(slash);
      if (what == "/response" || what == "/error")
        co_return co_await take_answer(exchange, std::string(path.substr(0, slash)), what == "/error");
    }
  }
  if (split.ok() && split->path.starts_with(ExtensionsApi::kRoot))
    co_return co_await extensions_.handle(exchange, split->path.substr(ExtensionsApi::kRoot.size()));
  if (split.ok() && split->path.starts_with(ExtensionsApi::kLauncherRoot))
    co_return co_await extensions_.handle_launcher(exchange, split->path.substr(ExtensionsApi::kLauncherRoot.size()));
  co_await refuse(exchange, 404, "InvalidPath", "the Runtime API has no such path or method");
}

void RuntimeApi::wait_for_work(http::Exchange& exchange, std::function<void(std::shared_ptr<Work>)> done) {
  std::shared_ptr<Work> work;
  {
    const std::lock_guard lock(mutex_);
    if (!ended_ && offered_.empty()) {
      const std::uint64_t id = ++next_id_;
      waiting_.push_back({id, std::move(done)});
      exchange.set_on_client_gone([this, id] {
        std::function<void(std::shared_ptr<Work>)> gone;
        {
          const std::lock_guard again(mutex_);
          for (auto& one : waiting_) {
            if (one.id == id) gone = std::move(one.done);
          }
          std::erase_if(waiting_, [&](const Waiting& one) { return one.id == id; });
        }
        if (gone) gone(nullptr);
      });
      return;
    }
    if (!ended_) {
      work = std::move(offered_.front());
      offered_.pop_front();
    }
  }
  done(std::move(work));
}

http::Task<> RuntimeApi::next(http::Exchange& exchange) {
  extensions_.close_registration();
  runtime_asked_ = true;
  on_extensions_changed();
  const auto work = co_await http::awaited<std::shared_ptr<Work>>(
      exchange.loop(), [&](auto done) { wait_for_work(exchange, std::move(done)); });
  exchange.set_on_client_gone({});
  if (work == nullptr) {
    exchange.close_after();
    co_return co_await refuse(exchange, 410, "Gone", "the environment ends");
  }
  const std::string fields = next_fields(work->event);
  const Status sent = co_await exchange.respond({.body = work->event.payload, .extra_fields = fields});
  if (!sent.ok()) {
    finish(work->event.request_id,
           failed({ErrorKind::unavailable, "the runtime went away while it was given the event"}));
  }
}

http::Task<> RuntimeApi::restore_next(http::Exchange& exchange) {
  if (at_restore_ == AtRestore::pass) {
    co_await exchange.respond({.body = {}});
    co_return;
  }
  // No event is offered while a snapshot is made: this returns when the environment ends.
  co_await next(exchange);
}

http::Task<> RuntimeApi::take_answer(http::Exchange& exchange, std::string id, bool is_error) {
  const std::shared_ptr<Work> work = begin_answer(id);
  if (work == nullptr) co_return co_await refuse(exchange, 400, "InvalidRequestID", "Invalid request ID");
  const http::Fields& fields = exchange.request().fields;
  const bool streams = !is_error && http::iequals(fields.find(kResponseMode), "streaming");
  ResponseStream* const stream = streams ? work->event.stream.get() : nullptr;
  const std::uint64_t bytes_max = stream != nullptr ? kStreamedBytesMax : kPayloadBytesMax;
  EventOutcome outcome;
  outcome.function_error = is_error;
  outcome.error_type = is_error ? std::string(fields.find(kErrorType)) : std::string();
  if (stream != nullptr) stream->begin(std::string(fields.find("content-type")));
  std::uint64_t bytes = 0;
  for (;;) {
    const auto piece = co_await exchange.read_body();
    if (!piece.ok()) {
      finish(id, failed(broken_off(piece.error())));
      co_return;
    }
    if (piece->empty()) break;
    bytes += piece->size();
    if (bytes > bytes_max) {
      if (stream != nullptr || bytes > kDrainBytesMax) break;
    } else if (stream != nullptr) {
      co_await stream->push(exchange.loop(), *piece);
    } else {
      outcome.payload.append(*piece);
    }
  }
  if (bytes > bytes_max) {
    if (!exchange.body_done()) exchange.close_after();
    const std::string message =
        "Response payload size exceeded maximum allowed payload size (" + std::to_string(bytes_max) + " bytes).";
    fail(id, "Function.ResponseSizeTooLarge", message);
    co_return co_await refuse(exchange, 413, "RequestEntityTooLarge", message);
  }
  if (streams) take_error_of_trailers(exchange.trailers(), outcome);
  if (is_error && outcome.error_type.empty()) outcome.error_type = text_of(outcome.payload, "errorType");
  // A second answer to the same event has nobody to go to.
  if (!finish(id, std::move(outcome)))
    co_return co_await refuse(exchange, 400, "InvalidRequestID", "Invalid request ID");
  co_await accept(exchange);
}

http::Task<> RuntimeApi::take_init_error(http::Exchange& exchange) {
  const std::string header(exchange.request().fields.find(kErrorType));
  bool late = false;
  {
    const std::lock_guard lock(mutex_);
    late = init_.has_value() || std::exchange(init_error_coming_, true);
  }
  if (late) co_return co_await refuse(exchange, 403, "InvalidStateTransition", "the init is over already");
  const auto body = co_await exchange.read_whole_body(kPayloadBytesMax);
  if (!body.ok()) co_return co_await refuse(exchange, 400, "InvalidRequest", body.error().message);
  const std::string type = header.empty() ? text_of(*body, "errorType") : header;
  const std::string message = text_of(*body, "errorMessage");
  if (!type.empty() || !message.empty()) {
    const std::lock_guard lock(mutex_);
    init_error_document_ = *body;
  }
  settle_init(Error{ErrorKind::function_failed, message.empty() ? "the runtime reported an error of its init" : message,
                    type.empty() ? "Runtime.Unknown" : type});
  co_await accept(exchange);
}

// ---- The host's side ------------------------------------------------------------------------------------------------

void RuntimeApi::settle_init(Status status) {
  std::function<void(Status)> done;
  {
    const std::lock_guard lock(mutex_);
    if (init_) return;
    init_ = status;
    done = std::move(on_init_);
    on_init_ = nullptr;
  }
  if (done) done(std::move(status));
}

http::Task<Status> RuntimeApi::ready(http::Loop& loop, http::TimePoint deadline) {
  Timer timer(loop.executor(), deadline);
  timer.async_wait([held = weak_from_this()](const boost::system::error_code& stopped) {
    const auto self = stopped ? nullptr : held.lock();
    if (self != nullptr) self->settle_init(Error{ErrorKind::timeout, "the runtime asked for no event in time"});
  });
  co_return co_await http::awaited<Status>(loop, [&](auto done) {
    std::optional<Status> known;
    {
      const std::lock_guard lock(mutex_);
      known = init_;
      if (!known) on_init_ = done;
    }
    if (known) done(*std::move(known));
  });
}

std::string RuntimeApi::init_error_document() {
  const std::lock_guard lock(mutex_);
  return init_error_document_;
}

// Called as often as an extension registers, waits, or fails: the init is over when all wait, and so is an invocation.
void RuntimeApi::on_extensions_changed() {
  if (const Status failure = extensions_.failure(); !failure.ok()) {
    settle_init(failure);
    std::unordered_map<std::string, std::shared_ptr<Work>> works;
    {
      const std::lock_guard lock(mutex_);
      works.swap(works_);
      offered_.clear();
    }
    for (auto& [id, work] : works) work->done(failed(failure.error()));
    return settle_rest(failure);
  }
  if (runtime_asked_ && extensions_.ready()) settle_init(Status());
  if (extensions_.at_rest()) settle_rest(Status());
}

void RuntimeApi::settle_rest(const Status& status) {
  std::vector<std::function<void(Status)>> done;
  {
    const std::lock_guard lock(mutex_);
    done.swap(on_rest_);
  }
  for (const auto& one : done) one(status);
}

http::Task<Status> RuntimeApi::rest(http::Loop& loop, http::TimePoint deadline) {
  Timer timer(loop.executor(), deadline);
  timer.async_wait([held = weak_from_this()](const boost::system::error_code& stopped) {
    const auto self = stopped ? nullptr : held.lock();
    if (self != nullptr) self->settle_rest(Error{ErrorKind::timeout, "an extension asked for no event in time"});
  });
  co_return co_await http::awaited<Status>(loop, [&](auto done) {
    {
      const std::lock_guard lock(mutex_);
      if (!ended_) on_rest_.push_back(done);
    }
    on_extensions_changed();
    if (has_ended()) settle_rest(Error{ErrorKind::unavailable, "the environment has ended"});
  });
}

bool RuntimeApi::at_rest(http::TimePoint now) {
  if (!extensions_.at_rest()) return false;
  const std::lock_guard lock(mutex_);
  return !waiting_.empty() || now > busy_until_;
}

std::shared_ptr<RuntimeApi::Work> RuntimeApi::begin_answer(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = works_.find(id);
  const bool free = found != works_.end() && !std::exchange(found->second->being_answered, true);
  return free ? found->second : nullptr;
}

bool RuntimeApi::finish(const std::string& id, EventOutcome outcome) {
  std::shared_ptr<Work> work;
  {
    const std::lock_guard lock(mutex_);
    const auto found = works_.find(id);
    if (found == works_.end()) return false;
    work = std::move(found->second);
    works_.erase(found);
    std::erase(offered_, work);
  }
  work->done(std::move(outcome));
  return true;
}

void RuntimeApi::fail(const std::string& id, const char* error_type, const std::string& message) {
  EventOutcome outcome;
  outcome.function_error = true;
  outcome.error_type = error_type;
  outcome.payload = error_document(error_type, message);
  finish(id, std::move(outcome));
}

void RuntimeApi::offer(std::shared_ptr<Work> work) {
  Waiting taker;
  bool ended = false;
  if (const Status failure = extensions_.failure(); !failure.ok()) return work->done(failed(failure.error()));
  extensions_.begin_invocation(work->event);
  {
    const std::lock_guard lock(mutex_);
    ended = ended_;
    busy_until_ = std::max(busy_until_, work->event.deadline);
    if (!ended) {
      works_[work->event.request_id] = work;
      if (waiting_.empty()) {
        offered_.push_back(work);
      } else {
        taker = std::move(waiting_.front());
        waiting_.pop_front();
      }
    }
  }
  if (ended) return work->done(failed({ErrorKind::unavailable, "the environment has ended"}));
  if (taker.done) taker.done(std::move(work));
}

http::Task<EventOutcome> RuntimeApi::invoke(http::Loop& loop, Event event) {
  const std::string id = event.request_id;
  Timer timer(loop.executor(), event.deadline);
  timer.async_wait([held = weak_from_this(), id](const boost::system::error_code& stopped) {
    const auto self = stopped ? nullptr : held.lock();
    if (self != nullptr) self->finish(id, failed({ErrorKind::timeout, "no response by the deadline"}));
  });
  co_return co_await http::awaited<EventOutcome>(loop, [&](auto done) {
    auto work = std::make_shared<Work>();
    work->event = std::move(event);
    work->done = done;
    offer(std::move(work));
  });
}

bool RuntimeApi::has_ended() {
  const std::lock_guard lock(mutex_);
  return ended_;
}

void RuntimeApi::end() {
  std::deque<Waiting> waiting;
  std::unordered_map<std::string, std::shared_ptr<Work>> works;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    waiting.swap(waiting_);
    works.swap(works_);
    offered_.clear();
  }
  extensions_.end();
  settle_init(Error{ErrorKind::unavailable, "the environment ended during init"});
  settle_rest(Error{ErrorKind::unavailable, "the environment has ended"});
  for (auto& one : waiting) one.done(nullptr);
  for (auto& [id, work] : works) work->done(failed({ErrorKind::unavailable, "the environment has ended"}));
}

}  // namespace thaw::invoke
