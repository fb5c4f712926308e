#include "snapshot/trampoline.h"

// r12: the present step. r13: the descriptor to report a failure to. Everything else is scratch.
asm(R"(
  .pushsection .text.thaw_trampoline, "ax", @progbits
  .globl thaw_trampoline_begin
  .globl thaw_trampoline_end
thaw_trampoline_begin:
.Lstep:
  mov 0(%r12), %rbx
  mov 8(%r12), %rax
  mov 16(%r12), %rdi
  mov 24(%r12), %rsi
  mov 32(%r12), %rdx
  mov 40(%r12), %r10
  mov 48(%r12), %r8
  mov 56(%r12), %r9
  cmp $3, %rbx
  je .Larrive
  cmp $4, %rbx
  je .Lawait
  cmp $6, %rbx
  je .Lreturn
  syscall
  cmp $1, %rbx
  je .Lnext
  cmp $-4095, %rax
  jae .Lfailed
  cmp $5, %rbx
  je .Lexact
  cmp $2, %rbx
  jne .Lnext
  test %rax, %rax
  jnz .Lnext
  mov 56(%r12), %r12
  jmp .Lstep
.Lexact:
  cmp 56(%r12), %rax
  jne .Lfailed
.Lnext:
  add $64, %r12
  jmp .Lstep
.Larrive:
  lock incl (%rdi)
  mov $202, %eax
  mov $1, %esi
  mov $0x7fffffff, %edx
  syscall
  jmp .Lnext
.Lawait:
  mov (%rdi), %edx
  cmp %esi, %edx
  jae .Lnext
  mov $202, %eax
  xor %esi, %esi
  xor %r10d, %r10d
  syscall
  jmp .Lstep
.Lreturn:
  mov %rdi, %rsp
  mov $15, %eax
  syscall
.Lfailed:
  mov 8(%r12), %rcx
  mov %ecx, 4(%r12)
  mov %rax, 8(%r12)
  mov $1, %eax
  mov %r13, %rdi
  mov %r12, %rsi
  mov $64, %edx
  syscall
  mov $231, %eax
  mov $121, %edi
  syscall
  hlt
thaw_trampoline_end:
  .popsection
)");

extern "C" const std::byte thaw_trampoline_begin[];
extern "C" const std::byte thaw_trampoline_end[];

namespace thaw::snapshot {

std::span<const std::byte> trampoline_code() { return {thaw_trampoline_begin, thaw_trampoline_end}; }

void enter_trampoline(const void* code, const Step* first, int report) {
  register const Step* step asm("r12") = first;
  register std::int64_t to asm("r13") = report;
  asm volatile("jmp *%0" : : "r"(code), "r"(step), "r"(to) : "memory");
  __builtin_unreachable();
}

}  // namespace thaw::snapshot
