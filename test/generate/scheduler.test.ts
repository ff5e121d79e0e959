/** Requests side by side: each has the text, bit for bit, that it has alone; none waits for, or fails with, another. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { Decoder } from '../../lib/generate/decoder';
import { type GenerateOptions, readRequest } from '../../lib/generate/request';
import { Scheduler } from '../../lib/generate/scheduler';
import { Writer } from '../../lib/generate/writer';
import { arithmeticOf } from '../../lib/graph/arithmetic';
import { Plan } from '../../lib/graph/plan';
import { coreOf, Model } from '../../lib/model';
import { changeConfig, copyTinyStories, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { Random } from '../helpers/random';

const folder = temporaryFolder();
const GREEDY = { temperature: 0 };
let model: Model;
/** The same weights with a longer context. */
let long: Model;
beforeAll(async () => {
  model = await Model.load(TINY_STORIES);
  const place = join(folder, 'long');
  mkdirSync(place);
  changeConfig(copyTinyStories(place), { max_position_embeddings: 4096 });
  long = await Model.load(place);
});
afterAll(() => {
  model.dispose();
  long.dispose();
});
afterEach(() => jest.restoreAllMocks());

const ids = (length: number, start = 5) => Int32Array.from({ length }, (_, i) => 5 + ((start + i * 31) % 1900));

function scheduler(slots: number, of: Model = model, options: GenerateOptions = {}, context?: number): Scheduler {
  return new Scheduler(coreOf(of), {
    slots,
    context: context ?? of.config.maxPositions,
    arithmetic: arithmeticOf(options),
  });
}
const submit = (to: Scheduler, prompt: string | Int32Array, options: GenerateOptions) =>
  to.submit(readRequest(to.model, prompt, options));

async function read(pieces: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const piece of pieces) all.push(piece);
  return all;
}

/** What the runs of all decoders compute, in their order: rows of a step, tokens of the pieces of prompts. */
function watchRuns() {
  const runs: ({ step: number[] } | { prefill: number[][] })[] = [];
  const { step, prefill } = Decoder.prototype;
  jest.spyOn(Decoder.prototype, 'step').mockImplementation(function (this: Decoder, tokens, signal) {
    runs.push({ step: tokens.map(({ slot }) => slot) });
    return step.call(this, tokens, signal);
  });
  jest.spyOn(Decoder.prototype, 'prefill').mockImplementation(function (this: Decoder, pieces, path, signal) {
    runs.push({ prefill: pieces.map(({ slot, ids: { length } }) => [slot, length]) });
    return prefill.call(this, pieces, path, signal);
  });
  return runs;
}

/** The bits of all logits by seed, which is another for every request. */
function watchLogits() {
  const bits = new Map<number, string[]>();
  const { write } = Writer.prototype;
  jest.spyOn(Writer.prototype, 'write').mockImplementation(function (this: Writer, logits) {
    const { seed } = this.result('left', 0);
    const words = new Uint32Array(logits.slice().buffer);
    const hash = words.reduce((sum, word) => (Math.imul(sum, 31) + word) | 0, 7);
    bits.set(seed, [...(bits.get(seed) ?? []), `${hash}`]);
    return write.call(this, logits);
  });
  return bits;
}

/** A text, its options, after how many tokens of all texts it joins, and after how many of its pieces it leaves. */
interface Case {
  readonly prompt: Int32Array;
  readonly options: GenerateOptions;
  readonly joins: number;
  readonly leaves: number;
}

/** Prompts on both sides of every number of rows at which products change, some with a beginning in common. */
const LENGTHS = [1, 3, 7, 8, 9, 12, 31, 33, 64, 66, 90, 127, 130, 200, 260, 300];

function cases(seed: number, shared: GenerateOptions): Case[] {
  const random = new Random(seed);
  return LENGTHS.map((length, i) => ({
    prompt: ids(length, i % 3 === 0 ? 5 : random.integer(0, 1000)),
    options: {
      ...shared,
      maxTokens: random.integer(1, 24),
      temperature: i % 2 === 0 ? 0 : 0.9,
      ...(i % 4 === 1 && { topP: 0.9, repetitionPenalty: 1.2 }),
      ...(i % 5 === 2 && { stop: ['e'] }),
      seed: i,
    },
    joins: i < 4 ? 0 : random.integer(0, 80),
    leaves: i % 6 === 5 ? random.integer(0, 6) : Infinity,
  })).sort(() => random.uniform() - 0.5);
}

