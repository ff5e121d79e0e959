#pragma once

namespace mbok::addon {

// Keeps the add-on in memory until the process ends: the end of a worker thread, which unloads add-ons, must not unmap code
// that the compute threads run. On Linux a linker flag does that (-z nodelete).
void stay_loaded();

}  // namespace mbok::addon
