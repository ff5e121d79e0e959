// Measures the machine's limits with only the instructions that bound our kernel functions. Prints JSON.
//
//   read_bytes_per_second      sum of a buffer much larger than the caches, all threads
//   f32_flops_per_second       independent fused multiply-adds in registers, all threads
//   bf16_flops_per_second      vdpbf16ps in registers, tdpbf16ps on AMX; 0 if the CPU has neither
//   int8_flops_per_second      vpdpbusd, sdot or usmmla in registers; 0 if the CPU has none
//   popcount_bits_per_second   xor + popcount + add in registers, counted as bits compared

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <vector>

#include "kernels/simd/intrinsics.h"
#include "kernels/simd/neon.h"
#include "runtime/cpu.h"
#include "runtime/memory.h"
#include "runtime/thread_pool.h"

namespace {

using mbok::ThreadPool;

constexpr int kRepetitions = 15;
constexpr int64_t kSteps = 1 << 20;

volatile double sink;  // keeps results alive

// Returns the seconds of one call of body on every thread at once. The best of several calls, because a limit is what
// the machine can do undisturbed.
template <class Body>
double best_seconds(ThreadPool& pool, Body&& body) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kRepetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    pool.parallel_for(pool.threads(), [&](int64_t task, int) { body(task); });
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

#if defined(__x86_64__)

// 24 accumulators: latency 4 on two ports needs 8, and the others hide any other latency.
__attribute__((target("avx512f"))) double fma512() {
  __m512 sums[24];
  for (auto& sum : sums) sum = _mm512_set1_ps(1.0f);
  const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
  for (int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 24
    for (int j = 0; j < 24; ++j) sums[j] = _mm512_fmadd_ps(sums[j], a, b);
  }
  __m512 total = sums[0];
  for (int j = 1; j < 24; ++j) total = _mm512_add_ps(total, sums[j]);
  return static_cast<double>(_mm512_cvtss_f32(total));
}

__attribute__((target("avx2,fma"))) double fma256() {
  __m256 sums[12];
  for (auto& sum : sums) sum = _mm256_set1_ps(1.0f);
  const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
  for (int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) sums[j] = _mm256_fmadd_ps(sums[j], a, b);
  }
  __m256 total = sums[0];
  for (int j = 1; j < 12; ++j) total = _mm256_add_ps(total, sums[j]);
  return static_cast<double>(_mm256_cvtss_f32(total));
}

__attribute__((target("avx512f,avx512bf16"))) double dot_bf16() {
  __m512 sums[24];
  for (auto& sum : sums) sum = _mm512_set1_ps(1.0f);
  __m512bh a = (__m512bh)_mm512_set1_epi32(0x3c003c00), b = (__m512bh)_mm512_set1_epi32(0x3c003c00);
  for (int64_t i = 0; i < kSteps; ++i) {
    __asm__ volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 24
    for (int j = 0; j < 24; ++j) sums[j] = _mm512_dpbf16_ps(sums[j], a, b);
  }
  __m512 total = sums[0];
  for (int j = 1; j < 24; ++j) total = _mm512_add_ps(total, sums[j]);
  return static_cast<double>(_mm512_cvtss_f32(total));
}

// Four products of 16 × 16 sums and 32 numbers on zero tiles, the 2 × 2 block of the library's kernel.
constexpr int64_t kTileSteps = kSteps / 16;
__attribute__((target("amx-tile,amx-bf16"))) double dot_amx() {
  struct alignas(64) {
    uint8_t palette = 1, rest[15] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } tiles;
  __asm__ volatile("" : : "r"(&tiles) : "memory");
  _tile_loadconfig(&tiles);
  for (int64_t i = 0; i < kTileSteps; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return 0;
}

// In assembly, because GCC 12 copies every sum twice around the intrinsic.
__attribute__((target("avx512f,avx512vnni"))) double dot_int8() {
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a, e = a, f = a, g = a, h = a, i = a, j = a, k = a, l = a;
  const __m512i ones = _mm512_set1_epi32(0x01010101);
  for (int64_t step = 0; step < 2 * kSteps; ++step)
    __asm__ volatile(
        "vpdpbusd %12, %12, %0\n vpdpbusd %12, %12, %1\n vpdpbusd %12, %12, %2\n vpdpbusd %12, %12, %3\n"
        "vpdpbusd %12, %12, %4\n vpdpbusd %12, %12, %5\n vpdpbusd %12, %12, %6\n vpdpbusd %12, %12, %7\n"
        "vpdpbusd %12, %12, %8\n vpdpbusd %12, %12, %9\n vpdpbusd %12, %12, %10\n vpdpbusd %12, %12, %11"
        : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f), "+v"(g), "+v"(h), "+v"(i), "+v"(j), "+v"(k), "+v"(l)
        : "v"(ones));
  return static_cast<double>(_mm512_cvtsi512_si32(_mm512_add_epi32(a, l)));
}

