#include "runtime/memory.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "runtime/error.h"

#if defined(_WIN32)
#include <malloc.h>
#include <windows.h>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace mbok {
namespace {

constexpr size_t kMapFrom = size_t{1} << 20;

// Bytes that a block takes, or 0 if they do not fit in size_t.
size_t rounded(size_t bytes) {
  const size_t up = align_up(bytes == 0 ? 1 : bytes);
  return up >= bytes ? up : 0;
}

#if defined(_WIN32)

void* map(size_t bytes) { return VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE); }
void unmap(void* block, size_t) { VirtualFree(block, 0, MEM_RELEASE); }
void* allocate(size_t bytes) { return _aligned_malloc(bytes, kAlignment); }
void release(void* block) { _aligned_free(block); }

#else

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
void unmap(void* block, size_t bytes) { munmap(block, bytes); }
void* allocate(size_t bytes) { return std::aligned_alloc(kAlignment, bytes); }
void release(void* block) { std::free(block); }

#endif

}  // namespace

Memory::Memory(size_t bytes) : data_(nullptr), bytes_(bytes) {
  const size_t size = rounded(bytes);
  void* block = nullptr;
  if (size >= kMapFrom) {
    block = map(size);
  } else if (size > 0) {
    block = allocate(size);
    if (block != nullptr) std::memset(block, 0, size);
  }
  if (block == nullptr) throw Error("MBOK_OUT_OF_MEMORY", "could not allocate " + std::to_string(bytes) + " bytes");
  data_ = static_cast<std::byte*>(block);
}

Memory::~Memory() {
  const size_t size = rounded(bytes_);
  if (size >= kMapFrom)
    unmap(data_, size);
  else
    release(data_);
}

}  // namespace mbok
