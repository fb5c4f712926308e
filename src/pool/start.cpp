// How an environment comes to be: a turn and memory for it, its package, the spawner, then readiness.

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <cctype>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/sys.h"
#include "http/awaited.h"
#include "invoke/exit.h"
#include "model/place.h"
#include "pool/extensions.h"
#include "pool/function_pool.h"
#include "pool/start_command.h"

namespace thaw::pool {

using http::TimePoint;
using Clock = std::chrono::steady_clock;
using Timer = boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>, http::Executor>;

constexpr std::uint32_t kFirstSockets = 4;
constexpr std::uint32_t kMoreSockets = 8;
// Readiness is looked at often at first: a start that takes 20 ms must not wait another 20 for the next look.
constexpr std::chrono::milliseconds kReadinessFirstPause{1};
constexpr std::chrono::milliseconds kReadinessLastPause{20};
constexpr std::chrono::milliseconds kRestoreGrace{250};

std::size_t FunctionPool::starts_wanted_locked() const {
  if (const std::size_t kept = provision_wanted_locked(); kept > 0) return kept;
  const std::size_t coming = starting_ * config().concurrency;
  if (waiters_.size() <= coming) return 0;
  std::size_t living = 0;
  for (const auto& environment : environments_) living += environment->state != EnvironmentState::ending;
  if (living >= config().environments_max) return 0;
  const std::size_t wanted = (waiters_.size() - coming + config().concurrency - 1) / config().concurrency;
  return std::min<std::size_t>(wanted, config().environments_max - living);
}

// False when there is no memory or no turn now; pump_starved() tries again.
bool FunctionPool::start_one() {
  const std::size_t at_once_max =
      will_restore() ? pool_.limits_.restores_at_once_max : pool_.limits_.starts_at_once_max;
  if (pool_.starting_.fetch_add(1) >= at_once_max) {
    --pool_.starting_;
    pool_.starved_ = true;
    return false;
  }
  if (!pool_.admit(memory_bytes(), this)) {
    --pool_.starting_;
    pool_.starved_ = true;
    return false;
  }
  auto environment = new_environment();
  {
    const std::lock_guard lock(mutex_);
    environment->kept = environment->provisioned = provision_wanted_locked() > 0;
    environments_.push_back(environment);
    ++starting_;
    const auto second_try =
        std::find_if(waiters_.begin(), waiters_.end(), [](const auto& waiter) { return waiter->init_deadline; });
    if (second_try != waiters_.end()) environment->init_deadline = std::exchange((*second_try)->init_deadline, {});
  }
  post_start(environment);
  return true;
}

// A model that has to be fetched must not keep the starts of other functions waiting.
void FunctionPool::post_start(const std::shared_ptr<Environment>& environment) {
  boost::asio::thread_pool& threads = config().model.empty() ? pool_.starters_ : pool_.model_starters_;
  boost::asio::post(threads, [self = shared_from_this(), environment] { self->start_on_thread(environment); });
}

std::shared_ptr<Environment> FunctionPool::new_environment() {
  auto environment = std::make_shared<Environment>();
  environment->id = pool_.next_id_++;
  environment->started_at = environment->idle_since = Clock::now();
  environment->endpoint = {boost::asio::ip::address_v4::loopback(), config().port};
  const std::lock_guard lock(pool_.mutex_);
  pool_.by_id_[environment->id] = weak_from_this();
  return environment;
}

void FunctionPool::start_on_thread(std::shared_ptr<Environment> environment) {
  auto package = pool_.open_package_(*record_);
  if (!config().model.empty()) {
    // What the model's fetch has taken is no part of the init.
    const std::lock_guard lock(mutex_);
    environment->started_at = environment->idle_since = Clock::now();
  }
  auto output = sys::pipe(O_NONBLOCK);
  if (!package.ok() || !output.ok()) {
    on_started(environment, package.ok() ? output.error() : package.error());
    return;
  }
  const UniqueFd none;
  auto extensions = external_extensions(takes_events() ? package->layers : none);
  if (!extensions.ok()) return on_started(environment, extensions.error());
  // Only our end is non-blocking: the function must see an ordinary pipe.
  ::fcntl(output->write_end.get(), F_SETFL, 0);
  environment->package_hold = std::move(package->hold);
  environment->layers_hold = std::move(package->layers_hold);
  environment->model_hold = std::move(package->model_hold);
  http::Loop& loop = pool_.loops_.next();
  environment->output = std::make_shared<FunctionOutput>(std::move(output->read_end), log_);
  boost::asio::co_spawn(
      loop.executor(), [copied = environment->output, &loop] { return copied->follow(loop); }, boost::asio::detached);
  sandbox::EnvironmentSpec spec = start_spec(*record_, use_ == Use::making ? kInitializationSnapStart
                                                       : environment->kept ? kInitializationProvisioned
                                                                           : kInitializationOnDemand);
  spec.id = environment->id;
  spec.sockets = kFirstSockets;
  if (takes_events()) find_bootstrap(spec, package->folder, package->layers);
  spec.package = std::move(package->folder);
  spec.model = std::move(package->model);
  spec.runtime = std::move(package->runtime);
  spec.layers = std::move(package->layers);
  start_with_extensions(spec, *extensions);
  environment->external_extensions = std::move(*extensions);
  spec.output = std::move(output->write_end);
  if (const auto image = find_image(*environment); image != nullptr) {
    auto pages = sys::duplicate(image->pages);
    auto working_set = sys::duplicate(image->working_set);
    if (pages.ok() && working_set.ok()) {
      spec.image = std::move(*pages);
      spec.working_set = std::move(*working_set);
    }
  }
  environment->restored = spec.image.valid();
  if (takes_events() && !environment->restored) log_->append("INIT_START Runtime Version: " + config().runtime + "\n");
  if (environment->restored && !environment->apart) {
    log_->append("RESTORE_START Runtime Version: " + pool_.maker_->runtime() + "\tVersion: " + record_->version + "\n");
  }
  pool_.host_.start(std::move(spec), [self = shared_from_this(), environment](Result<sandbox::Started> started) {
    self->on_started(environment, std::move(started));
  });
}

void FunctionPool::on_started(std::shared_ptr<Environment> environment, Result<sandbox::Started> started) {
  if (!started.ok() && environment->apart) {
    forget(environment);
    return environment->apart(environment->restored ? started.error() : start_error(started.error()));
  }
  if (!started.ok() && environment->restored)
    return on_restore_failed(environment, started.error(), FunctionPool::Started::no);
  if (!started.ok()) {
    log::error("environment_start_failed function={} version={} id={} error={}", config().name, record_->version,
               environment->id, started.error().message);
    forget(environment);
    if (started.error().kind == ErrorKind::function_failed && !takes_events())
      log_->append(started.error().message + ": " + program() + "\n");
    on_start_failed(environment, start_error(started.error()));
    return;
  }
  {
    const std::lock_guard control(environment->control_mutex);
    environment->controls = std::move(started->controls);
  }
  auto runtime = open_runtime_api(*environment, std::move(started->listener));
  auto calls = open_calls(*environment, std::move(started->calls_listener));
  {
    const std::lock_guard lock(mutex_);
    environment->sockets = std::move(started->sockets);
    environment->runtime = std::move(runtime);
    environment->calls = std::move(calls);
  }
  if (environment->apart) return environment->apart(Status());
  http::Loop& loop = pool_.loops_.next();
  boost::asio::co_spawn(
      loop.executor(), [self = shared_from_this(), environment, &loop] { return self->wait_ready(environment, loop); },
      boost::asio::detached);
}

std::shared_ptr<invoke::RuntimeApi> FunctionPool::open_runtime_api(const Environment& environment, UniqueFd listener) {
  if (!listener.valid()) return nullptr;
  invoke::RuntimeApiSetup setup;
  setup.header_bytes_max = pool_.limits_.header_bytes_max;
  setup.external_extensions = environment.external_extensions;
  setup.function = {config().name, record_->version, config().handler, model::place().account};
  if (use_ == Use::making && !environment.restored) setup.at_restore = invoke::AtRestore::park;
  auto opened = invoke::RuntimeApi::open(pool_.loops_, pool_.reaper_, std::move(listener), std::move(setup));
  if (opened.ok()) return std::move(*opened);
  log::error("runtime_api_failed function={} id={} error={}", config().name, environment.id, opened.error().message);
  return nullptr;
}

const std::string& FunctionPool::program() const {
  return config().command.empty() ? config().engine : config().command.front();
}

Error FunctionPool::start_error(const Error& error) const {
  if (takes_events() && error.kind == ErrorKind::function_failed) return event_start_error(error);
  if (error.code == "Function.ExecFailed") {
    return {ErrorKind::function_failed,
            "the function's command cannot be run: " + program() +
                " is neither in the package nor on the system, or is not executable",
            "Init.ExecFailed"};
  }
  if (error.code == kModelUnavailable) return error;
  if (error.code == "Function.OutOfMemory") {
    return init_error({.reason = sandbox::ExitReason::out_of_memory});
  }
  const ErrorKind kind = error.kind == ErrorKind::unavailable ? ErrorKind::unavailable : ErrorKind::internal;
  return {kind, "the environment could not be started; the daemon's log says why", "Init.StartFailed"};
}

// As Lambda words it; "RequestId: …" goes before it.
Error FunctionPool::event_start_error(const Error& error) const {
  if (error.code == "Function.OutOfMemory") return init_error({.reason = sandbox::ExitReason::out_of_memory});
  if (error.code == "Extension.TooManyExtensions")
    return {ErrorKind::function_failed, "Error: " + error.message, error.code};
  if (error.code != "Function.ExecFailed")
    return {ErrorKind::function_failed, "Error: " + error.message, "Runtime.ExitError"};
  const std::string bootstrap = runtime_command(config().runtime).front();
  const bool provided = bootstrap == kBootstrap;
  std::string why = error.message.substr(error.message.rfind(": ") + 2);
  if (why == ::strerror(ENOENT)) {
    return {ErrorKind::function_failed,
            "Error: Couldn't find valid bootstrap(s): [" + bootstrap + (provided ? " /opt/bootstrap]" : "]"),
            "Runtime.InvalidEntrypoint"};
  }
  if (!why.empty()) why[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(why[0])));
  return {ErrorKind::function_failed, "Error: fork/exec " + bootstrap + ": " + why, "Runtime.InvalidEntrypoint"};
}

