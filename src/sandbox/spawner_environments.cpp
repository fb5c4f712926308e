// The life of an environment in the spawner: start, reports, end, removal.
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "base/sys.h"
#include "sandbox/spawner.h"
#include "sandbox/stub_report.h"

namespace thaw::sandbox {
namespace {

constexpr std::uint64_t kTokenFirstSlot = 16;
constexpr auto kStartMax = std::chrono::seconds(10);
// Prepared at the same time: more would only wait for each other in the kernel.
constexpr std::size_t kPreparingMax = 4;
// About 1 MB each.
constexpr std::uint32_t kPreparedBurstMax = 128;
constexpr auto kBurstRemembered = std::chrono::minutes(5);
constexpr auto kRefillPause = std::chrono::seconds(1);
constexpr auto kClearPause = std::chrono::milliseconds(1);
constexpr auto kClearMax = std::chrono::seconds(5);

Status check_descriptors(const protocol::StartRequest& request, std::span<const UniqueFd> fds) {
  struct stat info;
  if (::fstat(fds[0].get(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return invalid_argument("spawner request: the package is not a folder");
  }
  std::span<const UniqueFd> more = fds.subspan(protocol::kRequestDescriptors);
  for (const UniqueFd& folder : more.first(request.folders())) {
    if (::fstat(folder.get(), &info) != 0 || !S_ISDIR(info.st_mode))
      return invalid_argument("spawner request: the model, the runtime or the layers are not a folder");
  }
  more = more.subspan(request.folders());
  for (const UniqueFd& file : more) {
    if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
      return invalid_argument("spawner request: the image or its working set is not a file");
  }
  if (::fstat(fds[1].get(), &info) != 0 || !S_ISFIFO(info.st_mode)) {
    return invalid_argument("spawner request: the output is not a pipe");
  }
  return {};
}

void log_times(std::uint64_t id, const SetupReport& setup, std::uint32_t took_us) {
  if (!spdlog::should_log(spdlog::level::debug)) return;
  std::string steps;
  for (std::size_t step = 0; step + 1 < kSetupSteps; ++step) {
    steps += std::string(" ") + to_string(static_cast<SetupStep>(step)) + "_us=" + std::to_string(setup.step_us[step]);
  }
  log::debug("environment_started id={} took_us={}{}", id, took_us, steps);
}

}  // namespace

void Spawner::start(const protocol::Request& request, std::string_view bytes, std::vector<UniqueFd> fds) {
  Status status = check_descriptors(request.start, fds);
  if (status.ok() && slot_of_id_.contains(request.id)) {
    status = Error{ErrorKind::conflict, "the environment's id is in use"};
  }
  if (status.ok() && request.start.engine != Engine::none && !engine_.valid()) {
    status = Error{ErrorKind::unsupported, "this installation has no engines"};
  }
  if (status.ok() && request.start.egress && ::access(options_.egress_program.c_str(), X_OK) != 0) {
    status = Error{ErrorKind::unsupported,
                   "egress = true needs slirp4netns, which this machine does not have: apt-get install slirp4netns"};
  }
  if (status.ok()) status = assign(request, bytes, fds);
  if (!status.ok()) fail_start(request.serial, request.id, status.error());
}

Status Spawner::assign(const protocol::Request& request, std::string_view bytes, std::span<const UniqueFd> fds) {
  const auto began = Clock::now();
  // Mounts can be cloned only in the namespace that they are in: here, not in the environment.
  ASSIGN_OR_RETURN(const UniqueFd package, clone_read_only(fds[0]));
  std::vector<int> handed{package.get(), fds[1].get()};
  for (const UniqueFd& file : fds.subspan(protocol::kRequestDescriptors)) handed.push_back(file.get());
  std::vector<UniqueFd> folders;
  for (std::size_t i = 0; i < request.start.folders(); ++i) {
    ASSIGN_OR_RETURN(UniqueFd folder, clone_read_only(fds[protocol::kRequestDescriptors + i]));
    handed[protocol::kRequestDescriptors + i] = folder.get();
    folders.push_back(std::move(folder));
  }
  UniqueFd engine;
  if (request.start.engine != Engine::none) {
    ASSIGN_OR_RETURN(engine, clone_read_only(engine_));
    handed.push_back(engine.get());
  }
  sys::Pipe egress;
  if (request.start.egress) {
    ASSIGN_OR_RETURN(egress, sys::pipe());
    handed.push_back(egress.read_end.get());
  }
  struct stat output {};
  if (::fstat(fds[1].get(), &output) != 0) return sys::errno_error("the output pipe");
  ASSIGN_OR_RETURN(Environment * environment, choose());
  RETURN_IF_ERROR(send_message(environment->report, bytes, handed, Wait::no));
  environment->id = request.id;
  environment->serial = request.serial;
  environment->cpu_milli = request.start.cpu_milli;
  environment->memory_bytes = request.start.memory_bytes;
  environment->state = State::starting;
  environment->began = began;
  environment->output_pipe = output.st_ino;
  environment->listens = request.start.runtime_api_port != 0;
  environment->listens_for_calls = request.start.calls_port != 0;
  environment->egress_ready = std::move(egress.write_end);
  environment->look_again = began + kStartMax;
  slot_of_id_[request.id] = environment->slot;
  note_start(began);
  if (const Status launched = launch_egress(*environment); !launched.ok()) {
    environment->failure = launched.error();
    end(*environment);
  }
  return {};
}

Result<Spawner::Environment*> Spawner::choose() {
  Environment* preparing = nullptr;
  for (const auto& [slot, environment] : live_) {
    if (environment->state == State::prepared) return environment.get();
    if (environment->state == State::preparing && !preparing) preparing = environment.get();
  }
  if (preparing != nullptr) return preparing;
  return launch();
}

void Spawner::refill() {
  if (closing_ || Clock::now() < refill_not_before_) return;
  std::size_t preparing = 0;
  std::size_t prepared = 0;
  std::size_t starting = 0;
  for (const auto& [slot, environment] : live_) {
    preparing += environment->state == State::preparing;
    prepared += environment->state == State::prepared;
    starting += environment->state == State::starting;
  }
  // Functions that start come first; what is prepared takes its turn when they run.
  if (starting > 0) return;
  const std::size_t wanted = prepared_wanted(Clock::now());
  if (prepared > wanted) return end_surplus(prepared - wanted);
  for (; preparing < kPreparingMax && preparing + prepared < wanted; ++preparing) {
    if (const auto launched = launch(); !launched.ok()) {
      log::warn("prepare_failed error=\"{}\"", launched.error().message);
      refill_not_before_ = Clock::now() + kRefillPause;
      return;
    }
  }
}

// A burst is likely to be followed by another: then the slow half of its starts is done already.
void Spawner::note_start(Clock::time_point now) {
  std::uint32_t starting = 0;
  for (const auto& [slot, environment] : live_) starting += environment->state == State::starting;
  if (now >= burst_forgotten_at_) burst_ = 0;
  if (starting < burst_) return;
  burst_ = starting;
  burst_forgotten_at_ = now + kBurstRemembered;
}

std::size_t Spawner::prepared_wanted(Clock::time_point now) const {
  if (options_.prepared == 0 || now >= burst_forgotten_at_) return options_.prepared;
  return std::max<std::size_t>(options_.prepared, std::min(burst_, kPreparedBurstMax));
}

void Spawner::end_surplus(std::size_t count) {
  for (const auto& [slot, environment] : live_) {
    if (count == 0) return;
    if (environment->state != State::prepared) continue;
    environment->destroyed = true;
    end(*environment);
    --count;
  }
}

Result<Spawner::Environment*> Spawner::launch() {
  if (free_slots_.empty()) return Error{ErrorKind::overloaded, "too many environments"};
  const std::uint32_t slot = free_slots_.front();
  auto environment = std::make_unique<Environment>();
  environment->slot = slot;
  environment->group = "e" + std::to_string(slot);
  environment->look_again = Clock::now() + kStartMax;
  ASSIGN_OR_RETURN(SocketPair report, make_message_sockets());
  ASSIGN_OR_RETURN(const UniqueFd unified, cgroups_->make_unified(environment->group));

  int process = -1;
  clone_args arguments{};
  arguments.flags = CLONE_NEWPID | CLONE_PIDFD | CLONE_CLEAR_SIGHAND;
  arguments.pidfd = reinterpret_cast<std::uintptr_t>(&process);
  arguments.exit_signal = SIGCHLD;
  if (unified.valid()) {
    arguments.flags |= CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<std::uint64_t>(unified.get());
  }
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof(arguments));
  if (pid < 0) {
    const Error error = sys::errno_error("clone3");
    cgroups_->remove(environment->group);
    return error;
  }
  if (pid == 0) {
    become_environment({.cgroups = *cgroups_,
                        .group = environment->group,
                        .filter = filter_,
                        .template_root = template_root_,
                        .report = report.other,
                        .uid = options_.uid_base + slot,
                        .images = images_});
  }
  environment->pid = static_cast<pid_t>(pid);
  environment->process = UniqueFd(process);
  environment->report = std::move(report.one);
  free_slots_.pop_front();
  slot_of_pid_[environment->pid] = slot;
  Environment* launched = environment.get();
  live_.emplace(slot, std::move(environment));
  // From here on its end is seen and cleared as any other's.
  if (const Status watched = watch(launched->report, kTokenFirstSlot + slot, EPOLLIN); !watched.ok()) {
    end(*launched);
    return watched.error();
  }
  return launched;
}

void Spawner::read_reports(Environment& environment) {
  while (environment.report.valid()) {
    auto message = receive_message(environment.report, report_buffer_, Wait::no);
    if (!message.ok() && message.error().kind == ErrorKind::overloaded) return;
    if (!message.ok() || message->size == 0) {
      // Closed: PID 1 is ending, SIGCHLD tells the rest.
      environment.report.reset();
      return;
    }
    handle_report(environment, {report_buffer_.data(), message->size}, std::move(message->fds));
  }
}

void Spawner::handle_report(Environment& environment, std::span<const std::byte> bytes, std::vector<UniqueFd> fds) {
  std::uint32_t kind = 0;
  if (bytes.size() >= sizeof(kind)) std::memcpy(&kind, bytes.data(), sizeof(kind));
  if (kind == kReportMemory && fds.size() == kMemoryDescriptors)
    return share_memory(environment, bytes.subspan(sizeof(kind)), std::move(fds));
  if (bytes.size() == sizeof(SetupReport)) {
    std::memcpy(&environment.setup, bytes.data(), sizeof(SetupReport));
    if (environment.setup.kind == kReportPrepared && fds.size() == 1) {
      environment.network = std::move(fds.front());
      if (environment.state == State::preparing) environment.state = State::prepared;
      if (const Status launched = launch_egress(environment); !launched.ok()) environment.failure = launched.error();
    } else if (environment.setup.kind == kReportFinished) {
      environment.sockets = std::move(fds);
    } else {
      environment.failure = error_of(environment.setup);
    }
    return;
  }
  if (bytes.size() == kFailedStepBytes) {
    environment.failure = error_of_failed_step(bytes.first<kFailedStepBytes>());
    return;
  }
  thaw_stub_report report;
  if (bytes.size() != sizeof(report)) return;
  std::memcpy(&report, bytes.data(), sizeof(report));
  if (report.kind == THAW_STUB_RUNNING) answer_started(environment);
  if (report.kind == THAW_STUB_ENDED) environment.wait_status = report.value;
  if (report.kind == THAW_STUB_EXEC_FAILED) {
    environment.failure =
        Error{ErrorKind::function_failed,
              "the function's command cannot be run: " + std::string(::strerror(report.value)), "Function.ExecFailed"};
  }
}

void Spawner::answer_started(Environment& environment) {
  if (environment.state != State::starting || environment.answered) return;
  auto controls = cgroups_->open_controls(environment.group);
  if (!controls.ok()) {
    environment.failure = controls.error();
    return end(environment);
  }
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - environment.began);
  const bool listen = !environment.sockets.empty();
  const std::uint16_t listener = listen && environment.listens ? 1 : 0;
  const std::uint16_t calls_listener = listen && environment.listens_for_calls ? 1 : 0;
  const std::size_t listeners = std::size_t{listener} + calls_listener;
  const protocol::StartedBody body{.took_us = static_cast<std::uint32_t>(took.count()),
                                   .controls = controls->mask,
                                   .cpu_quota_us = cpu_quota_us(environment.cpu_milli),
                                   .cpu_period_us = kCpuPeriodUs,
                                   .sockets = static_cast<std::uint32_t>(environment.sockets.size() - listeners),
                                   .listener = listener,
                                   .calls_listener = calls_listener};
  std::vector<UniqueFd> fds = std::move(controls->files);
  for (UniqueFd& socket : environment.sockets) fds.push_back(std::move(socket));
  environment.sockets.clear();
  environment.state = State::running;
  environment.answered = true;
  log_times(*environment.id, environment.setup, body.took_us);
  send(protocol::encode_started(environment.serial, *environment.id, body), std::move(fds));
}

void Spawner::end(Environment& environment) {
  if (environment.state == State::ending || environment.state == State::clearing) return;
  environment.state = State::ending;
  // The group first: it thaws what the v1 freezer holds, where SIGKILL would wait.
  cgroups_->kill(environment.group);
  ::syscall(SYS_pidfd_send_signal, environment.process.get(), SIGKILL, nullptr, 0);
}

void Spawner::reap() {
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG | __WALL);
    if (pid <= 0) return;
    if (pid == pager_) {
      pager_gone();
      continue;
    }
    if (egress_gone(pid)) continue;
    if (const auto freeze = freezes_.find(pid); freeze != freezes_.end()) {
      if (status != 0 && !freeze->second.overdue)
        answer_frozen(freeze->second, internal_error("the freeze was interrupted"));
      freezes_.erase(freeze);
      continue;
    }
    const auto found = slot_of_pid_.find(pid);
    if (found == slot_of_pid_.end()) continue;
    Environment& environment = *live_.at(found->second);
    slot_of_pid_.erase(found);
    read_reports(environment);
    if (!environment.wait_status) environment.wait_status = status;
    environment.oom_kills = cgroups_->oom_kills(environment.group);
    environment.state = State::clearing;
    end_egress(environment);
    environment.network.reset();
    environment.sockets.clear();
    environment.report.reset();
    environment.memory.reset();
    environment.clearing_ends = Clock::now() + kClearMax;
    clear(environment);
  }
}

