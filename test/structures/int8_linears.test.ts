/** Linear layers in 8 bits beside Boolean ones: computed with, saved, read, left alone by training. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { binarizeFolder } from '../../lib/compress/binarize_folder';
import { planConversion } from '../../lib/compress/memory_plan';
import { coreOf, Model, modelOf } from '../../lib/model';
import { moduleOf } from '../../lib/models/parts';
import { multipliedOut } from '../../lib/models/widen';
import { finetune } from '../../lib/train/finetune';
import { changeConfig, GOLDEN, temporaryFolder } from '../helpers/folders';
import { contents, differences, learnableIds } from '../helpers/training_models';

const folder = temporaryFolder();
const IDS = Int32Array.from({ length: 40 }, (_, i) => (i * 37) % 160);
/** Options that put the layers of the second block into 8 bits. */
const options = { kernels: 2, method: 'svid', keep: { '*.1.*': 'int8' } } as const;

async function small(family: string): Promise<Model> {
  await using model = await Model.load(join(GOLDEN, family));
  return await binarize(model, options);
}

const eightBits = (model: Model) =>
  coreOf(model).linears.filter(({ name }) => coreOf(model).stored.get(name)?.storage === 'I8');

// GPT-2's files store matrices transposed
describe.each(['llama', 'gpt2'])('%s', (family) => {
  test('computes with the values of its numbers, which are close to the original', async () => {
    await using original = await Model.load(join(GOLDEN, family));
    await using model = await small(family);
    const linears = eightBits(model);
    expect(linears.length).toBe(coreOf(original).linears.length / original.config.layers);
    const replaced = new Map();
    const formats = new Map(model.formats);
    for (const owner of linears) {
      const { name } = owner;
      const wide = await multipliedOut(owner, formats.get(moduleOf(name)), coreOf(model).parameters);
      replaced.set(name, { matrix: wide, storage: 'F32' });
      formats.delete(moduleOf(name));
      const residual = model.conversion?.residuals[moduleOf(name)];
      expect(residual).toBeGreaterThan(1e-3);
      expect(residual).toBeLessThan(1e-2);
    }
    await using wide = modelOf(coreOf(model).derive(replaced, formats));
    // a prompt, and as few rows as in decode
    for (const ids of [IDS, IDS.subarray(0, 3)]) {
      const [got, expected] = [(await model.logits(ids)).data, (await wide.logits(ids)).data];
      const largest = Math.max(...expected.map(Math.abs));
      for (const [i, value] of got.entries())
        expect(Math.abs(value - (expected[i] as number))).toBeLessThan(2e-5 * largest);
    }
  });

  test('is the same from disk and from memory, and after saving and reading', async () => {
    const [fromDisk, saved, again] = ['disk', 'saved', 'again'].map((name) => join(folder, `${family}-${name}`)) as [
      string,
      string,
      string,
    ];
    await binarizeFolder(join(GOLDEN, family), fromDisk, options);
    await using model = await small(family);
    await model.save(saved);
    await using read = await Model.load(saved);
    expect(differences(contents(model), contents(read))).toEqual([]);
    await read.save(again);
    for (const file of ['config.json', 'model.safetensors']) {
      const bytes = readFileSync(join(saved, file));
      expect(readFileSync(join(fromDisk, file)).equals(bytes)).toBe(true);
      expect(readFileSync(join(again, file)).equals(bytes)).toBe(true);
    }
    const { outputBytes } = await planConversion(join(GOLDEN, family), options);
    expect(outputBytes).toBeLessThan(readFileSync(join(saved, 'model.safetensors')).length);
  });
});

test('finetuning does not change 8-bit layers', async () => {
  await using teacher = await Model.load(join(GOLDEN, 'llama'));
  await using student = await small('llama');
  const before = contents(student);
  const data = learnableIds(600);
  await finetune(student, { teacher, data, window: 32, batch: 4, steps: 3, flipRate: 0.3, train: ['scales', 'norms'] });
  const changed = differences(before, contents(student));
  expect(changed.length).toBeGreaterThan(5);
  const kept = eightBits(student).flatMap(({ name }) => [name, `${name}_scale`]);
  expect(changed.filter((name) => kept.includes(name))).toEqual([]);
});

test('a configuration of version 1 with both kernels and 8 bits for a layer is refused', async () => {
  const place = join(folder, 'both');
  await binarizeFolder(join(GOLDEN, 'llama'), place, options);
  const [int8, kernels] = [['model.layers.0.mlp.up_proj'], { 'model.layers.0.mlp.up_proj': 2 }];
  changeConfig(place, { quantization_config: { quant_method: 'mbok', format_version: 1, int8, kernels } });
  await expect(Model.load(place)).rejects.toMatchObject({
    code: 'MBOK_FORMAT',
    message: expect.stringContaining('is stored in two ways at once'),
  });
});
