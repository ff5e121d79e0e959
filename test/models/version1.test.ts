/** Files of format version 1 load to the same bits, and both versions have one meaning or are refused. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { SafetensorsFile } from '../../lib/io/safetensors';
import { coreOf, Model } from '../../lib/model';
import { inspect } from '../../lib/models/inspect';
import { ModelSource } from '../../lib/models/source';
import type { LayerFormat } from '../../lib/structures/structure';
import { changeConfig, GOLDEN, temporaryFolder } from '../helpers/folders';
import { readGolden } from '../helpers/golden';
import { relativeError } from '../helpers/random';
import { runTypeScript } from '../helpers/run_typescript';
import { contents, differences } from '../helpers/training_models';

const folder = temporaryFolder();
let places = 0;
const newPlace = () => join(folder, `place-${++places}`);
const OLD = join(GOLDEN, 'version1');
const golden = readGolden('version1/logits.safetensors');
const IDS = Array.from({ length: 12 }, (_, i) => (i * 37 + 5) % 160);
const MODELS = ['kernels', 'nested', 'kept', 'q8'];
const json = (place: string) => JSON.parse(readFileSync(join(place, 'config.json'), 'utf8'));

/** Models by NAME, or by NAME.K for their first K kernels. */
const LOADED = golden.names.map((name) => {
  const [model, kernels] = name.split('.') as [string, string?];
  return [name, join(OLD, model), kernels === undefined ? {} : { kernels: Number(kernels) }] as const;
});

describe('models of the first version', () => {
  test('have every list of the format', () => {
    const lists = new Set(MODELS.flatMap((name) => Object.keys(json(join(OLD, name)).quantization_config)));
    const expected = ['quant_method', 'format_version', 'kernels', 'nested', 'int8', 'embeddings', 'q8', 'conversion'];
    expect([...lists].sort()).toEqual(expected.sort());
    for (const name of MODELS) expect(json(join(OLD, name)).quantization_config.format_version).toBe(1);
  });

  test('give the logits of the version that wrote them, bit for bit', () => {
    const source = `import { Model } from './lib/model';
      async function main() {
        for (const [name, place, options] of ${JSON.stringify(LOADED)} as [string, string, object][]) {
          const model = await Model.load(place, options);
          const { data } = await model.logits(${JSON.stringify(IDS)});
          console.log(JSON.stringify([name, [...data.slice(-320)]]));
        }
      }
      main();`;
    const { stdout, stderr } = runTypeScript(source, { env: { MBOK_ISA: 'scalar' } });
    expect(stderr).toBe('');
    const logits = new Map<string, number[]>(
      stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    );
    expect([...logits.keys()]).toEqual(golden.names);
    for (const [name, values] of logits) expect([name, values]).toEqual([name, [...golden(name).data]]);
  });

  test.each(LOADED)('%s: is saved as the second version, with the same tensors', async (name, place, options) => {
    await using model = await Model.load(place, options);
    const saved = newPlace();
    await model.save(saved);
    await using again = await Model.load(saved);
    expect(again.formats).toEqual(model.formats);
    expect(differences(contents(model), contents(again))).toEqual([]);
    expect(again.conversion).toEqual(model.conversion);
    for (const loaded of [model, again]) {
      const last = (await loaded.logits(IDS)).data.slice(-320);
      expect(relativeError(last, golden(name).data)).toBeLessThan(1e-5);
    }
    const { quantization_config: quantization, ...config } = json(saved);
    const { quantization_config: earlier, ...before } = json(place);
    expect(config).toEqual(before);
    const { quant_method, format_version, modules, ...others } = quantization;
    expect([quant_method, format_version]).toEqual(['mbok', 2]);
    expect(others).toEqual('kernels' in options ? {} : { conversion: earlier.conversion });
    // a loaded model is not nested, and one with fewer kernels has other tensors
    if ('kernels' in options) return;
    expect(formatsOf(modules)).toEqual(listed(earlier));
    await using old = await SafetensorsFile.open(join(place, 'model.safetensors'));
    await using now = await SafetensorsFile.open(join(saved, 'model.safetensors'));
    const names = [...old.tensors.keys()].filter((tensor) => !tensor.includes('_prefix_'));
    expect([...now.tensors.keys()].sort()).toEqual(names.sort());
    for (const tensor of names) {
      expect(now.entry(tensor)).toMatchObject({ dtype: old.entry(tensor).dtype, shape: old.entry(tensor).shape });
      expect(await now.read(tensor)).toEqual(await old.read(tensor));
    }
  });

  test('are nested in the source, and inspected correctly', async () => {
    await using source = await ModelSource.open(join(OLD, 'nested'));
    expect(source.formats.get('model.layers.0.mlp.up_proj')).toEqual({ kind: 'kernels', count: 3, nested: true });
    const { layers, prefixBytes, embeddings } = await inspect(join(OLD, 'nested'));
    expect(prefixBytes).toBeGreaterThan(0);
    expect(embeddings).toBe('int8');
    expect(layers.find(({ module }) => module === 'model.layers.1.mlp.up_proj')?.kernels).toBe(1);
  });
});