// The environment never came to be: the spawner will report no exit for it.
void FunctionPool::forget(const std::shared_ptr<Environment>& environment) {
  {
    const std::lock_guard lock(mutex_);
    std::erase(environments_, environment);
  }
  pool_.release(memory_bytes());
  const std::lock_guard lock(pool_.mutex_);
  pool_.by_id_.erase(environment->id);
  pool_.gone_.notify_all();
}

http::Task<> FunctionPool::wait_ready(std::shared_ptr<Environment> environment, http::Loop& loop) {
  std::unique_ptr<http::ClientConnection> connection;
  // A snapshot is taken of a function that is ready: so are its clones.
  if (environment->restored) {
    const Status told = co_await after_restore(environment, loop);
    if (!told.ok()) {
      on_restore_failed(environment, told.error(), FunctionPool::Started::yes);
      co_return;
    }
  }
  Status ready;
  if (!environment->restored) ready = co_await poll_readiness(environment, loop, connection);
  if (!ready.ok()) {
    {
      const std::lock_guard lock(mutex_);
      if (!environment->exit) destroy_locked(environment);
    }
    on_start_failed(environment, ready.error());
    co_return;
  }
  const bool restored = environment->restored;
  if (!restored) throttle(*environment);
  on_ready(environment, std::move(connection));
  if (restored) {
    // What a clone touches first costs it page faults, which belong to the restore.
    Timer timer(loop.executor(), kRestoreGrace);
    co_await timer.async_wait(http::use_task);
    throttle(*environment);
  }
}

