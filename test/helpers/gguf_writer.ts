/** Writer of small GGUF files for tests, valid or invalid. */

import { GGML_TYPES } from '../../lib/native/ggml_types';

type Value =
  | { readonly u32: number }
  | { readonly f32: number }
  | { readonly text: string }
  | { readonly flag: boolean }
  | { readonly texts: readonly string[] }
  | { readonly floats: readonly number[] }
  | { readonly raw: Buffer; readonly type: number };

export interface GgufTensorToWrite {
  readonly name: string;
  /** Row-major. */
  readonly shape: readonly number[];
  readonly type?: keyof typeof GGML_TYPES;
  /** Replaces the number of `type`. */
  readonly id?: number;
  /** Replaces the next free offset. */
  readonly offset?: number;
}

export interface GgufToWrite {
  readonly magic?: string;
  readonly version?: number;
  readonly metadata?: readonly (readonly [string, Value])[];
  readonly tensors?: readonly GgufTensorToWrite[];
  /** Replaces the true counts. */
  readonly tensorCount?: bigint;
  readonly metadataCount?: bigint;
  /** Bytes of data, instead of those that the tensors need. */
  readonly dataBytes?: number;
}

const ALIGNMENT = 32;

export const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
export const u64 = (value: bigint | number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const f32 = (value: number): Buffer => Buffer.from(Float32Array.of(value).buffer);
export const text = (value: string): Buffer => Buffer.concat([u64(Buffer.byteLength(value)), Buffer.from(value)]);

function encode(value: Value): Buffer {
  if ('u32' in value) return Buffer.concat([u32(4), u32(value.u32)]);
  if ('f32' in value) return Buffer.concat([u32(6), f32(value.f32)]);
  if ('text' in value) return Buffer.concat([u32(8), text(value.text)]);
  if ('flag' in value) return Buffer.concat([u32(7), Buffer.of(value.flag ? 1 : 0)]);
  if ('texts' in value) return Buffer.concat([u32(9), u32(8), u64(value.texts.length), ...value.texts.map(text)]);
  if ('floats' in value) return Buffer.concat([u32(9), u32(6), u64(value.floats.length), ...value.floats.map(f32)]);
  return Buffer.concat([u32(value.type), value.raw]);
}

/** Returns the bytes of a file whose tensors are zeros. */
export function ggufBytes(file: GgufToWrite): Buffer {
  const { metadata = [], tensors = [] } = file;
  let next = 0;
  const described = tensors.map(({ name, shape, type = 'F32', id, offset }) => {
    const { elements, bytes } = GGML_TYPES[type];
    const size = (shape.reduce((product, length) => product * length, 1) / elements) * bytes;
    const at = offset ?? next;
    next = Math.max(next, Math.ceil((at + size) / ALIGNMENT) * ALIGNMENT);
    const sizes = [...shape].reverse().map(u64);
    return Buffer.concat([text(name), u32(shape.length), ...sizes, u32(id ?? GGML_TYPES[type].id), u64(at)]);
  });
  const header = Buffer.concat([
    Buffer.from(file.magic ?? 'GGUF'),
    u32(file.version ?? 3),
    u64(file.tensorCount ?? tensors.length),
    u64(file.metadataCount ?? metadata.length),
    ...metadata.flatMap(([key, value]) => [text(key), encode(value)]),
    ...described,
  ]);
  const padding = Buffer.alloc(Math.ceil(header.length / ALIGNMENT) * ALIGNMENT - header.length);
  return Buffer.concat([header, padding, Buffer.alloc(file.dataBytes ?? next)]);
}

/** A LLaMA of one block without a tokenizer, in less than 4 KB. */
export const SMALL_LLAMA = {
  metadata: [
    ['general.architecture', { text: 'llama' }],
    ['llama.block_count', { u32: 1 }],
    ['llama.context_length', { u32: 16 }],
    ['llama.embedding_length', { u32: 4 }],
    ['llama.feed_forward_length', { u32: 4 }],
    ['llama.attention.head_count', { u32: 2 }],
    ['llama.attention.head_count_kv', { u32: 1 }],
    ['llama.attention.layer_norm_rms_epsilon', { f32: 1e-5 }],
  ],
  tensors: [
    { name: 'token_embd.weight', shape: [8, 4] },
    { name: 'output_norm.weight', shape: [4] },
    { name: 'blk.0.attn_norm.weight', shape: [4] },
    { name: 'blk.0.attn_q.weight', shape: [4, 4] },
    { name: 'blk.0.attn_k.weight', shape: [2, 4] },
    { name: 'blk.0.attn_v.weight', shape: [2, 4] },
    { name: 'blk.0.attn_output.weight', shape: [4, 4] },
    { name: 'blk.0.ffn_norm.weight', shape: [4] },
    { name: 'blk.0.ffn_gate.weight', shape: [4, 4] },
    { name: 'blk.0.ffn_up.weight', shape: [4, 4] },
    { name: 'blk.0.ffn_down.weight', shape: [4, 4] },
  ],
} as const satisfies GgufToWrite;
