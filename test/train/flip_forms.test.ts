/** Bits flip by the form of their weight: defaults, and several forms in one model. */

import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { coreOf, Model } from '../../lib/model';
import { finetune } from '../../lib/train/finetune';
import { type FinetuneOptions, finetuneSettings } from '../../lib/train/finetune_options';
import { type FlipForm, flipForms } from '../../lib/train/flip_forms';
import { temporaryFolder } from '../helpers/folders';
import { readGolden } from '../helpers/golden';
import { learnableIds } from '../helpers/training_models';

const folder = temporaryFolder();
const data = learnableIds(4000);

/** Converts the small LLaMA with K kernels for its MLPs and others for attention. */
async function mixed(attention: number, mlp: number): Promise<Model> {
  await using teacher = await Model.load(join(__dirname, '../golden/llama'));
  return await binarize(teacher, { kernels: mlp, keep: { '*.self_attn.*': attention }, method: 'svid' });
}

test.each<[number, number, object]>([
  [1, 1, { 'K = 1': { flipRate: 0.03, retainedEvidence: 0.7 } }],
  [2, 2, { 'K = 2': { flipRate: 0.02, retainedEvidence: 0 } }],
  [3, 1, { 'K = 1': { flipRate: 0.03, retainedEvidence: 0.7 }, 'K > 2': { flipRate: 0.015, retainedEvidence: 0 } }],
])('%i kernels in attention and %i in MLPs flip by default as measured for each', async (attention, mlp, flips) => {
  await using model = await mixed(attention, mlp);
  const { flipSettings, flipRate } = finetuneSettings(coreOf(model), { data, window: 32 });
  expect(flipSettings).toEqual(flips);
  expect(flipRate).toBe(mlp === 1 ? 0.03 : 0.02);
  const given = finetuneSettings(coreOf(model), { data, window: 32, flipRate: 0.1, retainedEvidence: 0.5 });
  const all = Object.keys(flips).map((form) => [form, { flipRate: 0.1, retainedEvidence: 0.5 }]);
  expect([given.flipRate, given.flipSettings]).toEqual([0.1, Object.fromEntries(all)]);
});

test('each weight of a mixed model accumulates at the rate of its form', async () => {
  /** Returns the accumulators after one step, by module. */
  async function accumulators(name: string, options: Partial<FinetuneOptions>) {
    await using model = await mixed(2, 1);
    const checkpoint = { folder: join(folder, name), every: 1 };
    await finetune(model, { data, window: 32, batch: 4, steps: 1, accumulator: 'f32', ...options, checkpoint });
    const state = readGolden(join(checkpoint.folder, 'state-1.safetensors'));
    const names = state.names.filter((tensor) => tensor.endsWith('.accumulator'));
    expect(names.length).toBe(coreOf(model).linears.length);
    return new Map(names.map((tensor) => [tensor, state(tensor).data]));
  }
  const byForm = await accumulators('by form', {});
  const slow = await accumulators('slow', { flipRate: 0.02, retainedEvidence: 0 });
  const fast = await accumulators('fast', { flipRate: 0.03, retainedEvidence: 0.7 });
  for (const [tensor, values] of byForm) {
    const uniform = tensor.includes('self_attn') ? slow : fast;
    expect(values.some((value) => value !== 0)).toBe(true);
    for (const [i, value] of (uniform.get(tensor) as Float64Array).entries()) expect(values[i]).toBeCloseTo(value, 6);
  }
});

test.each<[number, FlipForm]>([
  [300, 'pair'],
  [460, 'pair'],
  // the largest rank within 2 bits per weight
  [616, 'pair of 2 bits'],
])('a pair of rank %i is a %s', (rank, form) => {
  const owner = { name: 'layer.weight', rows: 640, cols: 640, role: 'linear' } as const;
  const part = (name: string, rows: number, cols: number, role: 'bits' | 'scale') => ({
    name,
    rows,
    cols,
    role,
    owner,
  });
  const parts = [
    part('layer.boolean_a', 640, rank, 'bits'),
    part('layer.boolean_b', rank, 640, 'bits'),
    part('layer.s_out', 1, 640, 'scale'),
    part('layer.s_mid', 1, rank, 'scale'),
    part('layer.s_in', 1, 640, 'scale'),
  ];
  const formats = new Map([['layer', { kind: 'factors', rank }]]);
  expect([...flipForms({ parts, formats }).values()]).toEqual([form]);
});
