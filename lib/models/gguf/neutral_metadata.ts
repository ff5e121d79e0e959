/**
 * Metadata that changes a model's numbers where llama.cpp reads it. An architecture that does not is right only where the
 * value changes nothing. Keys of layouts, sizes that shapes show, and names are not here.
 */

/** What neutral values depend on. */
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
/** llama.cpp takes factors of 0 for absent. */
const isFactorOfOne = oneOf(0, 1);
const isOff = oneOf(0, false);
const isHeadDimension: Neutral = (value, reader) => value === reader.headDimension;

/** Keys below that of the architecture, and what changes nothing. */
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
  // where an extended context begins, and whether the model was finetuned for it: of YaRN and LongRoPE, or of nothing
  'rope.scaling.finetuned': () => true,
  'rope.scaling.original_context_length': () => true,
  'rope.scaling.type': oneOf('none', 'linear'),
  'rope.scaling.yarn_attn_factor': isFactorOfOne,
  // the bounds of YaRN's ramp, of which nothing is left without the factor of extrapolation
  'rope.scaling.yarn_beta_fast': () => true,
  'rope.scaling.yarn_beta_slow': () => true,
  'rope.scaling.yarn_ext_factor': oneOf(0, -1),
  'rope.scaling.yarn_log_multiplier': isOff,
};

/** What is not known below these would change numbers. */
const CHANGES_NUMBERS = /^rope\./;

/** Whether metadata that an architecture does not read leaves its numbers as they are. */
export function isNeutral(key: string, value: unknown, reader: Architecture): boolean {
  const neutral = Object.hasOwn(NEUTRAL, key) ? NEUTRAL[key] : undefined;
  if (neutral === undefined) return !CHANGES_NUMBERS.test(key);
  if (typeof value !== 'object' || value === null) return neutral(value, reader);
  return Array.prototype.every.call(value, (item: unknown) => neutral(item, reader));
}
