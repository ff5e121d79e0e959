/** Files whose counts, depths and names are false claims, each with the expected result of opening it. */

import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { loadDataset } from '../../lib/data/load_dataset';
import { loadTask } from '../../lib/eval/load_task';
import { hellaswag } from '../../lib/eval/tasks/hellaswag';
import { lambada } from '../../lib/eval/tasks/lambada';
import { SafetensorsFile } from '../../lib/io/safetensors';
import { Model } from '../../lib/model';
import { ModelSource } from '../../lib/models/source';
import { Tokenizer } from '../../lib/text/tokenizer';
import { changeConfig, copyGolden, copyTinyStories, TINY_STORIES } from './folders';
import { type GgufToWrite, ggufBytes, SMALL_LLAMA, u32, u64 } from './gguf_writer';

export interface HostileCase {
  readonly name: string;
  /** Creates the file in an existing folder, and returns the path to open. */
  make(folder: string): string;
  open(path: string): Promise<unknown>;
  /** Pattern of the error, with its code in front; undefined if the file is valid. */
  readonly error?: RegExp;
}

const PIECE = 1 << 20;

/** Writes `begin`, `count` times `unit`, and `end`, with a megabyte in memory. */
function repeated(path: string, [begin, unit, end]: readonly [string, string, string], count: number): string {
  const file = openSync(path, 'w');
  writeSync(file, begin);
  const together = Math.ceil(PIECE / unit.length);
  for (let done = 0; done < count; done += together) writeSync(file, unit.repeat(Math.min(together, count - done)));
  writeSync(file, end);
  closeSync(file);
  return path;
}

async function loadAndRun(path: string): Promise<void> {
  const model = await Model.load(path);
  await model.logits([1, 2, 3]);
  model.dispose();
}

async function openModel(path: string): Promise<void> {
  await (await ModelSource.open(path)).close();
}

const config = (name: string, changes: Record<string, unknown>, error?: RegExp, family = 'llama'): HostileCase => ({
  name: `config.json with ${name}`,
  make(folder) {
    copyGolden(family, folder);
    changeConfig(folder, changes);
    return folder;
  },
  open: loadAndRun,
  ...(error && { error }),
});

const text = (name: string, parts: readonly [string, string, string], count: number, error?: RegExp): HostileCase => ({
  name: `config.json of ${name}`,
  make(folder) {
    copyGolden('llama', folder);
    repeated(join(folder, 'config.json'), parts, count);
    return folder;
  },
  open: loadAndRun,
  ...(error && { error }),
});

const numbered = (count: number) => Array.from({ length: count }, (_, i) => i);
const named = (count: number) => Object.fromEntries(numbered(count).map((i) => [`module.${i}`, 1]));
const mbok = (changes: object) => ({ quantization_config: { quant_method: 'mbok', format_version: 1, ...changes } });

