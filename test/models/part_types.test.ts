/**
 * Each part of a weight has its type: scales stored in F32 or BF16 stay in that type, even if F16 would change them.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { binarizeFolder } from '../../lib/compress/binarize_folder';
import { convertLastWeights } from '../../lib/compress/block_conversion';
import { formatsWith } from '../../lib/compress/converted';
import { loadedSource } from '../../lib/compress/dense_source';
import { planConversion } from '../../lib/compress/memory_plan';
import { f32ToHalf, type HalfType, halfToF32 } from '../../lib/io/half';
import { SafetensorsFile, type TensorSource, writeSafetensors } from '../../lib/io/safetensors';
import { coreOf, Model, modelOf } from '../../lib/model';
import { moduleOf } from '../../lib/models/parts';
import { ModelSource } from '../../lib/models/source';
import type { Matrix } from '../../lib/native/matrix';
import { INT8 } from '../../lib/structures/int8';
import { finetune } from '../../lib/train/finetune';
import { changeConfig, GOLDEN, temporaryFolder } from '../helpers/folders';
import { contents, differences, learnableIds } from '../helpers/training_models';

const folder = temporaryFolder();
let places = 0;
const newPlace = () => join(folder, `place-${++places}`);
const file = (place: string) => readFileSync(join(place, 'model.safetensors'));
const IDS = Array.from({ length: 24 }, (_, i) => (i * 37) % 160);
const isScale = (name: string) => /\.(s_out|s_in|weight_scale)(_prefix_\d)?$/.test(name);
const training = { data: learnableIds(400), window: 16, batch: 2, steps: 3, flipRate: 0.5, learningRate: 0.01 };

type Wide = 'F32' | 'BF16';

/**
 * Copies the folder with every scale multiplied by 1 + 2^-12, which F16 cannot represent, or rounded to BF16, in this
 * type.
 */
async function widened(place: string, type: Wide): Promise<string> {
  const target = newPlace();
  await using model = await Model.load(place);
  await model.save(target);
  await using opened = await ModelSource.open(place);
  await using source = await SafetensorsFile.open(join(place, 'model.safetensors'));
  const tensors: TensorSource[] = [];
  // in the model's order, which determines that of the file
  for (const { name } of opened.parts) {
    const { dtype, shape } = source.entry(name);
    const bytes = await source.read(name);
    if (!isScale(name)) tensors.push({ name, dtype, shape, bytes: () => bytes });
    else {
      const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
      const values = halfToF32(halves, dtype as HalfType).map((value) => value * (1 + 2 ** -12));
      const data = type === 'F32' ? values : f32ToHalf(values, type);
      const stored = () => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      tensors.push({ name, dtype: type, shape, bytes: stored });
    }
  }
  await writeSafetensors(join(target, 'model.safetensors'), tensors, { format: 'pt' });
  const { quantization_config } = JSON.parse(readFileSync(join(place, 'config.json'), 'utf8'));
  changeConfig(target, { quantization_config });
  return target;
}

/** Returns the types of the scales in a saved model's file. */
async function scaleTypes(place: string): Promise<ReadonlySet<string>> {
  await using source = await SafetensorsFile.open(join(place, 'model.safetensors'));
  return new Set([...source.tensors].filter(([name]) => isScale(name)).map(([, { dtype }]) => dtype));
}

async function saved(model: Model): Promise<string> {
  const place = newPlace();
  await model.save(place);
  return place;
}

const scales = (model: Model) => [...coreOf(model).stored].filter(([name]) => isScale(name));
const logits = async (model: Model) => (await model.logits(IDS)).data;

const mixed = join(folder, 'mixed');
const nested = join(folder, 'nested');
beforeAll(async () => {
  const llama = join(GOLDEN, 'llama');
  await binarizeFolder(llama, mixed, { kernels: 2, method: 'svid', keep: { '*.1.mlp.*': 'int8' }, embeddings: 'int8' });
  const calibration = { data: IDS, windows: 2, length: 12, rounds: 1 };
  await binarizeFolder(llama, nested, { kernels: 3, method: 'calibrated', calibration, nested: true });
});

