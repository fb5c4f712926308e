#include "snapshot/signal_frame.h"

#include <cpuid.h>
#include <sys/user.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>

namespace thaw::snapshot {
namespace {

// arch/x86/include/uapi/asm/sigcontext.h and ucontext.h
constexpr std::uint32_t kMagic1 = 0x46505853;
constexpr std::uint32_t kMagic2 = 0x46505845;
constexpr std::size_t kSoftwareBytes = 464;  // where the kernel's own words lie in the legacy area
constexpr std::uint64_t kFlagXstate = 1;     // UC_FP_XSTATE
constexpr std::uint64_t kFlagSs = 2;         // UC_SIGCONTEXT_SS
constexpr std::uint64_t kFlagStrictSs = 4;   // UC_STRICT_RESTORE_SS
constexpr std::size_t kXstateBvOffset = 512;
constexpr std::size_t kLegacyAndHeaderBytes = 576;
// Tile configuration and data: their place in the frame is refused unless the thread has asked for it (AMX).
constexpr std::uint64_t kAmx = 3ULL << 17;
// States that the kernel saves in signal frames: x87, SSE, AVX, AVX-512's three, PKRU.
constexpr std::uint64_t kUserStates = 0x2e7;

struct SoftwareWords {
  std::uint32_t magic1;
  std::uint32_t extended_bytes;
  std::uint64_t features;
  std::uint32_t xstate_bytes;
};

// The standard format's size for a set of states (Intel SDM, volume 1, 13.4.3; CPUID leaf 0DH).
std::size_t standard_bytes(std::uint64_t features) {
  std::size_t bytes = kLegacyAndHeaderBytes;
  for (unsigned state = 2; state < 63; ++state) {
    if ((features >> state & 1) == 0) continue;
    unsigned size = 0;
    unsigned offset = 0;
    unsigned ignored = 0;
    __cpuid_count(0x0d, state, size, offset, ignored, ignored);
    bytes = std::max<std::size_t>(bytes, std::size_t{size} + offset);
  }
  return bytes;
}

std::uint64_t enabled_states() {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32 | low) & ~kAmx;
}

struct Layout {
  std::uint64_t features;
  std::size_t xstate_bytes;
  std::size_t context_at;  // struct ucontext
  std::size_t xstate_at;
  std::size_t bytes;
};

// CPUID leaves the virtual machine, where there is one: asked once.
Layout ask_layout() {
  Layout result{};
  result.features = enabled_states() & kUserStates;
  result.xstate_bytes = standard_bytes(result.features);
  result.context_at = 8;
  result.xstate_at = (result.context_at + sizeof(ucontext_t) + 63) / 64 * 64;
  result.bytes = (result.xstate_at + result.xstate_bytes + sizeof(kMagic2) + 63) / 64 * 64;
  return result;
}

const Layout& layout() {
  static const Layout known = ask_layout();
  return known;
}

void fill_registers(const Thread& thread, mcontext_t& machine) {
  user_regs_struct from;
  std::memcpy(&from, thread.registers.data(), sizeof(from));
  const auto set = [&](int index, std::uint64_t value) { machine.gregs[index] = static_cast<greg_t>(value); };
  set(REG_R8, from.r8);
  set(REG_R9, from.r9);
  set(REG_R10, from.r10);
  set(REG_R11, from.r11);
  set(REG_R12, from.r12);
  set(REG_R13, from.r13);
  set(REG_R14, from.r14);
  set(REG_R15, from.r15);
  set(REG_RDI, from.rdi);
  set(REG_RSI, from.rsi);
  set(REG_RBP, from.rbp);
  set(REG_RBX, from.rbx);
  set(REG_RDX, from.rdx);
  set(REG_RAX, from.rax);
  set(REG_RCX, from.rcx);
  set(REG_RSP, from.rsp);
  set(REG_RIP, from.rip);
  set(REG_EFL, from.eflags);
  set(REG_CSGSFS, (from.cs & 0xffff) | (from.ss & 0xffff) << 48);
}

}  // namespace

std::size_t frame_bytes() { return layout().bytes; }

Result<std::uint64_t> build_frame(const Thread& thread, std::span<std::byte> place, std::uint64_t address) {
  const Layout& parts = layout();
  if (place.size() < parts.bytes || address % 64 != 0) return internal_error("a signal frame's place");
  std::uint64_t in_use = 0;
  std::memcpy(&in_use, thread.xstate.data() + kXstateBvOffset, sizeof(in_use));
  if ((in_use & ~parts.features & ~(1ULL << 9)) != 0 || thread.xstate.size() < parts.xstate_bytes) {
    return Error{ErrorKind::unsupported, "this CPU lacks vector registers that thread " + thread.name + " uses"};
  }
  std::memset(place.data(), 0, parts.bytes);

  ucontext_t context{};
  context.uc_flags = kFlagXstate | kFlagSs | kFlagStrictSs;
  context.uc_stack.ss_sp = reinterpret_cast<void*>(thread.altstack_address);
  context.uc_stack.ss_size = thread.altstack_bytes;
  context.uc_stack.ss_flags = static_cast<int>(thread.altstack_flags);
  fill_registers(thread, context.uc_mcontext);
  context.uc_mcontext.fpregs = reinterpret_cast<fpregset_t>(address + parts.xstate_at);
  std::memcpy(&context.uc_sigmask, &thread.signal_mask, sizeof(thread.signal_mask));
  std::memcpy(place.data() + parts.context_at, &context, sizeof(context));

  std::byte* const xstate = place.data() + parts.xstate_at;
  std::memcpy(xstate, thread.xstate.data(), std::min(parts.xstate_bytes, thread.xstate.size()));
  in_use &= parts.features;
  std::memcpy(xstate + kXstateBvOffset, &in_use, sizeof(in_use));
  const SoftwareWords words{kMagic1, static_cast<std::uint32_t>(parts.xstate_bytes + sizeof(kMagic2)), parts.features,
                            static_cast<std::uint32_t>(parts.xstate_bytes)};
  std::memset(xstate + kSoftwareBytes, 0, 48);
  std::memcpy(xstate + kSoftwareBytes, &words, sizeof(words));
  std::memcpy(xstate + parts.xstate_bytes, &kMagic2, sizeof(kMagic2));
  return address + parts.context_at;
}

}  // namespace thaw::snapshot
