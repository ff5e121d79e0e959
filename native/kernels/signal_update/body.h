// The functions of signal_update.h over Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces,
// so it has no include guard. kLanes divides 64, so a vector's bits lie in one word.
namespace {

// Whole vectors use plain loads, the tail masked ones: body(j, n) has n = kLanes except at the end.
#define MBOK_FOR_VECTORS(cols)                                           \
  for (int64_t j = 0, n = (cols) < kLanes ? (cols) : kLanes; j < (cols); \
       j += kLanes, n = (cols) - j < kLanes ? (cols) - j : kLanes)

MBOK_INLINE Vec load_some(const float* p, int64_t n) { return n == kLanes ? load(p) : load_n(p, n); }
MBOK_INLINE void store_some(float* p, Vec a, int64_t n) {
  if (n == kLanes)
    store(p, a);
  else
    store_n(p, a, n);
}

MBOK_INLINE uint64_t bits_at(const uint64_t* bits, int64_t j) { return bits[j / 64] >> (j % 64); }

MBOK_INLINE Vec signal(const float* g, Vec s_out, const float* s_in, int64_t j, int64_t n) {
  const Vec q = load_some(g + j, n) * s_out;
  return s_in == nullptr ? q : q * load_some(s_in + j, n);
}

MBOK_INLINE Vec finite_or_zero(Vec magnitude) {
  return select(magnitude <= broadcast(3.402823466e38f), magnitude, zero());
}

#include "kernels/signal_update/nearest_level.h"

constexpr int kLowKernels = 4;

MBOK_INLINE Vec nearer(Vec best, Vec sum) {
  return min(best, select(sum > broadcast(kLeastHalfGap), sum, broadcast(__builtin_inff())));
}

// Moves the lanes in `moved`. They are few, so only now is the set of bits to flip computed.
int64_t move_lanes(const MoveRow& row, float retained, float* m, int64_t j, uint64_t moved) {
  int64_t moves = 0;
  for (; moved != 0; moved &= moved - 1, ++moves) {
    const int64_t at = j + __builtin_ctzll(moved);
    float u[kMaxMoveKernels];
    for (int k = 0; k < row.kernels; ++k) {
      const float s = row.s_out[k] * row.s_in[k * row.s_in_stride + at];
      const bool set = bits_at(row.bits + k * row.bits_stride, at) & 1;
      u[k] = set == !__builtin_signbit(m[at]) ? s : -s;
    }
    const NearestLevel nearest = nearest_level(u, row.kernels);
    for (int k = 0; k < row.kernels; ++k)
      row.bits[k * row.bits_stride + at / 64] ^= static_cast<uint64_t>((nearest.set >> k) & 1) << (at % 64);
    m[at] = -__builtin_copysignf(retained * (nearest.half_gap / __builtin_fabsf(u[row.kernels - 1])), m[at]);
  }
  return moves;
}

// Keeps the sums of the first kLow kernels (all of them up to 4) in registers.
template <int kLow>
int64_t move_row(float* m, const MoveRow& row, float retained, int64_t cols) {
  const int high_kernels = row.kernels - kLow;
  int64_t moves = 0;
  MBOK_FOR_VECTORS(cols) {
    const Vec own = load_some(m + j, n);
    const auto oriented = [&](int k) {
      const Vec s = broadcast(row.s_out[k]) * load_some(row.s_in + k * row.s_in_stride + j, n);
      return times_sign(signed_by(s, bits_at(row.bits + k * row.bits_stride, j)), own);
    };
    Vec u[kLow], low[1 << kLow];
    Vec best = broadcast(__builtin_inff());
    MBOK_UNROLL
    for (int k = 0; k < kLow; ++k) u[k] = oriented(k);
    Vec last = u[kLow - 1];
    low[0] = zero();
    MBOK_UNROLL
    for (int set = 1; set < 1 << kLow; ++set) {
      low[set] = low[set & (set - 1)] + u[__builtin_ctz(static_cast<unsigned>(set))];
      best = nearer(best, low[set]);
    }
    Vec v[kMaxMoveKernels - kLowKernels], high[1 << (kMaxMoveKernels - kLowKernels)];
    for (int k = 0; k < high_kernels; ++k) last = v[k] = oriented(kLow + k);
    high[0] = zero();
    for (int h = 1; h < 1 << high_kernels; ++h) {
      high[h] = high[h & (h - 1)] + v[__builtin_ctz(static_cast<unsigned>(h))];
      MBOK_UNROLL
      for (int set = 0; set < 1 << kLow; ++set) best = nearer(best, high[h] + low[set]);
    }
    const uint64_t moved = bits_of((abs(own) * abs(last) >= best) & (best <= broadcast(3.402823466e38f)));
    if (moved != 0) moves += move_lanes(row, retained, m, j, moved);
  }
  return moves;
}

}  // namespace

