#include "snapshot/great_ranges.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "snapshot/image_memory.h"

namespace thaw::snapshot {
namespace {

// Zeros that the image leaves out: a row of an embedding that nobody trained, the rest of a page.
constexpr std::uint64_t kGapBytesMax = 1ULL << 20;

AddressRange inner(AddressRange range) {
  return {(range.start + kHugePageBytes - 1) & ~(kHugePageBytes - 1), range.end & ~(kHugePageBytes - 1)};
}

std::uint64_t size(const AddressRange& range) { return range.end > range.start ? range.end - range.start : 0; }

// Assembles a program of classic BPF (seccomp(2)); words are 32 bits wide.
class Filter {
 public:
  void statement(std::uint16_t code, std::uint32_t value) { program_.push_back(BPF_STMT(code, value)); }
  void jump(std::uint16_t code, std::uint32_t value, std::uint8_t yes, std::uint8_t no) {
    program_.push_back(BPF_JUMP(code, value, yes, no));
  }
  void load(std::size_t offset) { statement(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)); }
  void load_low(std::size_t argument) { load(offset_of(argument)); }
  void load_high(std::size_t argument) { load(offset_of(argument) + sizeof(std::uint32_t)); }
  void answer(int error) { statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)); }
  void allow() { statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW); }
  std::vector<sock_filter> take() && { return std::move(program_); }

  // Ends the program: `error` for a call whose memory, argument 0 and as many bytes as argument 1 says, meets a range.
  void answer_where_it_meets(const std::vector<AddressRange>& ranges, int error) {
    add_end();
    for (const AddressRange& range : ranges) {
      // Not when it begins behind the range ...
      load_high(0);
      jump(BPF_JMP | BPF_JGT | BPF_K, high(range.end), 9, 0);
      jump(BPF_JMP | BPF_JEQ | BPF_K, high(range.end), 0, 2);
      load_low(0);
      jump(BPF_JMP | BPF_JGE | BPF_K, low(range.end), 6, 0);
      // ... nor when it ends before.
      statement(BPF_LD | BPF_MEM, kEndHigh);
      jump(BPF_JMP | BPF_JGT | BPF_K, high(range.start), 3, 0);
      jump(BPF_JMP | BPF_JEQ | BPF_K, high(range.start), 0, 3);
      statement(BPF_LD | BPF_MEM, kEndLow);
      jump(BPF_JMP | BPF_JGT | BPF_K, low(range.start), 0, 1);
      answer(error);
    }
    allow();
  }

 private:
  static constexpr std::uint32_t kEndLow = 0;  // words of the scratch memory
  static constexpr std::uint32_t kEndHigh = 1;

  static std::size_t offset_of(std::size_t argument) {
    return offsetof(seccomp_data, args) + argument * sizeof(std::uint64_t);
  }
  static std::uint32_t low(std::uint64_t address) { return static_cast<std::uint32_t>(address); }
  static std::uint32_t high(std::uint64_t address) { return static_cast<std::uint32_t>(address >> 32); }

  // Argument 0 plus argument 1, in 64 bits.
  void add_end() {
    load_low(0);
    statement(BPF_MISC | BPF_TAX, 0);
    load_low(1);
    statement(BPF_ALU | BPF_ADD | BPF_X, 0);
    statement(BPF_ST, kEndLow);
    // X holds the low word of the start: a sum below it has wrapped.
    jump(BPF_JMP | BPF_JGE | BPF_X, 0, 0, 2);
    statement(BPF_LD | BPF_IMM, 0);
    jump(BPF_JMP | BPF_JA, 1, 0, 0);
    statement(BPF_LD | BPF_IMM, 1);
    statement(BPF_MISC | BPF_TAX, 0);
    load_high(0);
    statement(BPF_ALU | BPF_ADD | BPF_X, 0);
    statement(BPF_MISC | BPF_TAX, 0);
    load_high(1);
    statement(BPF_ALU | BPF_ADD | BPF_X, 0);
    statement(BPF_ST, kEndHigh);
  }

  std::vector<sock_filter> program_;
};

}  // namespace

std::vector<AddressRange> great_ranges(const Image& image) {
  std::vector<AddressRange> great;
  const auto consider = [&](AddressRange range) {
    if (size(range) < kGreatBytesMin) return;
    great.push_back(inner(range));
  };
  for (const Mapping& mapping : image.mappings) {
    if (!is_lazy(mapping)) continue;
    AddressRange together;
    for (const PageRun& run : mapping.runs) {
      if (size(together) > 0 && run.start - together.end <= kGapBytesMax) {
        together.end = run.end;
        continue;
      }
      consider(together);
      together = {run.start, run.end};
    }
    consider(together);
  }
  std::sort(great.begin(), great.end(), [](const auto& a, const auto& b) { return size(a) > size(b); });
  if (great.size() > kGreatRangesMax) great.resize(kGreatRangesMax);
  std::sort(great.begin(), great.end(), [](const auto& a, const auto& b) { return a.start < b.start; });
  return great;
}

// MADV_FREE answers as kernels before 4.5 do, and allocators then take MADV_DONTNEED. In memory that is mapped from a
// file it would answer so anyway, but only after the pager has been told that the pages are gone.
std::vector<sock_filter> memory_filter(const std::vector<AddressRange>& great) {
  Filter filter;
  filter.load(offsetof(seccomp_data, arch));
  filter.jump(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
  filter.allow();
  filter.load(offsetof(seccomp_data, nr));
  filter.jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, great.empty() ? 1 : 5, 0);
  if (great.empty()) {
    filter.allow();
  } else {
    filter.jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_mremap, 3, 0);
    filter.jump(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_madvise, 1, 0);
    filter.allow();
    filter.answer(EPERM);
    filter.jump(BPF_JMP | BPF_JA, 0, 0, 0);  // to mremap's part, which comes last; set below
  }
  std::vector<sock_filter> program = std::move(filter).take();
  const std::size_t hop = program.size() - 1;

  Filter advice;
  advice.load_low(2);
  advice.jump(BPF_JMP | BPF_JEQ | BPF_K, MADV_FREE, 0, 1);
  advice.answer(EINVAL);
  if (great.empty()) {
    advice.allow();
  } else {
    constexpr std::uint32_t kDontneedLocked = 24;  // MADV_DONTNEED_LOCKED, since Linux 5.18
    advice.jump(BPF_JMP | BPF_JEQ | BPF_K, MADV_DONTNEED, 2, 0);
    advice.jump(BPF_JMP | BPF_JEQ | BPF_K, kDontneedLocked, 1, 0);
    advice.allow();
    advice.answer_where_it_meets(great, EINVAL);
  }
  const std::vector<sock_filter> advice_part = std::move(advice).take();
  program.insert(program.end(), advice_part.begin(), advice_part.end());
  if (great.empty()) return program;
  program[hop].k = static_cast<std::uint32_t>(program.size() - hop - 1);
  Filter moves;
  moves.answer_where_it_meets(great, ENOMEM);
  const std::vector<sock_filter> moves_part = std::move(moves).take();
  program.insert(program.end(), moves_part.begin(), moves_part.end());
  return program;
}

}  // namespace thaw::snapshot
