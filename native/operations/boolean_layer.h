// The ±1 kernels of one layer with their scales: Ŵ = Σₖ diag(s_out[k])·B[k]·diag(s_in[k]).
#pragma once

#include <cstdint>

#include "kernels/bit_tiles/bit_tiles.h"
#include "runtime/operation.h"

namespace mbok {

struct BooleanLayer {
  int64_t kernels, m, n;
  uint64_t* bits;      // [K·m, n]: row k·m + i is row i of kernel k
  const float* s_out;  // [K, m]; null: all ones
  const float* s_in;   // [K, n]; null: all ones
  // Replaces bits when kernels come in tiles, which only forward products accept. Each kernel's rows are padded to
  // whole tiles.
  const uint8_t* tiles = nullptr;

  int64_t words() const { return words_per_row(n); }
  uint64_t* row(int64_t kernel, int64_t i) const { return bits + (kernel * m + i) * words(); }
  int64_t tiles_of_kernel() const { return (m + kTileRows - 1) / kTileRows; }
  int64_t tile_bytes() const { return words() * kBlockBytes; }
  int64_t kernel_bytes() const { return tiles_of_kernel() * tile_bytes(); }
  // Returns block `word` of the tile whose first row is i.
  const uint8_t* block(int64_t kernel, int64_t i, int64_t word) const {
    return tiles + kernel * kernel_bytes() + i / kTileRows * tile_bytes() + word * kBlockBytes;
  }
};

// Returns the layer of the call's inputs `first` (kernels), first + 1 (s_out), first + 2 (s_in).
inline BooleanLayer boolean_layer(const Call& call, int first) {
  const Tensor &kernels = call.input(first), &s_out = call.input(first + 1), &s_in = call.input(first + 2);
  BooleanLayer w = {s_out.rows, s_out.cols, s_in.cols, nullptr, s_out.f32(), s_in.f32()};
  if (kernels.type == TensorType::kBitTiles)
    w.tiles = static_cast<const uint8_t*>(kernels.data);
  else
    w.bits = kernels.bits();
  return w;
}

// Checks these inputs and returns the layer. `may_be_tiles`: the operation accepts kernels in tiles.
inline BooleanLayer expect_boolean_layer(const Call& call, int first, bool may_be_tiles = false) {
  const BooleanLayer w = boolean_layer(call, first);
  expect(call, w.kernels >= 1, "needs at least one kernel");
  const Tensor& kernels = call.input(first);
  if (may_be_tiles && kernels.type == TensorType::kBitTiles)
    expect_tensor(call, kernels, "kernels", TensorType::kBitTiles, w.kernels * w.tiles_of_kernel() * kTileRows, w.n);
  else
    expect_tensor(call, kernels, "kernels", TensorType::kBits, w.kernels * w.m, w.n);
  expect_tensor(call, call.input(first + 1), "s_out", TensorType::kF32, w.kernels, w.m);
  expect_tensor(call, call.input(first + 2), "s_in", TensorType::kF32, w.kernels, w.n);
  return w;
}

}  // namespace mbok
