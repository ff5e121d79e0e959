// The bf16 product on AMX tiles: 2 × 2 tiles of 16 × 16 sums; operand tiles hold 16 rows × 32 bf16 numbers.
//
// Layout. A panel of B already has the layout of a tile (a tile row is 16 columns of one step), so its tiles are loaded
// in place with the panel's stride. Panels rebuilt here (BooleanPanels) lie in two strips of 32 columns. L1 then uses
// all of its sets, not half of them, and evicts less of A: 4 to 6 % faster. A is loaded in place if its depth is
// contiguous. Otherwise (keys and values of attention) 32 rows of the block are transposed first, 16 × 16 steps at a
// time.
//
// Budget. 32 × 32 sums and 16 steps take 4 tile products of 16 cycles on the one matrix unit and 4 overlapping tile
// loads of 8 cycles: 4 KiB in 64 cycles. Within L1 the matrix unit bounds it, 1024 operations per cycle and core.
// Panels stream from L2: measured 2.2 TFLOP/s per core on Granite Rapids at 3.9 GHz, where the unit alone reaches 3.5.
// The last-level cache delivers 8 bytes per cycle there, so the next 32 rows of A and a share of the next panels are
// prefetched.
//
// Numerics. A tile product sums the even and the odd numbers of 16 pairs separately in f32, then adds both. The order
// differs from vdpbf16ps, the rounding error does not.
// another order than vdpbf16ps, the same rounding error.
#include "kernels/bit_tiles/bit_tiles.h"
#include "kernels/dense_product/candidates.h"
#include "kernels/simd/mask_bits.h"

#if defined(MBOK_X86)
MBOK_TARGET_AMX
namespace mbok::avx512 {
namespace {

#include "kernels/boolean_panel/pairs.h"
#include "kernels/boolean_panel/rebuild.h"
#include "kernels/dense_panel/transpose16.h"
#include "kernels/dense_product/panels.h"

constexpr int kTile = 16;  // rows, columns and steps of a tile

// Tile registers: sums [row half][column half], A by row half, B by column half. They are macros because GCC's
// intrinsics paste the number into the register's name.
#define SUM00 0
#define SUM01 1
#define SUM10 2
#define SUM11 3
#define A0 4
#define A1 5
#define B0 6
#define B1 7

struct alignas(64) Configuration {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

int smaller(int64_t a, int64_t b) { return static_cast<int>(a < b ? a : b); }

// Extents of the tiles of one register block; a second half of extent 0 is unused.
struct Extents {
  int rows0, rows1, cols0, cols1, steps;
};

Extents extents(int64_t rows, int64_t cols, int64_t steps) {
  const int rows0 = smaller(rows, kTile), cols0 = smaller(cols, kTile);
  return {rows0, static_cast<int>(rows) - rows0, cols0, static_cast<int>(cols) - cols0, static_cast<int>(steps)};
}

void configure(const Extents& e) {
  Configuration c;
  __builtin_memset(&c, 0, sizeof c);
  c.palette = 1;
  const auto tile = [&](int number, int rows, int words) {
    if (rows == 0 || words == 0) return;
    c.rows[number] = static_cast<uint8_t>(rows);
    c.row_bytes[number] = static_cast<uint16_t>(words * 4);
  };
  tile(SUM00, e.rows0, e.cols0);
  tile(SUM01, e.rows0, e.cols1);
  tile(SUM10, e.rows1, e.cols0);
  tile(SUM11, e.rows1, e.cols1);
  tile(A0, e.rows0, e.steps);
  tile(A1, e.rows1, e.steps);
  tile(B0, e.steps, e.cols0);
  tile(B1, e.steps, e.cols1);
  __asm__ volatile("" : : "r"(&c) : "memory");  // GCC's intrinsic claims to read only 8 of the 64 bytes
  _tile_loadconfig(&c);
}

// Prefetches cache lines, some per tile of steps. Tile loads are too irregular for the hardware prefetcher, and many
// prefetches at once would delay them.
class Ahead {
 public:
  Ahead(const void* first, int64_t bytes, int64_t steps) : at_(static_cast<const char*>(first)) {
    if (first != nullptr && steps > 0) lines_ = (bytes / kLine + steps - 1) / steps;
  }
  void step() {
    for (int64_t i = 0; i < lines_; ++i, at_ += kLine) __builtin_prefetch(at_, 0, 2);
  }

