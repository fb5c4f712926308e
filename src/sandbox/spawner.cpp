#include "sandbox/spawner.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "base/sys.h"
#include "sandbox/seccomp_filter.h"
#include "sandbox/spawner_lock.h"
#include "sandbox/template_root.h"

namespace thaw::sandbox {
namespace {

constexpr std::uint64_t kTokenSocket = 0;
constexpr std::uint64_t kTokenSignals = 1;
constexpr std::uint64_t kTokenFirstSlot = 16;
constexpr int kEventsMax = 64;
constexpr std::size_t kRequestsPerTurn = 16;
constexpr std::uint32_t kSweepWaitMs = 5'000;
constexpr auto kShutdownMax = std::chrono::seconds(10);
// Longer than an earlier spawner takes to shut down and to sweep.
constexpr auto kLockWaitMax = std::chrono::seconds(20);

}  // namespace

Result<std::unique_ptr<Spawner>> Spawner::create(const SpawnerOptions& options, ProcessImages& images, UniqueFd socket,
                                                 int parent_gone) {
  std::unique_ptr<Spawner> spawner(new Spawner(options, images));
  spawner->socket_ = std::move(socket);
  spawner->buffer_.resize(protocol::kRequestBytesMax + 1);
  spawner->report_buffer_.resize(kMemoryMessageBytesMax);

  ASSIGN_OR_RETURN(spawner->lock_, lock_spawner(options.cgroup_name, kLockWaitMax));
  ASSIGN_OR_RETURN(std::vector<CgroupMount> mounts, detect_cgroups());
  ASSIGN_OR_RETURN(spawner->cgroups_, CgroupTree::create(std::move(mounts), options.cgroup_name));
  if (!spawner->cgroups_->sweep(kSweepWaitMs)) {
    return Error{ErrorKind::unavailable, "processes of an earlier run cannot be ended; see the groups named " +
                                             options.cgroup_name + " below /sys/fs/cgroup"};
  }
  ASSIGN_OR_RETURN(spawner->filter_, compile_seccomp_filter());
  TemplateOptions tree{.uid_base = options.uid_base, .slots_max = options.slots_max};
  ASSIGN_OR_RETURN(tree.stub, sys::open(options.stub_path, O_RDONLY));
  ASSIGN_OR_RETURN(spawner->template_root_, build_template_root(tree));
  if (!options.engine_folder.empty()) {
    ASSIGN_OR_RETURN(spawner->engine_, sys::open(options.engine_folder, O_PATH | O_DIRECTORY));
  }
  ASSIGN_OR_RETURN(spawner->own_network_, sys::open("/proc/self/ns/net", O_RDONLY));

  spawner->epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!spawner->epoll_.valid()) return sys::errno_error("epoll_create1");
  sigset_t watched;
  sigemptyset(&watched);
  sigaddset(&watched, SIGCHLD);
  sigaddset(&watched, parent_gone);
  spawner->signals_ = UniqueFd(::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!spawner->signals_.valid()) return sys::errno_error("signalfd");
  RETURN_IF_ERROR(spawner->watch(spawner->socket_, kTokenSocket, EPOLLIN));
  RETURN_IF_ERROR(spawner->watch(spawner->signals_, kTokenSignals, EPOLLIN));

  for (std::uint32_t slot = 0; slot < options.slots_max; ++slot) spawner->free_slots_.push_back(slot);
  return spawner;
}

Status Spawner::watch(const UniqueFd& fd, std::uint64_t token, std::uint32_t events) {
  epoll_event event{.events = events, .data = {.u64 = token}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) != 0) return sys::errno_error("epoll_ctl");
  return {};
}

void Spawner::run() {
  send(protocol::encode_ready({}), {});
  if (const Status launched = launch_pager(); !launched.ok())
    log::error("pager_failed error=\"{}\"", launched.error().message);
  Clock::time_point closing_ends = Clock::time_point::max();
  refill();
  while (!closing_ || !live_.empty()) {
    epoll_event events[kEventsMax];
    const int count = ::epoll_wait(epoll_.get(), events, kEventsMax, next_wait_ms());
    for (int i = 0; i < count; ++i) handle_event(events[i].data.u64, events[i].events);
    run_due();
    refill();
    if (closing_ && closing_ends == Clock::time_point::max()) closing_ends = Clock::now() + kShutdownMax;
    if (Clock::now() >= closing_ends) break;
  }
  pager_socket_.reset();
  if (!cgroups_->sweep(kSweepWaitMs)) log::error("cgroups_left name={}", options_.cgroup_name);
  cgroups_->remove_parents();
}

void Spawner::handle_event(std::uint64_t token, std::uint32_t events) {
  if (token == kTokenSocket) {
    if (closing_) return;
    if ((events & EPOLLOUT) != 0) flush();
    if ((events & EPOLLIN) != 0) {
      read_requests();
    } else if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
      shut_down("daemon_gone");
    }
    return;
  }
  if (token == kTokenSignals) {
    signalfd_siginfo info;
    while (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
      if (info.ssi_signo != SIGCHLD) shut_down("keeper_gone");
    }
    reap();
    return;
  }
  // An event of an environment that another event of the same turn has ended is stale; reads do not block.
  const auto found = live_.find(static_cast<std::uint32_t>(token - kTokenFirstSlot));
  if (found != live_.end()) read_reports(*found->second);
}

