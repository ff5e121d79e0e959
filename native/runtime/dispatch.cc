#include "runtime/dispatch.h"

namespace mbok {
namespace {
const KernelTableBase* head = nullptr;  // constant-initialized, so that any translation unit may register tables
}

KernelTableBase::KernelTableBase(const char* name) : name_(name), next_(head) { head = this; }

const KernelTableBase* KernelTableBase::first() { return head; }

}  // namespace mbok
