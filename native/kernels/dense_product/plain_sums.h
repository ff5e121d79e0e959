// For body.h: operands loaded as floats and sums that start at zero and need no scale (f32 and bf16).

using Step = Vec;
using Sum = Vec;
MBOK_INLINE Step load_step(const float* p) { return load(p); }
MBOK_INLINE Step broadcast_step(const float* p) { return broadcast(*p); }
MBOK_INLINE Sum first_sum(const float*) { return zero(); }
MBOK_INLINE Vec add_sum(const ProductBlock&, const float*, int64_t, Vec start, Sum sum) { return start + sum; }
