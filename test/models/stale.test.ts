/**
 * Objects created for a model's old weights: they compute with the new weights or refuse, and never use the old ones.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { WindowScorer } from '../../lib/eval/window_scorer';
import { Decoder } from '../../lib/generate/decoder';
import { PromptCache } from '../../lib/generate/prompt_cache';
import { arithmeticOf } from '../../lib/graph/arithmetic';
import { Graph } from '../../lib/graph/graph';
import { add } from '../../lib/graph/operations/add';
import { linear } from '../../lib/graph/operations/linear';
import { Plan } from '../../lib/graph/plan';
import { coreOf, Model } from '../../lib/model';
import type { ModelUse } from '../../lib/models/stored_matrix';
import { Matrix } from '../../lib/native/matrix';
import { finetune } from '../../lib/train/finetune';
import { TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { relativeError } from '../helpers/random';
import { contents, differences, learnableIds } from '../helpers/training_models';

const folder = temporaryFolder();
const place = join(folder, 'small');
const IDS = Int32Array.from({ length: 24 }, (_, i) => (i * 37) % 160);
const TARGETS = Int32Array.from(IDS, (_, i) => IDS[i + 1] ?? -1);
const arithmetic = arithmeticOf({});
const training = { data: learnableIds(400), window: 16, batch: 2, steps: 2, flipRate: 0.5, learningRate: 0.01 };

beforeAll(async () => {
  await using dense = await Model.load(TINY_STORIES);
  await using small = await binarize(dense, { kernels: 2, method: 'svid' });
  await small.save(place);
});

const load = (use: ModelUse) => Model.load(place, { for: use });
const other = (use: ModelUse): ModelUse => (use === 'training' ? 'inference' : 'training');
const bitsOf = (model: Model) =>
  coreOf(model)
    .parts.filter(({ role }) => role === 'bits')
    .map(({ name }) => coreOf(model).parameters.get(name));

describe('a plan', () => {
  test.each(['weights', 'state'] as const)('refuses to run once a matrix among its %s is disposed', async (role) => {
    const matrix = Matrix.from(Float32Array.of(1, 2), { rows: 1, cols: 2 });
    const graph = new Graph();
    graph.output('y', add(graph.input('x', { rows: 1, cols: 2 }), graph.bind(matrix, role)));
    await using plan = new Plan(graph);
    const run = () => plan.run({ inputs: { x: Float32Array.of(3, 4) } });
    expect([...((await run()).y as Float32Array)]).toEqual([4, 6]);
    matrix.dispose();
    const message = expect.stringContaining(`has been disposed: f32 [1, 2] (${role})`);
    for (let i = 0; i < 2; i++) await expect(run()).rejects.toMatchObject({ code: 'MBOK_DISPOSED', message });
  });

  test('ends a run in flight with the memory of a matrix that is disposed meanwhile', async () => {
    const matrix = Matrix.from(new Float32Array(512 * 512).fill(2 ** -9), { rows: 512, cols: 512 });
    const graph = new Graph();
    const w = graph.bind(matrix);
    let x = graph.input('x', { rows: 1, cols: 512 });
    for (let i = 0; i < 200; i++) x = linear(x, w);
    graph.output('y', x);
    await using plan = new Plan(graph);
    const run = plan.run({ inputs: { x: new Float32Array(512).fill(1) } });
    matrix.dispose();
    expect([...((await run).y as Float32Array)]).toEqual(Array(512).fill(1));
  });
});

/** Actions that replace the weights of a model, or change them in place. */
const CHANGES: readonly (readonly [string, ModelUse, (model: Model) => Promise<unknown>])[] = [
  ['finetuning a model for inference', 'inference', (model) => finetune(model, training)],
  ['finetuning a model for training', 'training', (model) => finetune(model, training)],
  ['arranging for training', 'inference', (model) => model.arrangeFor('training')],
  ['arranging for inference', 'training', (model) => model.arrangeFor('inference')],
  ['widening', 'inference', (model) => coreOf(model).widen(['model.embed_tokens.weight'])],
];

/** Tells whether the action replaces the matrices. */
const replaces = (use: ModelUse, name: string) => !(use === 'training' && name.startsWith('finetuning'));

