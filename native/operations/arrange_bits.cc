// Converts kernels between rows of bits and the tiles that decode reads (kernels/bit_tiles). The types of the two
// tensors give the direction. Attribute: K.
//   kernels bits [K·m, n] ↔ bitTiles [K·M, n], M = m rounded up to a multiple of 64
#include "kernels/bit_tiles/bit_tiles.h"
#include "runtime/operation.h"

namespace mbok {
namespace {

struct Arrangement {
  explicit Arrangement(const Call& call)
      : forward(call.input(0).type == TensorType::kBits),
        rows(forward ? call.input(0) : call.output(0)),
        tiles(forward ? call.output(0) : call.input(0)),
        kernels(call.integer(0)) {}

  int64_t m() const { return rows.rows / kernels; }
  int64_t tiles_of_kernel() const { return (m() + kTileRows - 1) / kTileRows; }

  bool forward;  // from rows to tiles
  const Tensor &rows, &tiles;
  int64_t kernels;
};

void check(const Call& call) {
  expect_counts(call, 1, 1, 1);
  const Arrangement a(call);
  expect(call, a.kernels >= 1 && a.rows.rows % a.kernels == 0, "the rows must be a multiple of the number of kernels");
  expect_tensor(call, a.rows, "rows", TensorType::kBits, a.rows.rows, a.rows.cols);
  expect_tensor(call, a.tiles, "tiles", TensorType::kBitTiles, a.kernels * a.tiles_of_kernel() * kTileRows,
                a.rows.cols);
}

void run(const Call& call) {
  const Arrangement a(call);
  const int64_t m = a.m(), words = a.rows.words();
  uint64_t* const rows = a.rows.bits();
  uint8_t* const tiles = static_cast<uint8_t*>(a.tiles.data);
  TileBitsFunction* const tile = tile_bits_table.best();
  UntileBitsFunction* const untile = untile_bits_table.best();
  call.pool->parallel_for(a.kernels * a.tiles_of_kernel(), [&](int64_t task, int) {
    const int64_t kernel = task / a.tiles_of_kernel(), first = task % a.tiles_of_kernel() * kTileRows;
    const int64_t count = m - first < kTileRows ? m - first : kTileRows;
    for (int64_t word = 0; word < words; ++word) {
      uint64_t* const row = rows + (kernel * m + first) * words + word;
      uint8_t* const block = tiles + (task * words + word) * kBlockBytes;
      if (a.forward)
        tile(row, words, count, block);
      else
        untile(block, count, row, words);
    }
  });
}

}  // namespace

extern const Operation arrange_bits_operation;
const Operation arrange_bits_operation = {"arrange_bits", check, nullptr, run, false};

}  // namespace mbok
