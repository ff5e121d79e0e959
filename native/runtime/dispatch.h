// Dispatch tables are data: one table per kernel function, best candidate first, scalar (needs no feature) last.
//
//   // kernels/rms_norm/dispatch.cc
//   const KernelTable<RmsNormFunction> rms_norm_table("rms_norm", {
//       MBOK_VECTOR_CANDIDATES(rms_norm)
//       {"scalar", kNone, scalar::rms_norm},
//   });
//   rms_norm_table.best()(...)
//
// Tests run every candidate that the machine supports. `mbok info` prints the candidate in use.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "runtime/cpu.h"

namespace mbok {

// The part of a table that is independent of the function type. All tables form a linked list for `mbok info`.
class KernelTableBase {
 public:
  const char* name() const { return name_; }
  virtual const char* serving() const = 0;
  const KernelTableBase* next() const { return next_; }
  static const KernelTableBase* first();

 protected:
  explicit KernelTableBase(const char* name);
  ~KernelTableBase() = default;

 private:
  const char* name_;
  const KernelTableBase* next_;
};

template <class Function>
struct Candidate {
  const char* name;  // "avx512", "avx512_vpopcntdq", "avx2", "scalar", …
  uint32_t needs;    // Feature bits
  Function* function;
  bool supported() const { return (cpu_features() & needs) == needs; }
};

template <class Function>
class KernelTable final : public KernelTableBase {
 public:
  KernelTable(const char* name, std::initializer_list<Candidate<Function>> candidates)
      : KernelTableBase(name), candidates_(*new std::vector<Candidate<Function>>(candidates)) {}

  const std::vector<Candidate<Function>>& candidates() const { return candidates_; }
  Function* best() const { return choose().function; }
  const char* serving() const override { return choose().name; }

 private:
  const Candidate<Function>& choose() const {
    for (const Candidate<Function>& c : candidates_)
      if (c.supported()) return c;
    return candidates_.back();
  }

  const std::vector<Candidate<Function>>& candidates_;  // leaked: a run may outlive static teardown (process.exit)
};

}  // namespace mbok

// Declares functions of the same name for every vector ISA; MBOK_VECTOR_CANDIDATES (kernels/simd/target.h) lists them.
#define MBOK_DECLARE_VECTOR(...) \
  namespace avx2 {               \
  __VA_ARGS__                    \
  }                              \
  namespace avx512 {             \
  __VA_ARGS__                    \
  }                              \
  namespace neon {               \
  __VA_ARGS__                    \
  }