const CONFIGS: readonly HostileCase[] = [
  ...[1e6, 1e9, 2 ** 31].flatMap((layers) => [
    config(
      `${layers} layers`,
      { num_hidden_layers: layers },
      /^MBOK_SHAPE: .*'num_hidden_layers' is \d+, but .* only 21/,
    ),
    config(
      `${layers} layers (Gemma)`,
      { num_hidden_layers: layers, layer_types: null },
      /^MBOK_SHAPE: .* tensors/,
      'gemma3',
    ),
    config(`${layers} layers (GPT-2)`, { n_layer: layers }, /^MBOK_SHAPE: .*'n_layer'/, 'gpt2'),
    config(`${layers} layers (OPT)`, { num_hidden_layers: layers }, /^MBOK_SHAPE: .*'num_hidden_layers'/, 'opt'),
  ]),
  config(
    'heads of 10^9',
    { head_dim: 1e9, rope_scaling: { rope_type: 'linear', factor: 2 } },
    /^MBOK_UNSUPPORTED: .*1000000000/,
  ),
  config('two billion positions', { max_position_embeddings: 2 ** 31 }),
  config('16 million positions', { max_position_embeddings: 2 ** 24 }, undefined, 'smollm3'),
  config(
    'an activation of Object',
    { hidden_act: 'constructor' },
    /^MBOK_UNSUPPORTED: .*"constructor"; supported: silu/,
  ),
  config(
    'layer types of Object',
    { layer_types: Array(6).fill('hasOwnProperty') },
    /^MBOK_UNSUPPORTED: .*"hasOwnProperty"/,
    'gemma3',
  ),
  config(
    'an architecture that is no text',
    { architectures: [{ toString: 1, valueOf: 1 }] },
    /^MBOK_UNSUPPORTED: .*\{"toString": 1/,
  ),
  config('a hundred thousand architectures', { architectures: Array(1e5).fill('x') }, /^MBOK_UNSUPPORTED: .*\["x", /),
  config('a million architectures', { architectures: Array(1e6).fill('x') }, /^MBOK_FORMAT: .*131072 values/),
  config('a million end tokens', { eos_token_id: numbered(1e6) }, /^MBOK_FORMAT: .*131072 values/),
  config('a million Boolean modules', mbok({ kernels: named(1e6) }), /^MBOK_FORMAT: .*bytes; 16777216 are the most/),
  config(
    'modules of no architecture',
    mbok({ kernels: named(1e5) }),
    /^MBOK_FORMAT: .*"module\.0" is not a module with a weight/,
  ),
  config(
    'modules of 8 bits of no architecture',
    mbok({ int8: ['model.norm'] }),
    /^MBOK_FORMAT: .*"model\.norm" is not a module with a weight/,
  ),
  config('a text for a number', { hidden_size: 'x'.repeat(1e7) }, /^MBOK_FORMAT: .{1,300}$/),
  config(
    'a method of 10 MB',
    { quantization_config: { quant_method: 'x'.repeat(1e7) } },
    /^MBOK_UNSUPPORTED: .{1,300}$/,
  ),
  text('lists in lists', ['{"a":', '[', ''], 9e6, /^MBOK_FORMAT: .*128 deep/),
  text('objects in objects', ['', '{"a":', ''], 3e6, /^MBOK_FORMAT: .*128 deep/),
  text('empty objects', ['{"a":[', '{},', '{}]}'], 5e6, /^MBOK_FORMAT: .*131072 values/),
  text('numbers', ['{"a":[', '1,', '1]}'], 8e6, /^MBOK_FORMAT: .*131072 values/),
  text('200 MB', ['{"a":"', 'xxxxxxxx', '"}'], 25e6, /^MBOK_FORMAT: .*has 200000008 bytes/),
];

const gguf = (name: string, changes: GgufToWrite, error?: RegExp): HostileCase => ({
  name: `a GGUF file with ${name}`,
  make(folder) {
    const keys = (changes.metadata ?? []).map(([key]) => key);
    const metadata = [...SMALL_LLAMA.metadata.filter(([key]) => !keys.includes(key)), ...(changes.metadata ?? [])];
    const tensors = [...SMALL_LLAMA.tensors, ...(changes.tensors ?? [])];
    writeFileSync(join(folder, 'model.gguf'), ggufBytes({ metadata, tensors }));
    return join(folder, 'model.gguf');
  },
  open: openModel,
  ...(error && { error }),
});

/** Creates a list of `length` values of a type, with all bytes `fill`. */
const list = (type: number, length: number, bytes: number, fill = 0) =>
  ({ raw: Buffer.concat([u32(type), u64(length), Buffer.alloc(length * bytes, fill)]), type: 9 }) as const;

const GGUFS: readonly HostileCase[] = [
  gguf('60 million truth values', { metadata: [['x', list(7, 6e7, 1)]] }, /^MBOK_FORMAT: .*more than 2097152 values/),
  gguf('7 million large integers', { metadata: [['x', list(10, 7e6, 8)]] }, /^MBOK_FORMAT: .*more than 2097152 values/),
  gguf('7 million empty texts', { metadata: [['x', list(8, 7e6, 8)]] }, /^MBOK_FORMAT: .*more than 2097152 values/),
  gguf(
    'many lists of many truth values',
    { metadata: numbered(30).map((i) => [`x${i}`, list(7, 2e6, 1)]) },
    /^MBOK_FORMAT: .*more than 2097152 values/,
  ),
  gguf(
    'a head count for each of 60 million layers',
    { metadata: [['llama.attention.head_count', list(0, 6e7, 1, 2)]] },
    /^MBOK_UNSUPPORTED: .*'llama\.attention\.head_count' differs/,
  ),
  gguf(
    'two billion blocks, of which it has the last',
    {
      metadata: [['llama.block_count', { u32: 2e9 }]],
      tensors: [{ name: 'blk.1999999999.attn_norm.weight', shape: [4] }],
    },
    /^MBOK_SHAPE: .*'llama\.block_count' is 2000000000/,
  ),
  gguf('two billion positions', { metadata: [['llama.context_length', { u32: 2 ** 31 }]] }),
  gguf(
    'a tensor whose name has 50 MB',
    { tensors: [{ name: 'x'.repeat(5e7), shape: [4] }] },
    /^MBOK_UNSUPPORTED: .* has no place in this architecture$/,
  ),
  gguf(
    'a million rotary factors',
    { tensors: [{ name: 'rope_freqs.weight', shape: [2 ** 20] }] },
    /^MBOK_SHAPE: .*'rope_freqs\.weight'/,
  ),
];

const safetensors = (
  name: string,
  parts: readonly [string, string, string],
  count: number,
  error?: RegExp,
): HostileCase => ({
  name: `a safetensors file ${name}`,
  make(folder) {
    const path = join(folder, 'model.safetensors');
    const [begin, unit, end] = parts;
    const length = u64(begin.length + unit.length * count + end.length).toString('latin1');
    // the length replaces eight placeholder bytes afterwards, since it is not valid UTF-8
    const header = repeated(path, [`\0\0\0\0\0\0\0\0${begin}`, unit, end], count);
    const file = openSync(header, 'r+');
    writeSync(file, Buffer.from(length, 'latin1'), 0, 8, 0);
    closeSync(file);
    return header;
  },
  open: async (path) => await (await SafetensorsFile.open(path)).close(),
  ...(error && { error }),
});

const entry = '"dtype":"U8","shape":[0],"data_offsets":[0,0]}}';
const SAFETENSORS: readonly HostileCase[] = [
  safetensors('of brackets', ['{"a":', '[', ''], 3e7, /^MBOK_FORMAT: .*128 deep/),
  safetensors('of empty objects', ['{"a":[', '{},', '{}]}'], 1e7, /^MBOK_FORMAT: .*262144 values/),
  safetensors('with a name of escapes', ['{"', '\\n', `":{${entry}`], 1.5e7),
  safetensors(
    'with a type of 30 MB',
    ['{"a":{"dtype":"', 'Q', '","shape":[0],"data_offsets":[0,0]}}'],
    3e7,
    /^MBOK_UNSUPPORTED: tensor 'a' .* has the unknown dtype 'Q+…Q+'$/,
  ),
  safetensors(
    'with a name of 30 MB and no type',
    ['{"', 'n', '":{}}'],
    3e7,
    /^MBOK_FORMAT: tensor 'n+….*has no dtype$/,
  ),
  safetensors(
    'with a hundred thousand sizes',
    ['{"a":{"dtype":"U8","shape":[', '1,', '1],"data_offsets":[0,2]}}'],
    1e5,
    /^MBOK_FORMAT: tensor 'a' .* has 1$/,
  ),
  safetensors('with a header of 99 MB', ['{}', '   ', ''], 3.3e7, /^MBOK_FORMAT: .*is over 33554432 bytes/),
  {
    name: 'an index of a million tensors',
    make(folder) {
      writeFileSync(join(folder, 'config.json'), '{"architectures":["LlamaForCausalLM"]}');
      repeated(join(folder, 'model.safetensors.index.json'), ['{"weight_map":{"', 'x', '":"a"}}'], 1e7);
      repeated(join(folder, 'model.safetensors.index.json'), ['{"weight_map":{"a":"b"', ',"":"b"', '}}'], 1e6);
      return folder;
    },
    open: openModel,
    error: /^MBOK_FORMAT: .*131072 values/,
  },
];

const data = (name: string, parts: readonly [string, string, string], count: number, error: RegExp): HostileCase => ({
  name: `lines of JSON ${name}`,
  make: (folder) => repeated(join(folder, 'data.jsonl'), parts, count),
  open: async (path) => await loadDataset({ files: path, cache: false }, await Tokenizer.fromFolder(TINY_STORIES)),
  error,
});

const questions = (
  name: string,
  parts: readonly [string, string, string],
  count: number,
  error?: RegExp,
): HostileCase => ({
  name: `questions ${name}`,
  make(folder) {
    mkdirSync(join(folder, 'hellaswag'));
    mkdirSync(join(folder, 'lambada_openai'));
    repeated(join(folder, 'hellaswag/hellaswag_val.jsonl'), parts, count);
    repeated(join(folder, 'lambada_openai/test.jsonl'), parts, count);
    return folder;
  },
  open: async (path) =>
    await loadTask(error === undefined ? hellaswag : lambada, { data: path, shots: 0, seed: 0, limit: 1 }),
  ...(error && { error }),
});

const question = '"activity_label":"a","ctx_b":"b","label":0,"endings":["c"],"ctx_a":"';
const DATA: readonly HostileCase[] = [
  data(
    'of brackets',
    ['{"text":"a","b":', '[', ''],
    2e7,
    /^MBOK_FORMAT: .* line 1 has lists or objects more than 128 deep/,
  ),
  data(
    'of empty objects',
    ['{"text":"a","b":[', '{},', '{}]}'],
    2e7,
    /^MBOK_FORMAT: .* line 1 has more than 1048576 values/,
  ),
  data('with a key of 20 MB', ['{"', 'k', '":1}'], 2e7, /^MBOK_FORMAT: .* line 1 has no field 'text'; it has "k+…$/),
  data(
    'with a list of 20 MB for a text',
    ['{"text":["', 'k', '"]}'],
    2e7,
    /^MBOK_FORMAT: .* must be a string, got \["k+…$/,
  ),
  data('of 70 MB', ['{"text":"', 'k', '"}'], 7e7, /^MBOK_FORMAT: .* line 1 is longer than 67108864/),
  questions('of five million records', ['', '{}\n', ''], 5e6, /^MBOK_FORMAT: .*more than 4194304 values/),
  questions('of five million lines', ['', '\n', ''], 5e6, /^MBOK_FORMAT: .*more than 1048576 lines/),
  questions('of 200 MB', ['{"text":"', 'x', '"}'], 2e8, /^MBOK_FORMAT: .*has 200000011 bytes/),
  questions('with brackets that stay open', [`{${question}`, '[', '"}'], 1e6),
  questions(
    'that begin with 10 million letters',
    ['{"activity_label":"a","label":0,"endings":["c"],"ctx_a":"a","ctx_b":"', 'É', '"}'],
    1e7,
  ),
  {
    name: 'a question of a hundred thousand endings',
    make(folder) {
      mkdirSync(join(folder, 'hellaswag'));
      repeated(
        join(folder, 'hellaswag/hellaswag_val.jsonl'),
        ['{"ctx_a":"a","ctx_b":"b","activity_label":"c","label":0,"endings":["d"', ',"d"', ']}'],
        1e5,
      );
      return folder;
    },
    open: async (path) => await loadTask(hellaswag, { data: path, shots: 0, seed: 0, limit: 1 }),
    error: /^MBOK_FORMAT: .*'endings' must be a list of at most 64/,
  },
];

const tokenizer = (
  name: string,
  parts: readonly [string, string, string],
  count: number,
  error: RegExp,
): HostileCase => ({
  name: `a tokenizer ${name}`,
  make: (folder) => {
    repeated(join(folder, 'tokenizer.json'), parts, count);
    return folder;
  },
  open: (path) => Tokenizer.fromFolder(path),
  error,
});

const TOKENIZERS: readonly HostileCase[] = [
  tokenizer('of brackets', ['{"a":', '[', ''], 1e7, /^MBOK_FORMAT: .*128 deep/),
  tokenizer('of empty objects', ['{"a":[', '{},', '{}]}'], 5e6, /^MBOK_FORMAT: .*4194304 values/),
  tokenizer('of 70 MB', ['{"a":"', 'x', '"}'], 7e7, /^MBOK_FORMAT: .*has 70000008 bytes/),
  {
    name: 'a tokenizer beside a generation_config.json of brackets',
    make(folder) {
      copyTinyStories(folder);
      return repeated(join(folder, 'generation_config.json'), ['{"a":', '[', ''], 1e7) && folder;
    },
    open: (path) => Tokenizer.fromFolder(path),
    error: /^MBOK_FORMAT: .*generation_config\.json' has lists or objects more than 128 deep/,
  },
];

export const HOSTILE: readonly HostileCase[] = [...CONFIGS, ...GGUFS, ...SAFETENSORS, ...DATA, ...TOKENIZERS];
