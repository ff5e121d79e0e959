#include "kernels/refit/codes.h"

#include "kernels/compensated_signs/compensated_signs.h"

#if defined(MBOK_NEON)
namespace mbok::neon {

#include "kernels/compensated_signs/body.h"

}  // namespace mbok::neon
#endif
