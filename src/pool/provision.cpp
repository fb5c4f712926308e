// Provisioned environments: so many of a version are kept initialised, whether requests come or not.

#include <algorithm>

#include "base/log.h"
#include "pool/function_pool.h"

namespace thaw::pool {

using http::TimePoint;
using Clock = std::chrono::steady_clock;

// After an init that failed, or an environment that ended without an invocation, the next start waits; longer each
// time.
constexpr std::chrono::seconds kProvisionPauseFirst{1};
constexpr std::chrono::seconds kProvisionPauseMax{60};

void Pool::provision(const std::shared_ptr<const model::FunctionRecord>& record, std::uint32_t count) {
  std::shared_ptr<FunctionPool> functions;
  if (count > 0) {
    functions = pool_of(record);
  } else {
    const std::lock_guard lock(mutex_);
    if (const auto found = pools_.find(PoolKeyView(*record)); found != pools_.end()) functions = found->second;
  }
  if (functions != nullptr) functions->provision(count);
}

ProvisionView Pool::provisioned(PoolKeyView version) {
  std::shared_ptr<FunctionPool> functions;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = pools_.find(version); found != pools_.end()) functions = found->second;
  }
  return functions == nullptr ? ProvisionView() : functions->provisioned();
}

void FunctionPool::provision(std::uint32_t count) {
  {
    const std::lock_guard lock(mutex_);
    if (provisioned_max_ == count) return;
    provisioned_max_ = count;
    provision_error_.clear();
    provision_pause_ = std::chrono::seconds(0);
    provision_at_ = TimePoint::min();
    end_surplus_locked();
  }
  log::info("provisioned_concurrency function={} version={} environments={}", config().name, record_->version, count);
  pump();
}

// Those beyond the number: what is idle ends, what is busy is like any other from now on.
void FunctionPool::end_surplus_locked() {
  std::size_t kept = 0;
  for (const auto& environment : environments_) {
    if (!counts_as_provisioned(*environment) || ++kept <= provisioned_max_) continue;
    environment->provisioned = false;
    const bool unused = environment->state == EnvironmentState::idle || environment->state == EnvironmentState::frozen;
    if (unused && environment->inflight == 0) destroy_locked(environment);
  }
}

bool FunctionPool::counts_as_provisioned(const Environment& environment) {
  return environment.provisioned && !environment.retiring && environment.state != EnvironmentState::ending;
}

std::size_t FunctionPool::provision_lack_locked() const {
  if (retired_) return 0;
  const auto have = static_cast<std::size_t>(std::count_if(
      environments_.begin(), environments_.end(), [](const auto& one) { return counts_as_provisioned(*one); }));
  return have < provisioned_max_ ? provisioned_max_ - have : 0;
}

std::size_t FunctionPool::provision_wanted_locked() const {
  return Clock::now() < provision_at_ ? 0 : provision_lack_locked();
}

void FunctionPool::note_provision_failed_locked(const std::string& error) {
  provision_error_ = error;
  provision_pause_ = std::clamp(provision_pause_ * 2, kProvisionPauseFirst, kProvisionPauseMax);
  provision_at_ = Clock::now() + provision_pause_;
}

ProvisionView FunctionPool::provisioned() {
  const std::lock_guard lock(mutex_);
  ProvisionView view{.requested = provisioned_max_, .error = provision_error_};
  for (const auto& environment : environments_) {
    if (!counts_as_provisioned(*environment)) continue;
    ++view.allocated;
    view.available += environment->state != EnvironmentState::starting;
  }
  return view;
}

}  // namespace thaw::pool
