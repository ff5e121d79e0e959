// The gradients of a multi-Boolean linear layer without an optimizer step. From G = dyᵀ·x, consumed tile by tile:
// ds_out += ∂s_out, ds_in += ∂s_in and q += G ⊙ (s_out[k] s_in[k]ᵀ), the dense signal of kernel k.
//   dy [R,m], x [R,n], kernels bits [K·m,n], s_out [K,m], s_in [K,n] → += ds_out? [K,m], ds_in? [K,n], q? [m,n];
//   attributes: precision, k
#include "kernels/signal_update/signal_update.h"
#include "operations/scale_gradients.h"
#include "operations/tile_source.h"

namespace mbok {
namespace {

bool differentiates(const Call& call) { return call.has_output(0) || call.has_output(1); }

class SignalSink final : public TileSink {
 public:
  SignalSink(const BooleanLayer& layer, int64_t kernel, float* q, const ScaleGradients* gradients)
      : layer_(layer), kernel_(kernel), q_(q), gradients_(gradients) {}

  void consume(const Tile& tile, int) override {
    if (gradients_ != nullptr) gradients_->consume(tile);
    if (q_ == nullptr) return;
    for (int64_t r = 0; r < tile.rows; ++r) {
      const int64_t i = tile.row + r;
      add_signal_table.best()(tile.data + r * tile.stride, layer_.s_out[kernel_ * layer_.m + i],
                              layer_.s_in + kernel_ * layer_.n + tile.col, q_ + i * layer_.n + tile.col, tile.cols);
    }
  }

 private:
  BooleanLayer layer_;
  int64_t kernel_;
  float* q_;
  const ScaleGradients* gradients_;
};

void check(const Call& call) {
  expect_counts_between(call, 5, 5, 0, 3, 2);
  const Tensor& dy = call.input(0);
  const BooleanLayer layer = expect_boolean_layer(call, 2);
  const int64_t m = layer.m, n = layer.n, kernels = layer.kernels;
  expect_tensor(call, dy, "dy", TensorType::kF32, dy.rows, m);
  expect_tensor(call, call.input(1), "x", TensorType::kF32, dy.rows, n);
  expect(call, call.integer(1) >= 0 && call.integer(1) < kernels, "the index must name one of the kernels");
  if (call.has_output(0)) expect_tensor(call, call.output(0), "ds_out", TensorType::kF32, kernels, m);
  if (call.has_output(1)) expect_tensor(call, call.output(1), "ds_in", TensorType::kF32, kernels, n);
  if (call.has_output(2)) expect_tensor(call, call.output(2), "q", TensorType::kF32, m, n);
}

size_t gradients_scratch(const Call& call, const TileGrid& grid) {
  Scratch scratch(nullptr);
  const ScaleGradients gradients(boolean_layer(call, 2), grid, differentiates(call), scratch);
  return scratch.used();
}

size_t scratch_bytes(const Call& call, int threads) {
  const Tensor &dy = call.input(0), &x = call.input(1);
  return gradients_scratch(call, product_tile_grid(dy.cols, x.cols)) +
         ProductTiles::scratch_bytes(dy, x, precision_attribute(call, 0), threads);
}

void run(const Call& call) {
  const Tensor &dy = call.input(0), &x = call.input(1);
  const BooleanLayer layer = boolean_layer(call, 2);
  const TileGrid grid = product_tile_grid(dy.cols, x.cols);
  Scratch scratch(call.scratch);
  const ScaleGradients gradients(layer, grid, differentiates(call), scratch);
  SignalSink sink(layer, call.integer(1), call.has_output(2) ? call.output(2).f32() : nullptr,
                  differentiates(call) ? &gradients : nullptr);
  ProductTiles(dy, x, precision_attribute(call, 0), nullptr, call.scratch + scratch.used()).feed(*call.pool, sink);
  gradients.add_to(*call.pool, call.has_output(0) ? call.output(0).f32() : nullptr,
                   call.has_output(1) ? call.output(1).f32() : nullptr);
}

}  // namespace

extern const Operation multi_boolean_signal_operation;
const Operation multi_boolean_signal_operation = {"multi_boolean_signal", check, scratch_bytes, run, false};

}  // namespace mbok
