// How many invocations may run at a time: a function with a reservation has that many for itself and no more, all
// others share what reservations leave of the account's bound ("Configuring reserved concurrency for a function", AWS
// Lambda Developer Guide). An invocation that waits for an environment counts.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/result.h"
#include "control/catalog.h"

namespace thaw::control {

// Codes of the errors of enter(): Lambda's ThrottleReason.
inline constexpr char kReservedLimitExceeded[] = "ReservedFunctionConcurrentInvocationLimitExceeded";
inline constexpr char kAccountLimitExceeded[] = "ConcurrentInvocationLimitExceeded";

// Ownership: borrows the catalog, whose reservations it follows by itself. Threads: any; it waits for nothing.
class ConcurrencyGate {
  struct Counter {
    std::atomic<std::uint32_t> inside{0};
    std::atomic<std::uint32_t> max{0};
  };

 public:
  // executions_max: of the account.
  ConcurrencyGate(const Catalog& catalog, std::uint32_t executions_max);

  // An invocation that counts, until this goes. It may outlive the gate.
  class Permit {
   public:
    Permit() = default;
    Permit(Permit&& other) noexcept = default;
    Permit& operator=(Permit&& other) noexcept;
    ~Permit() { leave(); }

   private:
    friend class ConcurrencyGate;
    explicit Permit(std::shared_ptr<Counter> counter) : counter_(std::move(counter)) {}
    void leave();
    std::shared_ptr<Counter> counter_;
  };

  // Errors: overloaded, with one of the codes above.
  Result<Permit> enter(std::string_view function);

  std::uint32_t executions_max() const { return executions_max_; }
  // What reservations leave for the functions without one.
  std::uint32_t unreserved() const;
  // Whether the function may have so many, with what others have reserved and it has provisioned. Errors:
  // invalid_argument.
  Status check_reservation(std::string_view function, std::uint32_t executions) const;
  // Whether the version or alias may have so many provisioned, with what else the function has: a reservation bounds
  // them, else they leave the others what a reservation must leave. Errors: invalid_argument.
  Status check_provisioned(model::QualifiedName name, std::uint32_t executions) const;

 private:
  using Reserved = std::unordered_map<std::string, std::shared_ptr<Counter>>;  // by folded name

  static Result<Permit> enter(std::shared_ptr<Counter> counter, const char* code);
  std::shared_ptr<Counter> reserved_of(std::string_view function);
  void follow_catalog();

  const Catalog& catalog_;
  const std::uint32_t executions_max_;
  const std::shared_ptr<Counter> shared_ = std::make_shared<Counter>();  // of functions without a reservation
  std::atomic<std::uint64_t> changes_seen_{UINT64_MAX};                  // of the catalog's reservations
  mutable std::shared_mutex mutex_;
  Reserved reserved_;  // guarded by mutex_
};

}  // namespace thaw::control
