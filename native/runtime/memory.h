// Aligned memory that goes back to the operating system when it is freed.
#pragma once

#include <cstddef>
#include <memory>

namespace mbok {

constexpr size_t kAlignment = 64;  // one cache line, one AVX-512 register

inline size_t align_up(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// A zeroed block. Large blocks are mapped on their own, so that pages are only resident once touched and leave the
// process at destruction whatever the allocator's state.
class Memory {
 public:
  explicit Memory(size_t bytes);  // throws Error MBOK_OUT_OF_MEMORY
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  std::byte* data_;
  size_t bytes_;
};

}  // namespace mbok