__attribute__((target("avx512f,avx512vpopcntdq"))) double popcount512() {
  __m512i sums[12];
  for (auto& sum : sums) sum = _mm512_setzero_si512();
  __m512i a = _mm512_set1_epi64(0x5555), b[12];
  for (int j = 0; j < 12; ++j) b[j] = _mm512_set1_epi64(j);
  for (int64_t i = 0; i < kSteps; ++i) {
    __asm__ volatile("" : "+v"(a));  // a new operand each step, as far as the compiler knows
#pragma GCC unroll 12
    for (int j = 0; j < 12; ++j) sums[j] = _mm512_add_epi64(sums[j], _mm512_popcnt_epi64(_mm512_xor_si512(a, b[j])));
  }
  __m512i total = sums[0];
  for (int j = 1; j < 12; ++j) total = _mm512_add_epi64(total, sums[j]);
  return static_cast<double>(_mm_cvtsi128_si64(_mm512_castsi512_si128(total)));
}

__attribute__((target("avx512f"))) double read512(const std::byte* data, int64_t bytes) {
  __m512i sums[8];
  for (auto& sum : sums) sum = _mm512_setzero_si512();
  for (int64_t i = 0; i + 512 <= bytes; i += 512)
    for (int j = 0; j < 8; ++j) sums[j] = _mm512_add_epi64(sums[j], _mm512_load_si512(data + i + 64 * j));
  __m512i total = sums[0];
  for (int j = 1; j < 8; ++j) total = _mm512_add_epi64(total, sums[j]);
  return static_cast<double>(_mm_cvtsi128_si64(_mm512_castsi512_si128(total)));
}

__attribute__((target("popcnt"))) double popcount64() {
  uint64_t sums[8] = {}, a = 0x5555, b[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (int64_t i = 0; i < kSteps; ++i) {
    __asm__ volatile("" : "+r"(a));
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) sums[j] += static_cast<uint64_t>(__builtin_popcountll(a ^ b[j]));
  }
  uint64_t total = 0;
  for (const uint64_t sum : sums) total += sum;
  return static_cast<double>(total);
}

#elif defined(__aarch64__)

// 20 accumulators: latency 4 on four pipes needs 16. The loops over them are unrolled, so they stay in registers.
constexpr int kSums = 20;

double fma_neon() {
  float32x4_t sums[kSums];
#pragma GCC unroll 20
  for (auto& sum : sums) sum = vdupq_n_f32(1.0f);
  const float32x4_t a = vdupq_n_f32(0.999f), b = vdupq_n_f32(0.001f);
  for (int64_t i = 0; i < kSteps; ++i) {
#pragma GCC unroll 20
    for (int j = 0; j < kSums; ++j) sums[j] = vfmaq_f32(sums[j], a, b);
  }
  float32x4_t total = sums[0];
#pragma GCC unroll 20
  for (int j = 1; j < kSums; ++j) total = vaddq_f32(total, sums[j]);
  return static_cast<double>(vaddvq_f32(total));
}

double total_of(const int32x4_t (&sums)[kSums]) {
  int32x4_t total = sums[0];
#pragma GCC unroll 20
  for (int j = 1; j < kSums; ++j) total = vaddq_s32(total, sums[j]);
  return static_cast<double>(vaddvq_s32(total));
}

MBOK_TARGET_DOTPROD
double dot_int8() {
  int32x4_t sums[kSums] = {};
#pragma GCC unroll 20
  for (auto& sum : sums) __asm__("" : "+w"(sum));  // not the same sum twenty times, as far as the compiler knows
  int8x16_t ones = vdupq_n_s8(1);
  for (int64_t i = 0; i < kSteps; ++i) {
    __asm__ volatile("" : "+w"(ones));  // a new operand each step, as far as the compiler knows
#pragma GCC unroll 20
    for (int j = 0; j < kSums; ++j) sums[j] = vdotq_s32(sums[j], ones, ones);
  }
  return total_of(sums);
}
MBOK_TARGET_END

MBOK_TARGET_I8MM
double matrix_int8() {
  int32x4_t sums[kSums] = {};
#pragma GCC unroll 20
  for (auto& sum : sums) __asm__("" : "+w"(sum));
  uint8x16_t ones = vdupq_n_u8(1);
  for (int64_t i = 0; i < kSteps; ++i) {
    __asm__ volatile("" : "+w"(ones));
#pragma GCC unroll 20
    for (int j = 0; j < kSums; ++j) sums[j] = vusmmlaq_s32(sums[j], ones, vreinterpretq_s8_u8(ones));
  }
  return total_of(sums);
}
MBOK_TARGET_END

double popcount_neon() {
  uint8x16_t sums[8] = {}, a = vdupq_n_u8(0x55), b[8];
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) b[j] = vdupq_n_u8(static_cast<uint8_t>(j + 1));
  for (int64_t i = 0; i < kSteps; ++i) {
    __asm__ volatile("" : "+w"(a));
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) sums[j] = vaddq_u8(sums[j], vcntq_u8(veorq_u8(a, b[j])));
  }
  uint8x16_t total = sums[0];
