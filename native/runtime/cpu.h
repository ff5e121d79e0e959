// What this processor can run, found once (x86-64: by CPUID; aarch64: from the operating system) and narrowed by MBOK_ISA:
// scalar, avx2, avxvnni, avx512 or amx, on aarch64 scalar, neon, dotprod or i8mm.
#pragma once

#include <cstdint>

namespace mbok {

// Bits of a feature set. A kernel function names the bits it needs; see dispatch.h.
enum Feature : uint32_t {
  kNone = 0,
  kAvx2 = 1u << 0,             // AVX2, FMA and F16C together
  kAvx512 = 1u << 1,           // AVX-512 F, BW, DQ and VL together (and all of kAvx2)
  kAvx512Vnni = 1u << 2,       //
  kAvx512Bf16 = 1u << 3,       // vdpbf16ps
  kAvx512Vpopcntdq = 1u << 4,  // vpopcntq
  kAvx512Vbmi = 1u << 5,       // vpermb
  kAmxBf16 = 1u << 6,          // tdpbf16ps, and the operating system's leave to use the tiles
  kAvxVnni = 1u << 10,         // vpdpbusd without AVX-512
  kIntel = 1u << 11,           // no instructions, but other ways of reading memory ahead than AMD's
  kNeon = 1u << 7,             // every aarch64
  kDotprod = 1u << 8,          // sdot, udot
  kI8mm = 1u << 9,             // smmla, usmmla, usdot (and kDotprod)
};

// Features that kernel functions may use: what the CPU and the operating system offer, narrowed by MBOK_ISA.
// An unknown MBOK_ISA, or one that the machine lacks, throws Error MBOK_INVALID_ARGUMENT.
uint32_t cpu_features();

// The widest instruction set in use, by its name for MBOK_ISA.
const char* isa_name();

// The processor's own name, e.g. "AMD EPYC".
const char* cpu_name();

}  // namespace mbok
