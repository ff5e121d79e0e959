/** Generator of models on disk: configurations, and headers of safetensors and GGUF files, with changes. */

import { linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Model } from '../../lib/model';
import { inspect } from '../../lib/models/inspect';
import { ModelSource } from '../../lib/models/source';
import { VARIANTS } from '../helpers/family_folders';
import { GOLDEN } from '../helpers/folders';
import { ggufBytes, SMALL_LLAMA } from '../helpers/gguf_writer';
import type { Draw } from './draw';
import { type GgufParts, hostileMetadata, takeApart } from './gguf_parts';
import {
  changeBytes,
  changeJson,
  hostileNumber,
  hostileString,
  hostileValue,
  INHERITED,
  type Json,
  JsonMap,
  json,
  jsonMap,
  RawJson,
  writeJson,
} from './hostile';
import { smallTokenizer } from './tokenizer_parts';
import type { Generator, Trial } from './trial';

type Contents = Record<string, string | Uint8Array>;

/** A valid model to start from. */
interface Honest {
  readonly config: Record<string, unknown>;
  readonly weights: Buffer;
}

const FAMILIES = ['llama', 'llama-tied-rope3', 'gpt2', 'opt-350m-like', 'phi3', 'gemma3'];
const FOLDERS = [...VARIANTS.map((variant) => join('variants', variant)), ...FAMILIES];
const DENSE = FOLDERS.map((folder): Honest => {
  const at = (file: string) => join(GOLDEN, folder, file);
  return {
    config: JSON.parse(readFileSync(at('config.json'), 'utf8')),
    weights: readFileSync(at('model.safetensors')),
  };
});
const HONEST = [
  ...DENSE,
  ...([1, 2] as const).flatMap((version) => [2, 1].map((kernels) => booleanOf(DENSE[3] as Honest, kernels, version))),
];
const GGUF: readonly GgufParts[] = [
  ...['llama', 'gpt2', 'gemma2', 'phi3', 'smollm3'].map((name) => readFileSync(join(GOLDEN, 'gguf', `${name}.gguf`))),
  ggufBytes(SMALL_LLAMA),
].map(takeApart);
const TOKENIZER: Contents = Object.fromEntries(smallTokenizer());

/** Every key of any family's configuration, with its values. */
const KEYS = new Map<string, unknown[]>();
for (const { config } of HONEST) {
  for (const [key, value] of [...Object.entries(config), ...Object.entries(config.rope_parameters ?? {})]) {
    KEYS.set(key, [...(KEYS.get(key) ?? []), value]);
  }
}
for (const key of [
  'rope_scaling',
  'rope_theta',
  'type',
  'factor',
  'low_freq_factor',
  'high_freq_factor',
  'attention_factor',
]) {
  KEYS.set(key, [...(KEYS.get(key) ?? []), 1, 8, { rope_type: 'linear', factor: 2 }]);
}

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

function splitFile(file: Buffer): { header: Header; data: Buffer } {
  const length = Number(file.readBigUInt64LE());
  return { header: JSON.parse(file.toString('utf8', 8, 8 + length)), data: file.subarray(8 + length) };
}

function joinFile(header: string, data: Uint8Array): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
  return Buffer.concat([length, Buffer.from(header), data]);
}

/** Replaces the model's linear weights by kernels of arbitrary bits, with a configuration of either format version. */
function booleanOf({ config, weights }: Honest, kernels: number, version: 1 | 2): Honest {
  const { header, data } = splitFile(weights);
  const counts: Record<string, number> = {};
  const parts: Buffer[] = [];
  const made: Header = {};
  const add = (name: string, dtype: string, shape: number[], bytes: Buffer) => {
    const start = parts.reduce((sum, { length }) => sum + length, 0);
    parts.push(bytes);
    made[name] = { dtype, shape, data_offsets: [start, start + bytes.length] };
  };
  for (const [name, { dtype, shape, data_offsets }] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const module = /^(.*_proj)\.weight$/.exec(name)?.[1];
    const [rows, cols] = shape as [number, number];
    if (module === undefined) add(name, dtype, shape, data.subarray(...data_offsets));
    else {
      const scales = (size: number) => Buffer.from(new Uint16Array(kernels * size).fill(0x2c00).buffer);
      const width = Math.ceil(cols / 8);
      counts[module] = kernels;
      add(`${module}.boolean_kernels`, 'U8', [kernels, rows, width], Buffer.alloc(kernels * rows * width, 0x5a));
      add(`${module}.s_out`, 'F16', [kernels, rows], scales(rows));
      add(`${module}.s_in`, 'F16', [kernels, cols], scales(cols));
    }
  }
  const formats = Object.entries(counts).map(([module, count]) => [module, { format: 'kernels', count }]);
  const contents = version === 1 ? { kernels: counts } : { modules: Object.fromEntries(formats) };
  const quantization = { quant_method: 'mbok', format_version: version, ...contents };
  return {
    config: { ...config, quantization_config: quantization },
    weights: joinFile(JSON.stringify(made), Buffer.concat(parts)),
  };
}