 private:
  static constexpr int64_t kLine = 64;
  const char* at_;
  int64_t lines_ = 0;
};

// Rebuilds panels between tile products, evenly spread over all of them.
class Between {
 public:
  // steps: maximal number of calls of step()
  Between(const BooleanPanels* panels, int64_t steps) : rebuild_(panels) {
    if (steps == 0) return;
    pieces_ = rebuild_.pieces();
    steps_ = steps;
  }
  MBOK_INLINE void step() {
    for (due_ += pieces_; due_ >= steps_; due_ -= steps_) rebuild_.piece();
  }
  void finish() {
    while (rebuild_.pieces() > 0) rebuild_.piece();
  }

 private:
  Rebuild rebuild_;
  int64_t pieces_ = 0, steps_ = 1, due_ = 0;
};

// The work done with every tile of steps.
struct Meanwhile {
  MBOK_INLINE void step() {
    rows.step();
    panels.step();
    between.step();
  }
  Ahead rows, panels;  // of A and of B
  Between between;
};

// Initial value of the sums of a register block.
enum class Start { kZero, kAdd };

template <bool Rows, bool Cols>
void start_sums(Start start, const char* c0, const char* c1, int64_t c_bytes) {
  if (start == Start::kZero) {
    _tile_zero(SUM00);
    if (Cols) _tile_zero(SUM01);
    if (Rows) _tile_zero(SUM10);
    if (Rows && Cols) _tile_zero(SUM11);
  } else {
    _tile_loadd(SUM00, c0, c_bytes);
    if (Cols) _tile_loadd(SUM01, c0 + 64, c_bytes);
    if (Rows) _tile_loadd(SUM10, c1, c_bytes);
    if (Rows && Cols) _tile_loadd(SUM11, c1 + 64, c_bytes);
  }
}

// Computes the sums over `count` tiles of steps.
template <bool Rows, bool Cols>
void multiply_tiles(Start start, const char* a, int64_t a_bytes, const char* b, int64_t b_bytes, float* c,
                    int64_t c_bytes, int64_t count, Meanwhile& meanwhile) {
  char* const c0 = reinterpret_cast<char*>(c);
  char* const c1 = c0 + kTile * c_bytes;
  start_sums<Rows, Cols>(start, c0, c1, c_bytes);
  for (int64_t i = 0; i < count; ++i, a += 64, b += kTile * b_bytes) {
    meanwhile.step();
    _tile_loadd(A0, a, a_bytes);
    _tile_loadd(B0, b, b_bytes);
    _tile_dpbf16ps(SUM00, A0, B0);
    if (Cols) {
      _tile_loadd(B1, b + 64, b_bytes);
      _tile_dpbf16ps(SUM01, A0, B1);
    }
    if (Rows) {
      _tile_loadd(A1, a + kTile * a_bytes, a_bytes);
      _tile_dpbf16ps(SUM10, A1, B0);
      if (Cols) _tile_dpbf16ps(SUM11, A1, B1);
    }
  }
  _tile_stored(SUM00, c0, c_bytes);
  if (Cols) _tile_stored(SUM01, c0 + 64, c_bytes);
  if (Rows) _tile_stored(SUM10, c1, c_bytes);
  if (Rows && Cols) _tile_stored(SUM11, c1 + 64, c_bytes);
}

// Writes the bias into C, which the sums are then added to.
void write_bias(const ProductBlock& p) {
  for (int64_t i = 0; i < p.rows; ++i)
    for (int64_t j = 0; j < p.cols; j += kTile) {
      const int64_t left = p.cols - j;
      const __mmask16 mask = left >= kTile ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
      _mm512_mask_storeu_ps(p.c + i * p.c_stride + j, mask, _mm512_maskz_loadu_ps(mask, p.bias + j));
    }
}

// Transposes up to 32 rows of a block so that the depth is contiguous: [32][kDepthBlock] steps.
void transpose_rows(const ProductBlock& p, float* out) {
  const float* a = static_cast<const float*>(p.a);
  for (int64_t half = 0; half < p.rows; half += kTile) {
    const int64_t left = p.rows - half;
    const __mmask16 mask = left >= kTile ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
    for (int64_t d = 0; d < p.depth; d += kTile) {
      __m512 r[kTile];
      MBOK_UNROLL
      for (int i = 0; i < kTile; ++i) {
        r[i] = d + i < p.depth ? _mm512_maskz_loadu_ps(mask, a + half + (d + i) * p.a_depth) : _mm512_setzero_ps();
      }
      transpose16(r);
      MBOK_UNROLL
      for (int i = 0; i < kTile; ++i) _mm512_store_ps(out + (half + i) * kDepthBlock + d, r[i]);
    }
  }
}

class Tiles {
 public:
  // Multiplies up to 32 rows by one panel.
  void multiply(const ProductBlock& p, Meanwhile& meanwhile) {
    const bool add = p.accumulate || p.bias != nullptr;
    if (add && !p.accumulate) write_bias(p);
    const char* const a = static_cast<const char*>(p.a);
    const int64_t a_bytes = p.a_row * 4, b_bytes = (p.rebuilt ? kStripCols : kPanelCols) * 4;
    const int64_t whole = p.depth / kTile, rest = p.depth % kTile;
    __asm__ volatile("" ::: "memory");  // tile loads do not declare which memory they read
    for (int64_t col = 0; col < p.cols; col += 2 * kTile) {
      const int64_t cols = smaller(p.cols - col, 2 * kTile);
      const int64_t strip = p.rebuilt ? col / kStripCols * p.b_panel / 2 : col;
      const char* const b = reinterpret_cast<const char*>(static_cast<const float*>(p.b) + strip);
      float* const c = p.c + col;
      const Start start = add ? Start::kAdd : Start::kZero;
      if (whole > 0 || rest == 0)
        run(start, extents(p.rows, cols, kTile), a, a_bytes, b, b_bytes, c, p.c_stride, whole, meanwhile);
      if (rest > 0)
        run(whole > 0 ? Start::kAdd : start, extents(p.rows, cols, rest), a + whole * 64, a_bytes,
            b + whole * kTile * b_bytes, b_bytes, c, p.c_stride, 1, meanwhile);
    }
  }

