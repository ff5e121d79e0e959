// Regions of code compiled for an instruction set that the rest of the library must not assume:
//
//   #include "kernels/simd/avx512.h"       // outside the region, like every other header
//   #if defined(MBOK_X86)
//   MBOK_TARGET_AVX512
//   namespace mbok::avx512 { … }
//   MBOK_TARGET_END
//   #endif
//
// If two translation units compile a function with external linkage for different instruction sets, the linker merges
// them and may keep the wide copy for everyone. So code in a region lives in namespace mbok::avx2, mbok::avx512 or
// mbok::neon, inside an anonymous namespace except for the entry points. It calls no inline function or template of a
// header that is compiled elsewhere: no std::min, no std::vector, no mbok helpers.
//
// Every aarch64 CPU has NEON, so plain NEON code needs no region, only #if defined(MBOK_NEON).
#pragma once

#if defined(__x86_64__)
#define MBOK_X86 1
#elif defined(__aarch64__)
#define MBOK_NEON 1
#endif

#define MBOK_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define MBOK_TARGET(features) MBOK_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define MBOK_TARGET_END _Pragma("clang attribute pop")
#else
#define MBOK_TARGET(features) _Pragma("GCC push_options") MBOK_PRAGMA(GCC target(features))
#define MBOK_TARGET_END _Pragma("GCC pop_options")
#endif

// Each matches Feature bits of runtime/cpu.h: kAvx2 or kAvx512, alone or with further features; kDotprod, alone or with
// kI8mm.
#if defined(MBOK_X86)
#define MBOK_TARGET_AVX2 MBOK_TARGET("avx2,fma,f16c")
#define MBOK_TARGET_AVX2_VNNI MBOK_TARGET("avx2,fma,f16c,avxvnni")
#define MBOK_TARGET_AVX512 MBOK_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")
#define MBOK_TARGET_AVX512_BF16 MBOK_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
#define MBOK_TARGET_AMX MBOK_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16")
#define MBOK_TARGET_AVX512_VNNI MBOK_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#define MBOK_TARGET_AVX512_VPOPCNTDQ MBOK_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")
#define MBOK_TARGET_AVX512_VBMI MBOK_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")
#elif defined(MBOK_NEON) && defined(__clang__)
#define MBOK_TARGET_DOTPROD MBOK_TARGET("dotprod")
#define MBOK_TARGET_I8MM MBOK_TARGET("dotprod,i8mm")
#elif defined(MBOK_NEON)
// GCC inlines its intrinsics only if the target allows the whole architecture that defines them.
#define MBOK_TARGET_DOTPROD MBOK_TARGET("arch=armv8.2-a+dotprod")
#define MBOK_TARGET_I8MM MBOK_TARGET("arch=armv8.2-a+dotprod+i8mm")
#endif

// The vector candidates of a dispatch table whose functions have the same name in all namespaces.
#if defined(MBOK_X86)
#define MBOK_VECTOR_CANDIDATES(function) {"avx512", kAvx512, avx512::function}, {"avx2", kAvx2, avx2::function},
#elif defined(MBOK_NEON)
#define MBOK_VECTOR_CANDIDATES(function) {"neon", kNeon, neon::function},
#else
#define MBOK_VECTOR_CANDIDATES(function)
#endif

// Precedes a loop with a small constant trip count whose body indexes an array of accumulators. Unless the loop is
// fully unrolled, the accumulators live in memory.
#if defined(__clang__)
#define MBOK_UNROLL _Pragma("unroll")
#else
#define MBOK_UNROLL _Pragma("GCC unroll 16")
#endif

// Inlines into a region's hot loop, whatever the optimizer thinks of the size. A loop over a row writes its body once,
// as a lambda of (first element, count ≤ kLanes), and calls it with kLanes and then once for the tail. In the first
// call load_n and store_n become plain loads and stores.
#define MBOK_INLINE inline __attribute__((always_inline))
#define MBOK_INLINE_LAMBDA __attribute__((always_inline))
