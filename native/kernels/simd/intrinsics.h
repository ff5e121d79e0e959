// <immintrin.h> without GCC 12's false warnings: its AVX-512 intrinsics pass "undefined" registers, which -Wall reports
// as uninitialized variables wherever they are inlined (GCC PR 105593).
#pragma once

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif
#endif