void FunctionPool::throttle(Environment& environment) {
  const std::lock_guard control(environment.control_mutex);
  const Status throttled = environment.controls != nullptr ? environment.controls->throttle() : Status();
  if (!throttled.ok())
    log::error("environment_throttle_failed id={} error={}", environment.id, throttled.error().message);
}

// The runtime of an event function is ready when it asks for its first event.
http::Task<Status> FunctionPool::await_runtime(std::shared_ptr<Environment> environment, http::Loop& loop,
                                               TimePoint deadline) {
  std::shared_ptr<invoke::RuntimeApi> runtime;
  {
    const std::lock_guard lock(mutex_);
    if (environment->exit) co_return init_error(*environment->exit);
    runtime = environment->runtime;
  }
  if (runtime == nullptr) co_return start_error(internal_error("no Runtime API"));
  Status ready = co_await runtime->ready(loop, deadline);
  if (ready.ok()) co_return ready;
  const std::lock_guard lock(mutex_);
  // What the runtime says of its init comes before its exit, which follows.
  if (ready.error().kind == ErrorKind::function_failed) co_return ready;
  if (environment->exit) co_return init_error(*environment->exit);
  if (ready.error().kind != ErrorKind::timeout) co_return ready;
  if (environment->restored)
    co_return Error{ErrorKind::function_failed, "the restored runtime asked for no event in time",
                    "Snapshot.AfterRestoreFailed"};
  co_return Error{
      ErrorKind::function_failed,
      "the runtime asked for no event within init_timeout_s (" + std::to_string(config().init_timeout_s) + " s)",
      "Sandbox.Timedout"};
}

