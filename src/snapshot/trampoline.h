// The code that a process runs while it has no memory of its own: a loop over a table of steps, nearly all of them one
// system call. It uses no stack, no data and no address of its own, so it runs wherever it is copied to.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace thaw::snapshot {

enum class Operation : std::uint64_t {
  call = 0,       // a negative result ends the process
  try_call = 1,   // the result does not matter
  clone = 2,      // clone3(arguments 0 and 1); the child goes on at the table whose address is argument 5
  arrive = 3,     // adds one to the 32-bit word at argument 0 and wakes who waits for it
  await = 4,      // until the 32-bit word at argument 0 is at least argument 1
  exact = 5,      // like call, and the result must be argument 5
  sigreturn = 6,  // rt_sigreturn with the stack pointer at argument 0: the last step of every table
};

struct Step {
  Operation operation = Operation::call;
  std::uint64_t number = 0;
  std::array<std::uint64_t, 6> arguments{};
};
static_assert(sizeof(Step) == 64);

// When a step fails, it is written to `report` as it stands, with the result in `number`'s place and the number in
// operation's upper half; then the process exits with this status.
inline constexpr int kStepFailedStatus = 121;

std::span<const std::byte> trampoline_code();

// Goes on at a copy of the code, with the table at `first`. Never comes back.
[[noreturn]] void enter_trampoline(const void* code, const Step* first, int report);

}  // namespace thaw::snapshot
