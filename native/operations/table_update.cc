// The step of a table's rows of kernels (table.h). Their dense gradient G was summed over look-ups and head.
// ds_out += ∂s_out, ds_in += ∂s_in; with the optimizer's tensors also the step of the Boolean optimizer.
//   g [B,h], kernels bits [K·B,h], s_out [K,B], s_in [K,h] → += ds_out?, ds_in?; in place: kernels? (the same tensor),
//   accumulator? [B,h], row_statistics? [2,B], column_statistics? [2,h], state? [1,8];
//   attributes: rule, normalizer, decay, retained, rate
#include "operations/boolean_optimizer.h"
#include "operations/scale_gradients.h"

namespace mbok {
namespace {

enum Output { kDsOut, kDsIn, kKernels, kAccumulator, kRowStatistics, kColumnStatistics, kState };

bool moves(const Call& call) { return call.has_output(kKernels); }

float* output_or_null(const Call& call, int i) { return call.has_output(i) ? call.output(i).f32() : nullptr; }

BooleanUpdate describe(const Call& call) {
  BooleanUpdate u = {};
  u.layer = boolean_layer(call, 1);
  u.signal_tiles = false;
  read_boolean_rule(call, 0, u);
  u.accumulator = call.output(kAccumulator);
  u.row_statistics = call.output(kRowStatistics);
  u.column_statistics = call.output(kColumnStatistics);
  u.state = call.output(kState);
  u.ds_out = output_or_null(call, kDsOut);
  u.ds_in = output_or_null(call, kDsIn);
  return u;
}

void check(const Call& call) {
  expect_counts_between(call, 4, 4, 0, 7, 5);
  expect(call, call.output_count == 2 || call.output_count == 7, "takes 2 or 7 outputs");
  const BooleanLayer layer = expect_boolean_layer(call, 1);
  expect_tensor(call, call.input(0), "g", TensorType::kF32, layer.m, layer.n);
  expect_tensor(call, call.output(kDsOut), "ds_out", TensorType::kF32, layer.kernels, layer.m, true);
  expect_tensor(call, call.output(kDsIn), "ds_in", TensorType::kF32, layer.kernels, layer.n, true);
  if (!moves(call)) return;
  expect_tensor(call, call.output(kKernels), "kernels", TensorType::kBits, layer.kernels * layer.m, layer.n);
  expect(call, call.input(1).data == call.output(kKernels).data,
         "'kernels' must be one tensor, read and flipped in place");
  check_boolean_update(call, describe(call));
}

class ScaleSink final : public TileSink {
 public:
  explicit ScaleSink(const ScaleGradients& gradients) : gradients_(gradients) {}
  void consume(const Tile& tile, int) override { gradients_.consume(tile); }

 private:
  const ScaleGradients& gradients_;
};

size_t scratch_bytes(const Call& call, int) {
  const TileGrid grid = DenseTiles(call.input(0)).grid();
  if (moves(call)) return boolean_update_scratch(describe(call), grid);
  Scratch scratch(nullptr);
  const ScaleGradients gradients(boolean_layer(call, 1), grid, true, scratch);
  return scratch.used();
}

void run(const Call& call) {
  DenseTiles tiles(call.input(0));
  if (moves(call)) return run_boolean_update(*call.pool, describe(call), tiles, *call.scalars, call.scratch);
  Scratch scratch(call.scratch);
  const ScaleGradients gradients(boolean_layer(call, 1), tiles.grid(), true, scratch);
  ScaleSink sink(gradients);
  tiles.feed(*call.pool, sink);
  gradients.add_to(*call.pool, output_or_null(call, kDsOut), output_or_null(call, kDsIn));
}

}  // namespace

extern const Operation table_update_operation;
const Operation table_update_operation = {"table_update", check, scratch_bytes, run, true};

}  // namespace mbok
