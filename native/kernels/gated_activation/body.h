// Gated activations in terms of Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

namespace {
#include "kernels/activation/vector_functions.h"

MBOK_INLINE void forward(ActivationKind kind, const float* gate, const float* up, float* y, int64_t count) {
  const auto step = [&](int64_t i, int64_t n) MBOK_INLINE_LAMBDA {
    store_n(y + i, activation_at(kind, load_n(gate + i, n)).value * load_n(up + i, n), n);
  };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) step(i, kLanes);
  if (i < count) step(i, count - i);
}

MBOK_INLINE void backward(ActivationKind kind, const float* dy, const float* gate, const float* up, float* dgate,
                          float* dup, int64_t count) {
  const auto step = [&](int64_t i, int64_t n) MBOK_INLINE_LAMBDA {
    const Vec signal = load_n(dy + i, n), u = load_n(up + i, n);
    const ActivationAt a = activation_at(kind, load_n(gate + i, n));
    store_n(dgate + i, signal * u * a.slope, n);
    store_n(dup + i, signal * a.value, n);
  };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) step(i, kLanes);
  if (i < count) step(i, count - i);
}

}  // namespace

void gated_activation(ActivationKind kind, const float* gate, const float* up, float* y, int64_t count) {
  switch (kind) {
    case ActivationKind::kSilu:
      return forward(ActivationKind::kSilu, gate, up, y, count);
    case ActivationKind::kGelu:
      return forward(ActivationKind::kGelu, gate, up, y, count);
    case ActivationKind::kGeluTanh:
      return forward(ActivationKind::kGeluTanh, gate, up, y, count);
    case ActivationKind::kRelu:
      return forward(ActivationKind::kRelu, gate, up, y, count);
  }
}

void gated_activation_gradient(ActivationKind kind, const float* dy, const float* gate, const float* up, float* dgate,
                               float* dup, int64_t count) {
  switch (kind) {
    case ActivationKind::kSilu:
      return backward(ActivationKind::kSilu, dy, gate, up, dgate, dup, count);
    case ActivationKind::kGelu:
      return backward(ActivationKind::kGelu, dy, gate, up, dgate, dup, count);
    case ActivationKind::kGeluTanh:
      return backward(ActivationKind::kGeluTanh, dy, gate, up, dgate, dup, count);
    case ActivationKind::kRelu:
      return backward(ActivationKind::kRelu, dy, gate, up, dgate, dup, count);
  }
}
