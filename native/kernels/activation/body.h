// Activations in terms of Vec. avx2.cc, avx512.cc and neon.cc include this file inside their namespaces.

namespace {
#include "kernels/activation/vector_functions.h"

MBOK_INLINE void forward(ActivationKind kind, const float* x, float* y, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(y + i, activation_at(kind, load(x + i)).value);
  if (i < count) store_n(y + i, activation_at(kind, load_n(x + i, count - i)).value, count - i);
}

MBOK_INLINE void backward(ActivationKind kind, const float* dy, const float* x, float* dx, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(dx + i, load(dy + i) * activation_at(kind, load(x + i)).slope);
  if (i < count) {
    const int64_t n = count - i;
    store_n(dx + i, load_n(dy + i, n) * activation_at(kind, load_n(x + i, n)).slope, n);
  }
}

}  // namespace

void activation(ActivationKind kind, const float* x, float* y, int64_t count) {
  switch (kind) {
    case ActivationKind::kSilu:
      return forward(ActivationKind::kSilu, x, y, count);
    case ActivationKind::kGelu:
      return forward(ActivationKind::kGelu, x, y, count);
    case ActivationKind::kGeluTanh:
      return forward(ActivationKind::kGeluTanh, x, y, count);
    case ActivationKind::kRelu:
      return forward(ActivationKind::kRelu, x, y, count);
  }
}

void activation_gradient(ActivationKind kind, const float* dy, const float* x, float* dx, int64_t count) {
  switch (kind) {
    case ActivationKind::kSilu:
      return backward(ActivationKind::kSilu, dy, x, dx, count);
    case ActivationKind::kGelu:
      return backward(ActivationKind::kGelu, dy, x, dx, count);
    case ActivationKind::kGeluTanh:
      return backward(ActivationKind::kGeluTanh, dy, x, dx, count);
    case ActivationKind::kRelu:
      return backward(ActivationKind::kRelu, dy, x, dx, count);
  }
}