void Spawner::read_requests() {
  // A few a turn: reports and ends must not starve behind a burst of starts.
  for (std::size_t i = 0; i < kRequestsPerTurn && !closing_; ++i) {
    auto message = receive_message(socket_, buffer_, Wait::no);
    if (!message.ok()) {
      if (message.error().kind == ErrorKind::overloaded) return;
      log::error("request_refused error=\"{}\"", message.error().message);
      if (message.error().kind == ErrorKind::too_large) continue;
      return shut_down("socket_failed");
    }
    if (message->size == 0) return shut_down("daemon_gone");
    const std::span<const std::byte> bytes(buffer_.data(), message->size);
    auto request = protocol::decode_request(bytes, message->fds.size());
    if (!request.ok()) {
      log::error("request_refused error=\"{}\"", request.error().message);
      continue;
    }
    handle(*request, {reinterpret_cast<const char*>(buffer_.data()), message->size}, std::move(message->fds));
  }
}

void Spawner::handle(const protocol::Request& request, std::string_view bytes, std::vector<UniqueFd> fds) {
  switch (request.type) {
    case protocol::MessageType::start:
      return start(request, bytes, std::move(fds));
    case protocol::MessageType::make_sockets:
      return make_sockets(request);
    case protocol::MessageType::freeze:
      return freeze(request, fds.front());
    default:
      break;
  }
  const auto found = slot_of_id_.find(request.id);
  if (found == slot_of_id_.end()) return;
  Environment& environment = *live_.at(found->second);
  if (request.type == protocol::MessageType::terminate) {
    // PID 1 passes it on to the function.
    if (environment.state == State::running)
      ::syscall(SYS_pidfd_send_signal, environment.process.get(), SIGTERM, nullptr, 0);
    return;
  }
  environment.destroyed = true;
  end(environment);
}

Result<std::vector<UniqueFd>> Spawner::sockets_in(const UniqueFd& network, std::uint32_t count) {
  if (::setns(network.get(), CLONE_NEWNET) != 0) return sys::errno_error("setns");
  auto sockets = make_tcp_sockets(count);
  if (::setns(own_network_.get(), CLONE_NEWNET) != 0) {
    // Going on in a function's network would be wrong in every later step.
    log::error("network_namespace_lost");
    std::abort();
  }
  return sockets;
}

void Spawner::make_sockets(const protocol::Request& request) {
  protocol::SocketsBody body;
  std::vector<UniqueFd> sockets;
  const auto found = slot_of_id_.find(request.id);
  if (found == slot_of_id_.end() || live_.at(found->second)->state != State::running) {
    body.outcome = protocol::outcome_of({ErrorKind::not_found, "the environment has ended"});
  } else if (auto made = sockets_in(live_.at(found->second)->network, request.count); made.ok()) {
    sockets = std::move(made).value();
    body.sockets = static_cast<std::uint32_t>(sockets.size());
  } else {
    body.outcome = protocol::outcome_of(made.error());
  }
  send(protocol::encode_sockets_made(request.serial, request.id, body), std::move(sockets));
}

void Spawner::fail_start(std::uint64_t serial, std::uint64_t id, const Error& error) {
  protocol::StartedBody body;
  body.outcome = protocol::outcome_of(error);
  send(protocol::encode_started(serial, id, body), {});
}

void Spawner::shut_down(const char* why) {
  if (closing_) return;
  closing_ = true;
  log::info("spawner_ending reason={} environments={}", why, slot_of_id_.size());
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket_.get(), nullptr);
  socket_.reset();
  outgoing_.clear();
  for (const auto& [slot, environment] : live_) {
    environment->destroyed = true;
    end(*environment);
  }
}

void Spawner::send(std::string bytes, std::vector<UniqueFd> fds) {
  if (closing_) return;
  outgoing_.push_back({std::move(bytes), std::move(fds)});
  flush();
}

void Spawner::flush() {
  while (!outgoing_.empty()) {
    const Outgoing& next = outgoing_.front();
    std::vector<int> fds;
    fds.reserve(next.fds.size());
    for (const UniqueFd& fd : next.fds) fds.push_back(fd.get());
    const Status sent = send_message(socket_, next.bytes, fds, Wait::no);
    if (!sent.ok() && sent.error().kind == ErrorKind::overloaded) break;
    if (!sent.ok()) log::warn("reply_lost error=\"{}\"", sent.error().message);
    outgoing_.pop_front();
  }
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kTokenSocket}};
  if (!outgoing_.empty()) event.events |= EPOLLOUT;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, socket_.get(), &event);
}

void sweep_cgroups(const std::string& cgroup_name) {
  // Whoever holds it sweeps, or has its own groups there already.
  const auto lock = lock_spawner(cgroup_name, std::chrono::milliseconds(0));
  auto mounts = detect_cgroups();
  if (!lock.ok() || !mounts.ok()) return;
  auto tree = CgroupTree::create(std::move(mounts).value(), cgroup_name);
  if (!tree.ok()) return;
  if (!tree->sweep(kSweepWaitMs)) log::error("cgroups_left name={}", cgroup_name);
  tree->remove_parents();
}

}  // namespace thaw::sandbox
