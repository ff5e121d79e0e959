// Rebuilds BooleanPanels piece by piece. Included into an anonymous namespace inside mbok::avx512 with bf16
// instructions, after pairs.h.

class Rebuild {
 public:
  explicit Rebuild(const BooleanPanels* source) {
    if (source == nullptr) return;
    s_ = *source;
    left_ = (s_.cols + kPanelCols - 1) / kPanelCols * ((s_.depth + 1) / 2) * (kPanelCols / kStripCols);
    begin_panel(0);
  }

  int64_t pieces() const { return left_; }  // not yet rebuilt

  // Rebuilds two numbers of the depth for 32 columns. What changes from kernel to kernel is a local variable, because
  // the compiler must assume that a tile store overwrites members.
  MBOK_INLINE void piece() {
    const int64_t kernels = s_.kernels, kernel_bytes = s_.kernel_bytes;
    const int64_t along_stride = s_.along_stride, across_stride = s_.across_stride;
    const uint8_t* signs = signs_ + half_;
    const float *along = along_, *across = across_ + half_;
    const unsigned d = static_cast<unsigned>(s_.depth - depth_left_);
    if (d % 8 == 0)
      for (int64_t k = 0; k < kernels; ++k) __builtin_prefetch(signs + k * kernel_bytes + kBlockBytes);
    const __m256i first = _mm256_set1_epi8(static_cast<char>(1u << d % 8)), second = _mm256_add_epi8(first, first);
    const uint32_t inside = first_bits(cols_left_ - half_);
    const __mmask16 in_left = mask_of(inside).m, in_right = mask_of(inside >> kLanes).m;
    const int64_t other = depth_left_ > 1 ? 1 : 0;  // an odd depth ends with a zero
    const __mmask16 has_other = static_cast<__mmask16>(-other);
    Vec w00 = zero(), w01 = zero(), w10 = zero(), w11 = zero();
    for (int64_t k = 0; k < kernels; ++k, signs += kernel_bytes, along += along_stride, across += across_stride) {
      const Vec a = {_mm512_maskz_loadu_ps(in_left, across)}, b = {_mm512_maskz_loadu_ps(in_right, across + kLanes)};
      const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(signs));
      const uint32_t negative0 = _mm256_testn_epi8_mask(bits, first), negative1 = _mm256_testn_epi8_mask(bits, second);
      const Vec x = broadcast(along[0]), y = {_mm512_maskz_broadcastss_ps(has_other, _mm_load_ss(along + other))};
      w00 = fma(x, flipped_by(a, negative0), w00);
      w01 = fma(x, flipped_by(b, negative0 >> kLanes), w01);
      w10 = fma(y, flipped_by(a, negative1), w10);
      w11 = fma(y, flipped_by(b, negative1 >> kLanes), w11);
    }
    float* const out = out_ + (half_ != 0 ? s_.panel / 2 : 0);
    store(out, pairs(w00, w10));
    store(out + kLanes, pairs(w01, w11));
    --left_;
    half_ ^= kStripCols;
    if (half_ == 0) next_step();
  }

 private:
  static uint32_t first_bits(int64_t count) {
    return count >= kStripCols ? 0xffffffffu : count > 0 ? (1u << count) - 1 : 0;
  }

  MBOK_INLINE void next_step() {
    along_ += 2;
    out_ += kStripCols;
    depth_left_ -= 2;
    if (depth_left_ <= 0) {
      if (left_ > 0) begin_panel(panel_ + 1);
    } else if ((s_.depth - depth_left_) % 8 == 0) {
      signs_ += kTileRows;
    }
  }

  void begin_panel(int64_t panel) {
    panel_ = panel;
    signs_ = s_.tiles + panel * s_.tile_bytes;
    along_ = s_.along;
    across_ = s_.across + panel * kPanelCols;
    out_ = s_.panels + panel * s_.panel;
    cols_left_ = s_.cols - panel * kPanelCols;
    depth_left_ = s_.depth;
  }

  BooleanPanels s_ = {};
  int64_t left_ = 0, panel_ = 0, half_ = 0, cols_left_ = 0, depth_left_ = 0;
  const uint8_t* signs_ = nullptr;
  const float *along_ = nullptr, *across_ = nullptr;
  float* out_ = nullptr;
};
