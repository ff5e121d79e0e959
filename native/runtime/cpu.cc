#include "runtime/cpu.h"

#include <cstdlib>
#include <cstring>
#include <string>

#include "runtime/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace mbok {
namespace {

#if defined(__x86_64__)

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
  return r;
}

bool bit(unsigned value, int index) { return (value >> index) & 1u; }

// Which register files the operating system saves on a context switch.
unsigned long long enabled_state() {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<unsigned long long>(high) << 32) | low;
}

// Linux gives the tiles to processes that ask for them, since saving them on a switch takes 8 KiB a thread; what asks
// is the first use of a process, for all its threads. Elsewhere, and where it is refused, they count as absent.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

uint32_t detect() {
  const Registers one = cpuid(1, 0);
  if (!bit(one.c, 27)) return kNone;  // OSXSAVE: without it xgetbv faults
  const unsigned long long state = enabled_state();
  const bool ymm = (state & 0x6) == 0x6;
  const bool zmm = (state & 0xe6) == 0xe6;
  const Registers seven = cpuid(7, 0);
  const Registers seven_one = cpuid(7, 1);
  uint32_t found = kNone;
  if (!(ymm && bit(seven.b, 5) && bit(one.c, 12) && bit(one.c, 29))) return found;
  found |= kAvx2;
  if (bit(seven_one.a, 4)) found |= kAvxVnni;
  const bool base512 = bit(seven.b, 16) && bit(seven.b, 30) && bit(seven.b, 17) && bit(seven.b, 31);
  if (!(zmm && base512)) return found;
  found |= kAvx512;
  if (bit(seven.c, 11)) found |= kAvx512Vnni;
  if (bit(seven.c, 14)) found |= kAvx512Vpopcntdq;
  if (bit(seven.c, 1)) found |= kAvx512Vbmi;
  if (bit(seven_one.a, 5)) found |= kAvx512Bf16;
  const bool tiles = (state & 0x60000) == 0x60000 && bit(seven.d, 24) && bit(seven.d, 22);
  if (tiles && may_use_tiles()) found |= kAmxBf16;
  return found;
}

std::string name() {
  char text[49] = {};
  for (unsigned i = 0; i < 3; ++i) {
    const Registers r = cpuid(0x80000002u + i, 0);
    const unsigned words[4] = {r.a, r.b, r.c, r.d};
    std::memcpy(text + 16 * i, words, 16);
  }
  std::string trimmed(text);
  while (!trimmed.empty() && trimmed.back() == ' ') trimmed.pop_back();
  return trimmed;
}

#else

uint32_t detect() { return kNone; }
std::string name() { return "unknown"; }

#endif

uint32_t narrowed() {
  const uint32_t found = detect();
  const char* wanted = std::getenv("MBOK_ISA");
  if (wanted == nullptr || *wanted == '\0') return found;
  const std::string isa(wanted);
  if (isa == "scalar") return kNone;
  if (isa == "avx2" && (found & kAvx2)) return kAvx2;
  if (isa == "avxvnni" && (found & kAvxVnni)) return kAvx2 | kAvxVnni;
  if (isa == "avx512" && (found & kAvx512)) return found & ~static_cast<uint32_t>(kAmxBf16);
  if (isa == "amx" && (found & kAmxBf16)) return found;
  throw Error("MBOK_INVALID_ARGUMENT",
              "MBOK_ISA must be scalar, avx2, avxvnni, avx512 or amx and supported by this machine, got '" + isa + "'");
}

}  // namespace

uint32_t cpu_features() {
  static const uint32_t features = narrowed();
  return features;
}

const char* isa_name() {
  if (cpu_features() & kAmxBf16) return "amx";
  if (cpu_features() & kAvx512) return "avx512";
  if (cpu_features() & kAvxVnni) return "avxvnni";
  return (cpu_features() & kAvx2) ? "avx2" : "scalar";
}

const char* cpu_name() {
  static const std::string* text = new std::string(name());  // never destroyed: threads may outlive static teardown
  return text->c_str();
}

}  // namespace mbok
