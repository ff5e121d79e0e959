#include "runtime/dispatch.h"

namespace mbok {
namespace {
const KernelTableBase* head = nullptr;  // constant-initialized, so tables of any translation unit may join
}

KernelTableBase::KernelTableBase(const char* name) : name_(name), next_(head) { head = this; }

const KernelTableBase* KernelTableBase::first() { return head; }

}  // namespace mbok