describe.each(CHANGES)('after %s', (name, use, change) => {
  test('a decoder refuses to continue its text', async () => {
    await using model = await load(use);
    await using decoder = new Decoder(coreOf(model), { context: 32, arithmetic });
    await decoder.append(0, IDS.subarray(0, 4), undefined);
    expect(decoder.isStale).toBe(false);
    await change(model);
    expect(decoder.isStale).toBe(true);
    const gone = decoder.append(0, IDS.subarray(4, 5), undefined);
    await expect(gone).rejects.toMatchObject({ code: 'MBOK_BUSY', message: expect.stringContaining('been changed') });
  });

  test('a batch decoder refuses to continue its texts', async () => {
    await using model = await load(use);
    await using decoder = new Decoder(coreOf(model), { slots: 2, context: 32, arithmetic });
    await decoder.append(1, IDS.subarray(0, 4), undefined);
    await change(model);
    const gone = decoder.step([{ slot: 1, id: IDS[4] as number }], undefined);
    await expect(gone).rejects.toMatchObject({ code: 'MBOK_BUSY', message: expect.stringContaining('been changed') });
  });

  test('a started generation refuses to continue', async () => {
    await using model = await load(use);
    const generation = model.generate(IDS, { maxTokens: 20, temperature: 0 });
    const pieces = generation[Symbol.asyncIterator]();
    await pieces.next();
    await change(model);
    await expect(pieces.next()).rejects.toMatchObject({ code: 'MBOK_BUSY' });
  });

  test('a prompt cache starts empty, and gives the text of a model without one', async () => {
    await using model = await load(use);
    await using promptCache = new PromptCache();
    const options = { maxTokens: 12, temperature: 0 };
    const logits = async () => {
      await using lease = await promptCache.lend(coreOf(model), { context: 32, arithmetic });
      const begun = lease.decoder.rewind(0, IDS);
      return { begun, logits: (await lease.decoder.append(0, IDS.subarray(begun), undefined)).slice() };
    };
    await textOf(model, { ...options, promptCache });
    expect((await logits()).begun).toBe(IDS.length - 1);
    await change(model);
    const after = await logits();
    expect(after.begun).toBe(0);
    await using fresh = new Decoder(coreOf(model), { context: 32, arithmetic });
    expect(after.logits).toEqual((await fresh.append(0, IDS, undefined)).slice());
    expect(await textOf(model, { ...options, promptCache })).toEqual(await textOf(model, options));
  });

  test('a scorer of windows reads the current weights or refuses', async () => {
    await using model = await load(use);
    const settings = { window: IDS.length, windows: 1, arithmetic };
    await using scorer = new WindowScorer(coreOf(model), settings);
    const before = await scorer.score(IDS, TARGETS, undefined);
    await change(model);
    await using fresh = new WindowScorer(coreOf(model), settings);
    const now = await fresh.score(IDS, TARGETS, undefined);
    if (name.startsWith('finetuning')) expect(Math.abs(now / before - 1)).toBeGreaterThan(1e-3);
    const again = scorer.score(IDS, TARGETS, undefined);
    if (!replaces(use, name)) expect(await again).toBe(now);
    else await expect(again).rejects.toMatchObject({ code: 'MBOK_DISPOSED' });
  });
});

async function textOf(model: Model, options: object): Promise<string> {
  let text = '';
  for await (const piece of model.generate(IDS, options)) text += piece;
  return text;
}

test('a prompt cache refused during finetuning works afterwards', async () => {
  await using model = await load('inference');
  await using promptCache = new PromptCache();
  const options = { maxTokens: 8, temperature: 0 };
  let asked: Promise<unknown> | undefined;
  const onProgress = () => {
    asked ??= textOf(model, { ...options, promptCache }).catch((error) => error);
  };
  await finetune(model, { ...training, onProgress });
  expect(await asked).toMatchObject({ code: 'MBOK_BUSY' });
  expect(await textOf(model, { ...options, promptCache })).toEqual(await textOf(model, options));
});

test('matrices that others read are not replaced', async () => {
  await using model = await load('inference');
  const before = bitsOf(model);
  {
    using _ = coreOf(model).holdToRead();
    const busy = { code: 'MBOK_BUSY', message: expect.stringContaining('while another call reads it') };
    await expect(model.arrangeFor('training')).rejects.toMatchObject(busy);
    await expect(coreOf(model).widen(['model.embed_tokens.weight'])).rejects.toMatchObject(busy);
    // nothing to do
    await model.arrangeFor('inference');
    await coreOf(model).widen(['model.norm.weight']);
  }
  expect(bitsOf(model)).toEqual(before);
  expect(coreOf(model).revision).toBe(0);
  await model.arrangeFor('training');
  expect(coreOf(model).use).toBe('training');
});

describe('a model that is loaded for training', () => {
  test('has the logits of one for inference', async () => {
    await using trained = await load('training');
    await using run = await load('inference');
    expect([coreOf(trained).use, coreOf(run).use]).toEqual(['training', 'inference']);
    expect(differences(contents(trained), contents(run))).toEqual([]);
    const [rows, tiles] = [(await trained.logits(IDS)).data, (await run.logits(IDS)).data];
    // rebuilt rows and looked-up tiles differ in the order of f32 additions
    expect(relativeError(rows, tiles)).toBeLessThan(1e-5);
  });

  test.each(['training', 'inference'] as const)('for %s: finetuning rearranges no bits without need', async (use) => {
    await using model = await load(use);
    const before = bitsOf(model);
    const first = contents(model);
    await finetune(model, training);
    expect(differences(first, contents(model)).some((name) => name.endsWith('boolean_kernels'))).toBe(true);
    const same = bitsOf(model).map((matrix, i) => matrix === before[i]);
    expect(new Set(same)).toEqual(new Set([use === 'training']));
    expect(coreOf(model).use).toBe(use);
    expect(bitsOf(model).every((matrix) => matrix?.type === (use === 'training' ? 'bits' : 'bitTiles'))).toBe(true);
  });

  test('saves the same bytes, before and after finetuning', async () => {
    const files: Buffer[][] = [];
    for (const use of ['training', 'inference'] as const) {
      await using model = await load(use);
      const saved = [join(folder, `${use}-before`), join(folder, `${use}-after`)];
      await model.save(saved[0] as string);
      await finetune(model, training);
      await model.save(saved[1] as string);
      await model.arrangeFor(other(use));
      await model.save(`${saved[1]}-turned`);
      saved.push(`${saved[1]}-turned`);
      files.push(saved.map((name) => readFileSync(join(name, 'model.safetensors'))));
    }
    const [rows, tiles] = files as [Buffer[], Buffer[]];
    expect(rows.map((file, i) => file.equals(tiles[i] as Buffer))).toEqual([true, true, true]);
    expect(rows[0]?.equals(readFileSync(join(place, 'model.safetensors')))).toBe(true);
    expect(rows[1]?.equals(rows[2] as Buffer)).toBe(true);
    expect(rows[0]?.equals(rows[1] as Buffer)).toBe(false);
  });
});
