// The bf16 product on AMX tiles: 2 × 2 tiles of 16 × 16 sums, operands in tiles of 16 rows × 32 bf16 numbers.
//
// A panel of B is already what a tile wants (a row of a tile is 16 columns of one step), so its tiles are loaded in
// place with the panel's stride. A is loaded in place where its depth runs along its rows; where its rows do (the
// transposed A of a weight gradient) 32 rows of the block are transposed first, 16 × 16 steps at a time.
//
// Budget. 32 × 32 sums and 16 steps: 4 tile products of 16 cycles each on the one matrix unit, 4 tile loads of 8
// cycles each, which overlap with them, 4 KiB from L1 and L2 in 64 cycles: bound by the matrix unit, 1024 operations a
// cycle and core. Transposing costs 128 shuffles for the same 64 cycles, on other ports.
//
// Numerics. A tile product adds the even and the odd numbers of 16 pairs apart and then both to the sum, in f32:
// another order than vdpbf16ps, the same rounding error.
#include "kernels/dense_product/candidates.h"
#include "kernels/simd/intrinsics.h"
#include "kernels/simd/target.h"

#if defined(MBOK_X86)
MBOK_TARGET_AMX
namespace mbok::avx512 {
namespace {

#include "kernels/dense_panel/transpose16.h"

constexpr int kTile = 16;  // rows, columns and steps of a tile

// Tile registers: sums [row half][column half], A by row half, B by column half. Macros, since GCC's intrinsics paste
// the number into the name of the register.
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

// Extents of the tiles of one register block; a second half of no extent is not used.
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
  __asm__ volatile("" : : "r"(&c) : "memory");  // GCC's intrinsic says that it reads 8 of the 64 bytes
  _tile_loadconfig(&c);
}

// Sums of `steps` steps (all of one tile's, or `count` tiles of 16) added to C in memory.
template <bool Rows, bool Cols>
void multiply_tiles(const char* a, int64_t a_bytes, const char* b, float* c, int64_t c_bytes, int64_t count) {
  constexpr int64_t b_bytes = kPanelCols * 4;
  char* const c0 = reinterpret_cast<char*>(c);
  char* const c1 = c0 + kTile * c_bytes;
  _tile_loadd(SUM00, c0, c_bytes);
  if (Cols) _tile_loadd(SUM01, c0 + 64, c_bytes);
  if (Rows) _tile_loadd(SUM10, c1, c_bytes);
  if (Rows && Cols) _tile_loadd(SUM11, c1 + 64, c_bytes);
  for (int64_t i = 0; i < count; ++i, a += 64, b += kTile * b_bytes) {
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

// C as it is before the sums are added: itself, the bias or zero.
void start(const ProductBlock& p, int64_t row, int64_t rows) {
  if (p.accumulate) return;
  for (int64_t i = 0; i < rows; ++i) {
    float* c = p.c + (row + i) * p.c_stride;
    for (int64_t j = 0; j < p.cols; j += kTile) {
      const int64_t left = p.cols - j;
      const __mmask16 mask = left >= kTile ? 0xffff : static_cast<__mmask16>((1u << left) - 1);
      const __m512 value = p.bias == nullptr ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(mask, p.bias + j);
      _mm512_mask_storeu_ps(c + j, mask, value);
    }
  }
}

// Rows of A, `rows` ≤ 32 from `row` on, with the depth along them: [32][kDepthBlock] steps.
void transpose_rows(const ProductBlock& p, int64_t row, int64_t rows, float* out) {
  const float* a = static_cast<const float*>(p.a) + row;
  for (int64_t half = 0; half < rows; half += kTile) {
    const int64_t left = rows - half;
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

class Rows {
 public:
  explicit Rows(const ProductBlock& p) : p_(p), configured_{0, 0, 0, 0, 0} {}

  // All columns of up to 32 rows.
  void multiply(int64_t row) {
    const int64_t rows = smaller(p_.rows - row, 2 * kTile);
    start(p_, row, rows);
    const char* a = reinterpret_cast<const char*>(static_cast<const float*>(p_.a) + row * p_.a_row);
    int64_t a_bytes = p_.a_row * 4;
    if (p_.a_depth != 1) {
      transpose_rows(p_, row, rows, transposed_);
      a = reinterpret_cast<const char*>(transposed_);
      a_bytes = kDepthBlock * 4;
    }
    __asm__ volatile("" ::: "memory");  // tile loads do not say which memory they read
    for (int64_t col = 0; col < p_.cols; col += 2 * kTile) {
      const int64_t cols = smaller(p_.cols - col, 2 * kTile), whole = p_.depth / kTile, rest = p_.depth % kTile;
      const char* b = reinterpret_cast<const char*>(static_cast<const float*>(p_.b) + col);
      float* c = p_.c + row * p_.c_stride + col;
      if (whole > 0) run(extents(rows, cols, kTile), a, a_bytes, b, c, whole);
      if (rest > 0)
        run(extents(rows, cols, rest), a + whole * 64, a_bytes, b + whole * kTile * kPanelCols * 4, c, 1);
    }
  }

 private:
  void run(const Extents& e, const char* a, int64_t a_bytes, const char* b, float* c, int64_t count) {
    if (__builtin_memcmp(&e, &configured_, sizeof e) != 0) {
      configure(e);
      configured_ = e;
    }
    const int64_t c_bytes = p_.c_stride * 4;
    if (e.rows1 > 0 && e.cols1 > 0)
      multiply_tiles<true, true>(a, a_bytes, b, c, c_bytes, count);
    else if (e.rows1 > 0)
      multiply_tiles<true, false>(a, a_bytes, b, c, c_bytes, count);
    else if (e.cols1 > 0)
      multiply_tiles<false, true>(a, a_bytes, b, c, c_bytes, count);
    else
      multiply_tiles<false, false>(a, a_bytes, b, c, c_bytes, count);
  }

  const ProductBlock& p_;
  Extents configured_;
  alignas(64) float transposed_[2 * kTile * kDepthBlock];
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
  Rows rows(block);
  for (int64_t row = 0; row < block.rows; row += 2 * kTile) rows.multiply(row);
  _tile_release();  // a thread without live tiles is switched without saving them
}

}  // namespace mbok::avx512
MBOK_TARGET_END
#endif
