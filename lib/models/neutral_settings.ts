/**
 * Settings of config.json that change a model's numbers in some architectures. A family that does not read such a
 * setting is correct only if its value is neutral. Settings that show in shapes and names of tensors, such as biases,
 * are not listed.
 */

type Json = Readonly<Record<string, unknown>>;
type Neutral = (value: unknown, json: Json) => boolean;

const isOff: Neutral = (value) => value === false || value === 0;
const isOn: Neutral = (value) => value === true;
const isOne: Neutral = (value) => value === 1;
const isAll =
  (wanted: unknown): Neutral =>
  (value) =>
    Array.isArray(value) && value.every((item) => item === wanted);

/** Converts numbers only: objects may have a `valueOf` that returns something else. */
const numberOf = (value: unknown) => (typeof value === 'number' ? value : Number.NaN);

function headDimension(json: Json): number {
  const hidden = numberOf(json.hidden_size ?? json.n_embd);
  return numberOf(json.head_dim ?? Math.floor(hidden / numberOf(json.num_attention_heads ?? json.n_head)));
}

const isHeadDimension: Neutral = (value, json) => value === headDimension(json);
const isUsualScale: Neutral = (value, json) => Math.abs(numberOf(value) * Math.sqrt(headDimension(json)) - 1) < 1e-6;
/** A window that is switched off, or at least as long as the context. */
const isNoWindow: Neutral = (value, json) =>
  isOff(value, json) || json.use_sliding_window === false || numberOf(value) >= numberOf(json.max_position_embeddings);

/** Keys with a test of their neutral values. null is always neutral and not tested. */
const NEUTRAL: Readonly<Record<string, Neutral>> = {
  add_cross_attention: isOff,
  alibi: isOff,
  attention_chunk_size: isOff,
  attention_multiplier: isUsualScale,
  attn_logit_softcapping: isOff,
  attn_temperature_tuning: isOff,
  clip_qkv: isOff,
  embedding_multiplier: isOne,
  final_logit_softcapping: isOff,
  is_causal: isOn,
  is_encoder_decoder: isOff,
  layer_types: isAll('full_attention'),
  logit_scale: isOne,
  logits_scaling: isOne,
  moe_num_experts: isOff,
  n_routed_experts: isOff,
  no_rope_layers: isAll(1),
  num_experts: isOff,
  num_local_experts: isOff,
  parallel_attn: isOff,
  partial_rotary_factor: isOne,
  position_embedding_type: (value) => ['absolute', 'rope', 'rotary'].includes(value as string),
  qk_layernorm: isOff,
  qk_norm: isOff,
  query_pre_attn_scalar: isHeadDimension,
  residual_multiplier: isOne,
  rope_interleaved: isOff,
  rotary_dim: isHeadDimension,
  rotary_pct: isOne,
  scale_depth: isOff,
  scale_emb: isOne,
  sliding_window: isNoWindow,
  use_alibi: isOff,
  use_bidirectional_attention: isOff,
  use_parallel_residual: isOff,
  use_qk_norm: isOff,
};

/** Tells whether a setting that a family does not read is neutral. */
export const isNeutralSetting = (key: string, value: unknown, json: Json): boolean =>
  !Object.hasOwn(NEUTRAL, key) || NEUTRAL[key]?.(value, json) === true;
