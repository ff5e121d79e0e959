// Writes a LLaMA of any size with random weights, for measurements of memory and speed. It is a Hugging Face folder of
// F16 safetensors, in one file or several, written piece by piece in little memory.
//
//   node bench/synthetic.mjs OUT [--hidden 4096] [--ffn 11008] [--layers 8] [--heads 32] [--kv-heads 32] [--vocab 32000]
//                                [--shards 1] [--seed 1]
//
// By default it has 1.9 B parameters: eight blocks of LLaMA-7B. It has no tokenizer, so calibrate it on token ids.

import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const integer = (fallback) => ({ type: 'string', default: String(fallback) });
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    hidden: integer(4096),
    ffn: integer(11008),
    layers: integer(8),
    heads: integer(32),
    'kv-heads': integer(32),
    vocab: integer(32000),
    shards: integer(1),
    seed: integer(1),
  },
});
const [hidden, ffn, layers, heads, kvHeads, vocab, shards, seed] = [
  'hidden',
  'ffn',
  'layers',
  'heads',
  'kv-heads',
  'vocab',
  'shards',
  'seed',
].map((name) => Number(values[name]));
const out = positionals[0];
if (out === undefined) throw new Error('usage: node bench/synthetic.mjs OUT [options]');

const config = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: hidden,
  intermediate_size: ffn,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: kvHeads,
  vocab_size: vocab,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: false,
  torch_dtype: 'float16',
};
const kv = (hidden / heads) * kvHeads;
const block = (layer) =>
  [
    ['input_layernorm.weight', 1, hidden],
    ['self_attn.q_proj.weight', hidden, hidden],
    ['self_attn.k_proj.weight', kv, hidden],
    ['self_attn.v_proj.weight', kv, hidden],
    ['self_attn.o_proj.weight', hidden, hidden],
    ['post_attention_layernorm.weight', 1, hidden],
    ['mlp.gate_proj.weight', ffn, hidden],
    ['mlp.up_proj.weight', ffn, hidden],
    ['mlp.down_proj.weight', hidden, ffn],
  ].map(([name, rows, cols]) => [`model.layers.${layer}.${name}`, rows, cols]);
const tensors = [
  ['model.embed_tokens.weight', vocab, hidden],
  ...Array.from({ length: layers }, (_, layer) => block(layer)).flat(),
  ['model.norm.weight', 1, hidden],
  ['lm_head.weight', vocab, hidden],
];
const bytesOf = ([, rows, cols]) => rows * cols * 2;
const total = tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0);

// a table of normal numbers as F16 bits; each row reads it from a random offset, which is fast and varies the weights
let state = seed >>> 0 || 1;
const random = () => {
  state ^= state << 13;
  state >>>= 0;
  state ^= state >>> 17;
  state ^= state << 5;
  state >>>= 0;
  return state / 2 ** 32;
};
const half = (value) => {
  const bits = new Uint32Array(new Float32Array([value]).buffer)[0];
  const exponent = ((bits >> 23) & 255) - 112;
  return ((bits >>> 16) & 0x8000) | (exponent <= 0 ? 0 : (exponent << 10) | ((bits >> 13) & 0x3ff));
};
const TABLE = 1 << 20;
/** Creates a table of normal numbers; standard deviations are the usual 1 / √inputs. */
const tableOf = (deviation) =>
  Uint16Array.from({ length: TABLE }, () => {
    const radius = Math.sqrt(-2 * Math.log(random() || 1e-9));
    return half(deviation * radius * Math.cos(2 * Math.PI * random()));
  });
const tables = new Map([hidden, ffn].map((cols) => [cols, tableOf(1 / Math.sqrt(cols))]));
const ONE = half(1);

async function writeTensor(file, [, rows, cols]) {
  const together = Math.max(1, Math.floor((1 << 22) / cols));
  const table = tables.get(cols);
  for (let row = 0; row < rows; row += together) {
    const piece = new Uint16Array(Math.min(together, rows - row) * cols);
    if (rows === 1) piece.fill(ONE);
    else {
      for (let at = 0; at < piece.length; at += cols) {
        const from = Math.floor(random() * (TABLE - cols));
        piece.set(table.subarray(from, from + cols), at);
      }
    }
    await file.write(new Uint8Array(piece.buffer));
  }
}

async function writeShard(path, own) {
  const entries = [['__metadata__', { format: 'pt' }]];
  let offset = 0;
  for (const tensor of own) {
    const [name, rows, cols] = tensor;
    const end = offset + bytesOf(tensor);
    entries.push([name, { dtype: 'F16', shape: rows === 1 ? [cols] : [rows, cols], data_offsets: [offset, end] }]);
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8));
  json.copy(header, 8);
  const file = await open(path, 'w');
  await file.write(header);
  for (const tensor of own) await writeTensor(file, tensor);
  await file.close();
}

await mkdir(out, { recursive: true });
await writeFile(join(out, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
const parts = Array.from({ length: shards }, () => []);
let written = 0;
for (const tensor of tensors) {
  parts[Math.min(shards - 1, Math.floor((written / total) * shards))].push(tensor);
  written += bytesOf(tensor);
}
const nameOf = (index) =>
  shards === 1
    ? 'model.safetensors'
    : `model-${String(index + 1).padStart(5, '0')}-of-${String(shards).padStart(5, '0')}.safetensors`;
for (const [index, own] of parts.entries()) await writeShard(join(out, nameOf(index)), own);
if (shards > 1) {
  const map = parts.flatMap((own, index) => own.map(([name]) => [name, nameOf(index)]));
  const index = { metadata: { total_size: total }, weight_map: Object.fromEntries(map) };
  await writeFile(join(out, 'model.safetensors.index.json'), `${JSON.stringify(index, null, 2)}\n`);
}
console.log(`${out}: ${(total / 2e9).toFixed(2)} B parameters, ${(total / 1e9).toFixed(2)} GB in ${shards} file(s)`);
