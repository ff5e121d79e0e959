/** The head of a large vocabulary: how often it is computed, and its results. */

import { scoreGroups } from '../../lib/eval/likelihood';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { arithmeticOf } from '../../lib/graph/arithmetic';
import { Plan } from '../../lib/graph/plan';
import { coreOf, Model } from '../../lib/model';
import { TINY_STORIES } from '../helpers/folders';

const ROWS = 600;

describe('the head', () => {
  let model: Model;
  const runs = jest.spyOn(Plan.prototype, 'run');
  beforeAll(async () => {
    model = await Model.load(TINY_STORIES);
  });
  beforeEach(() => runs.mockClear());
  afterAll(() => {
    runs.mockRestore();
    model.dispose();
  });

  const tokens = (count: number) =>
    Int32Array.from({ length: count }, (_, i) => (i * 37) % model.config.vocabularySize);

  test('is computed for all rows of an evaluation at once', async () => {
    await evaluatePerplexity(model, tokens(4 * 256), { window: 256 });
    expect(runs).toHaveBeenCalledTimes(1);
  });

  test('is computed for all answers of many questions at once, without storing logits', async () => {
    const groups = Array.from({ length: ROWS / 10 }, (_, i) => [
      { ids: tokens(11 + (i % 2)).fill(i, 0, 1), scoredFrom: 1 },
    ]);
    const scores = await scoreGroups(coreOf(model), groups, { arithmetic: arithmeticOf({}) });
    expect(scores).toHaveLength(groups.length);
    const outputs = await Promise.all(
      runs.mock.results.map(({ value }) => value as Promise<Record<string, Float32Array>>),
    );
    for (const values of outputs.flatMap((output) => Object.values(output)))
      expect(values.length).toBeLessThanOrEqual(1024);
    expect(runs.mock.calls.length).toBe(1);
  });
});
