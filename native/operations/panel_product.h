// The driver behind product.h and the linear operations: C[m, n] = Σ_d A[m, d] · B[d, n]. A PanelOperand packs B panel
// by panel from any source. C is written to memory or passed to a TileSink.
//
// Work. All threads pack a few megabytes of B's panels at a time, or rebuild them from bits, for 2048 or more rows of
// A. Then C is cut into tiles of rows × 64 columns. A task sums one tile, block after block of the depth, so results do
// not depend on the number of threads. Tiles for a sink are cut by the shape alone.
//
// A matrix unit reads an operand as fast as it multiplies, so its tiles have several times 64 columns and reuse
// operands from the near caches. Its tasks rebuild weights from tiles of bits for themselves, one block of the depth
// while they multiply the block before.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/boolean_panel/boolean_panel.h"
#include "kernels/dense_panel/dense_panel.h"
#include "kernels/dense_product/dense_product.h"
#include "operations/product.h"

namespace mbok {

// Packs columns [col, col + cols) (cols ≤ 64) of B at depth [depth_begin, depth_begin + depth) as dense_product.h
// defines. depth_begin is a multiple of 64, depth at most kDepthBlock steps.
class PanelOperand {
 public:
  virtual void pack(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth, void* panel,
                    std::byte* scratch) const = 0;
  // Whether a matrix unit's product can rebuild panels itself, in bf16 between its tile products, from source().
  virtual bool has_source() const { return false; }
  // Describes columns [col, col + cols) of several panels, except for where they are stored.
  virtual BooleanPanels source(int64_t /*col*/, int64_t /*cols*/, int64_t /*depth_begin*/, int64_t /*depth*/) const {
    return {};
  }
  // Scratch of one worker, aligned to 64 bytes.
  virtual size_t scratch_bytes() const { return 0; }

 protected:
  ~PanelOperand() = default;
};

// A dense B: row-major [n, depth] (the weights of Y = X·Wᵀ) or, transposed, [depth, n].
class DenseOperand final : public PanelOperand {
 public:
  DenseOperand(const float* data, int64_t stride, bool transposed, Precision precision);
  void pack(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth, void* panel,
            std::byte* scratch) const override;

 private:
  const float* data_;
  int64_t stride_;
  bool transposed_;
  DensePanelFunction* pack_;
};

// An A that is computed while it is converted, so that it never exists in memory.
class RowSource {
 public:
  // to[0 … count) = elements [begin, begin + count) of a row; count ≤ kMostMade. The pieces of a row, which the shape
  // alone determines, are requested in order.
  virtual void make(int64_t row, int64_t begin, int64_t count, float* to) const = 0;

 protected:
  ~RowSource() = default;
};

constexpr int64_t kMostMade = 2 * kDepthBlock;

struct PanelProduct {
  int64_t m, n, depth;
  const float* a;  // [m, depth] or, transposed, [depth, m]; unused with a source
  int64_t a_stride;
  bool a_transposed;
  Precision precision;  // usable_precision() of the requested one, as in b; kInt8 only if A is not transposed
  float* c;             // may be null with a sink, which sees every tile before C does
  int64_t c_stride;
  bool accumulate;    // C += instead of C =
  const float* bias;  // [n], added to every row; null for none; not with accumulate
  TileSink* sink;
  int64_t sink_panels = 1;            // width of the sink's tiles in panels, at most kMostSinkPanels
  const RowSource* source = nullptr;  // computes A's rows; bf16 only
};

constexpr int64_t kMostSinkPanels = 4;

void panel_product(ThreadPool& pool, const PanelProduct& product, const PanelOperand& b, std::byte* scratch);
// Suffices for every product that is nowhere larger; with a sink, for a smaller depth only.
size_t panel_product_scratch(const PanelProduct& product, const PanelOperand& b, int threads);

// Returns the precision that the CPU offers for `wanted`. kBf16 needs products of bf16. kInt8 needs products of bytes
// and no matrix unit, which is faster in bf16. kInt8 falls back to kBf16, and both to kF32.
Precision usable_precision(Precision wanted);

}  // namespace mbok
