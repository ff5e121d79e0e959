/** Conversations: tokens that count, drawn windows, and the loss, gradient and perplexity over them. */

import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { binarize } from '../../lib/compress/binarize';
import { Dataset } from '../../lib/data/dataset';
import { loadDataset } from '../../lib/data/load_dataset';
import { MemoryTokens, UNCOUNTED } from '../../lib/data/token_file';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { coreOf, Model } from '../../lib/model';
import { finetune } from '../../lib/train/finetune';
import type { FinetuneOptions } from '../../lib/train/finetune_options';
import { copyTinyStories, temporaryFolder } from '../helpers/folders';
import { Random } from '../helpers/random';
import { describeWithShared, sharedPath } from '../helpers/shared';
import { contents, loadTeacher, makeStudent } from '../helpers/training_models';

const folder = temporaryFolder();
const VOCABULARY = 160;

/** Creates random tokens; those for which `counts` is true count. */
function masked(length: number, counts: (at: number) => boolean): Dataset {
  const random = new Random(5);
  const ids = Int32Array.from({ length }, () => random.integer(0, VOCABULARY - 1));
  return new Dataset(new MemoryTokens(ids.map((id, at) => (counts(at) ? id : id | UNCOUNTED))));
}

/** Answers of 3 to 5 tokens among long questions. Some questions are so long that most windows contain no answer. */
const isAnswer = (at: number) => at % 97 >= 90 || (at > 400 && at % 13 < 3);

describe('windows', () => {
  const data = masked(600, isAnswer);

  test.each([2, 8, 32, 150])('of %i tokens are drawn uniformly from those with a counted target', async (window) => {
    const all = Array.from({ length: 600 - window + 1 }, (_, start) => start);
    const wanted = all.filter((start) => hasTarget(start, window));
    expect(await data.countWindows({ window })).toBe(all.length);
    expect(await data.countWindows({ window, counted: true })).toBe(wanted.length);
    const { ids: text, labels } = await data.readLabeled(0, 600);
    const starts = new Set<number>();
    for (let step = 0; step < 20; step++) {
      const { ids, targets } = await data.batch({ window, counted: true, batch: 128, seed: 1, step });
      for (let at = 0; at < ids.length; at += window) {
        const own = ids.subarray(at, at + window);
        const start = wanted.find((place) => own.every((id, i) => id === text[place + i])) as number;
        expect([...targets.subarray(at, at + window)]).toEqual([...labels.subarray(start + 1, start + window), -1]);
        starts.add(start);
      }
    }
    expect(wanted).toEqual(expect.arrayContaining([...starts]));
    expect(starts.size).toBeGreaterThan(0.9 * wanted.length);
  });

  function hasTarget(start: number, window: number): boolean {
    return Array.from({ length: window - 1 }, (_, i) => start + 1 + i).some(isAnswer);
  }

  test('of a text that counts completely are unaffected', async () => {
    const whole = masked(600, () => true);
    const options = { window: 32, batch: 4, seed: 3, step: 7 };
    expect(await whole.batch({ ...options, counted: true })).toEqual(await whole.batch(options));
  });

  test('without any target are an error', async () => {
    const first = masked(40, (at) => at === 0);
    await expect(first.countWindows({ window: 8, counted: true })).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: 'the text: no window of 8 tokens has a token that counts',
    });
  });
});

/** Computes log Σ e^x of a row, in float64. */
function logSum(row: Float32Array): number {
  const largest = row.reduce((most, value) => Math.max(most, value), -Infinity);
  return largest + Math.log(row.reduce((sum, value) => sum + Math.exp(value - largest), 0));
}

type Judge = (row: Float32Array, target: number, teacher?: Float32Array) => number | undefined;

const crossEntropyOf: Judge = (row, target) => (target < 0 ? undefined : logSum(row) - (row[target] as number));
const divergenceOf: Judge = (row, _, teacher = row) => {
  const [own, its] = [logSum(row), logSum(teacher)];
  return teacher.reduce((sum, z, i) => sum + Math.exp(z - its) * (z - its - ((row[i] as number) - own)), 0);
};