#pragma GCC unroll 8
  for (int j = 1; j < 8; ++j) total = vaddq_u8(total, sums[j]);
  return static_cast<double>(vaddvq_u8(total));
}

double read_neon(const std::byte* data, int64_t bytes) {
  const auto* words = reinterpret_cast<const uint64_t*>(data);
  uint64x2_t sums[8] = {};
  for (int64_t i = 0; i + 16 <= bytes / 8; i += 16) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) sums[j] = vaddq_u64(sums[j], vld1q_u64(words + i + 2 * j));
  }
  uint64x2_t total = sums[0];
#pragma GCC unroll 8
  for (int j = 1; j < 8; ++j) total = vaddq_u64(total, sums[j]);
  return static_cast<double>(vaddvq_u64(total));
}

#endif

double read64(const std::byte* data, int64_t bytes) {
  const auto* words = reinterpret_cast<const uint64_t*>(data);
  uint64_t sums[8] = {};
  for (int64_t i = 0; i + 8 <= bytes / 8; i += 8)
    for (int j = 0; j < 8; ++j) sums[j] += words[i + j];
  uint64_t total = 0;
  for (const uint64_t sum : sums) total += sum;
  return static_cast<double>(total);
}

double fma_scalar() {
  float sums[8] = {};
  for (int64_t i = 0; i < kSteps; ++i)
    for (float& sum : sums) sum = sum * 0.999f + 0.001f;
  double total = 0;
  for (const float sum : sums) total += static_cast<double>(sum);
  return total;
}

struct Limit {
  double (*kernel)();
  double work;  // of one call on one thread
};

double rate(ThreadPool& pool, const Limit& limit) {
  if (limit.kernel == nullptr) return 0;
  std::vector<double> results(static_cast<size_t>(pool.threads()));
  const double seconds = best_seconds(pool, [&](int64_t task) { results[static_cast<size_t>(task)] = limit.kernel(); });
  sink = results[0];
  return limit.work * pool.threads() / seconds;
}

}  // namespace

int main() {
  const uint32_t features = mbok::cpu_features();
  const auto has = [&](uint32_t needs) { return (features & needs) == needs; };
  ThreadPool& pool = ThreadPool::shared();
  const double steps = static_cast<double>(kSteps);
  Limit f32 = {fma_scalar, 2.0 * 8 * steps};
  Limit bf16 = {nullptr, 0};
  Limit int8 = {nullptr, 0};
  Limit popcount = {nullptr, 0};
  double (*read)(const std::byte*, int64_t) = read64;
#if defined(__x86_64__)
  popcount = {popcount64, 64.0 * 8 * steps};
  if (has(mbok::kAvx2)) f32 = {fma256, 2.0 * 8 * 12 * steps};
  if (has(mbok::kAvx512)) {
    f32 = {fma512, 2.0 * 16 * 24 * steps};
    read = read512;
  }
  if (has(mbok::kAvx512Bf16)) bf16 = {dot_bf16, 2.0 * 32 * 24 * steps};
  if (has(mbok::kAmxBf16)) bf16 = {dot_amx, 2.0 * 16 * 16 * 32 * 4 * static_cast<double>(kTileSteps)};
  if (has(mbok::kAvx512Vnni)) int8 = {dot_int8, 2.0 * 64 * 24 * steps};
  if (has(mbok::kAvx512Vpopcntdq)) popcount = {popcount512, 512.0 * 12 * steps};
#elif defined(__aarch64__)
  if (has(mbok::kNeon)) {
    f32 = {fma_neon, 2.0 * 4 * kSums * steps};
    popcount = {popcount_neon, 128.0 * 8 * steps};
    read = read_neon;
  }
  if (has(mbok::kDotprod)) int8 = {dot_int8, 2.0 * 16 * kSums * steps};
  if (has(mbok::kI8mm)) int8 = {matrix_int8, 2.0 * 32 * kSums * steps};
#endif
  const int64_t share = int64_t{256} << 20;  // bytes per thread, larger than any cache
  mbok::Memory memory(static_cast<size_t>(share * pool.threads()));
  pool.parallel_for(pool.threads(), [&](int64_t task, int) {
    for (int64_t i = 0; i < share; i += 64) memory.data()[task * share + i] = static_cast<std::byte>(i);
  });
  std::vector<double> results(static_cast<size_t>(pool.threads()));
  const double seconds = best_seconds(pool, [&](int64_t task) {
    results[static_cast<size_t>(task)] = read(memory.data() + task * share, share);
  });
  sink = results[0];
  std::printf(
      "{\"cpu\": \"%s\", \"isa\": \"%s\", \"threads\": %d, \"read_bytes_per_second\": %.6g, "
      "\"f32_flops_per_second\": %.6g, \"bf16_flops_per_second\": %.6g, \"int8_flops_per_second\": %.6g, "
      "\"popcount_bits_per_second\": %.6g}\n",
      mbok::cpu_name(), mbok::isa_name(), pool.threads(), static_cast<double>(share) * pool.threads() / seconds,
      rate(pool, f32), rate(pool, bf16), rate(pool, int8), rate(pool, popcount));
  return 0;
}
