// Keys and values in bf16 as the attention kernels multiply them, converted once for all queries and heads of a group.
#pragma once

#include "operations/attention_shape.h"
#include "operations/panel_product.h"
#include "operations/scratch.h"

namespace mbok {

class AttentionBf16Operands {
 public:
  // Takes no scratch when products are f32.
  AttentionBf16Operands(const AttentionShape& s, Precision precision, bool gradient, Scratch& scratch)
      : shape_(s), used_(precision == Precision::kBf16) {
    const int64_t numbers = used_ ? s.rows * s.kv_heads * s.d : 0;
    k_rows_ = scratch.take<float>(numbers / 2);
    if (gradient) v_rows_ = scratch.take<float>(numbers / 2);
    // a sequence of one row takes a whole step for half a pair
    (gradient ? k_pairs_ : v_pairs_) = scratch.take<float>(numbers);
  }

  void convert(ThreadPool& pool, const Tensor& k, const Tensor& v, int64_t length) {
    if (!used_) return;
    length_ = length;
    rows(pool, k, k_rows_);
    if (v_rows_ != nullptr) rows(pool, v, v_rows_);
    if (k_pairs_ != nullptr) pairs(pool, k, k_pairs_);
    if (v_pairs_ != nullptr) pairs(pool, v, v_pairs_);
  }

  bool used() const { return used_; }

  AttentionBf16 at(int64_t sequence, int64_t kv_head) const {
    const int64_t d = shape_.d, cols = shape_.kv_heads * d;
    const int64_t row = sequence * length_ * cols / 2 + kv_head * d / 2;
    const int64_t pair = sequence * steps() * cols + kv_head * d;
    const auto from = [](const float* base, int64_t offset) { return base == nullptr ? nullptr : base + offset; };
    return {dense_product_bf16_table.best(),
            dense_panel_rows_bf16_table.best(),
            dense_panel_columns_bf16_table.best(),
            bf16_convert_table.best(),
            from(k_rows_, row),
            from(v_rows_, row),
            from(k_pairs_, pair),
            from(v_pairs_, pair),
            cols / 2,
            cols};
  }

 private:
  static constexpr int64_t kRows = 64;  // per task

  int64_t steps() const { return (length_ + 1) / 2; }

  void rows(ThreadPool& pool, const Tensor& x, float* to) const {
    pool.parallel_for((x.rows + kRows - 1) / kRows, [&](int64_t task, int) {
      const int64_t first = task * kRows, count = x.rows - first < kRows ? x.rows - first : kRows;
      bf16_convert_table.best()(x.f32() + first * x.cols, count, x.cols,
                                reinterpret_cast<uint16_t*>(to + first * x.cols / 2));
    });
  }

  void pairs(ThreadPool& pool, const Tensor& x, float* to) const {
    const int64_t tasks = (length_ + kRows - 1) / kRows;
    pool.parallel_for(x.rows / length_ * tasks, [&](int64_t task, int) {
      const int64_t sequence = task / tasks, first = task % tasks * kRows;
      const int64_t count = length_ - first < kRows ? length_ - first : kRows;
      dense_panel_columns_bf16_table.best()({x.f32() + (sequence * length_ + first) * x.cols, x.cols, x.cols, count,
                                             x.cols},
                                            to + (sequence * steps() + first / 2) * x.cols);
    });
  }

  AttentionShape shape_;
  bool used_;
  int64_t length_ = 0;
  float* k_rows_ = nullptr;
  float* v_rows_ = nullptr;
  float* k_pairs_ = nullptr;
  float* v_pairs_ = nullptr;
};

}  // namespace mbok
