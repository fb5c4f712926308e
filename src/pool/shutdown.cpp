// The end of an environment whose extensions hear of it ("Shutdown phase": "Understanding the Lambda execution
// environment lifecycle", AWS Lambda Developer Guide).

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>

#include "pool/function_pool.h"

// g++ 12 sees Asio's coroutine frames allocated and freed through different inlined functions, and is wrong about it.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

namespace thaw::pool {
namespace {

using http::TimePoint;
using Clock = std::chrono::steady_clock;
using Timer = boost::asio::basic_waitable_timer<Clock, boost::asio::wait_traits<Clock>, http::Executor>;

// "500 ms: a function with a registered internal extension. 2,000 ms: a function with one or more registered external
// extensions", of which the runtime has 300.
constexpr std::chrono::milliseconds kInternalMax{500};
constexpr std::chrono::milliseconds kExternalMax{2000};
constexpr std::chrono::milliseconds kRuntimeMax{300};
constexpr std::chrono::milliseconds kLookEvery{5};

}  // namespace

// Without extensions the end is SIGKILL at once, as Lambda's.
void FunctionPool::destroy_locked(const std::shared_ptr<Environment>& environment, const char* reason) {
  if (environment->shutting_down) return;
  const bool started = environment->state != EnvironmentState::starting && !environment->exit;
  environment->state = EnvironmentState::ending;
  environment->connections.clear();
  environment->sockets.clear();
  const auto& runtime = environment->runtime;
  if (!started || runtime == nullptr || !runtime->extensions().any()) return pool_.host_.destroy(environment->id);
  environment->shutting_down = true;
  http::Loop& loop = pool_.loops_.next();
  // Not at once: it may run on this thread, and takes the mutex.
  boost::asio::post(loop.executor(), [self = shared_from_this(), environment, reason, &loop] {
    boost::asio::co_spawn(
        loop.executor(), [self, environment, reason, &loop] { return self->shut_down(environment, reason, loop); },
        boost::asio::detached);
  });
}

http::Task<> FunctionPool::shut_down(std::shared_ptr<Environment> environment, const char* reason, http::Loop& loop) {
  // What is frozen hears of nothing.
  thaw(*environment);
  std::shared_ptr<invoke::RuntimeApi> runtime;
  {
    const std::lock_guard lock(mutex_);
    runtime = environment->runtime;
  }
  invoke::ExtensionsApi& extensions = runtime->extensions();
  const bool external = extensions.any_external();
  const TimePoint began = Clock::now();
  const TimePoint until = began + (external ? kExternalMax : kInternalMax);
  pool_.host_.terminate(environment->id);
  bool told = !external;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (environment->exit) co_return;
    }
    const TimePoint now = Clock::now();
    if (!told && (extensions.runtime_ended() || now >= began + kRuntimeMax)) {
      told = true;
      extensions.shut_down(reason, until);
    }
    if (now >= until) break;
    Timer timer(loop.executor(), kLookEvery);
    co_await timer.async_wait(http::use_task);
  }
  pool_.host_.destroy(environment->id);
}

}  // namespace thaw::pool