/** Computes the mean of a judge's values over all rows of all sequences, in float64. */
async function meanOver(
  [model, teacher]: readonly [Model, Model?],
  { ids, targets }: { readonly ids: Int32Array; readonly targets: Int32Array },
  window: number,
  judge: Judge,
): Promise<number> {
  const values: number[] = [];
  for (let at = 0; at < ids.length; at += window) {
    const logits = async (of: Model) => (await of.logits(ids.subarray(at, at + window))).data;
    const [own, its] = [await logits(model), teacher && (await logits(teacher))];
    for (let row = 0; row < window; row++) {
      const of = (all: Float32Array) => all.subarray(row * VOCABULARY, (row + 1) * VOCABULARY);
      const value = judge(of(own), targets[at + row] as number, its && of(its));
      if (value !== undefined) values.push(value);
    }
  }
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

describe('a step', () => {
  const window = 16;
  const data = masked(600, isAnswer);
  const options = { data, window, batch: 4, steps: 1, seed: 2, train: ['norms'], flipRate: 0, clip: 0 } as const;
  let teacher: Model;
  let student: Model;
  beforeAll(async () => {
    teacher = await Model.load(join(__dirname, '../golden/llama'));
    student = await saved(await makeStudent(teacher));
  });
  afterAll(() => {
    teacher.dispose();
    student.dispose();
  });

  /** Saves the model and loads it with logits. */
  async function saved(model: Model): Promise<Model> {
    const path = join(folder, 'student');
    await model.save(path);
    model.dispose();
    return await Model.load(path);
  }

  /** Returns the loss and the gradient norm of one step. */
  async function stepOf(more: Partial<FinetuneOptions>) {
    await using fresh = await Model.load(join(folder, 'student'));
    const log = join(folder, 'log.jsonl');
    const { history } = await finetune(fresh, { ...options, ...more, log });
    const lines = readFileSync(log, 'utf8').trim().split('\n');
    const { gradientNorm } = JSON.parse(lines.at(-1) as string) as { gradientNorm: number };
    return { loss: history[0]?.loss as number, gradientNorm };
  }

  test.each([1, 2, 4])('takes the mean over its counted tokens, %i sequences at once', async (microBatch) => {
    const batch = await data.batch({ window, counted: true, batch: 4, seed: 2, step: 0 });
    const counts = [0, 1, 2, 3].map((i) => batch.targets.subarray(i * window, (i + 1) * window).filter((t) => t >= 0));
    // so a mean of the sequences' means would differ
    expect(new Set(counts.map(({ length }) => length)).size).toBeGreaterThan(1);
    const { loss } = await stepOf({ microBatch });
    expect(loss).toBeCloseTo(await meanOver([student], batch, window, crossEntropyOf), 5);
  });

  test('has the gradient of that mean, by finite differences', async () => {
    const batch = await data.batch({ window, counted: true, batch: 4, seed: 2, step: 0 });
    const mean = () => meanOver([student], batch, window, crossEntropyOf);
    let squares = 0;
    for (const [name, norm] of coreOf(student).parameters) {
      if (!name.endsWith('norm.weight')) continue;
      const values = norm.toFloat32();
      for (const [i, value] of values.entries()) {
        const at = async (shift: number) => {
          norm.write(values.with(i, value + shift));
          return await mean();
        };
        squares += (((await at(0.02)) - (await at(-0.02))) / 0.04) ** 2;
      }
      norm.write(values);
    }
    for (const microBatch of [1, 4]) {
      const { gradientNorm } = await stepOf({ microBatch });
      expect(Math.abs(gradientNorm / Math.sqrt(squares) - 1)).toBeLessThan(2e-3);
    }
  });

  test.each([1, 4])('takes with a teacher the mean over all tokens, %i sequences at once', async (microBatch) => {
    const batch = await data.batch({ window, batch: 4, seed: 2, step: 0 });
    const expected = await meanOver([student, teacher], batch, window, divergenceOf);
    expect((await stepOf({ microBatch, teacher, gamma: 0 })).loss).toBeCloseTo(expected, 5);
    const teacherCache = { file: join(folder, `teacher${microBatch}`), topK: VOCABULARY - 1 };
    // logarithms are stored in 16 bits
    expect((await stepOf({ microBatch, teacher, teacherCache })).loss).toBeCloseTo(expected, 3);
  });
});

describe('an evaluation', () => {
  test('scores only counted tokens, in windows that contain any', async () => {
    const data = masked(600, isAnswer);
    const model = await Model.load(join(__dirname, '../golden/llama'));
    const window = 16;
    const { ids, labels } = await data.readLabeled(0, 600);
    let [sum, tokens, windows] = [0, 0, 0];
    for (let start = 0; start + window <= 600; start += window) {
      const { data: logits } = await model.logits(ids.subarray(start, start + window));
      const before = tokens;
      for (let i = 1; i < window; i++) {
        const label = labels[start + i] as number;
        const row = logits.subarray((i - 1) * VOCABULARY, i * VOCABULARY);
        if (label < 0) continue;
        sum += logSum(row) - (row[label] as number);
        tokens++;
      }
      if (tokens > before) windows++;
    }
    expect(windows).toBeLessThan(Math.floor(600 / window));
    const result = await evaluatePerplexity(model, data, { window });
    expect(result).toMatchObject({ tokens, windows, scored: 'assistant' });
    expect(result.perplexity / Math.exp(sum / tokens)).toBeCloseTo(1, 5);
    expect(await evaluatePerplexity(model, data, { window, maxWindows: 3 })).toMatchObject({ windows: 3 });
    expect(await evaluatePerplexity(model, ids, { window })).toMatchObject({ scored: 'all', windows: 37 });
    model.dispose();
  });

  test('of a run scores only counted tokens, and says so', async () => {
    const teacher = await loadTeacher();
    const student = await makeStudent(teacher);
    const held = masked(600, isAnswer);
    const log = join(folder, 'evaluated.jsonl');
    const data = masked(600, (at) => at % 50 > 40);
    const evaluation = { data: held, every: 1 };
    const { best, scored } = await finetune(student, { data, evaluation, window: 16, steps: 2, batch: 2, log });
    const expected = await evaluatePerplexity(student, held, { window: 16 });
    expect([best?.perplexity, scored]).toEqual([expected.perplexity, 'assistant']);
    const entries = readFileSync(log, 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(entries[0]).toMatchObject({ event: 'start', data: { tokens: 600, counted: data.counted } });
    expect(entries[2]).toMatchObject({ event: 'evaluation', scored: 'assistant', tokens: expected.tokens });
    student.dispose();
    teacher.dispose();
  });
});

const CASE = '5-chat-without-answers';

describeWithShared('conversations of which', [`cases/${CASE}`], () => {
  const path = (name: string) => sharedPath(`cases/${CASE}/${name}`);
  let student: Model;
  beforeAll(async () => {
    const base = copyTinyStories(folder);
    cpSync(path('template.jinja'), join(base, 'chat_template.jinja'));
    const original = await Model.load(base);
    const converted = await binarize(original, { kernels: 2, method: 'svid' });
    await converted.save(join(folder, 'small'));
    student = await Model.load(join(folder, 'small'));
  });
  const load = (file: string) => loadDataset({ files: file, chat: true, cache: join(folder, 'cache') }, student);
  const options = { window: 32, batch: 2, steps: 4 };

  test('none has an answer stop a run before it begins, as training and as evaluation text', async () => {
    const before = contents(student);
    await using silent = await load(path('no_answers.jsonl'));
    expect(silent).toMatchObject({ counted: 0, conversations: { unanswered: silent.conversations?.count } });
    const count = silent.conversations?.count;
    const error = {
      code: 'MBOK_INVALID_ARGUMENT',
      message: `'${path('no_answers.jsonl')}': no token counts: the assistant says nothing in any of its ${count} conversations`,
    };
    await expect(finetune(student, { ...options, data: silent })).rejects.toMatchObject(error);
    const evaluation = { data: silent, every: 100 };
    await expect(
      finetune(student, { ...options, data: [1, 2, 3, 4, ...Array(60).fill(5)], evaluation }),
    ).rejects.toMatchObject(error);
    await expect(evaluatePerplexity(student, silent, { window: 32 })).rejects.toMatchObject(error);
    expect(contents(student)).toEqual(before);
    // a teacher is imitated at every token
    expect((await finetune(student, { ...options, data: silent, teacher: student })).history).toHaveLength(4);
  });

  test('some have none are counted, from the cache too', async () => {
    const [question, answer] = ['user', 'assistant'].map((role) => ({ role, content: 'a cat' }));
    const file = join(folder, 'some.jsonl');
    const lines = [[question], [question, answer], [question]].map((messages) => JSON.stringify({ messages }));
    writeFileSync(file, lines.join('\n'));
    for (let time = 0; time < 2; time++) {
      await using data = await load(file);
      expect(data.conversations).toEqual({ count: 3, unanswered: 2 });
      expect(data.counted).toBe(student.tokenizer.encode(' a cat<|endoftext|>', { addSpecialTokens: false }).length);
    }
  });

  test('answers are rare are drawn where the answers are', async () => {
    await using data = await load(path('long_prompts.jsonl'));
    const counted = await data.countWindows({ window: 32, counted: true });
    expect(counted).toBeLessThan(0.5 * (await data.countWindows({ window: 32 })));
    const { history } = await finetune(student, { ...options, data, evaluation: { data, every: 2 } });
    for (const { loss } of history) expect(loss).toBeGreaterThan(0.1);
  });
});
