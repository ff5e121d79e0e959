/**
 * Metadata that llama.cpp reads and that changes a model's numbers. An architecture that does not read it is correct
 * only if its value is neutral. Keys of layouts, sizes that show in shapes, and names are not listed.
 */

/** The settings on which neutral values depend. */
interface Architecture {
  readonly headDimension: number;
  has(key: string): boolean;
  integer(key: string): number;
  number(key: string): number;
}

type Neutral = (value: unknown, reader: Architecture) => boolean;

const oneOf =
  (...values: unknown[]): Neutral =>
  (value) =>
    values.includes(value);
/** llama.cpp treats a factor of 0 as absent. */
const isFactorOfOne = oneOf(0, 1);
const isOff = oneOf(0, false);
const isHeadDimension: Neutral = (value, reader) => value === reader.headDimension;

/** Keys after that of the architecture, with a test of their neutral values. */
const NEUTRAL: Readonly<Record<string, Neutral>> = {
  'attention.causal': oneOf(true),
  'attention.clamp_kqv': isOff,
  'attention.max_alibi_bias': isOff,
  'attention.output_scale': isFactorOfOne,
  'attention.scale': (value, reader) =>
    value === 0 || (typeof value === 'number' && Math.abs(value * Math.sqrt(reader.headDimension) - 1) < 1e-6),
  'attention.shared_kv_layers': isOff,
  'attention.sliding_window': (value, reader) =>
    value === 0 || (typeof value === 'number' && value >= reader.integer('context_length')),
  'attention.temperature_length': isOff,
  'attention.temperature_scale': isFactorOfOne,
  'attention.value_scale': isFactorOfOne,
  attn_logit_softcapping: isOff,
  embedding_length_per_layer_input: isOff,
  embedding_scale: isFactorOfOne,
  expert_count: isOff,
  final_logit_softcapping: isOff,
  logit_scale: isFactorOfOne,
  pooling_type: isOff,
  residual_scale: isFactorOfOne,
  swiglu_clamp_exp: isOff,
  swiglu_clamp_shexp: isOff,
  use_parallel_residual: isOff,
  'rope.dimension_count': isHeadDimension,
  'rope.dimension_count_swa': isHeadDimension,
  'rope.dimension_sections': isOff,
  'rope.freq_base_swa': (value, reader) =>
    value === (reader.has('rope.freq_base') ? reader.number('rope.freq_base') : 10000),
  'rope.scale_linear': isFactorOfOne,
  'rope.scaling.alpha': isFactorOfOne,
  'rope.scaling.attn_factor': isFactorOfOne,
  'rope.scaling.factor': isFactorOfOne,
  // begin of an extended context, and whether the model was finetuned for it: used only by YaRN and LongRoPE
  'rope.scaling.finetuned': () => true,
  'rope.scaling.original_context_length': () => true,
  'rope.scaling.type': oneOf('none', 'linear'),
  'rope.scaling.yarn_attn_factor': isFactorOfOne,
  // bounds of YaRN's ramp, without effect if the extrapolation factor is 0
  'rope.scaling.yarn_beta_fast': () => true,
  'rope.scaling.yarn_beta_slow': () => true,
  'rope.scaling.yarn_ext_factor': oneOf(0, -1),
  'rope.scaling.yarn_log_multiplier': isOff,
};

/** Keys that change numbers unless they are listed above. */
const CHANGES_NUMBERS = /^rope\./;

/** Tells whether metadata that an architecture does not read is neutral. */
export function isNeutral(key: string, value: unknown, reader: Architecture): boolean {
  const neutral = Object.hasOwn(NEUTRAL, key) ? NEUTRAL[key] : undefined;
  if (neutral === undefined) return !CHANGES_NUMBERS.test(key);
  if (typeof value !== 'object' || value === null) return neutral(value, reader);
  return Array.prototype.every.call(value, (item: unknown) => neutral(item, reader));
}
