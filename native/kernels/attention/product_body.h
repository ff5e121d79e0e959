// The small products of attention, and copies between row-major and transposed order. body.h includes this file.

#include "kernels/simd/transpose4_body.h"

// Accumulators: 16 registers (AVX-512) or 8, enough to hide the latency of two multiply-adds per cycle.
constexpr int64_t kTileRows = kLanes == 16 ? 8 : 4;
constexpr int64_t kTileVecs = 2;

// C[r][x] (+)= Σ_s B[r·b_row + s·b_step] · A[s·a_stride + x].
struct Product {
  const float* b;
  int64_t b_row, b_step;
  const float* a;
  int64_t a_stride;
  float* c;
  int64_t c_stride;
  int64_t rows, width, depth;
  bool accumulate;
};

// rows and vecs are compile-time constants after inlining. The last register uses n lanes.
MBOK_INLINE void tile(const Product& p, int64_t r, int64_t x, int64_t rows, int64_t vecs, int64_t n) {
  Vec sum[kTileRows][kTileVecs];
  float* c = p.c + r * p.c_stride + x;
  // clang-format off
  MBOK_UNROLL
  for (int64_t i = 0; i < rows; ++i)
    MBOK_UNROLL
    for (int64_t v = 0; v < vecs; ++v)
      sum[i][v] = p.accumulate ? load_n(c + i * p.c_stride + v * kLanes, v + 1 < vecs ? kLanes : n) : zero();
  // clang-format on
  const float* a = p.a + x;
  const float* b = p.b + r * p.b_row;
  for (int64_t s = 0; s < p.depth; ++s, a += p.a_stride, b += p.b_step) {
    Vec lanes[kTileVecs];
    MBOK_UNROLL
    for (int64_t v = 0; v < vecs; ++v) lanes[v] = load_n(a + v * kLanes, v + 1 < vecs ? kLanes : n);
    MBOK_UNROLL
    for (int64_t i = 0; i < rows; ++i) {
      const Vec factor = broadcast(b[i * p.b_row]);
      MBOK_UNROLL
      for (int64_t v = 0; v < vecs; ++v) sum[i][v] = fma(factor, lanes[v], sum[i][v]);
    }
  }
  // clang-format off
  MBOK_UNROLL
  for (int64_t i = 0; i < rows; ++i)
    MBOK_UNROLL
    for (int64_t v = 0; v < vecs; ++v) store_n(c + i * p.c_stride + v * kLanes, sum[i][v], v + 1 < vecs ? kLanes : n);
  // clang-format on
}

MBOK_INLINE void column_of_tiles(const Product& p, int64_t x, int64_t vecs, int64_t n) {
  int64_t r = 0;
  for (; r + kTileRows <= p.rows; r += kTileRows) tile(p, r, x, kTileRows, vecs, n);
  for (; r + 2 <= p.rows; r += 2) tile(p, r, x, 2, vecs, n);
  if (r < p.rows) tile(p, r, x, 1, vecs, n);
}

void multiply(const Product& p) {
  int64_t x = 0;
  for (; x + kTileVecs * kLanes <= p.width; x += kTileVecs * kLanes) column_of_tiles(p, x, kTileVecs, kLanes);
  for (; x + kLanes <= p.width; x += kLanes) column_of_tiles(p, x, 1, kLanes);
  if (x < p.width) column_of_tiles(p, x, 1, p.width - x);
}

// Transposes rows × cols, to[c][r] = from[r][c], in 4 × 4 squares.
void transpose(const float* from, int64_t from_stride, int64_t rows, int64_t cols, float* to, int64_t to_stride) {
  const int64_t whole_rows = rows / 4 * 4, whole_cols = cols / 4 * 4;
  for (int64_t r = 0; r < whole_rows; r += 4)
    for (int64_t c = 0; c < whole_cols; c += 4)
      transpose4(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = r < whole_rows ? whole_cols : 0; c < cols; ++c) to[c * to_stride + r] = from[r * from_stride + c];
}

// Copies rows of d floats to a stride of whole registers.
template <class Source>
void gather_rows(const typename Source::Element* from, int64_t stride, int64_t rows, int64_t d, float* to,
                 int64_t to_stride) {
  for (int64_t r = 0; r < rows; ++r, from += stride, to += to_stride) {
    int64_t c = 0;
    for (; c + kLanes <= d; c += kLanes) store(to + c, Source::load(from + c));
    if (c < d) store_n(to + c, Source::load_n(from + c, d - c), d - c);
  }
}

// Returns the lanes whose query sees the key at position `key`; lane 0 is the query at position `query`.
MBOK_INLINE Mask seen(int64_t query, int64_t key, int64_t window) {
  const Vec lane = lane_index();
  const Mask causal = lane >= broadcast(static_cast<float>(key - query));
  return window > 0 ? causal & (lane < broadcast(static_cast<float>(key - query + window))) : causal;
}

// Returns whether each of `count` queries from position `first` sees each of `keys` keys from position `key`.
MBOK_INLINE bool all_seen(int64_t first, int64_t count, int64_t key, int64_t keys, int64_t window) {
  return key + keys - 1 <= first && (window == 0 || key > first + count - 1 - window);
}

MBOK_INLINE int64_t first_key(int64_t position, int64_t window) {
  return window > 0 && position + 1 > window ? position + 1 - window : 0;
}

MBOK_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
MBOK_INLINE int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