void Spawner::clear(Environment& environment) {
  if (!cgroups_->remove(environment.group)) {
    if (Clock::now() < environment.clearing_ends) {
      environment.look_again = Clock::now() + kClearPause;
      return;
    }
    // The slot is not given out again: its group still stands.
    log::error("cgroup_left group={}", environment.group);
  } else {
    free_slots_.push_back(environment.slot);
  }
  if (environment.id) {
    answer_ended(environment);
    slot_of_id_.erase(*environment.id);
  } else if (!closing_ && !environment.destroyed) {
    log::warn("prepared_environment_lost error=\"{}\"", environment.failure ? environment.failure->message : "");
    refill_not_before_ = Clock::now() + kRefillPause;
  }
  live_.erase(environment.slot);
}

void Spawner::answer_ended(const Environment& environment) {
  const int status = environment.wait_status.value_or(0);
  ExitReason reason = WIFSIGNALED(status) ? ExitReason::signaled : ExitReason::exited;
  const int code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
  if (environment.oom_kills > 0 && status != 0) reason = ExitReason::out_of_memory;
  if (environment.destroyed) reason = ExitReason::destroyed;
  const std::uint64_t id = *environment.id;
  log::debug("environment_ended id={} reason={} code={}", id, static_cast<int>(reason), code);
  if (environment.answered) {
    send(protocol::encode_exited(id, {.reason = static_cast<std::uint32_t>(reason), .code = code}), {});
    return;
  }
  Error error{ErrorKind::function_failed, "the environment ended while it started"};
  if (environment.destroyed) error = {ErrorKind::unavailable, "the environment was destroyed while it started"};
  if (environment.oom_kills > 0) {
    error = {ErrorKind::function_failed, "the function ran out of memory while it started", "Function.OutOfMemory"};
  }
  if (environment.failure) error = *environment.failure;
  fail_start(environment.serial, id, error);
}

