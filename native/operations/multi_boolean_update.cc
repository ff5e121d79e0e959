// The backward pass of a multi-Boolean linear layer with the optimizer step. From G = dyᵀ·x, consumed tile by tile:
// ds_out += ∂s_out, ds_in += ∂s_in, and the step of the Boolean optimizer.
//   dy [R,m], x [R,n], kernels bits [K·m,n], s_out [K,m], s_in [K,n] → += ds_out?, ds_in?; in place: kernels (the same
//   tensor), accumulator [m,n], row_statistics [2,m], column_statistics [2,n], state [1,8];
//   attributes: precision, rule, normalizer, decay, retained, rate
#include "operations/boolean_optimizer.h"

namespace mbok {
namespace {

BooleanUpdate describe(const Call& call) {
  BooleanUpdate u = {};
  u.layer = boolean_layer(call, 2);
  u.signal_tiles = false;
  read_boolean_rule(call, 1, u);
  u.accumulator = call.output(3);
  u.row_statistics = call.output(4);
  u.column_statistics = call.output(5);
  u.state = call.output(6);
  u.ds_out = call.has_output(0) ? call.output(0).f32() : nullptr;
  u.ds_in = call.has_output(1) ? call.output(1).f32() : nullptr;
  return u;
}

void check(const Call& call) {
  expect_counts_between(call, 5, 5, 0, 7, 6);
  expect(call, call.output_count == 7, "takes 7 outputs");
  const Tensor& dy = call.input(0);
  expect_boolean_layer(call, 2);
  const BooleanUpdate u = describe(call);
  const int64_t m = u.layer.m, n = u.layer.n, kernels = u.layer.kernels;
  expect_tensor(call, dy, "dy", TensorType::kF32, dy.rows, m);
  expect_tensor(call, call.input(1), "x", TensorType::kF32, dy.rows, n);
  expect_tensor(call, call.output(2), "kernels", TensorType::kBits, kernels * m, n);
  expect(call, call.input(2).data == call.output(2).data, "'kernels' must be one tensor, read and flipped in place");
  expect_tensor(call, call.output(0), "ds_out", TensorType::kF32, kernels, m, true);
  expect_tensor(call, call.output(1), "ds_in", TensorType::kF32, kernels, n, true);
  check_boolean_update(call, u);
}

// Tiles of the product wait in `kept` for instant statistics. With running statistics only the first step needs two
// passes.
struct Pieces {
  Pieces(const Call& call, int threads, std::byte* base) {
    const Tensor &dy = call.input(0), &x = call.input(1);
    const BooleanUpdate u = describe(call);
    Scratch scratch(base);
    update =
        scratch.take<std::byte>(static_cast<int64_t>(boolean_update_scratch(u, product_tile_grid(dy.cols, x.cols))));
    if (u.normalizer != Normalizer::kNone && u.decay == 0) kept = scratch.take<float>(ProductTiles::kept_size(dy, x));
    product = scratch.take<std::byte>(
        static_cast<int64_t>(ProductTiles::scratch_bytes(dy, x, precision_attribute(call, 0), threads)));
    bytes = scratch.used();
  }

  std::byte* update;
  float* kept = nullptr;
  std::byte* product;
  size_t bytes;
};

size_t scratch_bytes(const Call& call, int threads) { return Pieces(call, threads, nullptr).bytes; }

void run(const Call& call) {
  const Pieces pieces(call, call.pool->threads(), call.scratch);
  ProductTiles tiles(call.input(0), call.input(1), precision_attribute(call, 0), pieces.kept, pieces.product);
  run_boolean_update(*call.pool, describe(call), tiles, *call.scalars, pieces.update);
}

}  // namespace

extern const Operation multi_boolean_update_operation;
const Operation multi_boolean_update_operation = {"multi_boolean_update", check, scratch_bytes, run, true};

}  // namespace mbok
