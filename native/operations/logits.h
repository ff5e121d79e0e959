// The logits of a model's head, seen as tiles of its product, so that they can be summed without being stored.
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
  // Logits [col, col + cols) of a row; col is a multiple of kLogitPart.
  virtual void see(int64_t row, int64_t col, const float* logits, int64_t cols, int worker) = 0;

 private:
  float cap_;
};

// Describes states · weightsᵀ with tiles of kLogitPart columns for the sink; also written to `z` unless its data is
// null.
PanelProduct logits_product(const Tensor& states, const Tensor& z, LogitSink& sink, Precision precision);

// Rows of logits in f16, each stored as its distance to the largest of its part, so that likely tokens are most exact.
// This changes a probability p by at most 2⁻¹¹ p·|log p|; rounding its gradient to bf16 changes it by up to 2⁻⁹ p.
class HalfLogits {
 public:
  HalfLogits() = default;
  HalfLogits(Scratch& scratch, int64_t rows, int64_t vocabulary);

  // Stores logits [col, col + cols) of a row past the caches; col is a multiple of kLogitPart.
  void put(int64_t row, int64_t col, const float* logits, int64_t cols, float largest) const;
  // Reads the distances of logits of one part.
  void get(int64_t row, int64_t col, int64_t count, float* to) const;

 private:
  int64_t stride_ = 0;
  uint16_t* halves_ = nullptr;
};

// Reduced rows of logits: per kLogitPart of them the largest and a sum of exponentials, 1/128 of the size.
class LogitParts {
 public:
  LogitParts() = default;
  // `entropies`: whether expected() will be called.
  LogitParts(Scratch& scratch, int64_t rows, int64_t vocabulary, bool entropies);

  // Scratch of sum() and expected(), in floats.
  int64_t scratch_floats() const { return 2 * count_; }

  // Adds these logits of a row and returns the largest of them.
  float add(int64_t row, int64_t col, const float* logits, int64_t cols) const;
  // Returns the largest logit of the part that contains `col`.
  float largest(int64_t row, int64_t col) const { return largest_[at(row, col / kLogitPart)]; }
  SoftmaxSum sum(int64_t row, float* scratch) const;
  // Returns Σ_j p_j log p_j for p = softmax(z), the negative entropy of the row; `of` is its sum.
  double expected(int64_t row, const SoftmaxSum& of, float* scratch) const;

 private:
  int64_t at(int64_t row, int64_t part) const { return part * rows_ + row; }  // in the order in which tiles are written

  int64_t rows_ = 0, count_ = 0;
  float *largest_ = nullptr, *sums_ = nullptr, *products_ = nullptr;
};

// Rows finished together, because their parts share cache lines.
constexpr int64_t kRowsPerTask = 16;

}  // namespace mbok
