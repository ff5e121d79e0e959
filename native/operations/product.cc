#include "operations/product.h"

#include "kernels/dense_panel/dense_panel.h"
#include "kernels/dense_product/dense_product.h"
#include "operations/panel_product.h"

namespace mbok {
namespace {

PanelProduct describe(const float* a, float* c, const ProductShape& s, Precision precision) {
  PanelProduct p = {};
  p.m = s.m;
  p.n = s.n;
  p.depth = s.depth;
  p.a = a;
  p.a_stride = s.a_stride;
  p.a_transposed = s.a_transposed;
  p.precision = precision;
  p.c = c;
  p.c_stride = s.c_stride;
  p.accumulate = s.accumulate;
  return p;
}

PanelProduct describe_tiles(const float* z, int64_t depth, int64_t m, int64_t n, Precision precision,
                            TileSink* sink) {
  PanelProduct p = describe(z, nullptr, {m, n, depth, m, n, 0, true, true, false}, precision);
  p.sink = sink;
  return p;
}

// x[depth, n] in bf16 panels of 64 columns, packed once for all tiles: packed for every tile of 96 rows it takes a fifth
// of the time of the product on AVX-512, and most of it on AMX. In f32 packing is a copy, and tiles do it themselves.
class PackedColumns final : public PanelOperand {
 public:
  PackedColumns(const float* x, int64_t depth, int64_t n, std::byte* packed)
      : x_(x), depth_(depth), n_(n), packed_(packed) {}

  static size_t bytes(int64_t depth, int64_t n) {
    return static_cast<size_t>((n + kPanelCols - 1) / kPanelCols * panel_bytes(depth));
  }

  void fill(ThreadPool& pool) {
    DensePanelFunction* const pack = dense_panel_columns_bf16_table.best();
    const int64_t blocks = (depth_ + kRows - 1) / kRows, panels = (n_ + kPanelCols - 1) / kPanelCols;
    pool.parallel_for(blocks * panels, [&](int64_t task, int) {
      const int64_t col = task / blocks * kPanelCols, d = task % blocks * kRows;
      const int64_t cols = n_ - col < kPanelCols ? n_ - col : kPanelCols, depth = depth_ - d < kRows ? depth_ - d : kRows;
      pack({x_ + d * n_ + col, n_, cols, depth, kPanelCols}, packed_ + offset(col, d));
    });
  }

  const std::byte* packed(int64_t col, int64_t depth_begin) const override { return packed_ + offset(col, depth_begin); }
  void pack(int64_t, int64_t, int64_t, int64_t, void*, std::byte*) const override {}

 private:
  static constexpr int64_t kRows = 256;  // of x a task packs
  static constexpr int64_t kStepBytes = kPanelCols * 4;

  static int64_t panel_bytes(int64_t depth) { return (depth + 1) / 2 * kStepBytes; }
  int64_t offset(int64_t col, int64_t d) const { return col / kPanelCols * panel_bytes(depth_) + d / 2 * kStepBytes; }

  const float* x_;
  int64_t depth_, n_;
  std::byte* packed_;
};

}  // namespace

Precision wanted_precision(const Call& call, int index) {
  const int64_t value = call.integer(index);
  expect(call, value >= 0 && value <= 2, "the precision must be 0 (f32), 1 (bf16) or 2 (int8)");
  return static_cast<Precision>(value);
}

Precision precision_attribute(const Call& call, int index, bool has_int8) {
  const Precision wanted = wanted_precision(call, index);
  return usable_precision(wanted == Precision::kInt8 && !has_int8 ? Precision::kBf16 : wanted);
}

void product(ThreadPool& pool, const float* a, const float* b, float* c, const ProductShape& shape,
             Precision precision, std::byte* scratch) {
  precision = usable_precision(precision);
  const DenseOperand operand(b, shape.b_stride, shape.b_transposed, precision);
  panel_product(pool, describe(a, c, shape, precision), operand, scratch);
}

size_t product_scratch(const ProductShape& shape, Precision precision, int threads) {
  precision = usable_precision(precision);
  const DenseOperand operand(nullptr, shape.b_stride, shape.b_transposed, precision);
  return panel_product_scratch(describe(nullptr, nullptr, shape, precision), operand, threads);
}

void product_tiles(ThreadPool& pool, const float* z, const float* x, int64_t depth, int64_t m, int64_t n,
                   Precision precision, TileSink& sink, std::byte* scratch) {
  precision = usable_precision(precision);
  const PanelProduct p = describe_tiles(z, depth, m, n, precision, &sink);
  if (precision != Precision::kBf16) return panel_product(pool, p, DenseOperand(x, n, true, precision), scratch);
  PackedColumns operand(x, depth, n, scratch);
  operand.fill(pool);
  panel_product(pool, p, operand, scratch + PackedColumns::bytes(depth, n));
}

namespace {
// Stands for the caller's sink where only its presence counts.
class NoSink final : public TileSink {
 public:
  void consume(const Tile&, int) override {}
};
}  // namespace

size_t product_tiles_scratch(int64_t depth, int64_t m, int64_t n, Precision precision, int threads) {
  precision = usable_precision(precision);
  NoSink sink;
  const size_t packed = precision == Precision::kBf16 ? PackedColumns::bytes(depth, n) : 0;
  return packed + panel_product_scratch(describe_tiles(nullptr, depth, m, n, precision, &sink),
                                        DenseOperand(nullptr, n, true, precision), threads);
}

}  // namespace mbok
