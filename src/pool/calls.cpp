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

http::ServerLimits limits_for(http::ServerLimits limits, std::uint32_t concurrency) {
  limits.connections_max = kConnectionsSpare + 2 * std::size_t{concurrency};
  limits.keep_alive_wait_max = kKeepAliveMax;
  return limits;
}

}  // namespace

void CallDepths::enter(std::uint32_t hops) {
  hops = std::min(hops, model::kCallHopsMax);
  ++running_[hops];
  last_ = hops;
}

void CallDepths::leave(std::uint32_t hops) { --running_[std::min(hops, model::kCallHopsMax)]; }

std::uint32_t CallDepths::most() const {
  for (std::uint32_t hops = model::kCallHopsMax; hops > 0; --hops) {
    if (running_[hops] > 0) return hops;
  }
  return running_[0] > 0 ? 0 : last_.load();
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
  caller.hops = depths_.most();
  co_await handler_(exchange, caller);
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
