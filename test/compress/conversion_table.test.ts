/** Perplexity of the embedded model, converted without training, on TinyStories validation text. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AllocationMethod } from '../../lib/compress/allocation/allocation_options';
import { type BinarizeOptions, binarize } from '../../lib/compress/binarize';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { Model } from '../../lib/model';
import { describeWithShared, sharedPath } from '../helpers/shared';

describeWithShared('tiny-stories on 256 windows of 256', ['data/tinystories'], () => {
  const text = (name: string) => readFileSync(sharedPath(`data/tinystories/${name}.txt`), 'utf8');
  let model: Model;
  beforeAll(async () => {
    model = await Model.load(join(__dirname, '../../assets/tiny-stories'));
  });
  afterAll(() => model.dispose());

  const perplexity = async (judged: Model) => {
    const result = await evaluatePerplexity(judged, text('valid'), { window: 256, maxWindows: 256 });
    expect(result).toMatchObject({ windows: 256, tokens: 256 * 255 });
    return result.perplexity;
  };
  const converted = async (options: BinarizeOptions) => {
    await using small = await binarize(model, options);
    return await perplexity(small);
  };

  test('the original has 6.860', async () => {
    expect(Math.abs((await perplexity(model)) - 6.86)).toBeLessThanOrEqual(0.005);
  });

  const DATA_FREE = { svid: [702, 12.49, 7.99, 7.34], refit: [702, 9.99, 7.41, 7.01] } as const;
  test.each(
    (['svid', 'refit'] as const).flatMap((method) =>
      DATA_FREE[method].map((expected, i) => [method, i + 1, expected] as const),
    ),
  )('by %s to %i kernels it has %d, give or take 1 %', async (method, kernels, expected) => {
    expect(Math.abs((await converted({ kernels, method })) / expected - 1)).toBeLessThanOrEqual(0.01);
  });

  test.each([
    [1, 26.5],
    [2, 8.45],
    [3, 7.2],
    [4, 6.96],
  ] as const)('calibrated to %i kernels on 64 windows of training text it has at most %d', async (kernels, most) => {
    const calibration = { data: text('train'), windows: 64, length: 256 };
    expect(await converted({ kernels, method: 'calibrated', calibration })).toBeLessThanOrEqual(most);
  });

  test('at 2.25 bits a weight, kernels that go where errors were measured are worth most', async () => {
    const calibration = { data: text('train'), windows: 64, length: 256 };
    const at = (allocation: AllocationMethod) =>
      converted({ bits: 2.25, allocation, method: 'calibrated', calibration });
    const [measured, uniform, paper] = [await at('measured'), await at('uniform'), await at('paper')];
    expect(measured).toBeLessThanOrEqual(8.35);
    expect(measured).toBeLessThan(uniform);
    expect(measured).toBeLessThan(paper);
  });
});
