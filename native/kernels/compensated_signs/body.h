// Compensated sign choice in terms of Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

#include "kernels/refit/search_body.h"

namespace {

constexpr int kGroups = static_cast<int>(kCompensationRows / kLanes);

template <int K>
void compensate_of(const CompensationBlock& block) {
  // column l of the block at [l · 64]: 64 rows, zero beyond block.rows
  alignas(64) float errors[kCompensationCols * kCompensationRows];
  alignas(64) float column[kCompensationRows] = {};
  alignas(64) float s_out[K][kCompensationRows] = {};
  for (int k = 0; k < K; ++k)
    for (int64_t r = 0; r < block.rows; ++r) s_out[k][r] = block.s_out[k * block.s_out_stride + r];
  const uint64_t valid = block.rows == 64 ? ~uint64_t{0} : (uint64_t{1} << block.rows) - 1;

  for (int64_t l = 0; l < block.cols; ++l) {
    for (int64_t r = 0; r < block.rows; ++r) column[r] = block.w[r * block.w_stride + l];
    Vec x[kGroups];
    MBOK_UNROLL
    for (int g = 0; g < kGroups; ++g) x[g] = load(column + g * kLanes);
    for (int64_t j = 0; j < l; ++j) {
      const Vec weight = broadcast(block.u[j * block.u_stride + l]);
      MBOK_UNROLL
      for (int g = 0; g < kGroups; ++g) {
        x[g] = fma(load(errors + j * kCompensationRows + g * kLanes), weight, x[g]);
      }
    }
    const Vec diagonal = broadcast(block.u[l * block.u_stride + l]);
    uint64_t words[K] = {};
    for (int g = 0; g < kGroups; ++g) {
      Vec magnitude[K];
      MBOK_UNROLL
      for (int k = 0; k < K; ++k) {
        magnitude[k] = load(s_out[k] + g * kLanes) * broadcast(block.s_in[k * block.s_in_stride + l]);
      }
      const Vec level = choose_levels<K>(x[g], magnitude, [&](int k, uint64_t signs) MBOK_INLINE_LAMBDA {
        words[k] |= (signs & ((uint64_t{1} << kLanes) - 1)) << (g * kLanes);
      });
      store(errors + l * kCompensationRows + g * kLanes, (level - x[g]) / diagonal);
    }
    for (int k = 0; k < K; ++k) block.signs[k * block.signs_stride + l] = words[k] & valid;
  }
  for (int64_t r = 0; r < block.rows; ++r)
    for (int64_t l = 0; l < block.cols; ++l)
      block.errors[r * kCompensationCols + l] = errors[l * kCompensationRows + r];
}

}  // namespace

void compensate(const CompensationBlock& block) { MBOK_FOR_KERNELS(block.kernels, compensate_of, block) }
