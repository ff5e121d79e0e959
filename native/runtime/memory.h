// Aligned memory that returns to the operating system when freed.
#pragma once

#include <cstddef>
#include <memory>

namespace mbok {

constexpr size_t kAlignment = 64;  // one cache line, one AVX-512 register

inline size_t align_up(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// A zeroed block. Blocks from 1 MiB on have a mapping of their own: pages become resident on first touch and return to
// the operating system at destruction, independent of the allocator.
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