 private:
  void run(Start start, const Extents& e, const char* a, int64_t a_bytes, const char* b, int64_t b_bytes, float* c,
           int64_t c_stride, int64_t count, Meanwhile& meanwhile) {
    if (__builtin_memcmp(&e, &configured_, sizeof e) != 0) {
      configure(e);
      configured_ = e;
    }
    const int64_t c_bytes = c_stride * 4;
    if (e.rows1 > 0 && e.cols1 > 0)
      multiply_tiles<true, true>(start, a, a_bytes, b, b_bytes, c, c_bytes, count, meanwhile);
    else if (e.rows1 > 0)
      multiply_tiles<true, false>(start, a, a_bytes, b, b_bytes, c, c_bytes, count, meanwhile);
    else if (e.cols1 > 0)
      multiply_tiles<false, true>(start, a, a_bytes, b, b_bytes, c, c_bytes, count, meanwhile);
    else
      multiply_tiles<false, false>(start, a, a_bytes, b, b_bytes, c, c_bytes, count, meanwhile);
  }

  Extents configured_ = {0, 0, 0, 0, 0};
};

#undef SUM00
#undef SUM01
#undef SUM10
#undef SUM11
#undef A0
#undef A1
#undef B0
#undef B1

}  // namespace

void dense_product_amx(const ProductBlock& block) {
  alignas(64) float transposed[2 * kTile * kDepthBlock];
  Tiles tiles;
  const int64_t panels = (block.cols + kPanelCols - 1) / kPanelCols,
                passes = (block.rows + 2 * kTile - 1) / (2 * kTile);
  // tiles of steps for 32 rows
  const int64_t steps = panels * (kPanelCols / (2 * kTile)) * ((block.depth + kTile - 1) / kTile);
  Meanwhile meanwhile = {{nullptr, 0, steps},
                         {block.next, panels * block.b_panel * 4, steps * passes},
                         {block.rebuild, steps * passes}};
  for (int64_t row = 0; row < block.rows; row += 2 * kTile) {
    ProductBlock rows = block;
    rows.rows = smaller(block.rows - row, 2 * kTile);
    rows.a = static_cast<const float*>(block.a) + row * block.a_row;
    rows.c = block.c + row * block.c_stride;
    const int64_t left = block.rows - row - rows.rows;
    const void* const below =
        left > 0 && block.a_depth == 1 ? static_cast<const float*>(rows.a) + rows.rows * block.a_row : nullptr;
    if (block.a_depth != 1) {
      transpose_rows(rows, transposed);
      rows.a = transposed;
      rows.a_row = kDepthBlock;
    }
    meanwhile.rows = {below, smaller(left, 2 * kTile) * block.a_row * 4, steps};
    for_each_panel(rows, [&](const ProductBlock& panel) { tiles.multiply(panel, meanwhile); });
  }
  meanwhile.between.finish();
  _tile_release();  // the operating system does not save tiles that are not live
}

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
