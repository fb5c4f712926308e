#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "busy.h"

namespace busy {
namespace {

constexpr std::size_t kGuardedBytes = 16 * 4096;
char* guarded = nullptr;
std::atomic<std::uint64_t> faults_seen{0};

// As garbage collectors do: a write to a protected page is a signal, whose handler opens the page.
void on_fault(int, siginfo_t* info, void*) {
  auto* address = static_cast<char*>(info->si_addr);
  if (address < guarded || address >= guarded + kGuardedBytes) ::_exit(77);
  ++faults_seen;
  auto* page = reinterpret_cast<char*>(reinterpret_cast<std::uintptr_t>(address) & ~std::uintptr_t{4095});
  ::mprotect(page, 4096, PROT_READ | PROT_WRITE);
}

std::uint64_t descend(std::uint64_t depth) {  // NOLINT(misc-no-recursion): the stack is what is tested
  volatile std::uint64_t frame[32];
  for (std::uint64_t i = 0; i < 32; ++i) frame[i] = depth * i;
  const std::uint64_t below = depth == 0 ? 0 : descend(depth - 1);
  for (std::uint64_t i = 0; i < 32; ++i) {
    if (frame[i] != depth * i) wrong("a frame of a deep stack");
  }
  return below + depth;
}

}  // namespace

bool make_guard() {
  guarded =
      static_cast<char*>(::mmap(nullptr, kGuardedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  return guarded != MAP_FAILED && ::sigaction(SIGSEGV, &action, nullptr) == 0;
}

// Memory that comes and goes: fresh memory is zero, given-back memory is zero, the rest keeps its bytes.
void churn(std::size_t me) {
  constexpr std::size_t kBytes = 64 * 4096;
  for (std::uint64_t round = 1; !failed; ++round) {
    auto* memory = static_cast<std::uint64_t*>(
        ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory == MAP_FAILED) return wrong("mmap");
    for (std::size_t i = 0; i < kBytes / 8; i += 64) {
      if (memory[i] != 0) wrong("fresh memory is not zero");
      memory[i] = round + i;
    }
    ::madvise(memory, kBytes / 2, MADV_DONTNEED);
    for (std::size_t i = 0; i < kBytes / 8; i += 64) {
      if (memory[i] != (i < kBytes / 16 ? 0 : round + i)) wrong("memory after MADV_DONTNEED");
    }
    auto* moved = static_cast<std::uint64_t*>(::mremap(memory, kBytes, kBytes * 2, MREMAP_MAYMOVE));
    if (moved == MAP_FAILED) return wrong("mremap");
    for (std::size_t i = kBytes / 16; i < kBytes / 8; i += 64) {
      if (moved[i] != round + i) wrong("memory after mremap");
    }
    ::munmap(moved, kBytes * 2);
    round_over(me);
  }
}

void guard(std::size_t me) {
  for (std::uint64_t round = 1; !failed; ++round) {
    ::mprotect(guarded, kGuardedBytes, round % 2 == 0 ? PROT_READ : PROT_NONE);
    for (std::size_t page = 0; page < kGuardedBytes; page += 4096) {
      const std::uint64_t before = faults_seen;
      auto* word = reinterpret_cast<volatile std::uint64_t*>(guarded + page);
      *word = *word + 1;
      if (faults_seen != before + 1) wrong("a write to a protected page");
      if (*word != round) wrong("a page that was protected");
    }
    round_over(me);
  }
}

// The heap grows and shrinks by brk, and a stack by recursion; the thread keeps its name and its processors.
void allocate(std::size_t me) {
  ::prctl(PR_SET_NAME, "allocator");
  cpu_set_t mine_before;
  ::sched_getaffinity(0, sizeof(mine_before), &mine_before);
  std::vector<std::vector<std::uint64_t>> blocks(32);
  for (std::uint64_t round = 1; !failed; ++round) {
    std::vector<std::uint64_t>& block = blocks[round % blocks.size()];
    for (std::size_t i = 0; i < block.size(); ++i) {
      if (block[i] != block.size() + i) wrong("a block of the heap");
    }
    block = std::vector<std::uint64_t>(round * 977 % 9000 + 1);
    for (std::size_t i = 0; i < block.size(); ++i) block[i] = block.size() + i;
    if (descend(200) != 200 * 201 / 2) wrong("a deep stack");
    char name[16] = {};
    ::prctl(PR_GET_NAME, name);
    if (std::strcmp(name, "allocator") != 0) wrong("the thread's name");
    cpu_set_t mine_now;
    ::sched_getaffinity(0, sizeof(mine_now), &mine_now);
    if (CPU_EQUAL(&mine_before, &mine_now) == 0) wrong("the thread's processors");
    round_over(me);
  }
}

}  // namespace busy
