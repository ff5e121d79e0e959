#include "kernels/dense_decode/candidates.h"
#include "kernels/half/half.h"

namespace mbok::scalar {
namespace {

template <class Element, class Widen>  // widen(element) is its value
void decode(const DenseDecode& p, Widen widen) {
  const Element* const w = static_cast<const Element*>(p.w);
  for (int64_t i = 0; i < p.outputs; ++i) {
    const float scale = p.scales != nullptr ? p.scales[i] : 1.0f;
    for (int64_t r = 0; r < p.rows; ++r) {
      float sum = 0;
      for (int64_t d = 0; d < p.depth; ++d) sum += p.x[r * p.depth + d] * widen(w[i * p.depth + d]);
      p.y[r * p.y_stride + i] = (p.bias != nullptr ? p.bias[i] : 0.0f) + scale * sum;
    }
  }
}

template <WidenFunction* widen>
float one(uint16_t half) {
  float value;
  widen(&half, &value, 1);
  return value;
}

}  // namespace

void dense_decode_f32(const DenseDecode& p) {
  decode<float>(p, [](float w) { return w; });
}
void dense_decode_f16(const DenseDecode& p) { decode<uint16_t>(p, one<f16_widen>); }
void dense_decode_bf16(const DenseDecode& p) { decode<uint16_t>(p, one<bf16_widen>); }
void dense_decode_i8(const DenseDecode& p) {
  decode<int8_t>(p, [](int8_t w) { return static_cast<float>(w); });
}

}  // namespace mbok::scalar