type Formats = Record<string, LayerFormat>;

const formatsOf = (modules: Record<string, { format: string }>): Formats =>
  Object.fromEntries(
    Object.entries(modules).map(([module, { format, ...rest }]) => [module, { kind: format, ...rest }]),
  );

/** Returns the formats that the lists of version 1 describe. */
function listed(quantization: {
  kernels?: Record<string, number>;
  int8?: string[];
  q8?: string[];
  embeddings?: string;
}): Formats {
  const { kernels = {}, int8 = [], q8 = [], embeddings } = quantization;
  const tables = embeddings === undefined ? [] : ['model.embed_tokens', 'lm_head'];
  return Object.fromEntries([
    ...Object.entries(kernels).map(([module, count]) => [module, { kind: 'kernels', count }]),
    ...[...int8, ...tables].map((module) => [module, { kind: 'int8' }]),
    ...q8.map((module) => [module, { kind: 'q8' }]),
  ]);
}

const UP = 'model.layers.0.mlp.up_proj';
const DOWN = 'model.layers.1.mlp.down_proj';
type Json = Record<string, unknown>;

/** Invalid changes of a quantization_config. */
const HOSTILE: readonly (readonly [string, (quantization: Json) => void, RegExp])[] = [
  ['format_version 3', (q) => set(q, 'format_version', 3), /^MBOK_UNSUPPORTED: .*format version 3 is not supported/],
  ['format_version "2"', (q) => set(q, 'format_version', '2'), /^MBOK_UNSUPPORTED: .*format version "2" is not/],
  [
    'format_version 1.0 in words',
    (q) => set(q, 'format_version', '1'),
    /^MBOK_UNSUPPORTED: .*format version "1" is not/,
  ],
  ['no format_version', (q) => remove(q, 'format_version'), /^MBOK_UNSUPPORTED: .*format version undefined is not/],
  ['format_version null', (q) => set(q, 'format_version', null), /^MBOK_UNSUPPORTED: .*format version null is not/],
  ['another method', (q) => set(q, 'quant_method', 'gptq'), /^MBOK_UNSUPPORTED: .*method "gptq" is not/],
  ['an unknown key', (q) => set(q, 'group_size', 128), /^MBOK_UNSUPPORTED: .*quantization_config: 'group_size' is 128/],
];

