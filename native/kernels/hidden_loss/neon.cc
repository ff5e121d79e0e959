#include "kernels/simd/neon.h"

#include "kernels/hidden_loss/hidden_loss.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/hidden_loss/body.h"

}  // namespace mbok::neon
#endif