TimePoint FunctionPool::init_deadline(const Environment& environment) const {
  return environment.init_deadline.value_or(environment.started_at + std::chrono::seconds(config().init_timeout_s));
}

// Asks the readiness path until it answers below 500. The connection that did may be used on.
http::Task<Status> FunctionPool::poll_readiness(std::shared_ptr<Environment> environment, http::Loop& loop,
                                                std::unique_ptr<http::ClientConnection>& connection) {
  const TimePoint deadline = init_deadline(*environment);
  if (config().kind == model::FunctionKind::event) co_return co_await await_runtime(environment, loop, deadline);
  // No connection outlives the freeze that follows the making of a snapshot.
  const std::string request = "GET " + config().readiness_path +
                              " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: thaw-readiness\r\n" +
                              (use_ == Use::making ? "Connection: close\r\n\r\n" : "\r\n");
  auto pause = kReadinessFirstPause;
  std::uint64_t looks = 0;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (environment->exit) co_return init_error(*environment->exit);
      if (environment->state == EnvironmentState::ending)
        co_return Error{ErrorKind::unavailable, "Thaw is shutting down"};
    }
    if (Clock::now() >= deadline) {
      co_return Error{ErrorKind::function_failed,
                      "the function was not ready within init_timeout_s (" + std::to_string(config().init_timeout_s) +
                          " s): nothing answered on port " + std::to_string(config().port),
                      "Init.TimedOut"};
    }
    if (connection == nullptr) {
      auto socket = co_await more_sockets(environment, loop);
      // Without a socket the environment has just ended, most likely: the next turn knows.
      if (socket.ok()) {
        connection = std::make_unique<http::ClientConnection>(loop, std::move(*socket), pool_.limits_.header_bytes_max);
      }
    }
    if (connection != nullptr) {
      connection->begin_exchange(deadline);
      const Status connected = co_await connection->connect(environment->endpoint);
      if (connected.ok()) {
        if (co_await answers(*connection, request)) {
          if (use_ == Use::making) co_await until_closed(*connection, loop, kCloseWaitMax);
          if (!connection->next_exchange()) connection.reset();
          co_return Status();
        }
        connection.reset();
      }
      // After a refusal the same socket can try again.
    }
    Timer timer(loop.executor(), pause);
    co_await timer.async_wait(http::use_task);
    if (++looks % 16 == 0) pause = std::min(pause * 2, kReadinessLastPause);
  }
}

http::Task<bool> FunctionPool::answers(http::ClientConnection& connection, const std::string& request) {
  if (!(co_await connection.send(boost::asio::buffer(request))).ok()) co_return false;
  const auto head = co_await connection.read_head();
  if (!head.ok() || (*head)->status >= 500) co_return false;
  for (;;) {
    const auto piece = co_await connection.read_body();
    if (!piece.ok()) co_return false;
    if (piece->empty()) co_return true;
  }
}

void FunctionPool::on_ready(const std::shared_ptr<Environment>& environment,
                            std::unique_ptr<http::ClientConnection> connection) {
  const TimePoint now = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    --starting_;
    environment->init_took = std::chrono::duration_cast<std::chrono::microseconds>(now - environment->started_at);
    environment->idle_since = now;
    if (environment->provisioned) provision_error_.clear();
    if (environment->state == EnvironmentState::starting && !environment->exit) {
      environment->state = EnvironmentState::idle;
      if (connection != nullptr) environment->connections.push_back(std::move(connection));
    }
  }
  if (environment->restored) {
    char line[80];
    std::snprintf(line, sizeof(line), "RESTORE_REPORT Restore Duration: %.2f ms\n",
                  static_cast<double>(environment->init_took.count()) / 1000.0);
    log_->append(line);
    pool_.maker_->restored(*record_);
  }
  log::info("environment_ready function={} version={} id={} init_ms={:.1f}", config().name, record_->version,
            environment->id, static_cast<double>(environment->init_took.count()) / 1000.0);
  --pool_.starting_;
  pump();
  pool_.wake_sweeper(now + pool_.limits_.freeze_after);
  pool_.pump_starved();
}