describe.each<[string, GenerateOptions, number]>([
  ['dense, f32', {}, 0],
  ['dense, bf16', { precision: 'bf16' }, 0],
  ['Boolean, f32', {}, 2],
  ['Boolean, int8', { precision: 'int8' }, 2],
  ['Boolean, 8-bit activations', { activations: 8 }, 3],
])('%s: 16 requests that join and leave have the logits and texts that they have alone', (_, options, kernels) => {
  let subject: Model;
  beforeAll(async () => {
    subject = kernels === 0 ? model : await binarize(model, { kernels, method: 'svid' });
  });
  afterAll(() => {
    if (kernels > 0) subject.dispose();
  });

  test.each([1, 4, 16])('in %d slots', async (slots) => {
    const requests = cases(slots, options);
    const bits = watchLogits();
    const expected = new Map<number, { pieces: string[]; logits: string[]; tokens: number }>();
    for (const { prompt, options } of requests) {
      const generation = subject.generate(prompt, options);
      const pieces = await read(generation);
      const { tokens } = await generation.result;
      const seed = options.seed as number;
      expected.set(seed, { pieces, logits: bits.get(seed) as string[], tokens });
    }
    bits.clear();
    await using together = scheduler(slots, subject, options, 512);
    let [written, active] = [0, 0];
    const waiting: { joins: number; begin: () => void }[] = [];
    /** Those whose time has come begin; one does where nobody is left. */
    const release = () => {
      const due = waiting.filter(({ joins }) => joins <= written);
      if (due.length === 0 && active === 0) due.push(...waiting.slice(0, 1));
      for (const one of due) waiting.splice(waiting.indexOf(one), 1)[0]?.begin();
    };
    const all = requests.map(async ({ prompt, options, joins, leaves }) => {
      await new Promise<void>((begin) => waiting.push({ joins, begin }));
      active++;
      const generation = submit(together, prompt, options);
      const pieces: string[] = [];
      if (leaves > 0)
        for await (const piece of generation) {
          pieces.push(piece);
          written++;
          release();
          if (pieces.length === leaves) break;
        }
      active--;
      release();
      const seed = options.seed as number;
      const alone = expected.get(seed) as { pieces: string[]; logits: string[]; tokens: number };
      const logits = bits.get(seed) ?? [];
      expect(logits).toEqual(alone.logits.slice(0, logits.length));
      expect(pieces).toEqual(alone.pieces.slice(0, pieces.length));
      if (leaves === Infinity) expect((await generation.result).tokens).toBe(alone.tokens);
    });
    release();
    await Promise.all(all);
  });
});

test('the beginning of a prompt is taken from the slot that holds most of it, with the same bits', async () => {
  const bits = watchLogits();
  const alone = async (prompt: Int32Array, options: GenerateOptions) => await read(model.generate(prompt, options));
  const [first, other] = [ids(200, 5), ids(150, 700)];
  const next = Int32Array.of(...first.subarray(0, 180), ...ids(60, 900));
  const options = { ...GREEDY, maxTokens: 8 };
  await alone(next, { ...options, seed: 0 });
  await using two = scheduler(2);
  await Promise.all([
    read(submit(two, other, { ...options, seed: 1 })),
    read(submit(two, first, { ...options, seed: 2 })),
  ]);
  const runs = watchRuns();
  await read(submit(two, next, { ...options, seed: 3 }));
  // whole blocks of 64 positions of the second slot
  expect(runs[0]).toEqual({ prefill: [[1, next.length - 128]] });
  expect(bits.get(3)).toEqual(bits.get(0));
  // a prompt that products compute on another path reuses nothing
  runs.length = 0;
  await read(submit(two, first.subarray(0, 8), options));
  expect(runs[0]).toEqual({ prefill: [[0, 8]] });
});

test('while a long prompt joins, a running text waits for one run of it at most, and pieces compute no head', async () => {
  await using two = scheduler(2, long);
  const runs = watchRuns();
  const heads: number[] = [];
  const { run } = Plan.prototype;
  jest.spyOn(Plan.prototype, 'run').mockImplementation(function (this: Plan, given) {
    const states = given?.inputs?.states;
    if (states !== undefined) heads.push(states.length / long.config.hiddenSize);
    return run.call(this, given);
  });
  const running = submit(two, ids(20), { ...GREEDY, maxTokens: 40 });
  await running.next();
  const [joined] = await Promise.all([read(submit(two, ids(2048), { ...GREEDY, maxTokens: 3 })), read(running)]);
  expect(joined.length).toBeGreaterThan(0);
  expect(runs.filter((run) => 'prefill' in run)).toEqual([
    { prefill: [[0, 20]] },
    ...Array(4).fill({ prefill: [[1, 512]] }),
  ]);
  // a step of the running text lies between two pieces of the prompt
  const order = runs.slice(1).map((run) => ('step' in run ? 'step' : 'piece'));
  const first = order.indexOf('piece');
  expect(order.slice(first, first + 7)).toEqual(['piece', 'step', 'piece', 'step', 'piece', 'step', 'piece']);
  expect(heads).toEqual([1, 1]);
});

