#include "runtime/memory.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "runtime/error.h"

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#define MBOK_HAS_MMAP 1
#endif

namespace mbok {
namespace {

constexpr size_t kMapFrom = size_t{1} << 20;

bool maps(size_t bytes) {
#if defined(MBOK_HAS_MMAP)
  return bytes >= kMapFrom;
#else
  return bytes > SIZE_MAX;
#endif
}

}  // namespace

Memory::Memory(size_t bytes) : data_(nullptr), bytes_(bytes) {
  const size_t rounded = align_up(bytes == 0 ? 1 : bytes);
  void* block = nullptr;
  if (rounded >= bytes) {
#if defined(MBOK_HAS_MMAP)
    if (maps(rounded)) {
      block = mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (block == MAP_FAILED) block = nullptr;
    }
#endif
    if (!maps(rounded)) {
      block = std::aligned_alloc(kAlignment, rounded);
      if (block != nullptr) std::memset(block, 0, rounded);
    }
  }
  if (block == nullptr) throw Error("MBOK_OUT_OF_MEMORY", "could not allocate " + std::to_string(bytes) + " bytes");
  data_ = static_cast<std::byte*>(block);
}

Memory::~Memory() {
  const size_t rounded = align_up(bytes_ == 0 ? 1 : bytes_);
#if defined(MBOK_HAS_MMAP)
  if (maps(rounded)) {
    munmap(data_, rounded);
    return;
  }
#endif
  std::free(data_);
}

}  // namespace mbok
