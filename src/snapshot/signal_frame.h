// The frame from which rt_sigreturn(2) restores a thread: general and extended registers, signal mask, alternate stack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "snapshot/image.h"

namespace thaw::snapshot {

// Bytes that a frame takes, alignment included: the same for every thread.
std::size_t frame_bytes();

// Builds the frame in `place`, which will be at `address` (64-byte aligned) when it is used. Returns the stack pointer
// for rt_sigreturn. Errors: unsupported when this CPU has not the state that the thread had.
Result<std::uint64_t> build_frame(const Thread& thread, std::span<std::byte> place, std::uint64_t address);

}  // namespace thaw::snapshot