test('prompts of one path share a run, others follow', async () => {
  await using eight = scheduler(8);
  const runs = watchRuns();
  await Promise.all(
    [100, 8, 300, 60, 8, 200].map((length, i) => read(submit(eight, ids(length, i), { ...GREEDY, maxTokens: 2 }))),
  );
  const prefills = runs.flatMap((run) => ('prefill' in run ? [run.prefill] : []));
  expect(prefills[0]).toEqual(
    [
      [0, 100],
      [2, 300],
      [3, 60],
      // a part of 200 that ends a block
      [5, 0],
    ].filter(([, length]) => length),
  );
  expect(prefills.slice(1)).toEqual([
    [
      [1, 8],
      [4, 8],
    ],
    [[5, 200]],
  ]);
});

test('an abort ends one text at once, and the run only where nobody else is in it', async () => {
  await using two = scheduler(2);
  const alone = (await read(model.generate(ids(30), { ...GREEDY, maxTokens: 20 }))).join('');
  const controller = new AbortController();
  const going = read(submit(two, ids(30), { ...GREEDY, maxTokens: 20 }));
  const aborted = submit(two, ids(40, 9), { ...GREEDY, maxTokens: 100, signal: controller.signal });
  await aborted.next();
  await aborted.next();
  const pending = aborted.next();
  controller.abort(new Error('enough'));
  await expect(pending).rejects.toMatchObject({ code: 'MBOK_ABORTED', cause: { message: 'enough' } });
  await expect(aborted.result).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  expect((await going).join('')).toBe(alone);
  // alone in a run of a long prompt: the run is aborted
  await using one = scheduler(2, long);
  const last = new AbortController();
  const runs = watchRuns();
  const lonely = submit(one, ids(4000), { ...GREEDY, signal: last.signal }).next();
  setTimeout(() => last.abort(), 5);
  await expect(lonely).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  expect(runs.length).toBeLessThan(8);
  expect(await read(submit(one, ids(30), { ...GREEDY, maxTokens: 20 }))).toEqual(
    await read(model.generate(ids(30), { ...GREEDY, maxTokens: 20 })),
  );
});

test('an abort of a text that waits for a slot ends it before it has one', async () => {
  await using one = scheduler(1);
  const holder = submit(one, ids(10), { ...GREEDY, maxTokens: 100 });
  await holder.next();
  const controller = new AbortController();
  const waiting = submit(one, ids(12), { ...GREEDY, signal: controller.signal }).next();
  const behind = read(submit(one, ids(30), { ...GREEDY, maxTokens: 4 }));
  controller.abort();
  await expect(waiting).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  await holder.return();
  expect((await behind).join('')).toBe((await read(model.generate(ids(30), { ...GREEDY, maxTokens: 4 }))).join(''));
});

test('a text that fails does so alone', async () => {
  const { step } = Decoder.prototype;
  let steps = 0;
  jest.spyOn(Decoder.prototype, 'step').mockImplementation(async function (this: Decoder, tokens, signal) {
    const logits = await step.call(this, tokens, signal);
    if (++steps === 3) logits[1]?.fill(Number.NaN);
    return logits;
  });
  await using three = scheduler(3);
  const options = { ...GREEDY, maxTokens: 12 };
  const results = await Promise.allSettled([
    read(submit(three, ids(30), options)),
    read(submit(three, ids(31), options)),
    read(
      submit(three, ids(32), {
        ...options,
        onProgress: ({ done }) => {
          if (done > 0.4) throw new Error('told enough');
        },
      }),
    ),
  ]);
  expect(results[0]).toMatchObject({ status: 'fulfilled' });
  expect(results[1]).toMatchObject({ status: 'rejected', reason: { code: 'MBOK_NON_FINITE' } });
  expect(results[2]).toMatchObject({ status: 'rejected', reason: { message: 'told enough' } });
  jest.restoreAllMocks();
  expect((results[0] as PromiseFulfilledResult<string[]>).value).toEqual(await read(model.generate(ids(30), options)));
});

