// Copies to memory past the caches: what is written is not read first, and nothing that is still wanted makes room for it.
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

// Makes what this thread streamed visible like any other write: before another thread is told that it is there.
inline void finish_streams() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace mbok
