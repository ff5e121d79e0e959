/** Bits flip by the form of their weight: defaults, and several forms in one model. */

import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { coreOf, Model } from '../../lib/model';
import { modelParts } from '../../lib/models/parts';
import { factorsFormat, rankForBits } from '../../lib/structures/factors';
import { finetune } from '../../lib/train/finetune';
import { type FinetuneOptions, type FinetuneProgress, finetuneSettings } from '../../lib/train/finetune_options';
import { type FlipForm, flipForms } from '../../lib/train/flip_forms';
import { GOLDEN, temporaryFolder } from '../helpers/folders';
import { readGolden } from '../helpers/golden';
import { relativeError } from '../helpers/random';
import { contents, differences, learnableIds } from '../helpers/training_models';

const folder = temporaryFolder();
const data = learnableIds(4000);

/** Converts the small LLaMA with K kernels for attention, and K kernels or a pair of factors for its MLPs. */
async function mixed(attention: number, mlp: number | 'pair'): Promise<Model> {
  await using teacher = await Model.load(join(GOLDEN, 'llama'));
  const form = mlp === 'pair' ? { factors: 1, iterations: 3 } : { kernels: mlp, method: 'svid' as const };
  return await binarize(teacher, { ...form, keep: { '*.self_attn.*': attention } });
}

test.each<[number, number, object]>([
  [1, 1, { 'K = 1': { flipRate: 0.03, retainedEvidence: 0.7 } }],
  [2, 2, { 'K = 2': { flipRate: 0.02, retainedEvidence: 0 } }],
  [3, 1, { 'K = 1': { flipRate: 0.03, retainedEvidence: 0.7 }, 'K > 2': { flipRate: 0.015, retainedEvidence: 0 } }],
])('%i kernels in attention and %i in MLPs flip by default as measured for each', async (attention, mlp, flips) => {
  await using model = await mixed(attention, mlp);
  const { flipSettings, flipRate } = finetuneSettings(coreOf(model), { data, window: 32, steps: 400 });
  expect(flipSettings).toEqual(flips);
  expect(flipRate).toBe(mlp === 1 ? 0.03 : 0.02);
  const given = finetuneSettings(coreOf(model), { data, window: 32, flipRate: 0.1, retainedEvidence: 0.5 });
  const all = Object.keys(flips).map((form) => [form, { flipRate: 0.1, retainedEvidence: 0.5 }]);
  expect([given.flipRate, given.flipSettings]).toEqual([0.1, Object.fromEntries(all)]);
});

test.each([
  [4000, 0.02],
  [400, 0.02],
  [178, 0.03],
  [100, 0.04],
  [2, 0.04],
])('a run of %i steps flips two kernels at %d by default', async (steps, rate) => {
  await using model = await mixed(2, 2);
  expect(finetuneSettings(coreOf(model), { data, window: 32, steps }).flipRate).toBeCloseTo(rate, 4);
});

test.each([
  ['one kernel', 1, 14],
  ['pairs', 'pair', 20],
] as const)('each weight of a mixed model accumulates at the rate of its form: %s in MLPs', async (_, mlp, count) => {
  /** Returns the accumulators after one step, by module. */
  async function accumulators(name: string, options: Partial<FinetuneOptions>) {
    await using model = await mixed(2, mlp);
    const checkpoint = { folder: join(folder, `${mlp} ${name}`), every: 1 };
    await finetune(model, { data, window: 32, batch: 4, steps: 1, accumulator: 'f32', ...options, checkpoint });
    const state = readGolden(join(checkpoint.folder, 'state-1.safetensors'));
    const names = state.names.filter((tensor) => tensor.endsWith('.accumulator'));
    expect(names.length).toBe(count);
    return new Map(names.map((tensor) => [tensor, state(tensor).data]));
  }
  const byForm = await accumulators('by form', {});
  // twice the rates of long runs
  const slow = await accumulators('slow', { flipRate: 0.04, retainedEvidence: 0 });
  const fast = await accumulators('fast', { flipRate: 0.06, retainedEvidence: 0.7 });
  for (const [tensor, values] of byForm) {
    const uniform = tensor.includes('self_attn') ? slow : fast;
    expect(relativeError(values, uniform.get(tensor) as Float64Array)).toBeLessThan(1e-6);
  }
});

test.each<[number, FlipForm]>([
  [0.5, 'pair'],
  [1.5, 'pair'],
  [2, 'pair of 2 bits'],
  [3, 'pair of 2 bits'],
])('a pair of at most %d bits per weight is a %s', (bits, form) => {
  const owner = { name: 'layer.weight', rows: 640, cols: 192, role: 'linear' } as const;
  const formats = new Map([['layer', factorsFormat(rankForBits(owner, bits))]]);
  expect([...flipForms({ parts: modelParts([owner], formats), formats }).values()]).toEqual([form]);
});

describe('a model of pairs of factors', () => {
  /** Trains bits alone. Returns the losses, the matrices after the run, and the names of those that changed. */
  async function train(options: Partial<FinetuneOptions>, stop = Infinity) {
    await using teacher = await Model.load(join(GOLDEN, 'llama'));
    await using student = await binarize(teacher, { factors: 1, iterations: 3 });
    const before = contents(student);
    const controller = new AbortController();
    const onProgress = ({ step }: FinetuneProgress) => {
      if (step === stop) controller.abort();
    };
    const always = {
      teacher,
      data,
      window: 32,
      batch: 4,
      steps: 20,
      train: [],
      flipRate: 0.2,
      signal: controller.signal,
      onProgress,
    };
    const finished = finetune(student, { ...always, ...options });
    const losses = await finished.then(
      ({ history }) => history.map(({ loss }) => loss),
      () => [],
    );
    const after = contents(student);
    return { losses, after, changed: differences(before, after) };
  }

  test('learns by the flips of both factors', async () => {
    const { losses, changed, after } = await train({});
    const sum = (part: readonly number[]) => part.reduce((total, loss) => total + loss, 0);
    expect(sum(losses.slice(-4))).toBeLessThan(0.93 * sum(losses.slice(0, 4)));
    expect(changed).toEqual([...after.keys()].filter((name) => /\.boolean_[ab]$/.test(name)));
  });

  test('resumes to the same bits', async () => {
    const checkpoint = { folder: join(folder, 'pairs'), every: 3 };
    expect((await train({ checkpoint }, 7)).losses).toEqual([]);
    expect(await train({ checkpoint, resume: true })).toEqual(await train({}));
  });
});