export const configurations: Generator = {
  make(draw) {
    const [label, files] = draw.pick([
      changedConfig,
      changedConfig,
      changedKeys,
      changedKeys,
      changedKeys,
      anotherConfig,
      changedGeneration,
      changedBytes,
      changedHeader,
      changedHeader,
      changedIndex,
      changedQuantization,
      changedMetadata,
      changedMetadata,
      changedTensors,
      changedGgufBytes,
    ])(draw);
    return { label, files, try: (trial) => tryModel(trial, files) };
  },
};

type Made = [label: string, files: Contents];

/** Creates a folder with all valid files, some replaced by `changes`. */
function folderOf({ config, weights }: Honest, changes: Contents): Contents {
  return { ...TOKENIZER, 'config.json': JSON.stringify(config), 'model.safetensors': weights, ...changes };
}

function changedConfig(draw: Draw): Made {
  const honest = draw.pick(HONEST);
  return [
    'changed configuration',
    folderOf(honest, { 'config.json': writeJson(changeJson(draw, json(honest.config))) }),
  ];
}

/** Sets keys that some family knows, to values valid elsewhere or hostile. */
function changedKeys(draw: Draw): Made {
  const honest = draw.pick(HONEST);
  const config = jsonMap(honest.config);
  const changed = draw.several(1, 3, () => {
    const key = draw.pick([...KEYS.keys()]);
    const value = valueLike(draw, json(draw.pick(KEYS.get(key) as unknown[])));
    const rope = config.get('rope_parameters');
    if (rope instanceof JsonMap && (draw.chance(0.3) || /factor|rope|type$/.test(key))) rope.set(key, value);
    else config.set(key, value);
    return key;
  });
  return [
    `keys ${changed.length === 1 ? changed[0] : ''}`.trim(),
    folderOf(honest, { 'config.json': writeJson(config) }),
  ];
}

/** Returns a value of the expected type, or of another. */
function valueLike(draw: Draw, honest: Json): Json {
  if (draw.chance(0.2)) return hostileValue(draw);
  if (draw.chance(0.2)) return honest;
  if (typeof honest === 'string')
    return draw.pick([...INHERITED, 'gelu', 'yarn', 'su', 'dynamic', hostileString(draw)]);
  if (typeof honest === 'number') return hostileNumber(draw);
  if (Array.isArray(honest))
    return draw.chance(0.5) ? honest.map((item) => valueLike(draw, item)) : changeJson(draw, honest);
  return draw.pick<Json>([true, false, null, hostileNumber(draw), changeJson(draw, honest)]);
}

function anotherConfig(draw: Draw): Made {
  const config = {
    ...draw.pick(HONEST).config,
    ...(draw.chance(0.5) && { architectures: draw.pick(HONEST).config.architectures }),
  };
  return ['another configuration', folderOf(draw.pick(HONEST), { 'config.json': JSON.stringify(config) })];
}

function changedGeneration(draw: Draw): Made {
  const generation = jsonMap({
    do_sample: true,
    temperature: 0.7,
    top_p: 0.9,
    top_k: 50,
    eos_token_id: [1, 2],
    bos_token_id: 0,
  });
  const changed = changeJson(draw, generation);
  return ['generation_config.json', folderOf(draw.pick(HONEST), { 'generation_config.json': writeJson(changed) })];
}

function changedBytes(draw: Draw): Made {
  const honest = draw.pick(HONEST);
  const name = draw.pick(['config.json', 'model.safetensors', 'model.safetensors', 'tokenizer.json']);
  const files = folderOf(honest, {});
  const bytes = Buffer.from(files[name] as string | Uint8Array);
  const end = name === 'model.safetensors' ? 8 + Number(bytes.readBigUInt64LE()) : bytes.length;
  return [`bytes of ${name}`, { ...files, [name]: changeBytes(draw, bytes, end) }];
}

function changedHeader(draw: Draw): Made {
  const honest = draw.pick(HONEST);
  const { header, data } = splitFile(honest.weights);
  const names = Object.keys(header);
  const tensors = jsonMap(header);
  const changed = draw.pick<() => Json>([
    () => changeJson(draw, tensors),
    () => {
      const entry = {
        ...header[draw.pick(names)],
        [draw.pick(['dtype', 'shape', 'data_offsets'])]: hostileValue(draw),
      };
      return tensors.set(draw.pick(names), json(entry));
    },
    () =>
      tensors.set(
        draw.pick(names),
        json({
          ...header[draw.pick(names)],
          dtype: draw.pick(['F64', 'I8', 'U8', 'F8_E4M3', 'constructor', 'BOOL', 'F4']),
        }),
      ),
    () => tensors.set(draw.pick(['__metadata__', ...INHERITED, hostileString(draw)]), hostileValue(draw)),
    () => new RawJson(`{${Array.from({ length: draw.size(1e5) }, (_, i) => `"${i}":1`).join(',')}}`),
  ])();
  return ['header of safetensors', folderOf(honest, { 'model.safetensors': joinFile(writeJson(changed), data) })];
}

