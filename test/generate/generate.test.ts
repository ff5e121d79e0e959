/**
 * Generation: its text is the model's, pieces contain whole characters, the reason of its end is reported, and nothing
 * leaks.
 */

import { uniform } from '../../lib/base/random';
import { GenerationCache } from '../../lib/generate/cache';
import { TokenScorer } from '../../lib/generate/logprobs';
import type { GeneratedToken, GenerateOptions } from '../../lib/generate/request';
import { Sampler, type SamplingOptions } from '../../lib/generate/sampler';
import { coreOf, Model } from '../../lib/model';
import { Matrix } from '../../lib/native/matrix';
import { copyGolden, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { Random } from '../helpers/random';

const folder = temporaryFolder();
const PROMPT = 'Once upon a time';
let model: Model;

beforeAll(async () => {
  model = await Model.load(TINY_STORIES);
});
afterAll(() => model.dispose());

async function generate(prompt: string | ArrayLike<number>, options: GenerateOptions = {}) {
  const generation = model.generate(prompt, options);
  const pieces: string[] = [];
  for await (const piece of generation) pieces.push(piece);
  return { pieces, ...(await generation.result) };
}

test('greedy decoding takes the likeliest token of the whole text computed at once', async () => {
  const ids = model.tokenizer.encode(PROMPT);
  const { text } = await generate(PROMPT, { temperature: 0, maxTokens: 24 });
  for (let i = 0; i < 24; i++) {
    const { data, shape } = await model.logits(ids);
    const last = data.subarray((shape[0] - 1) * shape[1]);
    ids.push(last.indexOf(last.reduce((most, value) => Math.max(most, value), -Infinity)));
  }
  expect(text).toBe(model.tokenizer.decode(ids.slice(-24)));
});

test('a prompt longer than a prefill chunk gives the same result as its tokens one by one', async () => {
  const ids = Int32Array.from({ length: 300 }, (_, i) => 5 + ((i * 31) % 1900));
  const { text } = await generate(ids, { temperature: 0, maxTokens: 5 });
  const all = [...ids];
  for (let i = 0; i < 5; i++) {
    const { data, shape } = await model.logits(all);
    const last = data.subarray((shape[0] - 1) * shape[1]);
    all.push(last.indexOf(last.reduce((most, value) => Math.max(most, value), -Infinity)));
  }
  expect(text).toBe(model.tokenizer.decode(all.slice(-5)));
});

describe('it ends', () => {
  test('at maxTokens', async () => {
    expect(await generate(PROMPT, { maxTokens: 7, seed: 3 })).toMatchObject({ reason: 'max-tokens', tokens: 7 });
  });

  test('at the end-of-text token, which is not text', async () => {
    const result = await generate(PROMPT, { temperature: 0.5, seed: 11 });
    expect(result.reason).toBe('end-of-text');
    expect(result.text).not.toContain('<|endoftext|>');
    expect(result.pieces.join('')).toBe(result.text);
  });

  test('when the context is full', async () => {
    const ids = Int32Array.from({ length: 509 }, (_, i) => 300 + i);
    const { reason, tokens } = await generate(ids, { temperature: 0, maxTokens: 50 });
    // 509 prompt tokens, 3 more fit, and the token after them needs no position
    expect({ reason, tokens }).toEqual({ reason: 'context', tokens: 4 });
  });

  test('before a stop string, no part of which is emitted', async () => {
    const { text } = await generate(PROMPT, { temperature: 0, maxTokens: 40 });
    const stop = text.slice(30, 41);
    const stopped = await generate(PROMPT, { temperature: 0, maxTokens: 40, stop: ['never there', stop] });
    expect(stopped).toMatchObject({ reason: 'stop', text: text.slice(0, text.indexOf(stop)) });
    expect(stopped.pieces.join('')).toBe(stopped.text);
  });

  test('with an error when the signal fires', async () => {
    const controller = new AbortController();
    const generation = model.generate(PROMPT, { signal: controller.signal });
    const run = (async () => {
      for await (const _ of generation) controller.abort();
    })();
    await expect(run).rejects.toMatchObject({ name: 'MbokError', code: 'MBOK_ABORTED' });
    await expect(generation.result).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  });

  test('with an error when the model is disposed', async () => {
    const other = await Model.load(TINY_STORIES);
    const run = (async () => {
      for await (const _ of other.generate(PROMPT, { temperature: 0 })) other.dispose();
    })();
    await expect(run).rejects.toMatchObject({ code: 'MBOK_DISPOSED' });
  });

  test.each(['next', 'return'] as const)('early when the caller leaves after %s', async (way) => {
    const freed = jest.spyOn(GenerationCache.prototype, 'dispose');
    const ends: unknown[] = [];
    const generation = model.generate(PROMPT, { seed: 1, onEnd: ({ reason }) => ends.push(reason) });
    if (way === 'next') for await (const _ of generation) break;
    else await generation.return();
    expect(await generation.result).toMatchObject({ reason: 'left' });
    expect(ends).toEqual(['left']);
    expect(freed).toHaveBeenCalledTimes(way === 'next' ? 1 : 0);
    freed.mockRestore();
  });

  test('and reports the reason in its return value, its result and onEnd', async () => {
    const ends: string[] = [];
    const generation = model.generate(PROMPT, { maxTokens: 3, onEnd: ({ reason }) => ends.push(reason) });
    let step = await generation.next();
    while (!step.done) step = await generation.next();
    expect(step.value.reason).toBe('max-tokens');
    expect(await generation.result).toBe(step.value);
    expect(ends).toEqual(['max-tokens']);
  });
});

test('two concurrent generations give the same texts as each alone', async () => {
  const options = [
    { seed: 1, maxTokens: 30 },
    { temperature: 0, maxTokens: 30 },
    { seed: 2, maxTokens: 30, topK: 5 },
  ];
  const alone = [];
  for (const each of options) alone.push((await generate(PROMPT, each)).text);
  const together = await Promise.all(options.map((each) => generate(PROMPT, each)));
  expect(together.map(({ text }) => text)).toEqual(alone);
});

test('the same seed gives the same text, also a drawn seed', async () => {
  const first = await generate(PROMPT, { maxTokens: 30 });
  const again = await generate(PROMPT, { maxTokens: 30, seed: first.seed });
  const other = await generate(PROMPT, { maxTokens: 30, seed: first.seed + 1 });
  expect(again.text).toBe(first.text);
  expect(other.text).not.toBe(first.text);
});

test('pieces never split a character', async () => {
  // bytes of emoji that no single token contains
  const emoji = model.tokenizer.encode('🐸🦊', { addSpecialTokens: false });
  expect(emoji.length).toBeGreaterThan(4);
  const { pieces } = await generate('🐸🦊🐸🦊🐸', { temperature: 1.5, maxTokens: 100, seed: 5 });
  for (const piece of pieces) expect(piece).toBe(Buffer.from(piece).toString());
});

test('an empty prompt starts a new text', async () => {
  const start = model.tokenizer.documentStartId as number;
  const [empty, written] = [
    await generate('', { seed: 4, maxTokens: 10 }),
    await generate([start], { seed: 4, maxTokens: 10 }),
  ];
  expect(empty.text).toBe(written.text);
});

test.each([
  { precision: 'f32', width: 4 },
  { precision: 'bf16', width: 2 },
  { precision: 'int8', width: 2 },
] as const)('the cache of $precision has the bytes that it states', async ({ precision, width }) => {
  const made = jest.spyOn(Matrix.prototype, 'dispose');
  const { cacheBytes, promptTokens } = await generate(PROMPT, { maxTokens: 20, precision });
  // 6 layers of keys and values, 2 heads of 32
  expect(cacheBytes).toBe(2 * 6 * (promptTokens + 19) * 64 * width);
  const disposed = made.mock.contexts.map((matrix) => (matrix as Matrix).byteLength);
  made.mockRestore();
  expect(disposed.filter((bytes) => bytes === cacheBytes / 12)).toHaveLength(12);
});

test('a larger f16 cache copies each head of a smaller one', () => {
  const [small, large] = [4, 7].map((context) => new GenerationCache(coreOf(model), { context, precision: 'bf16' }));
  const { values } = [...(small as GenerationCache).entries.values()].at(-1) as { values: Matrix };
  values.write(Uint16Array.from({ length: 4 * 64 }, (_, i) => i));
  large?.takeOver(small as GenerationCache);
  const { values: taken } = [...(large as GenerationCache).entries.values()].at(-1) as { values: Matrix };
  // two heads of 32
  const expected = new Uint16Array(7 * 64);
  expected.set(Uint16Array.from({ length: 4 * 32 }, (_, i) => i));
  expected.set(
    Uint16Array.from({ length: 4 * 32 }, (_, i) => 4 * 32 + i),
    7 * 32,
  );
  expect(taken.raw()).toEqual(expected);
  for (const cache of [small, large]) cache?.dispose();
});

test('a model without a tokenizer says so at once', async () => {
  await using plain = await Model.load(copyGolden('llama', folder));
  expect(() => plain.generate([1])).toThrow(expect.objectContaining({ code: 'MBOK_NO_TOKENIZER' }));
});

describe('onToken', () => {
  /** log softmax of the logits after each of the last `count` tokens. */
  async function logSoftmax(ids: readonly number[], count: number): Promise<Float64Array[]> {
    const { data, shape } = await model.logits(ids.slice(0, -1));
    return Array.from({ length: count }, (_, i) => {
      const row = Float64Array.from(
        data.subarray((shape[0] - count + i) * shape[1], (shape[0] - count + i + 1) * shape[1]),
      );
      const total = Math.log(row.reduce((sum, logit) => sum + Math.exp(logit), 0));
      return row.map((logit) => logit - total);
    });
  }

  test.each<GenerateOptions>([
    { temperature: 0 },
    { temperature: 2, topK: 3, repetitionPenalty: 1.3, presencePenalty: 1, logitBias: { 300: 5 }, seed: 4 },
  ])("tells the model's log-probabilities, whatever the sampling: %j", async (options) => {
    const told: GeneratedToken[] = [];
    const { tokens } = await generate(PROMPT, {
      ...options,
      maxTokens: 12,
      logprobs: 4,
      onToken: (one) => told.push(one),
    });
    expect(told).toHaveLength(tokens);
    const expected = await logSoftmax([...model.tokenizer.encode(PROMPT), ...told.map(({ id }) => id)], tokens);
    for (const [i, { id, logprob, likeliest }] of told.entries()) {
      const row = expected[i] as Float64Array;
      expect(logprob).toBeCloseTo(row[id] as number, 3);
      const order = [...row.keys()].sort((a, b) => (row[b] as number) - (row[a] as number)).slice(0, 4);
      expect(likeliest?.map((one) => one.id)).toEqual(order);
      for (const one of likeliest ?? []) expect(one.logprob).toBeCloseTo(row[one.id] as number, 3);
    }
  });

  test('scores logits as computed by hand', () => {
    // e⁰ + 2·e^ln2 + e^ln3 = 8
    const logits = Float32Array.of(0, Math.log(2), Math.log(3), Math.log(2));
    const { id, logprob, likeliest } = new TokenScorer().score(logits, 0, 3);
    expect([id, logprob]).toEqual([0, expect.closeTo(Math.log(1 / 8), 6)]);
    expect(likeliest.map((one) => [one.id, Math.round(8 * Math.exp(one.logprob))])).toEqual([
      [2, 3],
      [1, 2],
      [3, 2],
    ]);
  });

  test('has ids only where nobody asks for probabilities, and does not change the text', async () => {
    const told: GeneratedToken[] = [];
    const options = { maxTokens: 12, seed: 5 };
    const { text } = await generate(PROMPT, { ...options, onToken: (one) => told.push(one) });
    expect(told.every((one) => Object.keys(one).join() === 'id')).toBe(true);
    expect(model.tokenizer.decode(told.map(({ id }) => id))).toBe(text);
    expect((await generate(PROMPT, { ...options, logprobs: 0 })).text).toBe(text);
  });

  test('tells the prompt of each token of a batch', async () => {
    const told: number[][] = [[], []];
    const prompts = ['Once', 'One day'];
    const onToken = ({ id }: GeneratedToken, index: number) => told[index]?.push(id);
    const results = await model.generateBatch(prompts, { temperature: 0, maxTokens: 6, onToken });
    expect(told.map((ids) => model.tokenizer.decode(ids))).toEqual(results.map(({ text }) => text));
  });
});

test('penalties keep the text from repeating itself, and a bias bans a token', async () => {
  const options = { temperature: 0, maxTokens: 60 };
  const distinct = async (more: GenerateOptions) => {
    const ids: number[] = [];
    await generate(PROMPT, { ...options, ...more, onToken: ({ id }) => ids.push(id) });
    return new Set(ids).size / ids.length;
  };
  expect(await distinct({ presencePenalty: 2, frequencyPenalty: 2 })).toBeGreaterThan(await distinct({}));
  const ids: number[] = [];
  await generate(PROMPT, { ...options, onToken: ({ id }) => ids.push(id) });
  const [first] = ids as [number];
  const others: number[] = [];
  await generate(PROMPT, { ...options, logitBias: { [first]: -100 }, onToken: ({ id }) => others.push(id) });
  expect(others).not.toContain(first);
});

test.each<[GenerateOptions, RegExp]>([
  [{ presencePenalty: 3 }, /presencePenalty/],
  [{ frequencyPenalty: Number.NaN }, /frequencyPenalty/],
  [{ logitBias: { 2048: 1 } }, /logitBias.*below 2048/],
  [{ logitBias: { 1: 101 } }, /logitBias\[1\]/],
  [{ logitBias: { x: 1 } as never }, /logitBias/],
  [{ logprobs: -1 }, /logprobs/],
])('refuses %j', (options, message) => {
  expect(() => model.generate(PROMPT, options)).toThrow(message);
});

describe('the sampler', () => {
  const LOGITS = [1, 3, 2, 0, -1];
  /** Returns the share of each token in many draws. */
  function shares(options: SamplingOptions, seen: number[] = [], taken: number[] = []): number[] {
    const sampler = new Sampler({ seed: 9, ...options });
    for (const id of seen) sampler.see(id);
    for (const id of taken) sampler.take(id);
    const counts = new Float64Array(LOGITS.length);
    for (let i = 0; i < 4000; i++) {
      const id = sampler.sample(Float32Array.from(LOGITS));
      counts[id] = (counts[id] as number) + 1;
    }
    return Array.from(counts, (count) => count / 4000);
  }
  function softmax(logits: readonly number[]): number[] {
    const weights = logits.map(Math.exp);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return weights.map((weight) => weight / total);
  }
  const none = -Infinity;
  const cases: [string, SamplingOptions, readonly number[], seen: number[], taken?: number[]][] = [
    ['temperature 1', {}, LOGITS, []],
    ['temperature ½ sharpens', { temperature: 0.5 }, LOGITS.map((logit) => 2 * logit), []],
    ['temperature 0 takes the likeliest', { temperature: 0 }, [none, 3, none, none, none], []],
    ['topK keeps the likeliest', { topK: 2 }, [none, 3, 2, none, none], []],
    ['topK of all keeps all', { topK: 5 }, LOGITS, []],
    ['topP keeps those that reach it', { topP: 0.8 }, [none, 3, 2, none, none], []],
    ['topP keeps at least one', { topP: 0.01 }, [none, 3, none, none, none], []],
    ['minP drops what is unlikely beside the likeliest', { minP: 0.1 }, [1, 3, 2, none, none], []],
    [
      'repetitionPenalty divides positive and multiplies negative logits',
      { repetitionPenalty: 2 },
      [1, 1.5, 2, 0, -2],
      [1, 4],
    ],
    ['repetitionPenalty counts the text too', { repetitionPenalty: 2 }, [1, 1.5, 2, 0, -2], [1], [4, 4]],
    [
      'presencePenalty is subtracted once from what the text has, not the prompt',
      { presencePenalty: 1.5 },
      [1, 1.5, 2, -1.5, -1],
      [0, 2],
      [1, 3, 1, 1],
    ],
    [
      'frequencyPenalty is subtracted as often as the text has the token',
      { frequencyPenalty: 0.5 },
      [1, 1.5, 2, -0.5, -1],
      [0, 2],
      [1, 3, 1, 1],
    ],
    ['negative penalties favor', { presencePenalty: -1, frequencyPenalty: -0.5 }, [3, 3, 2, 0, -1], [], [0, 0]],
    ['logitBias is added', { logitBias: { 0: 2, 1: -100, 4: 1 } }, [3, none, 2, 0, 0], []],
    [
      'penalties and bias, in this order',
      { repetitionPenalty: 2, presencePenalty: 0.5, frequencyPenalty: 0.25, logitBias: { 1: 1 } },
      [1, 1.75, 2, 0, -2.75],
      [],
      [1, 4],
    ],
    ['all together', { topK: 4, topP: 0.85, minP: 0.2, temperature: 2 }, [0.5, 1.5, 1, none, none], []],
  ];
  test.each(cases.map((one) => [one[0], one] as const))('%s', (_, [, options, expected, seen, taken = []]) => {
    const wanted = softmax(expected);
    shares(options, seen, taken).forEach((share, id) => {
      expect(Math.abs(share - (wanted[id] as number))).toBeLessThan((wanted[id] as number) === 0 ? 1e-12 : 0.03);
    });
  });

  type Filters = Required<Pick<SamplingOptions, 'temperature' | 'topK' | 'topP' | 'minP'>>;
  /** Samples by the definition: sorts all tokens, then applies top-k, top-p and min-p in turn. */
  function defined(logits: Float32Array, { temperature, topK, topP, minP }: Filters, share: number) {
    const largest = Math.max(...logits);
    const weighed = Array.from(logits, (logit, id) => ({ id, weight: Math.exp((logit - largest) / temperature) }));
    const kept = [...weighed].sort((a, b) => b.weight - a.weight).slice(0, topK === 0 ? undefined : topK);
    const total = kept.reduce((sum, { weight }) => sum + weight, 0);
    let before = 0;
    const likely = kept.filter(({ weight }) => {
      before += weight;
      return before - weight < topP * total;
    });
    const drawn = likely.filter(({ weight }) => weight >= minP).sort((a, b) => a.id - b.id);
    let rest = share * drawn.reduce((sum, { weight }) => sum + weight, 0);
    return drawn.find(({ weight }) => {
      rest -= weight;
      return rest < 0;
    })?.id;
  }

  test('samples from a large vocabulary as defined', () => {
    const random = new Random(31);
    for (let i = 0; i < 300; i++) {
      const spread = 1 + 8 * random.uniform();
      const logits = Float32Array.from(
        { length: 4000 },
        () => spread * (random.uniform() + random.uniform() + random.uniform()),
      );
      const options = {
        temperature: 0.1 + 2 * random.uniform(),
        topK: random.uniform() < 0.5 ? 0 : Math.ceil(5000 * random.uniform() ** 4),
        topP: random.uniform() < 0.3 ? 1 : 1 - 0.999 * random.uniform() ** 2,
        minP: random.uniform() < 0.5 ? 0 : 0.3 * random.uniform(),
        repetitionPenalty: 1,
        seed: i,
      };
      expect(new Sampler(options).sample(logits.slice())).toBe(defined(logits, options, uniform(i, 0)));
    }
  });

  test('takes the first of equal tokens', () => {
    expect(new Sampler({ temperature: 0 }).sample(Float32Array.of(1, 2, 2))).toBe(1);
  });

  test.each([
    [Number.NaN, 1],
    [1, Number.NaN],
    [1, Infinity],
    [-Infinity, -Infinity],
  ])('refuses the logits %p and %p', (...logits) => {
    for (const temperature of [0, 1])
      expect(() => new Sampler({ temperature }).sample(Float32Array.from(logits))).toThrow(
        expect.objectContaining({ code: 'MBOK_NON_FINITE' }),
      );
  });
});
