#include "kernels/dense_decode/candidates.h"
#include "kernels/half/half.h"
#include "kernels/q8/q8.h"

namespace mbok::scalar {
namespace {

template <class Weight>  // weight(i, d) is w[i, d]
void decode(const DenseDecode& p, Weight weight) {
  for (int64_t i = 0; i < p.outputs; ++i) {
    const float scale = p.scales != nullptr ? p.scales[i] : 1.0f;
    for (int64_t r = 0; r < p.rows; ++r) {
      float sum = 0;
      for (int64_t d = 0; d < p.depth; ++d) sum += p.x[r * p.depth + d] * weight(i, d);
      p.y[r * p.y_stride + i] = (p.bias != nullptr ? p.bias[i] : 0.0f) + scale * sum;
    }
  }
}

template <class Element, class Widen>  // widen(element) is its value
void decode_plain(const DenseDecode& p, Widen widen) {
  const Element* const w = static_cast<const Element*>(p.w);
  decode(p, [=](int64_t i, int64_t d) { return widen(w[i * p.depth + d]); });
}

template <WidenFunction* widen>
float one(uint16_t half) {
  float value;
  widen(&half, &value, 1);
  return value;
}

}  // namespace

void dense_decode_f32(const DenseDecode& p) {
  decode_plain<float>(p, [](float w) { return w; });
}
void dense_decode_f16(const DenseDecode& p) { decode_plain<uint16_t>(p, one<f16_widen>); }
void dense_decode_bf16(const DenseDecode& p) { decode_plain<uint16_t>(p, one<bf16_widen>); }
void dense_decode_i8(const DenseDecode& p) {
  decode_plain<int8_t>(p, [](int8_t w) { return static_cast<float>(w); });
}
void dense_decode_q8(const DenseDecode& p) {
  const auto* const rows = static_cast<const char*>(p.w);
  const size_t stride = row_bytes(TensorType::kQ8, p.depth);
  decode(p, [=](int64_t i, int64_t d) {
    const Q8Row row = q8_row(rows + static_cast<size_t>(i) * stride, p.depth);
    return one<f16_widen>(row.scales[d / kQ8Block]) * static_cast<float>(row.numbers[d]);
  });
}

}  // namespace mbok::scalar
