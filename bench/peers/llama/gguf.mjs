/** Writer of a random LLaMA as a GGUF file. npm offers no quantizer, and timing a format needs none. */

import { open, rename } from 'node:fs/promises';
import { randomRows, TYPES } from './blocks.mjs';

const ALIGNMENT = 32;
const PIECE_BYTES = 1 << 24;
/** Type numbers of GGUF metadata. */
const KINDS = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 };
/** Token types of SentencePiece. */
const [NORMAL, UNKNOWN, CONTROL, BYTE] = [1, 2, 3, 6];

/**
 * Lists the tensors of a LLaMA by GGUF's names. `type` is that of the linear layers. Embeddings and head are Q8_0
 * unless `type` is F16, like mbok's int8 here, so that files differ only in their linear layers.
 */
export function tensorsOf({ hidden, ffn, layers, heads, kvHeads, vocab }, type) {
  const table = type === 'F16' ? 'F16' : 'Q8_0';
  const kv = (hidden / heads) * kvHeads;
  const norm = (name) => ({ name, rows: 1, cols: hidden, type: 'F32' });
  const linear = (name, rows, cols) => ({ name, rows, cols, type });
  const block = (layer) => [
    norm(`blk.${layer}.attn_norm.weight`),
    linear(`blk.${layer}.attn_q.weight`, hidden, hidden),
    linear(`blk.${layer}.attn_k.weight`, kv, hidden),
    linear(`blk.${layer}.attn_v.weight`, kv, hidden),
    linear(`blk.${layer}.attn_output.weight`, hidden, hidden),
    norm(`blk.${layer}.ffn_norm.weight`),
    linear(`blk.${layer}.ffn_gate.weight`, ffn, hidden),
    linear(`blk.${layer}.ffn_up.weight`, ffn, hidden),
    linear(`blk.${layer}.ffn_down.weight`, hidden, ffn),
  ];
  return [
    { name: 'token_embd.weight', rows: vocab, cols: hidden, type: table },
    ...Array.from({ length: layers }, (_, layer) => block(layer)).flat(),
    norm('output_norm.weight'),
    { name: 'output.weight', rows: vocab, cols: hidden, type: table },
  ];
}

export function bytesOf({ rows, cols, type }) {
  return ((rows * cols) / TYPES[type].weights) * TYPES[type].bytes;
}

