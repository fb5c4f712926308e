#include "control/concurrency.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "control/function_table.h"
#include "model/settings.h"

namespace thaw::control {
namespace {

constexpr auto kKind = SettingKind::reserved_concurrency;

// By folded name. What is damaged reserves nothing.
std::vector<std::pair<std::string, std::uint32_t>> reservations(const Catalog& catalog) {
  std::vector<std::pair<std::string, std::uint32_t>> found;
  for (auto& [function, setting] : catalog.settings(kKind)) {
    const auto reserved = model::reserved_concurrency_from_json(setting.json);
    if (reserved.ok()) {
      found.emplace_back(std::move(function), reserved->executions);
    } else {
      log::error("reserved_concurrency_damaged name={} error=\"{}\"", function, reserved.error().message);
    }
  }
  return found;
}

Error leaves_too_few(std::string_view setting, std::uint32_t executions_max) {
  return invalid_argument(
      "Specified " + std::string(setting) +
      " for function decreases account's UnreservedConcurrentExecution below its minimum value of [" +
      std::to_string(model::kUnreservedExecutionsMin) + "]; the account has " + std::to_string(executions_max));
}

// Of all qualifiers of the function but one.
std::uint64_t provisioned_beside(const Catalog& catalog, model::QualifiedName name) {
  std::uint64_t sum = 0;
  for (const Setting& setting : catalog.settings(name.function, SettingKind::provisioned_concurrency)) {
    const auto provisioned = model::provisioned_concurrency_from_json(setting.json);
    if (provisioned.ok() && setting.qualifier != name.qualifier) sum += provisioned->executions;
  }
  return sum;
}

}  // namespace

ConcurrencyGate::ConcurrencyGate(const Catalog& catalog, std::uint32_t executions_max)
    : catalog_(catalog), executions_max_(executions_max) {
  shared_->max = executions_max;
}

ConcurrencyGate::Permit& ConcurrencyGate::Permit::operator=(Permit&& other) noexcept {
  if (this == &other) return *this;
  leave();
  counter_ = std::move(other.counter_);
  return *this;
}

void ConcurrencyGate::Permit::leave() {
  if (counter_ != nullptr) --counter_->inside;
  counter_.reset();
}

Result<ConcurrencyGate::Permit> ConcurrencyGate::enter(std::shared_ptr<Counter> counter, const char* code) {
  // Counted only once it may come in: one that is refused takes no other's place meanwhile.
  std::uint32_t inside = counter->inside;
  while (inside < counter->max) {
    if (counter->inside.compare_exchange_weak(inside, inside + 1)) return Permit(std::move(counter));
  }
  return Error{ErrorKind::overloaded, "Rate Exceeded.", code};
}

Result<ConcurrencyGate::Permit> ConcurrencyGate::enter(std::string_view function) {
  if (auto reserved = reserved_of(function)) return enter(std::move(reserved), kReservedLimitExceeded);
  return enter(shared_, kAccountLimitExceeded);
}

std::shared_ptr<ConcurrencyGate::Counter> ConcurrencyGate::reserved_of(std::string_view function) {
  if (changes_seen_ != catalog_.setting_changes(kKind)) follow_catalog();
  const std::shared_lock lock(mutex_);
  if (reserved_.empty()) return nullptr;
  const auto found = reserved_.find(folded_name(function));
  return found == reserved_.end() ? nullptr : found->second;
}

// Invocations that are inside count where they came in, until they leave.
void ConcurrencyGate::follow_catalog() {
  const std::unique_lock lock(mutex_);
  // Read before what it counts: a change in between is read twice, never missed.
  const std::uint64_t changes = catalog_.setting_changes(kKind);
  Reserved now;
  std::uint64_t sum = 0;
  for (auto& [function, executions] : reservations(catalog_)) {
    const auto before = reserved_.find(function);
    auto counter = before == reserved_.end() ? std::make_shared<Counter>() : before->second;
    counter->max = executions;
    sum += executions;
    now.emplace(std::move(function), std::move(counter));
  }
  reserved_ = std::move(now);
  shared_->max = executions_max_ - static_cast<std::uint32_t>(std::min<std::uint64_t>(sum, executions_max_));
  changes_seen_ = changes;
}

std::uint32_t ConcurrencyGate::unreserved() const {
  std::uint64_t sum = 0;
  for (const auto& [function, executions] : reservations(catalog_)) sum += executions;
  return executions_max_ - static_cast<std::uint32_t>(std::min<std::uint64_t>(sum, executions_max_));
}

Status ConcurrencyGate::check_reservation(std::string_view function, std::uint32_t executions) const {
  if (const std::uint64_t provisioned = provisioned_beside(catalog_, {function, {}}); executions < provisioned) {
    return invalid_argument(
        "ReservedConcurrentExecutions should not be lower than function's total provisioned concurrency [" +
        std::to_string(provisioned) + "]");
  }
  if (executions == 0) return {};
  const std::string folded = folded_name(function);
  std::uint64_t sum = executions;
  for (const auto& [other, taken] : reservations(catalog_)) {
    if (other != folded) sum += taken;
  }
  if (sum + model::kUnreservedExecutionsMin <= executions_max_) return {};
  return leaves_too_few("ReservedConcurrentExecutions", executions_max_);
}

Status ConcurrencyGate::check_provisioned(model::QualifiedName name, std::uint32_t executions) const {
  const std::uint64_t sum = provisioned_beside(catalog_, name) + executions;
  const std::string folded = folded_name(name.function);
  for (const auto& [function, reserved] : reservations(catalog_)) {
    if (function != folded) continue;
    if (sum <= reserved) return {};
    return invalid_argument(
        "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function [" +
        std::to_string(reserved) + "]");
  }
  if (sum + model::kUnreservedExecutionsMin <= unreserved()) return {};
  return leaves_too_few("ProvisionedConcurrentExecutions", executions_max_);
}

}  // namespace thaw::control