test('a run that fails fails its texts, and those after it go on', async () => {
  await using two = scheduler(2);
  const options = { ...GREEDY, maxTokens: 5 };
  jest.spyOn(Decoder.prototype, 'step').mockRejectedValueOnce(new Error('no memory'));
  const [first, second] = await Promise.allSettled([
    read(submit(two, ids(30), options)),
    read(submit(two, ids(31), options)),
  ]);
  expect([first.status, second.status]).toEqual(['rejected', 'rejected']);
  expect(await read(submit(two, ids(30), options))).toEqual(await read(model.generate(ids(30), options)));
});

test('a text that nobody reads stands still, and others go on', async () => {
  await using two = scheduler(2);
  const runs = watchRuns();
  const options = { ...GREEDY, maxTokens: 20 };
  const idle = submit(two, ids(30), options);
  expect(runs).toEqual([]);
  const begun = (await idle.next()).value;
  const others = await read(submit(two, ids(31), options));
  const steps = runs.flatMap((run) => ('step' in run ? run.step : []));
  expect(new Set(steps)).toEqual(new Set([1]));
  expect(others.join('')).toBe((await read(model.generate(ids(31), options))).join(''));
  expect(begun + (await read(idle)).join('')).toBe((await read(model.generate(ids(30), options))).join(''));
});

test('texts that are read side by side share every step', async () => {
  await using four = scheduler(4);
  const runs = watchRuns();
  await Promise.all([0, 1, 3, 0].map((i) => read(submit(four, ids(40, i), { ...GREEDY, maxTokens: 10 }))));
  expect(runs).toEqual([{ prefill: [0, 1, 2, 3].map((slot) => [slot, 40]) }, ...Array(9).fill({ step: [0, 1, 2, 3] })]);
});

test('a text that is left early gives its slot to the next', async () => {
  await using one = scheduler(1);
  const options = { ...GREEDY, maxTokens: 50 };
  const first = submit(one, ids(30), options);
  const second = read(submit(one, ids(31), { ...GREEDY, maxTokens: 5 }));
  for await (const _ of first) break;
  expect(await first.result).toMatchObject({ reason: 'left' });
  expect(await second).toEqual(await read(model.generate(ids(31), { ...GREEDY, maxTokens: 5 })));
});

test('a text without a limit ends where its slot is full', async () => {
  await using one = scheduler(1, model, {}, 40);
  const generation = submit(one, ids(30), GREEDY);
  await read(generation);
  expect(await generation.result).toMatchObject({ reason: 'context', tokens: 11, cacheBytes: 6 * 2 * 64 * 4 * 40 });
  expect(one.cacheBytes).toBe(generation.cacheBytes);
});

test.each<[string, Int32Array, GenerateOptions, RegExp]>([
  ['a prompt longer than a slot', ids(41), {}, /the prompt has 41 tokens, more than the 40/],
  ['another precision', ids(4), { precision: 'bf16' }, /'arithmetic' must be the scheduler's/],
])('%s is refused', async (_, prompt, options, message) => {
  await using one = scheduler(1, model, {}, 40);
  expect(() => submit(one, prompt, options)).toThrow(
    expect.objectContaining({ code: 'MBOK_INVALID_ARGUMENT', message: expect.stringMatching(message) }),
  );
});

test('disposing ends the texts under way, and refuses others', async () => {
  const two = scheduler(2);
  const idle = submit(two, ids(30), GREEDY);
  await idle.next();
  const running = read(submit(two, ids(31), GREEDY));
  const waiting = read(submit(two, ids(32), GREEDY));
  await two[Symbol.asyncDispose]();
  for (const text of [running, waiting, idle.next()])
    await expect(text).rejects.toMatchObject({ code: 'MBOK_DISPOSED' });
  await expect(read(submit(two, ids(30), GREEDY))).rejects.toMatchObject({ code: 'MBOK_DISPOSED' });
});

test('after a change of the weights texts that have begun fail, and new ones are computed with the new weights', async () => {
  await using own = await binarize(model, { kernels: 2, method: 'svid' });
  await using two = scheduler(2, own);
  const options = { ...GREEDY, maxTokens: 6 };
  const before = submit(two, ids(30), options);
  await before.next();
  await own.arrangeFor('training');
  expect(await read(submit(two, ids(31), options))).toEqual(await read(own.generate(ids(31), options)));
  await expect(before.next()).rejects.toMatchObject({ code: 'MBOK_BUSY' });
});
