// Node-API on Windows, for cross builds: fills the table through which the add-on calls it (scripts/prebuild-all.mjs writes
// the table and a jump for each function). Functions come from the running executable or, in an embedder, from its library.
#include <windows.h>

extern const char* const mbok_node_api_names[];  // ends with nullptr
extern "C" void* mbok_node_api[];

namespace {

// Stands for functions that an older Node lacks: napi_generic_failure.
int absent() { return 9; }

// Runs before any call: Windows loads the add-on, with its static objects, before Node asks it to register.
struct Resolved {
  Resolved() {
    const HMODULE modules[] = {GetModuleHandleA(nullptr), GetModuleHandleA("libnode.dll"), GetModuleHandleA("node.dll")};
    for (int i = 0; mbok_node_api_names[i] != nullptr; ++i) {
      mbok_node_api[i] = reinterpret_cast<void*>(&absent);
      for (const HMODULE module : modules) {
        if (module == nullptr) continue;
        if (const FARPROC found = GetProcAddress(module, mbok_node_api_names[i])) {
          mbok_node_api[i] = reinterpret_cast<void*>(found);
          break;
        }
      }
    }
  }
};
const Resolved resolved;

}  // namespace