/** Writes the file atomically. */
export async function writeGguf(path, shape, type) {
  const tensors = tensorsOf(shape, type);
  const fills = tensors.map((tensor) =>
    tensor.type === 'F32' ? ones(tensor.cols) : randomRows(tensor.type, tensor.cols),
  );
  const temporary = `${path}.tmp`;
  const file = await open(temporary, 'w');
  try {
    await file.write(header(shape, tensors));
    for (const [index, { rows }] of tensors.entries()) {
      const { rowBytes, fill } = fills[index];
      const together = Math.max(1, Math.floor(PIECE_BYTES / rowBytes));
      for (let row = 0; row < rows; row += together) {
        const piece = Buffer.alloc(Math.min(together, rows - row) * rowBytes);
        fill(piece);
        await file.write(piece);
      }
      await file.write(Buffer.alloc(padding(rows * rowBytes)));
    }
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}

function ones(cols) {
  const bytes = Buffer.from(new Float32Array(cols).fill(1).buffer);
  return { rowBytes: bytes.length, fill: (target) => bytes.copy(target) };
}

const padding = (bytes) => (ALIGNMENT - (bytes % ALIGNMENT)) % ALIGNMENT;

function header(shape, tensors) {
  const metadata = metadataOf(shape);
  const parts = [Buffer.from('GGUF'), uint32(3), uint64(tensors.length), uint64(metadata.length)];
  for (const [key, kind, value] of metadata) parts.push(text(key), uint32(KINDS[kind]), scalar(kind, value));
  let offset = 0;
  for (const tensor of tensors) {
    // GGUF counts dimensions from the innermost
    const dimensions = tensor.rows === 1 ? [tensor.cols] : [tensor.cols, tensor.rows];
    parts.push(text(tensor.name), uint32(dimensions.length), ...dimensions.map(uint64));
    parts.push(uint32(TYPES[tensor.type].id), uint64(offset));
    offset += bytesOf(tensor) + padding(bytesOf(tensor));
  }
  const bytes = Buffer.concat(parts);
  return Buffer.concat([bytes, Buffer.alloc(padding(bytes.length))]);
}

function metadataOf({ hidden, ffn, layers, heads, kvHeads, vocab, context }) {
  const tokens = vocabulary(vocab);
  const list = (kind, items) => ({ kind, items });
  return [
    ['general.architecture', 'string', 'llama'],
    ['general.name', 'string', 'random'],
    ['llama.context_length', 'uint32', context],
    ['llama.embedding_length', 'uint32', hidden],
    ['llama.block_count', 'uint32', layers],
    ['llama.feed_forward_length', 'uint32', ffn],
    ['llama.attention.head_count', 'uint32', heads],
    ['llama.attention.head_count_kv', 'uint32', kvHeads],
    ['llama.attention.layer_norm_rms_epsilon', 'float32', 1e-5],
    ['llama.rope.dimension_count', 'uint32', hidden / heads],
    ['llama.rope.freq_base', 'float32', 10000],
    ['llama.vocab_size', 'uint32', vocab],
    ['tokenizer.ggml.model', 'string', 'llama'],
    [
      'tokenizer.ggml.tokens',
      'array',
      list(
        'string',
        tokens.map(({ text }) => text),
      ),
    ],
    [
      'tokenizer.ggml.scores',
      'array',
      list(
        'float32',
        tokens.map((_, id) => -id),
      ),
    ],
    [
      'tokenizer.ggml.token_type',
      'array',
      list(
        'int32',
        tokens.map(({ kind }) => kind),
      ),
    ],
    ['tokenizer.ggml.unknown_token_id', 'uint32', 0],
    ['tokenizer.ggml.bos_token_id', 'uint32', 1],
    ['tokenizer.ggml.eos_token_id', 'uint32', 2],
    ['tokenizer.ggml.add_bos_token', 'bool', false],
  ];
}

/** Creates the smallest vocabulary that loads as SentencePiece: special tokens, all bytes, and unused words. */
function vocabulary(size) {
  const special = ['<unk>', '<s>', '</s>'].map((text, id) => ({ text, kind: id === 0 ? UNKNOWN : CONTROL }));
  const bytes = Array.from({ length: 256 }, (_, byte) => byte.toString(16).toUpperCase().padStart(2, '0'));
  const tokens = [...special, ...bytes.map((byte) => ({ text: `<0x${byte}>`, kind: BYTE }))];
  if (size <= tokens.length) throw new Error(`a vocabulary has more than ${tokens.length} tokens, not ${size}`);
  for (let id = tokens.length; id < size; id++) tokens.push({ text: `▁w${id}`, kind: NORMAL });
  return tokens;
}

function scalar(kind, value) {
  if (kind === 'string') return text(value);
  if (kind === 'bool') return Buffer.from([value ? 1 : 0]);
  if (kind === 'array') {
    const items = value.items.map((item) => scalar(value.kind, item));
    return Buffer.concat([uint32(KINDS[value.kind]), uint64(items.length), ...items]);
  }
  const bytes = Buffer.alloc(4);
  if (kind === 'float32') bytes.writeFloatLE(value);
  else if (kind === 'int32') bytes.writeInt32LE(value);
  else bytes.writeUInt32LE(value);
  return bytes;
}

const uint32 = (value) => scalar('uint32', value);

function uint64(value) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function text(value) {
  const bytes = Buffer.from(value);
  return Buffer.concat([uint64(bytes.length), bytes]);
}
