#include "runtime/memory.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "runtime/error.h"

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
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

#if defined(MBOK_HAS_MMAP)
// Maps zeroed pages. Blocks of 2 MiB and more start at a multiple of 2 MiB and ask for huge pages: weights stream
// faster from memory with fewer TLB misses.
void* map(size_t bytes) {
  constexpr size_t kHuge = size_t{2} << 20;
  const size_t spare = bytes >= kHuge ? kHuge : 0;
  if (bytes > SIZE_MAX - spare) return nullptr;
  void* const mapped = mmap(nullptr, bytes + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  if (spare == 0) return mapped;
  char* const begin = static_cast<char*>(mapped);
  const size_t before = (kHuge - reinterpret_cast<uintptr_t>(begin) % kHuge) % kHuge;
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t used = (bytes + page - 1) / page * page;
  if (before > 0) munmap(begin, before);
  munmap(begin + before + used, bytes + spare - before - used);
#if defined(MADV_HUGEPAGE)
  madvise(begin + before, bytes, MADV_HUGEPAGE);  // a hint that affects speed only
#endif
  return begin + before;
}
#endif

}  // namespace

Memory::Memory(size_t bytes) : data_(nullptr), bytes_(bytes) {
  const size_t rounded = align_up(bytes == 0 ? 1 : bytes);
  void* block = nullptr;
  if (rounded >= bytes) {
#if defined(MBOK_HAS_MMAP)
    if (maps(rounded)) block = map(rounded);
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
