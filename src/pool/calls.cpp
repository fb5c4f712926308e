#include "pool/calls.h"

#include <algorithm>
#include <boost/asio/post.hpp>

#include "base/log.h"
#include "pool/function_pool.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::pool {
namespace {

// Two for each invocation that the environment takes at a time, and these.
constexpr std::size_t kConnectionsSpare = 64;
// A connection that a frozen environment keeps is as good after the thaw: clients need not find out that it is closed.
// It goes with the environment.
constexpr std::chrono::seconds kKeepAliveMax{10L * 365 * 86400};

class Counted {
 public:
  explicit Counted(std::atomic<std::size_t>& count) : count_(count) { ++count_; }
  ~Counted() { --count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  std::atomic<std::size_t>& count_;
};

constexpr char kNoPlace[] = "Calls.NoPlace";

http::ServerLimits limits_for(http::ServerLimits limits, std::uint32_t concurrency) {
  limits.connections_max = kConnectionsSpare + 2 * std::size_t{concurrency};
  limits.keep_alive_wait_max = kKeepAliveMax;
  return limits;
}

}  // namespace

Status check_places(const CallLink* waiting, const model::FunctionRecord& record) {
  std::uint64_t held = 0;
  for (const CallLink* link = waiting; link != nullptr; link = link->waiting.get())
    held += link->revision_id == record.revision_id;
  const model::FunctionConfig& config = record.config;
  const std::uint64_t places = std::uint64_t{config.environments_max} * config.concurrency;
  if (held < places) return {};
  return Error{ErrorKind::overloaded,
               "function " + config.name + " is called by itself, and has no place for it: all " +
                   std::to_string(places) + " (environments_max times concurrency) wait for this call",
               kNoPlace};
}

void CallLinks::enter(std::shared_ptr<const CallLink> link) {
  const std::lock_guard lock(mutex_);
  last_hops_ = link->hops;
  running_.push_back(std::move(link));
}

void CallLinks::leave(const CallLink* link) {
  const std::lock_guard lock(mutex_);
  std::erase_if(running_, [&](const auto& one) { return one.get() == link; });
}

void CallLinks::identify(Caller& caller) const {
  const std::lock_guard lock(mutex_);
  const auto deepest = std::max_element(running_.begin(), running_.end(),
                                        [](const auto& a, const auto& b) { return a->hops < b->hops; });
  if (deepest != running_.end()) caller.waiting = *deepest;
  caller.hops = deepest != running_.end() ? (*deepest)->hops : last_hops_;
}

CallServer::CallServer(http::Loops& loops, const CallSetup& setup, Options options, std::atomic<std::size_t>& running)
    : loops_(loops),
      handler_(setup.handler),
      caller_(std::move(options.caller)),
      running_(running),
      server_(loops, limits_for(setup.limits, options.concurrency),
              [this](http::Exchange& exchange) { return handle(exchange); }) {}

// No call is under way: each holds a reference. What is left are connections without a request, which end soon.
CallServer::~CallServer() {
  server_.stop_accepting();
  do {
    server_.cut_off();
  } while (server_.connections() > 0 && loops_.running());
}

Result<std::shared_ptr<CallServer>> CallServer::open(http::Loops& loops, boost::asio::thread_pool& reaper,
                                                     UniqueFd listener, const CallSetup& setup, Options options,
                                                     std::atomic<std::size_t>& running) {
  std::shared_ptr<CallServer> server(
      new CallServer(loops, setup, std::move(options), running), [&reaper](CallServer* last) {
        boost::asio::post(reaper, [owned = std::unique_ptr<CallServer>(last)]() mutable { owned.reset(); });
      });
  server->server_.count_requests(server->requests_);
  ASSIGN_OR_RETURN(std::ignore, server->server_.listen_on(std::move(listener)));
  return server;
}

http::Task<> CallServer::handle(http::Exchange& exchange) {
  const auto self = shared_from_this();
  const Counted counted(running_);
  Caller caller = caller_;
  links_.identify(caller);
  co_await handler_(exchange, std::move(caller));
}

std::shared_ptr<CallServer> FunctionPool::open_calls(const Environment& environment, UniqueFd listener) {
  if (!listener.valid() || !pool_.calls_) return nullptr;
  CallServer::Options options;
  options.caller.function = config().name;
  options.caller.version = record_->version;
  options.concurrency = config().concurrency;
  auto opened = CallServer::open(pool_.loops_, pool_.reaper_, std::move(listener), *pool_.calls_, std::move(options),
                                 pool_.calls_running_);
  if (opened.ok()) return std::move(*opened);
  log::error("calls_failed function={} id={} error={}", config().name, environment.id, opened.error().message);
  return nullptr;
}

}  // namespace thaw::pool
