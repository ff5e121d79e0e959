// Rounds to bf16 in pairs. Included into an anonymous namespace inside mbok::avx512 with bf16 instructions.

// Permutation 0, 16, 1, 17, … that interleaves two rounded vectors.
alignas(64) constexpr uint16_t kInterleave[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                  8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};

// Lane l holds number l of `first` in its lower half and number l of `second` in its upper half.
MBOK_INLINE Vec pairs(Vec first, Vec second) {
  const __m512i rounded = (__m512i)_mm512_cvtne2ps_pbh(second.v, first.v);
  return {_mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(kInterleave), rounded))};
}
