/** Log-likelihoods of options: their tokens, the shared cache, and the scores. */

import { uniformInteger } from '../../lib/base/random';
import { binarize } from '../../lib/compress/binarize';
import { scoreGroups, sharedLength } from '../../lib/eval/likelihood';
import { PairEncoder, type ScoredSequence } from '../../lib/eval/pair_encoder';
import { mean, perplexity } from '../../lib/eval/statistics';
import { arithmeticOf } from '../../lib/graph/arithmetic';
import { coreOf, Model } from '../../lib/model';
import { FAMILIES, repositoryFolder } from '../helpers/family_folders';
import { TINY_STORIES } from '../helpers/folders';

describe('context and continuation', () => {
  let model: Model;
  beforeAll(async () => {
    model = await Model.load(TINY_STORIES);
  });
  afterAll(() => model.dispose());

  test('are encoded together and split where the context ends', () => {
    const encoder = new PairEncoder(model.tokenizer, 256);
    const { ids, scoredFrom } = encoder.encode({ context: 'Once upon a', continuation: ' time there' });
    expect([...ids]).toEqual(model.tokenizer.encode('Once upon a time there'));
    expect(scoredFrom).toBe(model.tokenizer.encode('Once upon a').length);
  });

  test("white space at the context's end is scored with the continuation", () => {
    const encoder = new PairEncoder(model.tokenizer, 256);
    const { ids, scoredFrom } = encoder.encode({ context: 'Once upon a \n', continuation: 'time' });
    expect([...ids]).toEqual(model.tokenizer.encode('Once upon a \ntime'));
    expect(scoredFrom).toBe(model.tokenizer.encode('Once upon a').length);
  });

  test('an empty context becomes the token that starts a document', () => {
    const encoder = new PairEncoder(model.tokenizer, 256);
    const { ids, scoredFrom } = encoder.encode({ context: '', continuation: ' time' });
    expect([...ids]).toEqual([model.tokenizer.documentStartId, ...model.tokenizer.encode(' time')]);
    expect(scoredFrom).toBe(1);
  });

  test('a continuation that merges with the last token of the context has that token scored', () => {
    const [context, whole] = ['Once upon a ti', 'Once upon a time'].map((part) => model.tokenizer.encode(part));
    expect(whole?.length).toBeLessThanOrEqual(context?.length as number);
    const encoder = new PairEncoder(model.tokenizer, 256);
    const { ids, scoredFrom } = encoder.encode({ context: 'Once upon a ti', continuation: 'me' });
    expect([...ids]).toEqual(whole);
    expect(scoredFrom).toBe(ids.length - 1);
  });

  test("what the model's limit has no room for is cut off at the start", () => {
    const context = 'cat '.repeat(300).trim();
    const { ids, scoredFrom } = new PairEncoder(model.tokenizer, 256).encode({ context, continuation: ' the end' });
    const whole = model.tokenizer.encode(`${context} the end`);
    expect([...ids]).toEqual(whole.slice(-257));
    expect(ids.length - scoredFrom).toBe(whole.length - model.tokenizer.encode(context).length);
  });
});

/** Creates groups of random ids with a common prefix; members of a group share more. */
function randomGroups(vocabularySize: number, longest: number): ScoredSequence[][] {
  const ids = (count: number, ...seeds: number[]) =>
    Array.from({ length: count }, (_, i) => uniformInteger(vocabularySize, 7, i, ...seeds));
  const start = ids(5, 1);
  return [0, 1, 2, 3, 4].map((group) => {
    const context = [...start, ...ids(group === 3 ? longest - 20 : 3 * group, 2, group)];
    return Array.from({ length: 1 + (group % 4) }, (_, member) => {
      const ends = ids(member === 2 ? 1 : 4 + member, 3, group, member);
      return { ids: Int32Array.from([...context, ...ends]), scoredFrom: context.length };
    });
  });
}

/** Recomputes the score from the logits of the whole sequence, in float64. */
async function recompute(model: Model, { ids, scoredFrom }: ScoredSequence) {
  const { data, shape } = await model.logits(ids.subarray(0, -1));
  let logLikelihood = 0;
  let greedy = true;
  for (let at = scoredFrom; at < ids.length; at++) {
    const row = data.subarray((at - 1) * shape[1], at * shape[1]);
    const largest = row.reduce((most, value) => Math.max(most, value), -Infinity);
    const total = row.reduce((sum, value) => sum + Math.exp(value - largest), 0);
    logLikelihood += (row[ids[at] as number] as number) - largest - Math.log(total);
    greedy &&= row[ids[at] as number] === largest;
  }
  return { logLikelihood, greedy };
}

async function expectFullRecomputation(model: Model): Promise<void> {
  const { vocabularySize, maxPositions } = model.config;
  const groups = randomGroups(vocabularySize, Math.min(maxPositions, 200));
  const scores = await scoreGroups(coreOf(model), groups, { arithmetic: arithmeticOf({}) });
  for (const [g, group] of groups.entries()) {
    for (const [s, sequence] of group.entries()) {
      const { logLikelihood, greedy } = await recompute(model, sequence);
      const score = scores[g]?.[s];
      expect(Math.abs((score?.logLikelihood ?? Number.NaN) / logLikelihood - 1)).toBeLessThan(1e-4);
      expect(score?.greedy).toBe(greedy);
    }
  }
}

describe('likelihoods with the shared cache equal those of full recomputation', () => {
  const families = FAMILIES.map(repositoryFolder).filter((path) => path !== undefined);
  test.each([...families, TINY_STORIES])('%s', async (path) => {
    await using model = await Model.load(path);
    await expectFullRecomputation(model);
  });

  test('of a Boolean model', async () => {
    await using dense = await Model.load(TINY_STORIES);
    await using model = await binarize(dense, { kernels: 2, method: 'svid' });
    await expectFullRecomputation(model);
  });
});

test('the common prefix ends before the token that predicts the first scored one', () => {
  const sequence = (ids: number[], scoredFrom: number) => ({ ids: Int32Array.from(ids), scoredFrom });
  expect(sharedLength([sequence([1, 2, 3, 4], 3), sequence([1, 2, 3, 5], 3)])).toBe(2);
  expect(sharedLength([sequence([1, 2, 3, 4], 3), sequence([1, 9, 3, 5], 3)])).toBe(1);
  expect(sharedLength([sequence([1, 2], 1)])).toBe(0);
});

describe('metrics', () => {
  test('a mean has the standard error of the unbiased sample deviation', () => {
    const { value, standardError } = mean([1, 0, 1, 1]);
    expect(value).toBe(0.75);
    expect(standardError).toBeCloseTo(0.25, 12);
    expect(mean([1])).toEqual({ value: 1, standardError: 0 });
  });

  test('a perplexity has the standard error of the mean, propagated through the exponential', () => {
    const { value, standardError } = perplexity([1, 3]);
    expect(value).toBeCloseTo(Math.exp(2), 12);
    expect(standardError).toBeCloseTo(Math.exp(2), 12);
  });
});
