// The logits of a model's head as tiles of its product come out, so that they need not be stored to be summed.
#pragma once

#include "kernels/cross_entropy/cross_entropy.h"
#include "operations/linear_product.h"
#include "operations/scratch.h"

namespace mbok {

constexpr int64_t kLogitPart = kMostSinkPanels * kPanelCols;  // columns of a tile

// Sees every row of every tile once, after the cap: z = c·tanh(x·wᵀ / c), c = 0: none.
class LogitSink : public TileSink {
 public:
  explicit LogitSink(double cap) : cap_(static_cast<float>(cap)) {}
  void consume(const Tile& tile, int worker) final;

 protected:
  ~LogitSink() = default;
  // Logits [col, col + cols) of a row, col being a multiple of kLogitPart.
  virtual void see(int64_t row, int64_t col, const float* logits, int64_t cols, int worker) = 0;

 private:
  float cap_;
};

// states · weightsᵀ with tiles of kLogitPart columns for the sink, and written to `z` unless its data is null.
PanelProduct logits_product(const Tensor& states, const Tensor& z, LogitSink& sink, Precision precision);

// Rows of logits in 16 bits, each as its distance to the largest of its part: most exact where probabilities are large. Of a token
// whose probability is p, f16 changes it by no more than 2⁻¹² p·|log p|, less than what rounding its gradient to bf16 does.
class HalfLogits {
 public:
  HalfLogits() = default;
  HalfLogits(Scratch& scratch, int64_t rows, int64_t vocabulary);

  // Logits [col, col + cols) of a row, col being a multiple of kLogitPart; they go past the caches.
  void put(int64_t row, int64_t col, const float* logits, int64_t cols, float largest) const;
  // The distances of logits of one part.
  void get(int64_t row, int64_t col, int64_t count, float* to) const;

 private:
  int64_t stride_ = 0;
  uint16_t* halves_ = nullptr;
};

// What is left of rows of logits: of every kLogitPart of them the largest and a sum of exponentials, a 128th.
class LogitParts {
 public:
  LogitParts() = default;
  // `entropies`: whether expected() will be asked for.
  LogitParts(Scratch& scratch, int64_t rows, int64_t vocabulary, bool entropies);

  // Scratch of sum() and expected(), in floats.
  int64_t scratch_floats() const { return 2 * count_; }

  // Gives the largest of these logits of a row.
  float add(int64_t row, int64_t col, const float* logits, int64_t cols) const;
  // Of the part that `col` is in.
  float largest(int64_t row, int64_t col) const { return largest_[at(row, col / kLogitPart)]; }
  SoftmaxSum sum(int64_t row, float* scratch) const;
  // Σ_j p_j log p_j for p = softmax(z), the opposite of the row's entropy; `of` is its sum.
  double expected(int64_t row, const SoftmaxSum& of, float* scratch) const;

 private:
  int64_t at(int64_t row, int64_t part) const { return part * rows_ + row; }  // as tiles are written

  int64_t rows_ = 0, count_ = 0;
  float *largest_ = nullptr, *sums_ = nullptr, *products_ = nullptr;
};

// Rows that are concluded together: their parts share cache lines.
constexpr int64_t kRowsPerTask = 16;

}  // namespace mbok
