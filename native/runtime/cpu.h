// CPU features, detected once (x86-64: CPUID; aarch64: the operating system) and restricted by MBOK_ISA.
// Values of MBOK_ISA: scalar, avx2, avxvnni, avx512, amx on x86-64; scalar, neon, dotprod, i8mm on aarch64.
#pragma once

#include <cstdint>

namespace mbok {

// Bits of a feature set. A kernel function names the bits it needs (dispatch.h).
enum Feature : uint32_t {
  kNone = 0,
  kAvx2 = 1u << 0,             // AVX2, FMA and F16C together
  kAvx512 = 1u << 1,           // AVX-512 F, BW, DQ and VL together (and all of kAvx2)
  kAvx512Vnni = 1u << 2,       // vpdpbusd on zmm
  kAvx512Bf16 = 1u << 3,       // vdpbf16ps
  kAvx512Vpopcntdq = 1u << 4,  // vpopcntq
  kAvx512Vbmi = 1u << 5,       // vpermb
  kAmxBf16 = 1u << 6,          // tdpbf16ps; the operating system has granted the tiles
  kAvxVnni = 1u << 10,         // vpdpbusd without AVX-512
  kIntel = 1u << 11,           // no instructions: Intel's prefetchers need other software prefetch than AMD's
  kNeon = 1u << 7,             // every aarch64
  kDotprod = 1u << 8,          // sdot, udot
  kI8mm = 1u << 9,             // smmla, usmmla, usdot (and kDotprod)
};

// Returns the features that kernel functions may use: those of the CPU and operating system, restricted by MBOK_ISA.
// Throws Error MBOK_INVALID_ARGUMENT when MBOK_ISA is unknown or not supported by the machine.
uint32_t cpu_features();

// Returns the widest instruction set in use, as a value of MBOK_ISA.
const char* isa_name();

// Returns the processor's brand string, e.g. "AMD EPYC".
const char* cpu_name();

}  // namespace mbok