const of1 = (quantization: Json) => quantization as { kernels: Json; int8: string[]; q8: string[] };
const COUNTS: readonly (readonly [unknown, RegExp])[] = [
  [0, /must be a positive integer, got 0$/],
  [9, /cannot have the format 'kernels'$/],
  [1.5, /must be a positive integer, got 1.5$/],
  [-1, /must be a positive integer, got -1$/],
  ['2', /must be a positive integer, got "2"$/],
  [null, /must be a positive integer/],
  [[2], /must be a positive integer, got \[2\]$/],
];
const HOSTILE1: typeof HOSTILE = [
  ['modules beside its lists', (q) => set(q, 'modules', {}), /^MBOK_UNSUPPORTED: .*: 'modules' is \{\}/],
  [
    'a module in one list twice',
    (q) => set(q, 'int8', [DOWN, DOWN]),
    /^MBOK_FORMAT: .*down_proj" is stored in two ways/,
  ],
  ['a module in two lists', (q) => set(q, 'q8', [UP]), /^MBOK_FORMAT: .*up_proj" is stored in two ways/],
  [
    'a table in two lists',
    (q) => set(set(q, 'embeddings', 'int8'), 'q8', ['lm_head']),
    /^MBOK_FORMAT: .*"lm_head" is stored/,
  ],
  ['a list that is none', (q) => set(q, 'int8', DOWN), /^MBOK_FORMAT: .*'int8' must be a list of strings/],
  ['counts in a list', (q) => set(q, 'kernels', [2]), /^MBOK_FORMAT: .*'kernels' must be an object/],
  ['embeddings of others', (q) => set(q, 'embeddings', 'q8'), /^MBOK_UNSUPPORTED: .*embeddings stored as "q8"/],
  ['nested in words', (q) => set(q, 'nested', 'yes'), /^MBOK_FORMAT: .*'nested' must be true or false/],
  ['another module', (q) => set(of1(q).kernels, 'model.norm', 2), /^MBOK_FORMAT: .*"model.norm" is not a module/],
  ['kernels of a table', (q) => set(of1(q).kernels, 'lm_head', 2), /^MBOK_FORMAT: .*"lm_head" \(head\) cannot have/],
  ['no module', (q) => remove(q, 'kernels'), /^MBOK_SHAPE: .*q_proj.weight' is missing/],
  ...COUNTS.map(
    ([count, message]) =>
      [`${JSON.stringify(count)} kernels`, (q: Json) => set(of1(q).kernels, UP, count), formatError(message)] as const,
  ),
];

const of2 = (quantization: Json) => (quantization as { modules: Record<string, Json> }).modules;
const own = (quantization: Json) => of2(quantization)[UP] as Json;
const HOSTILE2: typeof HOSTILE = [
  ...['kernels', 'int8', 'q8'].map(
    (list) =>
      [
        `'${list}' beside modules`,
        (q: Json) => set(q, list, []),
        new RegExp(`^MBOK_UNSUPPORTED: .*: '${list}' is`),
      ] as const,
  ),
  ['embeddings beside modules', (q) => set(q, 'embeddings', 'int8'), /^MBOK_UNSUPPORTED: .*'embeddings' is "int8"/],
  ['nested beside modules', (q) => set(q, 'nested', true), /^MBOK_UNSUPPORTED: .*'nested' is true/],
  ['no modules', (q) => remove(q, 'modules'), /^MBOK_FORMAT: .*'modules' must be an object, got undefined/],
  ['modules null', (q) => set(q, 'modules', null), /^MBOK_FORMAT: .*'modules' must be an object, got null/],
  ['modules in a list', (q) => set(q, 'modules', [UP]), /^MBOK_FORMAT: .*'modules' must be an object/],
  ['a module null', (q) => set(of2(q), UP, null), /^MBOK_FORMAT: .*up_proj' must be an object, got null/],
  [
    'a module in a word',
    (q) => set(of2(q), UP, 'kernels'),
    /^MBOK_FORMAT: .*up_proj' must be an object, got "kernels"/,
  ],
  ['a module without format', (q) => remove(own(q), 'format'), /^MBOK_FORMAT: .*up_proj: 'format' must be a string/],
  ['a format of Object', (q) => set(own(q), 'format', 'constructor'), /^MBOK_UNSUPPORTED: .*the format "constructor"/],
  ['an unknown setting', (q) => set(own(q), 'groups', 4), /^MBOK_UNSUPPORTED: .*up_proj: 'groups' is 4/],
  [
    'a count of int8',
    (q) => set(of2(q), UP, { format: 'int8', count: 2 }),
    /^MBOK_UNSUPPORTED: .*up_proj: 'count' is 2/,
  ],
  ['a count of nothing', (q) => set(of2(q), UP, { format: 'dense', count: 1 }), /^MBOK_UNSUPPORTED: .*'count' is 1/],
  ['dense that is not', (q) => set(of2(q), UP, { format: 'dense' }), /^MBOK_SHAPE: .*up_proj.weight' is missing/],
  [
    'another module',
    (q) => set(of2(q), 'model.norm', { format: 'q8' }),
    /^MBOK_FORMAT: .*"model.norm" is not a module/,
  ],
  ['kernels of a table', (q) => set(of2(q), 'lm_head', { format: 'kernels', count: 2 }), /^MBOK_FORMAT: .*cannot have/],
  ['nested in words', (q) => set(own(q), 'nested', 'yes'), /^MBOK_FORMAT: .*'nested' must be true or false/],
  ...COUNTS.map(
    ([count, message]) =>
      [`${JSON.stringify(count)} kernels`, (q: Json) => set(own(q), 'count', count), formatError(message)] as const,
  ),
];

function formatError({ source }: RegExp): RegExp {
  return new RegExp(`^MBOK_FORMAT: .*${source}`);
}

function set(json: Json, key: string, value: unknown): Json {
  json[key] = value;
  return json;
}

function remove(json: Json, key: string): void {
  delete json[key];
}

async function errorOf(place: string): Promise<string> {
  const model = await Model.load(place).catch((error) => error);
  return model instanceof Model ? 'loaded' : `${model.code}: ${model.message}`;
}

describe.each([
  [1, [...HOSTILE, ...HOSTILE1]],
  [2, [...HOSTILE, ...HOSTILE2]],
] as const)('version %i', (version, cases) => {
  const place = newPlace();
  beforeAll(async () => {
    const old = join(OLD, 'kernels');
    await using model = await Model.load(old);
    await model.save(place);
    if (version === 1) changeConfig(place, { quantization_config: json(old).quantization_config });
  });

  test.each(cases)('refuses %s', async (_, change, error) => {
    const { quantization_config: honest } = json(place);
    expect(honest.format_version).toBe(version);
    const quantization_config = structuredClone(honest);
    change(quantization_config);
    changeConfig(place, { quantization_config });
    const failed = await errorOf(place);
    changeConfig(place, { quantization_config: honest });
    expect(failed).toMatch(error);
    expect(await errorOf(place)).toBe('loaded');
  });
});

test('modules declared dense are dense', async () => {
  const place = newPlace();
  await using dense = await Model.load(join(GOLDEN, 'llama'));
  await using model = await binarize(dense, { kernels: 1, method: 'svid', keep: { [UP]: 'dense' } });
  await model.save(place);
  const { quantization_config } = json(place);
  quantization_config.modules[UP] = { format: 'dense' };
  changeConfig(place, { quantization_config });
  await using loaded = await Model.load(place);
  expect(loaded.formats).toEqual(model.formats);
  expect(coreOf(loaded).savedJson).toEqual(coreOf(model).savedJson);
});
