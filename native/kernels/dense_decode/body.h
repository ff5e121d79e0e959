// Written once for every Vec; kSums is how many of them fit the registers. Included into an anonymous namespace inside
// mbok::<isa>.

#include "kernels/simd/decode_body.h"

// A problem whose weights are read through a source of narrow_<isa>.h.
template <class WeightSource>
struct Typed : DenseDecode {
  using Source = WeightSource;
};

// Whether weights carry a scale: only whole numbers do.
template <class Source>
constexpr bool kScaled = sizeof(typename Source::Element) == 1;

template <int Rows, int Outputs, class Problem>
MBOK_INLINE void decode_outputs(const Problem& p, int64_t first) {
  using Source = typename Problem::Source;
  Vec sum[Rows][Outputs];
  MBOK_UNROLL
  for (int r = 0; r < Rows; ++r) {
    MBOK_UNROLL
    for (int i = 0; i < Outputs; ++i) sum[r][i] = zero();
  }
  const auto* w = static_cast<const typename Source::Element*>(p.w) + first * p.depth;
  int64_t d = 0;
  for (; d + kLanes <= p.depth; d += kLanes) {
    Vec x[Rows];
    MBOK_UNROLL
    for (int r = 0; r < Rows; ++r) x[r] = load(p.x + r * p.depth + d);
    MBOK_UNROLL
    for (int i = 0; i < Outputs; ++i) {
      const Vec weights = Source::load(w + i * p.depth + d);
      MBOK_UNROLL
      for (int r = 0; r < Rows; ++r) sum[r][i] = fma(x[r], weights, sum[r][i]);
    }
  }
  if (d < p.depth) {
    const int64_t left = p.depth - d;
    MBOK_UNROLL
    for (int i = 0; i < Outputs; ++i) {
      const Vec weights = Source::load_n(w + i * p.depth + d, left);
      MBOK_UNROLL
      for (int r = 0; r < Rows; ++r) sum[r][i] = fma(load_n(p.x + r * p.depth + d, left), weights, sum[r][i]);
    }
  }
  if constexpr (kScaled<Source>) {
    MBOK_UNROLL
    for (int i = 0; i < Outputs; ++i) {
      const Vec scale = broadcast(p.scales[first + i]);
      MBOK_UNROLL
      for (int r = 0; r < Rows; ++r) sum[r][i] = sum[r][i] * scale;
    }
  }
  store_outputs(p, first, sum);
}
