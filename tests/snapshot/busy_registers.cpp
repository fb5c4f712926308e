#include <fenv.h>
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "busy.h"

namespace busy {
namespace {

constexpr int kSpins = 40'000;  // some tens of microseconds

#define LOAD_YMM(i) "vmovdqu " #i "*32(%[in]), %%ymm" #i "\n\t"
#define STORE_YMM(i) "vmovdqu %%ymm" #i ", " #i "*32(%[out])\n\t"
#define LOAD_ZMM(i) "vmovdqu64 " #i "*64(%[in]), %%zmm" #i "\n\t"
#define STORE_ZMM(i) "vmovdqu64 %%zmm" #i ", " #i "*64(%[out])\n\t"
#define SIXTEEN(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7) f(8) f(9) f(10) f(11) f(12) f(13) f(14) f(15)
#define SIXTEEN_MORE(f) f(16) f(17) f(18) f(19) f(20) f(21) f(22) f(23) f(24) f(25) f(26) f(27) f(28) f(29) f(30) f(31)
#define SPIN "1: decl %[spins]\n\tjnz 1b\n\t"
#define SIXTEEN_CLOBBERS                                                                                              \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
      "xmm14", "xmm15"

__attribute__((target("avx"))) void hold_ymm(const std::uint8_t* in, std::uint8_t* out) {
  int spins = kSpins;
  asm volatile(SIXTEEN(LOAD_YMM) SPIN SIXTEEN(STORE_YMM) "vzeroupper\n\t"
               : [spins] "+r"(spins)
               : [in] "r"(in), [out] "r"(out)
               : "memory", "cc", SIXTEEN_CLOBBERS);
}

// All 32 registers, and a mask register.
__attribute__((target("avx512f"))) void hold_zmm(const std::uint8_t* in, std::uint8_t* out, std::uint32_t& mask) {
  int spins = kSpins;
  asm volatile("kmovw %[mask], %%k3\n\t" SIXTEEN(LOAD_ZMM)
                   SIXTEEN_MORE(LOAD_ZMM) "xorl %[mask], %[mask]\n\t" SPIN SIXTEEN(STORE_ZMM)
                       SIXTEEN_MORE(STORE_ZMM) "kmovw %%k3, %[mask]\n\tvzeroupper\n\t"
               : [spins] "+r"(spins), [mask] "+r"(mask)
               : [in] "r"(in), [out] "r"(out)
               : "memory", "cc", "k3", SIXTEEN_CLOBBERS, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
                 "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
}

}  // namespace

// Floating point in vector registers across the loop: a lost register shows at once.
void compute(std::size_t me) {
  __m128d a = _mm_set_pd(1.0, 2.0);
  const __m128d b = _mm_set_pd(1.000001, 1.000002);
  const __m128d c = _mm_set_pd(0.000001, 0.000003);
  while (!failed) {
    __m128d x = a;
    for (int i = 0; i < 2000; ++i) x = _mm_add_pd(_mm_mul_pd(x, b), c);
    __m128d y = a;
    for (int i = 0; i < 2000; ++i) y = _mm_add_pd(_mm_mul_pd(y, b), c);
    double p[2];
    double q[2];
    _mm_storeu_pd(p, x);
    _mm_storeu_pd(q, y);
    if (p[0] != q[0] || p[1] != q[1] || !std::isfinite(p[0])) wrong("vector registers");
    round_over(me);
  }
}

void hold_vectors(std::size_t me) {
  std::uint8_t in[32 * 64];
  std::uint8_t out[32 * 64];
  const bool avx = __builtin_cpu_supports("avx");
  const bool avx512 = __builtin_cpu_supports("avx512f");
  for (std::uint32_t round = 1; !failed; ++round) {
    for (std::size_t i = 0; i < sizeof(in); ++i) in[i] = static_cast<std::uint8_t>(round * 31 + i * 7 + i / 64);
    if (avx) {
      hold_ymm(in, out);
      if (std::memcmp(in, out, 16 * 32) != 0) wrong("the AVX registers");
    }
    if (avx512) {
      std::uint32_t mask = round & 0xFFFF;
      hold_zmm(in, out, mask);
      if (std::memcmp(in, out, sizeof(in)) != 0) wrong("the AVX-512 registers");
      if (mask != (round & 0xFFFF)) wrong("an AVX-512 mask register");
    }
    round_over(me);
  }
}

// The x87 stack, and how this thread rounds: MXCSR and the x87 control word.
void hold_fpu(std::size_t me) {
  ::fesetround(FE_UPWARD);
  volatile double one = 1.0;
  volatile double three = 3.0;
  const double upward = one / three;
  for (std::uint64_t round = 1; !failed; ++round) {
    std::uint64_t value = round * 3;
    std::uint64_t kept = 0;
    std::uint64_t below = 0;
    int spins = kSpins;
    asm volatile("fildq %[value]\n\tfld1\n\tfildq %[value]\n\t" SPIN
                 "fistpq %[kept]\n\tfstp %%st(0)\n\tfistpq %[below]\n\t"
                 : [spins] "+r"(spins), [kept] "=m"(kept), [below] "=m"(below)
                 : [value] "m"(value)
                 : "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
    if (kept != value || below != value) wrong("the x87 stack");
    if (::fegetround() != FE_UPWARD || one / three != upward) wrong("the rounding mode");
    round_over(me);
  }
}

}  // namespace busy