/** Splits the weights into two files with an index. */
function changedIndex(draw: Draw): Made {
  const honest = draw.pick(HONEST);
  const { header, data } = splitFile(honest.weights);
  const { 'model.safetensors': _, ...files } = folderOf(honest, {});
  const entries = Object.entries(header).filter(([name]) => name !== '__metadata__');
  const places: Record<string, string> = {};
  for (const [shard, half] of [
    entries.filter((_, i) => i % 2 === 0),
    entries.filter((_, i) => i % 2 === 1),
  ].entries()) {
    const parts = half.map(([, { data_offsets }]) => data.subarray(...data_offsets));
    let start = 0;
    const moved = half.map(([name, { dtype, shape }], i) => {
      const data_offsets = [start, start + (parts[i] as Buffer).length];
      start = data_offsets[1] as number;
      places[name] = `part-${shard}.safetensors`;
      return [name, { dtype, shape, data_offsets }];
    });
    files[`part-${shard}.safetensors`] = joinFile(JSON.stringify(Object.fromEntries(moved)), Buffer.concat(parts));
  }
  const index = changeJson(draw, jsonMap({ metadata: { total_size: data.length }, weight_map: places }));
  return ['index of safetensors', { ...files, 'model.safetensors.index.json': writeJson(index) }];
}

function changedQuantization(draw: Draw): Made {
  const honest = draw.pick(HONEST.slice(DENSE.length));
  const { quantization_config: quantization, ...config } = honest.config;
  const settings = jsonMap(quantization as object);
  const modules = settings.get('modules');
  if (modules instanceof JsonMap && draw.chance(0.5)) changeFormat(draw, modules);
  if (draw.chance(0.3)) settings.set('nested', draw.pick<Json>([true, false, hostileValue(draw)]));
  if (draw.chance(0.3)) settings.set('embeddings', draw.pick<Json>(['int8', hostileValue(draw)]));
  if (draw.chance(0.3)) settings.set('int8', draw.pick<Json>([['model.layers.0.mlp.up_proj'], hostileValue(draw)]));
  if (draw.chance(0.3)) {
    const conversion = {
      method: 'svid',
      residual: 0.5,
      residuals: { a: 0.5 },
      allocation: { method: 'uniform', bits: 2 },
    };
    settings.set('conversion', changeJson(draw, jsonMap(conversion)));
  }
  const changed = jsonMap(config).set('quantization_config', changeJson(draw, settings));
  return ['quantization_config', folderOf(honest, { 'config.json': writeJson(changed) })];
}

/** Sets another format of a module, or invalid settings. */
function changeFormat(draw: Draw, modules: JsonMap): void {
  const names = ['model.layers.0.mlp.up_proj', 'lm_head', 'model.norm', ...INHERITED];
  const format = jsonMap({ format: draw.pick(['kernels', 'int8', 'q8', 'dense', ...INHERITED]) });
  if (draw.chance(0.7)) format.set('count', draw.pick<Json>([1, 2, 9, hostileNumber(draw), hostileValue(draw)]));
  if (draw.chance(0.3)) format.set('nested', draw.pick<Json>([true, hostileValue(draw)]));
  if (draw.chance(0.2)) format.set(draw.pick(['kind', hostileString(draw), ...INHERITED]), hostileValue(draw));
  modules.set(draw.pick(names), draw.chance(0.8) ? format : hostileValue(draw));
}

function changedMetadata(draw: Draw): Made {
  const parts = draw.pick(GGUF);
  let { metadata } = parts;
  let label = '';
  for (let rounds = draw.size(3); rounds > 0; rounds--) {
    const at = draw.integer(0, metadata.length - 1);
    const [key, value] = metadata[at] as (typeof metadata)[number];
    const other = (draw.pick(metadata) as (typeof metadata)[number])[1];
    label = key;
    metadata = draw.pick([
      () => metadata.with(at, [key, hostileMetadata(draw)] as const),
      () => metadata.with(at, [key, hostileMetadata(draw)] as const),
      () => metadata.with(at, [key, hostileMetadata(draw)] as const),
      () => metadata.with(at, [key, other] as const),
      () => metadata.toSpliced(at, 1),
      () => [...metadata, [key, value] as const],
      () => metadata.with(at, [draw.pick([...INHERITED, hostileString(draw)]), value] as const),
    ])();
  }
  return [`metadata ${label}`, { 'model.gguf': assemble({ ...parts, metadata }) }];
}

