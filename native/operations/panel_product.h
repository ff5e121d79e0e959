// The driver behind product.h and the linear operations: C[m, n] = Σ_d A[m, d] · B[d, n] with B packed panel by panel
// from wherever it comes (PanelOperand) and C written to memory or handed to a TileSink.
//
// Work. A few megabytes of B's panels are packed at a time by all threads, weights that are rebuilt from bits among
// them, for up to 2048 rows of A and more. Then C is cut into tiles of rows × 64 (on a matrix unit several times 64: it
// reads an operand as fast as it multiplies, so each must be used often from the near caches), and a task sums one, block
// of the depth after block, so that results do not depend on the number of threads. The tiles that a sink sees are cut by
// the shape alone. A matrix unit's tasks rebuild weights from tiles of bits each for itself, one block of the depth while
// it multiplies the one before.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/boolean_panel/boolean_panel.h"
#include "kernels/dense_panel/dense_panel.h"
#include "kernels/dense_product/dense_product.h"
#include "operations/product.h"

namespace mbok {

// Packs columns [col, col + cols) (cols ≤ 64) of B at depth [depth_begin, depth_begin + depth) as dense_product.h asks;
// depth_begin is a multiple of 64, the depth at most kDepthBlock steps.
class PanelOperand {
 public:
  virtual void pack(int64_t col, int64_t cols, int64_t depth_begin, int64_t depth, void* panel,
                    std::byte* scratch) const = 0;
  // Whether a matrix unit's product can make panels itself, in bf16 between its tiles, from what source() says.
  virtual bool has_source() const { return false; }
  // Columns [col, col + cols), of several panels, but for where they go.
  virtual BooleanPanels source(int64_t /*col*/, int64_t /*cols*/, int64_t /*depth_begin*/, int64_t /*depth*/) const {
    return {};
  }
  // Of one worker, at `scratch`, a multiple of 64.
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

// An A that is made as it is converted, so that it need not be in memory.
class RowSource {
 public:
  // to[0 … count) = elements [begin, begin + count) of a row; count ≤ kMostMade. A row's pieces, which are cut by the shape
  // alone, come one after the other.
  virtual void make(int64_t row, int64_t begin, int64_t count, float* to) const = 0;

 protected:
  ~RowSource() = default;
};

constexpr int64_t kMostMade = 2 * kDepthBlock;

struct PanelProduct {
  int64_t m, n, depth;
  const float* a;  // [m, depth] or, transposed, [depth, m]; not read where there is a source
  int64_t a_stride;
  bool a_transposed;
  Precision precision;  // usable_precision() of what was asked for, as in b; kInt8 not with a transposed A
  float* c;             // may be null where there is a sink, which sees every tile before it is there
  int64_t c_stride;
  bool accumulate;      // C += instead of C =
  const float* bias;    // [n], added to every row; null for none; not with accumulate
  TileSink* sink;
  int64_t sink_panels = 1;  // columns of the tiles that the sink sees, in panels: at most kMostSinkPanels
  const RowSource* source = nullptr;  // of A's rows; only in bf16
};

constexpr int64_t kMostSinkPanels = 4;

void panel_product(ThreadPool& pool, const PanelProduct& product, const PanelOperand& b, std::byte* scratch);
// Suffices for every product that is nowhere larger; with a sink, for one of less depth.
size_t panel_product_scratch(const PanelProduct& product, const PanelOperand& b, int threads);

// kBf16 only where the CPU multiplies bf16; kInt8 only where it multiplies bytes and has no matrix unit, which is faster
// in bf16.
Precision usable_precision(Precision wanted);

}  // namespace mbok
