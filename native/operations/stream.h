// Copies past the caches: the target is not read first, and cached data is not evicted.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace mbok {

inline void stream(float* to, const float* from, int64_t count) {
#if defined(__x86_64__)
  constexpr int64_t kFloats = 4;
  if (reinterpret_cast<uintptr_t>(to) % sizeof(__m128) == 0) {
    for (; count >= kFloats; count -= kFloats, to += kFloats, from += kFloats) _mm_stream_ps(to, _mm_loadu_ps(from));
  }
#endif
  std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}

// Makes this thread's streamed writes visible like other writes; call before telling another thread that they exist.
inline void finish_streams() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace mbok
