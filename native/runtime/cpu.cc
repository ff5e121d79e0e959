#include "runtime/cpu.h"

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>

#include "runtime/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>

#include <cstdio>
#endif
#if defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif
#if defined(__aarch64__) && defined(_WIN32)
#include <windows.h>
#endif

namespace mbok {
namespace {

// A value of MBOK_ISA.
struct Level {
  const char* name;
  uint32_t needs;
  uint32_t keeps;  // mask on the detected features
};

#if defined(__x86_64__)

constexpr Level kLevels[] = {
    {"scalar", kNone, kNone},
    {"avx2", kAvx2, kAvx2 | kIntel},
    {"avxvnni", kAvxVnni, kAvx2 | kAvxVnni | kIntel},
    {"avx512", kAvx512, ~static_cast<uint32_t>(kAmxBf16)},
    {"amx", kAmxBf16, ~0u},
};

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
  return r;
}

bool bit(unsigned value, int index) { return (value >> index) & 1u; }

// Returns XCR0: the register files that the operating system saves on a context switch.
unsigned long long enabled_state() {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<unsigned long long>(high) << 32) | low;
}

// Requests AMX tile data from Linux, which grants it on demand because each thread's context grows by 8 KiB. One
// request serves all threads of the process. Without permission, or on another system, the feature counts as absent.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

// Tests for "GenuineIntel", four letters per register.
bool is_intel() {
  const Registers zero = cpuid(0, 0);
  return zero.b == 0x756e6547 && zero.d == 0x49656e69 && zero.c == 0x6c65746e;
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
  if (is_intel()) found |= kIntel;
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

#elif defined(__aarch64__)

constexpr Level kLevels[] = {
    {"scalar", kNone, kNone},
    {"neon", kNeon, kNeon},
    {"dotprod", kDotprod, kNeon | kDotprod},
    {"i8mm", kI8mm, ~0u},
};

#if defined(__APPLE__)

bool has(const char* feature) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname(feature, &value, &size, nullptr, 0) == 0 && value != 0;
}
bool has_dotprod() { return has("hw.optional.arm.FEAT_DotProd"); }
bool has_i8mm() { return has("hw.optional.arm.FEAT_I8MM"); }

std::string name() {
  char text[128] = {};
  size_t size = sizeof text - 1;
  return sysctlbyname("machdep.cpu.brand_string", text, &size, nullptr, 0) == 0 ? text : "unknown";
}

#elif defined(__linux__)

bool has_dotprod() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
bool has_i8mm() { return (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0; }

// Linux has no model names for these processors. MIDR_EL1 holds the implementer and the part number.
std::string name() {
  if ((getauxval(AT_HWCAP) & HWCAP_CPUID) == 0) return "unknown";
  uint64_t id;
  __asm__("mrs %0, midr_el1" : "=r"(id));
  char text[48];
  std::snprintf(text, sizeof text, "aarch64 implementer 0x%02x part 0x%03x", static_cast<unsigned>(id >> 24 & 0xff),
                static_cast<unsigned>(id >> 4 & 0xfff));
  return text;
}

#elif defined(_WIN32)

// Windows' own numbers of features: older headers lack the second name.
bool has_dotprod() { return IsProcessorFeaturePresent(43) != 0; }  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
bool has_i8mm() { return IsProcessorFeaturePresent(66) != 0; }     // PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE
std::string name() {
  const char* const text = std::getenv("PROCESSOR_IDENTIFIER");
  return text == nullptr ? "unknown" : text;
}

#else

bool has_dotprod() { return false; }
bool has_i8mm() { return false; }
std::string name() { return "unknown"; }

#endif

uint32_t detect() {
  uint32_t found = kNeon;
  if (!has_dotprod()) return found;
  found |= kDotprod;
  if (has_i8mm()) found |= kI8mm;
  return found;
}

#else

constexpr Level kLevels[] = {{"scalar", kNone, kNone}};
uint32_t detect() { return kNone; }
std::string name() { return "unknown"; }

#endif

bool offers(uint32_t features, const Level& level) { return (features & level.needs) == level.needs; }

uint32_t narrowed() {
  const uint32_t found = detect();
  const char* wanted = std::getenv("MBOK_ISA");
  if (wanted == nullptr || *wanted == '\0') return found;
  std::string names;
  for (const Level& level : kLevels) {
    if (offers(found, level) && std::strcmp(wanted, level.name) == 0) return found & level.keeps;
    if (!names.empty()) names += &level + 1 == std::end(kLevels) ? " or " : ", ";
    names += level.name;
  }
  throw Error("MBOK_INVALID_ARGUMENT",
              "MBOK_ISA must be " + names + " and supported by this machine, got '" + wanted + "'");
}

}  // namespace

uint32_t cpu_features() {
  static const uint32_t features = narrowed();
  return features;
}

const char* isa_name() {
  const char* widest = kLevels[0].name;
  for (const Level& level : kLevels)
    if (offers(cpu_features(), level)) widest = level.name;
  return widest;
}

const char* cpu_name() {
  static const std::string* text = new std::string(name());  // never destroyed: threads may outlive static teardown
  return text->c_str();
}

}  // namespace mbok