function changedTensors(draw: Draw): Made {
  const parts = draw.pick(GGUF);
  let { tensors } = parts;
  const size = () => Math.trunc(Math.min(2 ** 63, Math.abs(hostileNumber(draw))));
  for (let rounds = draw.size(3); rounds > 0; rounds--) {
    const at = draw.integer(0, tensors.length - 1);
    const tensor = tensors[at] as (typeof tensors)[number];
    tensors = draw.pick([
      () => tensors.with(at, { ...tensor, shape: draw.several(0, 5, size) }),
      () => tensors.with(at, { ...tensor, shape: tensor.shape.toReversed() }),
      () => tensors.with(at, { ...tensor, shape: tensor.shape.with(0, size()) }),
      () => tensors.with(at, { ...tensor, id: draw.integer(0, 45) }),
      () => tensors.with(at, { ...tensor, offset: size() }),
      () =>
        tensors
          .with(at, { ...tensor, offset: tensor.offset + draw.pick([-32, 32, 1, 4096]) })
          .filter(({ offset }) => offset >= 0),
      () =>
        tensors.with(at, {
          ...tensor,
          name: draw.pick([...INHERITED, hostileString(draw), `blk.${size()}.attn_q.weight`]),
        }),
      () => tensors.with(at, { ...tensor, name: tensor.name.replace(/\d+/, () => String(size())) }),
      () => (tensors.length > 1 ? tensors.toSpliced(at, 1) : tensors),
      () => [...tensors, tensor],
    ])();
  }
  return ['tensors of GGUF', { 'model.gguf': assemble({ ...parts, tensors }) }];
}

function changedGgufBytes(draw: Draw): Made {
  const parts = draw.pick(GGUF);
  const file = assemble(parts);
  return ['bytes of GGUF', { 'model.gguf': changeBytes(draw, file, file.length - parts.data.length) }];
}

function assemble({ metadata, tensors, data }: GgufParts): Buffer {
  const file = ggufBytes({ metadata, tensors, dataBytes: data.length });
  data.copy(file, file.length - data.length);
  return file;
}

let temporary: string | undefined;
/** Valid weights that are on disk already. They are linked, since writing them takes longer than reading. */
const written = new Map<string | Uint8Array, string>();

/** Replaces the files of the last case by those of this one; returns the folder or the GGUF file. */
function place(files: Contents): string {
  temporary ??= mkdtempSync(join(tmpdir(), 'mbok-fuzz-'));
  const folder = join(temporary, 'model');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  for (const [name, content] of Object.entries(files)) {
    if (!HONEST.some(({ weights }) => weights === content)) {
      writeFileSync(join(folder, name), content);
      continue;
    }
    const copy = written.get(content) ?? join(temporary, `${written.size}.safetensors`);
    if (!written.has(content)) writeFileSync(copy, content);
    written.set(content, copy);
    linkSync(copy, join(folder, name));
  }
  return 'model.gguf' in files ? join(folder, 'model.gguf') : folder;
}

const openFiles = () => readdirSync('/proc/self/fd').length;

/** Uses a model as a person would: inspects it, loads it, reads logits, generates. */
async function tryModel(trial: Trial, files: Contents): Promise<void> {
  const path = place(files);
  const bytes = Object.values(files).reduce((sum, content) => sum + content.length, 0);
  const before = openFiles();
  const source = await trial.call('ModelSource.open', bytes, () => ModelSource.open(path));
  await source?.close();
  await trial.call('inspect', bytes, () => inspect(path));
  const model = await trial.call('Model.load', bytes, () => Model.load(path));
  if (model !== undefined) {
    try {
      await tryLoaded(trial, model, bytes);
    } finally {
      model.dispose();
    }
  }
  if (openFiles() > before) trial.wrong('close', 'files are left open');
}

async function tryLoaded(trial: Trial, model: Model, bytes: number): Promise<void> {
  const { vocabularySize } = model.config;
  const ids = [0, 1, 2].map((id) => id % vocabularySize);
  const logits = await trial.call('logits', bytes, () => model.logits(ids));
  if (logits !== undefined) {
    if (logits.data.length !== 3 * vocabularySize) trial.wrong('logits', 'logits of another size');
    if (!logits.data.every(Number.isFinite)) trial.note('logits that are not finite');
  }
  await trial.call('recommendedSampling', bytes, () => model.recommendedSampling);
  const text = await trial.call('generate', bytes, async () => {
    let all = '';
    for await (const piece of model.generate(ids, { maxTokens: 2, temperature: 0 })) all += piece;
    return all;
  });
  if (text !== undefined && typeof text !== 'string') trial.wrong('generate', `gave a ${typeof text}`);
}
