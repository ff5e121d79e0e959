#include "plan/table.h"

// One line per operation; native/operations/<name>.cc defines each.
#define MBOK_OPERATIONS(X) \
  X(scale_columns) \
  X(relative_rows) \
  X(before_rms_norm) \
  X(softcap) \
  X(softcap_gradient) \
  X(split) \
  X(concatenate) \
  X(position_embedding) \
  X(position_embedding_gradient) \
  X(transpose) \
  X(arrange_bits) \
  X(quantize_int8) \
  X(widen) \
  X(dequantize) \
  X(boolean_activation_gradient) \
  X(boolean_activation) \
  X(boolean_linear_signal_boolean) \
  X(boolean_linear_gradient_input_boolean) \
  X(boolean_linear_signal) \
  X(boolean_linear_gradient_input) \
  X(boolean_linear) \
  X(hidden_loss_gradient) \
  X(hidden_loss) \
  X(kl_divergence_gradient) \
  X(kl_divergence) \
  X(head_likelihood) \
  X(head_loss) \
  X(head_top_tokens) \
  X(cross_entropy_gradient) \
  X(coupled_sign_descent) \
  X(cross_entropy) \
  X(last_row) \
  X(embedding_gradient) \
  X(embedding) \
  X(vocabulary_order) \
  X(table_update) \
  X(multi_boolean_signal) \
  X(require_finite) \
  X(loss_seed) \
  X(weighted_sum) \
  X(scale) \
  X(round_activations) \
  X(zero) \
  X(signs) \
  X(gradient_norm) \
  X(adamw) \
  X(attention_cached) \
  X(attention_gradient) \
  X(attention) \
  X(gated_activation_gradient) \
  X(gated_activation) \
  X(activation_gradient) \
  X(activation) \
  X(boolean_update) \
  X(multi_boolean_update) \
  X(rms_norm) \
  X(rms_norm_gradient) \
  X(layer_norm) \
  X(layer_norm_gradient) \
  X(rope) \
  X(linear) \
  X(linear_gradient_input) \
  X(linear_gradient_weight) \
  X(bias_gradient) \
  X(multi_boolean_linear) \
  X(multi_boolean_gradient_input) \
  X(reconstruct) \
  X(svid) \
  X(refit) \
  X(calibration_target) \
  X(compensation_factor) \
  X(compensated_signs) \
  X(solve_output_scales) \
  X(descend_input_scales) \
  X(calibrated_error) \
  X(multiply) \
  X(row_dots) \
  X(symmetric_eigen) \
  X(ridge_solve) \
  X(ridge_descent) \
  X(magnitude_projection) \
  X(sign_descent) \
  X(add)

namespace mbok {

#define MBOK_DECLARE(name) extern const Operation name##_operation;
MBOK_OPERATIONS(MBOK_DECLARE)
#undef MBOK_DECLARE

const Operation& find_operation(const std::string& name) {
#define MBOK_ENTRY(entry) &entry##_operation,
  static const Operation* const table[] = {MBOK_OPERATIONS(MBOK_ENTRY)};
#undef MBOK_ENTRY
  for (const Operation* operation : table)
    if (name == operation->name) return *operation;
  throw Error("MBOK_INVALID_ARGUMENT", "no operation is called '" + name + "'");
}

}  // namespace mbok
