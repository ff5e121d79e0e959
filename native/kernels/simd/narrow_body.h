// The sources of narrow_avx512.h for ISAs without masked loads of narrow elements: the tail goes through a buffer.
// narrow_avx2.h and narrow_neon.h include this file inside their namespaces. They first define widen_f16(),
// widen_bf16() and widen_i8(), which widen kLanes elements each.

template <class Type, Vec (*Widen)(const Type*)>
struct Narrow {
  using Element = Type;
  static MBOK_INLINE Vec load(const Type* p) { return Widen(p); }
  static MBOK_INLINE Vec load_n(const Type* p, int64_t n) {
    if (n == kLanes) return Widen(p);
    Type buffer[kLanes] = {};
    for (int64_t i = 0; i < n; ++i) buffer[i] = p[i];
    return Widen(buffer);
  }
};
using F16 = Narrow<uint16_t, widen_f16>;
using Bf16 = Narrow<uint16_t, widen_bf16>;
using I8 = Narrow<int8_t, widen_i8>;