describe.each(['F32', 'BF16'] as const)('scales in %s', (type) => {
  let place: string;
  beforeAll(async () => {
    place = await widened(mixed, type);
  });

  test('are used unchanged, and saved byte for byte', async () => {
    await using model = await Model.load(place);
    await using narrow = await Model.load(mixed);
    const all = scales(model);
    expect(all.length).toBe(2 * 11 + 3 + 2);
    for (const [name, { matrix, storage }] of all) {
      expect([name, storage, matrix.type]).toEqual([name, type, 'f32']);
      const before = (coreOf(narrow).parameters.get(name) as Matrix).toFloat32().map((value) => value * (1 + 2 ** -12));
      const expected = type === 'F32' ? before : halfToF32(f32ToHalf(before, type), type);
      expect(matrix.toFloat32()).toEqual(expected);
    }
    expect(await logits(model)).not.toEqual(await logits(narrow));
    expect(file(await saved(model)).equals(file(place))).toBe(true);
  });

  test('stay unchanged through derivation and rounding, and in both bit layouts', async () => {
    await using model = await Model.load(place);
    const before = contents(model);
    await using derived = modelOf(coreOf(model).derive(new Map(), model.formats));
    coreOf(derived).roundToStorage();
    await derived.arrangeFor('training');
    await derived.arrangeFor('inference');
    expect(differences(before, contents(derived))).toEqual([]);
    expect(file(await saved(derived)).equals(file(place))).toBe(true);
    await using trained = await Model.load(place, { for: 'training' });
    expect(file(await saved(trained)).equals(file(place))).toBe(true);
  });

  test('stay unchanged in prefixes, nested or not', async () => {
    const wide = await widened(nested, type);
    for (const [from, kernels] of [
      [wide, 1],
      [wide, 2],
      [place, 1],
    ] as const) {
      await using prefix = await Model.load(from, { kernels });
      for (const [, { storage }] of scales(prefix)) expect(storage).toBe(type);
      const again = await saved(prefix);
      expect(await scaleTypes(again)).toEqual(new Set([type]));
      await using read = await Model.load(again);
      expect(differences(contents(prefix), contents(read))).toEqual([]);
    }
  });

  test('stay in their type when trained, natively and with frozen bits', async () => {
    for (const flipRate of [0.5, 0]) {
      await using model = await Model.load(place);
      const before = contents(model);
      await finetune(model, { ...training, flipRate });
      const changed = differences(before, contents(model));
      const trained = scales(model).filter(([name]) => !name.endsWith('weight_scale'));
      for (const [name, { storage, matrix }] of trained) {
        expect([name, storage, changed.includes(name)]).toEqual([name, type, true]);
        const values = matrix.toFloat32();
        const rounded =
          type === 'F32' ? halfToF32(f32ToHalf(values, 'F16'), 'F16') : halfToF32(f32ToHalf(values, type), type);
        // numbers of the type are unchanged; in F32 they have more digits than F16
        if (type === 'F32') expect(values).not.toEqual(rounded);
        else expect(values).toEqual(rounded);
      }
      const again = await saved(model);
      expect(await scaleTypes(again)).toEqual(new Set([type]));
      await using read = await Model.load(again);
      expect(differences(contents(model), contents(read))).toEqual([]);
      expect(await logits(read)).toEqual(await logits(model));
    }
  });
});

test('of one module do not affect the types of others', async () => {
  const place = await widened(mixed, 'F32');
  await using wide = await Model.load(place);
  await using narrow = await Model.load(mixed);
  const module = moduleOf(coreOf(narrow).linears[0]?.name as string);
  const replaced = new Map(
    [...coreOf(wide).stored]
      .filter(([name]) => name.startsWith(`${module}.`))
      .map(([name, { matrix, storage }]) => [name, { matrix: matrix.clone(), storage }]),
  );
  await using model = modelOf(coreOf(narrow).derive(replaced, narrow.formats));
  const again = await saved(model);
  await using source = await SafetensorsFile.open(join(again, 'model.safetensors'));
  for (const [name, { dtype }] of source.tensors) {
    if (isScale(name)) expect([name, dtype]).toEqual([name, name.startsWith(`${module}.`) ? 'F32' : 'F16']);
  }
});

test('a source table in 8 bits with F32 scales stays so in conversions in memory and on disk', async () => {
  const dense = newPlace();
  await using original = await Model.load(join(GOLDEN, 'llama'));
  const table = coreOf(original).family.parameters(coreOf(original).config)[0]?.name as string;
  const rounds = { iterations: 1, refitRounds: 0, pairIterations: 1 };
  const inInt8 = new Map([[moduleOf(table), INT8]]);
  const converted = await convertLastWeights(loadedSource(coreOf(original)), inInt8, rounds, undefined);
  const matrices = [...converted.values()].flatMap((weight) => weight.matrices);
  const replaced = new Map(matrices.map(({ part, ...stored }) => [part.name, stored]));
  await using small = modelOf(coreOf(original).derive(replaced, formatsWith(original.formats, converted)));
  await small.save(dense);
  const source = await widened(dense, 'F32');
  await using model = await Model.load(source);
  for (const embeddings of ['unchanged', 'int8'] as const) {
    const options = { kernels: 2, method: 'svid', embeddings } as const;
    const [inMemory, onDisk] = [newPlace(), newPlace()];
    await using result = await binarize(model, options);
    await result.save(inMemory);
    await binarizeFolder(source, onDisk, options);
    expect(file(onDisk)).toEqual(file(inMemory));
    await using opened = await SafetensorsFile.open(join(onDisk, 'model.safetensors'));
    await using before = await SafetensorsFile.open(join(source, 'model.safetensors'));
    for (const name of [table, `${table}_scale`]) {
      expect(opened.entry(name).dtype).toBe(name === table ? 'I8' : 'F32');
      expect(await opened.read(name)).toEqual(await before.read(name));
    }
    const { outputBytes } = await planConversion(source, options);
    const tensors = [...opened.tensors.values()];
    expect(outputBytes).toBe(tensors.reduce((sum, { byteLength }) => sum + byteLength, 0));
  }
});
