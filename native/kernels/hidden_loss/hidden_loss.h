// Distances of one row of hidden states h from the teacher's t: ‖h − t‖² and ‖t‖², from which the operation computes
// the plain or the relative loss. Gradient: dh = factor · (h − t).
//
// Vector versions sum in f32 lanes over runs of 512 elements and the runs in f64, because hidden states of real models
// have single components thousands of times as large as the others. Any alignment; memory-bound.
#pragma once

#include <cstdint>

#include "runtime/dispatch.h"

namespace mbok {

struct HiddenDistance {
  double difference, norm;  // ‖h − t‖², ‖t‖²
};

using HiddenDistanceFunction = HiddenDistance(const float* h, const float* t, int64_t cols);
// dh may be h.
using HiddenLossGradientFunction = void(const float* h, const float* t, int64_t cols, float factor, float* dh);

namespace scalar {
HiddenDistanceFunction hidden_distance;
HiddenLossGradientFunction hidden_loss_gradient;
}  // namespace scalar
MBOK_DECLARE_VECTOR(HiddenDistanceFunction hidden_distance; HiddenLossGradientFunction hidden_loss_gradient;)

extern const KernelTable<HiddenDistanceFunction> hidden_distance_table;
extern const KernelTable<HiddenLossGradientFunction> hidden_loss_gradient_table;

}  // namespace mbok
