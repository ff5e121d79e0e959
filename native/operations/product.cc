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

PanelProduct describe_tiles(const float* z, int64_t depth, int64_t m, int64_t n, Precision precision, TileSink* sink) {
  PanelProduct p = describe(z, nullptr, {m, n, depth, m, n, 0, true, true, false}, precision);
  p.sink = sink;
  return p;
}

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

void product(ThreadPool& pool, const float* a, const float* b, float* c, const ProductShape& shape, Precision precision,
             std::byte* scratch) {
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
  panel_product(pool, p, DenseOperand(x, n, true, precision), scratch);
}

namespace {
// Stands for the caller's sink where only its presence matters.
class NoSink final : public TileSink {
 public:
  void consume(const Tile&, int) override {}
};
}  // namespace

size_t product_tiles_scratch(int64_t depth, int64_t m, int64_t n, Precision precision, int threads) {
  precision = usable_precision(precision);
  NoSink sink;
  return panel_product_scratch(describe_tiles(nullptr, depth, m, n, precision, &sink),
                               DenseOperand(nullptr, n, true, precision), threads);
}

}  // namespace mbok
