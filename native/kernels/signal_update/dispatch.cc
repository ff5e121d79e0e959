#include "kernels/signal_update/signal_update.h"
#include "kernels/simd/target.h"

namespace mbok {

const KernelTable<ScaleGradientFunction> scale_gradient_table("scale_gradient", {
    MBOK_VECTOR_CANDIDATES(scale_gradient)
    {"scalar", kNone, scalar::scale_gradient},
});

const KernelTable<SignalSquaresFunction> signal_squares_table("signal_squares", {
    MBOK_VECTOR_CANDIDATES(signal_squares)
    {"scalar", kNone, scalar::signal_squares},
});

const KernelTable<SignalMagnitudeFunction> signal_magnitude_table("signal_magnitude", {
    MBOK_VECTOR_CANDIDATES(signal_magnitude)
    {"scalar", kNone, scalar::signal_magnitude},
});

const KernelTable<AddSignalFunction> add_signal_table("add_signal", {
    MBOK_VECTOR_CANDIDATES(add_signal)
    {"scalar", kNone, scalar::add_signal},
});

const KernelTable<AccumulateFunction> accumulate_table("accumulate", {
    MBOK_VECTOR_CANDIDATES(accumulate)
    {"scalar", kNone, scalar::accumulate},
});

const KernelTable<FlipFunction> flip_table("flip", {
    MBOK_VECTOR_CANDIDATES(flip)
    {"scalar", kNone, scalar::flip},
});

const KernelTable<MoveFunction> move_table("move", {
    MBOK_VECTOR_CANDIDATES(move)
    {"scalar", kNone, scalar::move},
});

}  // namespace mbok