void FunctionPool::on_start_failed(const std::shared_ptr<Environment>& environment, Error error) {
  std::deque<std::shared_ptr<Waiter>> failed;
  std::shared_ptr<invoke::RuntimeApi> runtime;
  {
    const std::lock_guard lock(mutex_);
    --starting_;
    environment->state = EnvironmentState::ending;
    runtime = environment->runtime;
    if (environment->provisioned) {
      note_provision_failed_locked(error.message);
      pool_.wake_sweeper(provision_at_);
    }
    const bool others = std::any_of(environments_.begin(), environments_.end(), [](const auto& other) {
      return other->state != EnvironmentState::ending && !other->retiring;
    });
    const bool ready = std::any_of(environments_.begin(), environments_.end(), [](const auto& other) {
      return other->state == EnvironmentState::idle || other->state == EnvironmentState::busy ||
             other->state == EnvironmentState::frozen;
    });
    // A function whose init fails would fail the same way in the environments that are still starting.
    // They go together with this start: else whoever pumps next would start another for them.
    if (error.kind == ErrorKind::function_failed ? !ready : !others) failed.swap(waiters_);
  }
  report_init(*environment, error);
  log::warn("environment_init_failed function={} version={} id={} code={}", config().name, record_->version,
            environment->id, error.code);
  --pool_.starting_;
  for (const auto& waiter : failed) {
    if (runtime != nullptr) waiter->init_error_document = runtime->init_error_document();
    waiter->complete(error);
  }
  pump();
  pool_.pump_starved();
}

void FunctionPool::report_init(const Environment& environment, const Error& error) {
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - environment.started_at);
  const bool timed_out = error.code == "Init.TimedOut" || error.code == "Sandbox.Timedout";
  char line[96];
  std::snprintf(line, sizeof(line), "INIT_REPORT Init Duration: %.2f ms\tPhase: %s\tStatus: %s",
                static_cast<double>(took.count()) / 1000.0, environment.init_deadline ? "invoke" : "init",
                timed_out ? "timeout" : "error");
  // Of a runtime's own choice: any text.
  std::string type = error.code;
  std::replace_if(
      type.begin(), type.end(), [](unsigned char c) { return c < 0x20; }, ' ');
  log_->append(line + (timed_out && takes_events() ? "" : "\tError Type: " + type) + "\n");
}

Error FunctionPool::init_error(const sandbox::ExitInfo& exit) const {
  if (takes_events() && exit.reason != sandbox::ExitReason::destroyed)
    return {ErrorKind::function_failed, "Error: " + invoke::exit_text(exit), invoke::exit_type(exit)};
  switch (exit.reason) {
    case sandbox::ExitReason::out_of_memory:
      return {ErrorKind::function_failed,
              "the function ran out of memory during init (memory_mb " + std::to_string(config().memory_mb) +
                  "): raise memory_mb",
              "Init.OutOfMemory"};
    case sandbox::ExitReason::signaled:
      return {ErrorKind::function_failed,
              "the function was killed by signal " + std::to_string(exit.code) + " during init; its log says more",
              "Init.Crashed"};
    case sandbox::ExitReason::destroyed:
      return {ErrorKind::unavailable, "the environment was ended during init"};
    case sandbox::ExitReason::exited:
      break;
  }
  return {ErrorKind::function_failed,
          "the function exited with status " + std::to_string(exit.code) + " during init; its log says more",
          "Init.Exited"};
}

http::Task<Result<UniqueFd>> FunctionPool::more_sockets(std::shared_ptr<Environment> environment, http::Loop& loop) {
  {
    const std::lock_guard lock(mutex_);
    if (!environment->sockets.empty()) {
      UniqueFd socket = std::move(environment->sockets.back());
      environment->sockets.pop_back();
      co_return socket;
    }
  }
  auto outcome = co_await http::awaited<Result<std::vector<UniqueFd>>>(
      loop, [&](auto done) { pool_.host_.make_sockets(environment->id, kMoreSockets, std::move(done)); });
  if (!outcome.ok()) co_return std::move(outcome).error();
  std::vector<UniqueFd> made = std::move(*outcome);
  if (made.empty()) co_return internal_error("the spawner made no socket");
  UniqueFd first = std::move(made.back());
  made.pop_back();
  const std::lock_guard lock(mutex_);
  if (environment->state != EnvironmentState::ending) {
    std::move(made.begin(), made.end(), std::back_inserter(environment->sockets));
  }
  co_return first;
}

}  // namespace thaw::pool
