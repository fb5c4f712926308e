// The parts of busy_subject: each runs in a thread of its own until something is wrong.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace busy {

inline std::atomic<bool> failed{false};
inline constexpr std::size_t kParts = 19;
inline std::atomic<std::uint64_t> rounds[kParts];  // of each part

void wrong(const char* what);
// Busy, but not so that a small machine does nothing else: Linux 6.18 may let a group of threads that never rest keep
// the spawner and the pager from a processor for many seconds.
void round_over(std::size_t me);

// busy_registers.cpp: registers that stay loaded while the thread is stopped.
void compute(std::size_t me);
void hold_vectors(std::size_t me);
void hold_fpu(std::size_t me);

// busy_memory.cpp
bool make_guard();
void churn(std::size_t me);
void guard(std::size_t me);
void allocate(std::size_t me);

}  // namespace busy
