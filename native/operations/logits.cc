#include "operations/logits.h"

#include <cmath>

#include "kernels/half/half.h"
#include "kernels/softcap/softcap.h"
#include "operations/stream.h"

namespace mbok {

void LogitSink::consume(const Tile& tile, int worker) {
  alignas(64) float capped[kLogitPart];
  for (int64_t r = 0; r < tile.rows; ++r) {
    const float* logits = tile.data + r * tile.stride;
    if (cap_ > 0) {
      softcap_table.best()(cap_, logits, capped, tile.cols);
      logits = capped;
    }
    see(tile.row + r, tile.col, logits, tile.cols, worker);
  }
  finish_streams();
}

PanelProduct logits_product(const Tensor& states, const Tensor& z, LogitSink& sink, Precision precision) {
  PanelProduct p = rows_product(states, z, nullptr, precision);
  p.sink = &sink;
  p.sink_panels = kMostSinkPanels;
  return p;
}

HalfLogits::HalfLogits(Scratch& scratch, int64_t rows, int64_t vocabulary)
    : stride_((vocabulary + kLogitPart - 1) / kLogitPart * kLogitPart),
      halves_(scratch.take<uint16_t>(rows * stride_)) {}

void HalfLogits::put(int64_t row, int64_t col, const float* logits, int64_t cols, float largest) const {
  alignas(64) float distances[kLogitPart];
  alignas(64) uint16_t halves[kLogitPart];
  for (int64_t i = 0; i < cols; ++i) distances[i] = logits[i] - largest;
  for (int64_t i = cols; i < kLogitPart; ++i) distances[i] = 0;
  f16_narrow_table.best()(distances, halves, kLogitPart);
  stream(reinterpret_cast<float*>(halves_ + row * stride_ + col), reinterpret_cast<const float*>(halves),
         kLogitPart / 2);
}

void HalfLogits::get(int64_t row, int64_t col, int64_t count, float* to) const {
  f16_widen_table.best()(halves_ + row * stride_ + col, to, count);
}

LogitParts::LogitParts(Scratch& scratch, int64_t rows, int64_t vocabulary, bool entropies)
    : rows_(rows), count_((vocabulary + kLogitPart - 1) / kLogitPart) {
  largest_ = scratch.take<float>(rows * count_);
  sums_ = scratch.take<float>(rows * count_);
  if (entropies) products_ = scratch.take<float>(rows * count_);
}

float LogitParts::add(int64_t row, int64_t col, const float* logits, int64_t cols) const {
  const int64_t i = at(row, col / kLogitPart);
  exp_sums_table.best()({logits, cols, 1, cols}, largest_ + i, sums_ + i,
                        products_ == nullptr ? nullptr : products_ + i);
  return largest_[i];
}

SoftmaxSum LogitParts::sum(int64_t row, float* scratch) const {
  float *const largest = scratch, *const sums = scratch + count_;
  for (int64_t i = 0; i < count_; ++i) {
    largest[i] = largest_[at(row, i)];
    sums[i] = sums_[at(row, i)];
  }
  return softmax_sum_of_parts_table.best()(largest, sums, count_);
}

// Relative to the row's largest logit, a part's Σ e^t·t is the sum relative to its own largest plus its Σ e^t times the
// difference of both.
double LogitParts::expected(int64_t row, const SoftmaxSum& of, float* scratch) const {
  float *const largest = scratch, *const products = scratch + count_;
  for (int64_t i = 0; i < count_; ++i) {
    const int64_t from = at(row, i);
    largest[i] = largest_[from];
    products[i] = sums_[from] == 0 ? 0 : products_[from] + (largest[i] - of.largest) * sums_[from];
  }
  return softmax_sum_of_parts_table.best()(largest, products, count_).sum / of.sum - std::log(of.sum);
}

}  // namespace mbok