bool Spawner::is_timed(const Environment& environment) {
  return environment.state == State::preparing || environment.state == State::starting ||
         environment.state == State::clearing;
}

int Spawner::next_wait_ms() const {
  constexpr long long kWaitMaxMs = 60'000;
  constexpr long long kClosingWaitMs = 100;
  Clock::time_point next = Clock::now() + std::chrono::milliseconds(closing_ ? kClosingWaitMs : kWaitMaxMs);
  if (burst_forgotten_at_ > Clock::now()) next = std::min(next, burst_forgotten_at_);
  if (refill_not_before_ > Clock::now()) next = std::min(next, refill_not_before_);
  for (const auto& [slot, environment] : live_) {
    if (is_timed(*environment)) next = std::min(next, environment->look_again);
  }
  for (const auto& [pid, freeze] : freezes_) {
    if (!freeze.overdue) next = std::min(next, freeze.deadline);
  }
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
  return static_cast<int>(std::clamp<long long>(wait, 0, kWaitMaxMs));
}

void Spawner::run_due() {
  const Clock::time_point now = Clock::now();
  end_overdue_freezes(now);
  std::vector<std::uint32_t> due;
  for (const auto& [slot, environment] : live_) {
    if (is_timed(*environment) && environment->look_again <= now) due.push_back(slot);
  }
  for (const std::uint32_t slot : due) {
    Environment& environment = *live_.at(slot);
    if (environment.state == State::clearing) {
      clear(environment);  // may delete it
      continue;
    }
    environment.failure = Error{ErrorKind::timeout, "the environment did not start in time"};
    end(environment);
  }
}

}  // namespace thaw::sandbox