float scale_gradient(const float* g, const uint64_t* bits, float s_out, const float* s_in, float* ds_in, int64_t cols) {
  Vec sum = zero();
  const Vec scale = broadcast(s_out);
  MBOK_FOR_VECTORS(cols) {
    const Vec gb = signed_by(load_some(g + j, n), bits_at(bits, j));
    store_some(ds_in + j, fma(gb, scale, load_some(ds_in + j, n)), n);
    sum = fma(gb, load_some(s_in + j, n), sum);
  }
  return reduce_add(sum);
}

float signal_squares(const float* g, float s_out, const float* s_in, float* column, int64_t cols) {
  Vec sum = zero();
  const Vec scale = broadcast(s_out);
  MBOK_FOR_VECTORS(cols) {
    const Vec q = signal(g, scale, s_in, j, n);
    const Vec square = finite_or_zero(q * q);
    store_some(column + j, load_some(column + j, n) + square, n);
    sum = sum + square;
  }
  return reduce_add(sum);
}

float signal_magnitude(const float* g, float s_out, const float* s_in, int64_t cols) {
  Vec sum = zero();
  const Vec scale = broadcast(s_out);
  MBOK_FOR_VECTORS(cols) sum = sum + finite_or_zero(abs(signal(g, scale, s_in, j, n)));
  return reduce_add(sum);
}

void add_signal(const float* g, float s_out, const float* s_in, float* q, int64_t cols) {
  const Vec scale = broadcast(s_out);
  MBOK_FOR_VECTORS(cols) store_some(q + j, load_some(q + j, n) + signal(g, scale, s_in, j, n), n);
}

void accumulate(float* m, const float* g, float beta, float row, const float* column, int64_t cols) {
  const Vec decay = broadcast(beta), scale = broadcast(row);
  MBOK_FOR_VECTORS(cols) {
    const Vec old = load_some(m + j, n);
    const Vec next = decay * old + (load_some(g + j, n) * scale) * load_some(column + j, n);
    store_some(m + j, select(abs(next) <= broadcast(3.402823466e38f), next, old), n);
  }
}

int64_t flip(float* m, uint64_t* bits, float retained, int64_t cols) {
  int64_t flips = 0;
  MBOK_FOR_VECTORS(cols) {
    const Vec own = load_some(m + j, n);
    const uint64_t set = bits_at(bits, j);
    // lanes beyond the row are 0 in `own`, so they never flip
    const uint64_t flipped = (bits_of(own >= broadcast(1.0f)) & set) | (bits_of(own <= broadcast(-1.0f)) & ~set);
    if (flipped == 0) continue;
    bits[j / 64] ^= flipped << (j % 64);
    store_some(m + j, select(mask_of(flipped), times_sign(broadcast(-retained), own), own), n);
    flips += __builtin_popcountll(flipped);
  }
  return flips;
}

int64_t move(float* m, const MoveRow& row, float retained, int64_t cols) {
  switch (row.kernels) {
    case 1:
      return move_row<1>(m, row, retained, cols);
    case 2:
      return move_row<2>(m, row, retained, cols);
    case 3:
      return move_row<3>(m, row, retained, cols);
    default:
      return move_row<kLowKernels>(m, row, retained, cols);
  }
}

#undef MBOK_FOR_VECTORS
