// Attributes d, scale, window, softcap and the shapes of q, k and v, common to the attention operations.
#pragma once

#include "kernels/attention/attention.h"
#include "runtime/memory.h"
#include "runtime/operation.h"

namespace mbok {

struct AttentionShape {
  int64_t rows, d, heads, kv_heads;
  float scale;
  int64_t window;
  float softcap;
};

// Reads the attributes; throws Error MBOK_SHAPE unless q [R, H·d] and k, v [R, Hkv·d] match them and Hkv divides H.
inline AttentionShape attention_shape(const Call& call, const Tensor& q, const Tensor& k, const Tensor& v) {
  const int64_t d = call.integer(0);
  expect(call, d >= 2 && d % 2 == 0 && d <= kAttentionMaxHead, "the head dimension must be even and at most 256");
  expect(call, q.cols > 0 && q.cols % d == 0 && k.cols > 0 && k.cols % d == 0 && q.cols % k.cols == 0,
         "the head dimension must divide the rows, and the key-value heads the heads");
  expect(call, call.attribute(1) > 0, "the scale must be positive");
  expect(call, call.attribute(2) >= 0, "the window must not be negative");
  expect(call, call.attribute(3) >= 0, "the softcap must not be negative");
  expect_tensor(call, q, "q", TensorType::kF32, q.rows, q.cols);
  expect_tensor(call, k, "k", TensorType::kF32, q.rows, k.cols);
  expect_tensor(call, v, "v", TensorType::kF32, q.rows, k.cols);
  return {q.rows,
          d,
          q.cols / d,
          k.cols / d,
          static_cast<float>(call.attribute(1)),
          call.integer(2),
          static_cast<float>(call.attribute(3))};
}

}  // namespace mbok
