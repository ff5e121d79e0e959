/** Question sets: prompts as the harness writes them, likelihoods through the shared cache, metrics, bad files. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { binarize } from '../lib/compress/binarize';
import { PairEncoder, type ScoredSequence } from '../lib/eval/encode';
import { evaluateTasks, TASK_NAMES } from '../lib/eval/evaluate_tasks';
import { scoreGroups, sharedLength } from '../lib/eval/likelihood';
import { loadTask, scoredTexts } from '../lib/eval/load_task';
import { mean, perplexity } from '../lib/eval/statistics';
import { TASKS } from '../lib/eval/tasks/registry';
import { Model } from '../lib/model';
import { uniformInteger } from '../lib/random';
import { FAMILIES, repositoryFolder } from './family_folders';
import { TINY_STORIES, temporaryFolder } from './folders';
import { describeWithShared, sharedPath } from './shared';

const folder = temporaryFolder();

/** Writes files below the temporary folder and returns the folder that they are in. */
function dataFolder(name: string, files: Record<string, string>): string {
  const data = join(folder, name);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(data, path)), { recursive: true });
    writeFileSync(join(data, path), content);
  }
  return data;
}

const lines = (...records: object[]) => records.map((record) => `${JSON.stringify(record)}\n`).join('');

/** A record in the published format of each task, with the texts that lm-evaluation-harness 0.4 makes of it. */
const CASES: readonly {
  readonly task: string;
  readonly files: Record<string, string>;
  readonly texts: readonly (readonly [context: string, continuation: string])[];
  readonly answer: number;
}[] = [
  {
    task: 'arc_easy',
    files: {
      'arc/ARC-Easy-Test.jsonl': lines({
        id: 'x',
        question: {
          stem: 'What is hot?',
          choices: [
            { text: 'ice', label: '1' },
            { text: 'the sun', label: '2' },
          ],
        },
        answerKey: '2',
      }),
    },
    texts: [
      ['Question: What is hot?\nAnswer:', ' ice'],
      ['Question: What is hot?\nAnswer:', ' the sun'],
    ],
    answer: 1,
  },
  {
    task: 'arc_challenge',
    files: {
      'ARC-Challenge/ARC-Challenge-Test.jsonl': lines({
        question: { stem: 'Which?', choices: [{ text: 'this', label: 'A' }] },
        answerKey: 'A',
      }),
    },
    texts: [['Question: Which?\nAnswer:', ' this']],
    answer: 0,
  },
  {
    task: 'boolq',
    files: { 'boolq/dev.jsonl': lines({ question: 'is it so', title: 'It', answer: true, passage: 'It is so.' }) },
    texts: [
      ['It -- It is so.\nQuestion: is it so?\nAnswer:', ' no'],
      ['It -- It is so.\nQuestion: is it so?\nAnswer:', ' yes'],
    ],
    answer: 1,
  },
  {
    task: 'piqa',
    files: {
      'piqa/valid.jsonl': lines({ goal: 'dresser', sol1: 'replace drawer ', sol2: 'finish it' }),
      'piqa/valid-labels.lst': '1\n',
    },
    texts: [
      ['Question: dresser\nAnswer:', ' replace drawer '],
      ['Question: dresser\nAnswer:', ' finish it'],
    ],
    answer: 1,
  },
  {
    task: 'hellaswag',
    files: {
      'hellaswag/hellaswag_val.jsonl': lines({
        activity_label: 'Baking',
        ctx_a: '[header] How to bake [title] Mix.  [step] Stir',
        ctx_b: 'then Ann',
        label: '1',
        endings: ['leaves.', ' [substeps] eats  it.'],
      }),
    },
    texts: [
      ['Baking: How to bake. Mix.  Stir Then ann', ' leaves.'],
      ['Baking: How to bake. Mix.  Stir Then ann', '  eats it.'],
    ],
    answer: 1,
  },
  {
    task: 'winogrande',
    files: {
      'winogrande_1.1/dev.jsonl': lines({
        sentence: 'Ann met Eve because _ was late.',
        option1: 'Ann',
        option2: 'Eve',
        answer: '2',
      }),
    },
    texts: [
      ['Ann met Eve because Ann', ' was late.'],
      ['Ann met Eve because Eve', ' was late.'],
    ],
    answer: 1,
  },
  {
    task: 'lambada_openai',
    files: { 'lambada_openai/lambada_openai.jsonl': lines({ context: 'He asked for a', continuation: 'sign' }) },
    texts: [['He asked for a', ' sign']],
    answer: 0,
  },
  {
    task: 'lambada_openai',
    files: { 'lambada_openai/test.jsonl': lines({ text: 'He asked for\n\n"a sign' }) },
    texts: [['He asked for\n\n"a', ' sign']],
    answer: 0,
  },
];

const definition = (name: string) => TASKS.find((task) => task.name === name) as (typeof TASKS)[number];
const everything = { shots: 0, seed: 0, limit: Infinity };

describe("published records become the harness' texts", () => {
  test.each(CASES.map((each, i) => [`${each.task} (${i})`, each] as const))('%s', async (name, each) => {
    const loaded = await loadTask(definition(each.task), { ...everything, data: dataFolder(name, each.files) });
    expect(loaded.questions).toHaveLength(1);
    const [question] = loaded.questions as [(typeof loaded.questions)[number]];
    expect(scoredTexts(question, '')).toEqual(each.texts.map(([context, continuation]) => ({ context, continuation })));
    expect(question.answer).toBe(each.answer);
  });

  test('of every task', () => {
    expect([...new Set(CASES.map(({ task }) => task))].sort()).toEqual([...TASK_NAMES].sort());
  });
});

describe('worked examples', () => {
  const piqa = (count: number, mark = '') => ({
    [`piqa/${mark || 'valid'}.jsonl`]: lines(
      ...Array.from({ length: count }, (_, i) => ({ goal: `${mark}g${i}`, sol1: `a${i}`, sol2: `b${i}` })),
    ),
    [`piqa/${mark || 'valid'}-labels.lst`]: '0\n'.repeat(count),
  });
  const load = (data: string, options: object) => loadTask(definition('piqa'), { ...everything, data, ...options });

  test('come from the training file, as prompt, answer and an empty line', async () => {
    const data = dataFolder('shots-train', { ...piqa(5), ...piqa(9, 'train') });
    const { examples, questions } = await load(data, { shots: 2 });
    expect(examples).toMatch(/^(Question: traing(\d)\nAnswer: a\2\n\n){2}$/);
    expect(questions).toHaveLength(5);
    expect(scoredTexts(questions[3] as (typeof questions)[number], examples)[1]).toEqual({
      context: `${examples}Question: g3\nAnswer:`,
      continuation: ' b3',
    });
  });

  test('depend on the seed alone, and are not asked where they come from the questions', async () => {
    const data = dataFolder('shots-own', piqa(40));
    const [first, again, other] = [
      await load(data, { shots: 3, seed: 1 }),
      await load(data, { shots: 3, seed: 1 }),
      await load(data, { shots: 3, seed: 2 }),
    ];
    expect(first).toEqual(again);
    expect(first.examples).not.toBe(other.examples);
    const asked = first.questions.map(({ options }) => `${options[0]?.context} ${options[0]?.choice}\n\n`);
    expect(asked).toHaveLength(37);
    for (const example of first.examples.split(/(?<=\n\n)/)) expect(asked).not.toContain(example);
  });

  test('must be fewer than there are', async () => {
    const data = dataFolder('shots-many', piqa(3));
    await expect(load(data, { shots: 3 })).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  });
});

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

  test('a continuation that melts into the last token of the context has that token scored', () => {
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

/** Groups that share a start, of which the members share more, as random ids. */
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

/** The same from the logits of the whole sequence, in float64. */
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
  const scores = await scoreGroups(model, groups, { precision: 'f32', greedy: true });
  for (const [g, group] of groups.entries()) {
    for (const [s, sequence] of group.entries()) {
      const { logLikelihood, greedy } = await recompute(model, sequence);
      const score = scores[g]?.[s];
      expect(Math.abs((score?.logLikelihood ?? Number.NaN) / logLikelihood - 1)).toBeLessThan(1e-4);
      expect(score?.greedy).toBe(greedy);
    }
  }
}

describe('likelihoods through the shared cache are those of full recomputation', () => {
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

test('what sequences share ends before the token that predicts the first scored one', () => {
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

  test('a perplexity has that of the mean, carried through the exponential', () => {
    const { value, standardError } = perplexity([1, 3]);
    expect(value).toBeCloseTo(Math.exp(2), 12);
    expect(standardError).toBeCloseTo(Math.exp(2), 12);
  });
});

describe('a model is asked', () => {
  let model: Model;
  let data: string;
  beforeAll(async () => {
    model = await Model.load(TINY_STORIES);
    const story = (end: string) => ({ context: 'Once upon a time, there was a little', continuation: end });
    data = dataFolder('asked', {
      // the first choice is the likelier one, but long: the second one wins by log-likelihood per character
      'piqa/valid.jsonl': lines(
        { goal: 'The cat', sol1: 'q', sol2: 'is a very happy cat and she likes to play with her friends' },
        { goal: 'The cat', sol1: 'was happy', sol2: 'zebra quantum' },
      ),
      'piqa/valid-labels.lst': '1\n0\n',
      'lambada_openai/lambada_openai.jsonl': lines(story('girl'), story('zebra')),
    });
  });
  afterAll(() => model.dispose());

  test('and answers by likelihood, per character where normalised, or by writing the last word', async () => {
    const shown: number[] = [];
    const results = await evaluateTasks(model, {
      data,
      tasks: ['piqa', 'lambada_openai'],
      onProgress: ({ done }) => shown.push(done),
    });
    expect(results.map(({ task, questions, shots }) => [task, questions, shots])).toEqual([
      ['piqa', 2, 0],
      ['lambada_openai', 2, 0],
    ]);
    const [piqa, lambada] = results.map(({ metrics }) => metrics);
    expect(piqa).toEqual({ acc: { value: 0.5, standardError: 0.5 }, acc_norm: { value: 1, standardError: 0 } });
    expect(lambada?.acc).toEqual({ value: 0.5, standardError: 0.5 });
    expect(lambada?.perplexity?.value).toBeGreaterThan(10);
    expect(shown.at(-1)).toBe(1);
    expect([...shown].sort((a, b) => a - b)).toEqual(shown);
  });

  test('the likelihoods of the whole prompt, worked examples included', async () => {
    const shots = { data, tasks: ['piqa'], shots: 1, seed: 3 };
    const [result] = await evaluateTasks(model, shots);
    expect(result).toMatchObject({ questions: 1, shots: 1 });
    expect(await evaluateTasks(model, shots)).toEqual([result]);
  });

  test('no more questions than the limit, until stopped', async () => {
    expect(await evaluateTasks(model, { data, tasks: ['piqa'], limit: 1 })).toMatchObject([{ questions: 1 }]);
    const controller = new AbortController();
    const onProgress = () => controller.abort();
    await expect(
      evaluateTasks(model, { data, tasks: ['piqa'], signal: controller.signal, onProgress }),
    ).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  });

  test.each([
    [{ data: '' }, "'data' must be"],
    [{ data: 'x', tasks: [] }, "'tasks' must be"],
    [{ data: 'x', tasks: ['arc'] }, "'tasks[0]' must be one of"],
    [{ data: 'x', shots: -1 }, "'shots' must be"],
    [{ data: 'x', limit: 0 }, "'limit' must be"],
  ])('only with options that make sense: %j', async (options, message) => {
    const refused = evaluateTasks(model, options as Parameters<typeof evaluateTasks>[1]);
    await expect(refused).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringContaining(message),
    });
  });
});

describe('a file that cannot be used is named, with the line', () => {
  const arc = (record: unknown) => ({ 'arc/ARC-Easy-Test.jsonl': `\n${JSON.stringify(record)}\n` });
  const choice = { text: 'a', label: 'A' };
  test.each([
    ['missing', 'arc_easy', {}, 'MBOK_IO', 'arc/ARC-Easy-Test.jsonl'],
    ['empty', 'arc_easy', { 'arc/ARC-Easy-Test.jsonl': '\n' }, 'MBOK_FORMAT', 'holds no questions'],
    ['no passage', 'boolq', { 'boolq/dev.jsonl': '{}\n' }, 'MBOK_FORMAT', "dev.jsonl:1: 'passage'"],
    ['cut off', 'boolq', { 'boolq/dev.jsonl': '\n{"a":\n' }, 'MBOK_FORMAT', 'dev.jsonl:2 is not valid JSON'],
    ['no object', 'arc_easy', arc([1]), 'MBOK_FORMAT', 'Test.jsonl:2 must hold a JSON object'],
    ['no question', 'arc_easy', arc({ answerKey: 'A' }), 'MBOK_FORMAT', "Test.jsonl:2: 'question' must be an object"],
    [
      'no such answer',
      'arc_easy',
      arc({ question: { stem: 's', choices: [choice] }, answerKey: 'B' }),
      'MBOK_FORMAT',
      "Test.jsonl:2: 'answerKey' must be one of A",
    ],
    [
      'no blank',
      'winogrande',
      { 'winogrande_1.1/dev.jsonl': lines({ sentence: 'a', option1: 'b', option2: 'c', answer: '1' }) },
      'MBOK_FORMAT',
      "dev.jsonl:1: 'sentence' must be a text with a blank",
    ],
    [
      'too few labels',
      'piqa',
      { 'piqa/valid.jsonl': lines({ goal: 'g', sol1: 'a', sol2: 'b' }), 'piqa/valid-labels.lst': '' },
      'MBOK_FORMAT',
      'valid.jsonl:1: its answer must be 0 or 1',
    ],
    [
      'no labels',
      'piqa',
      { 'piqa/valid.jsonl': lines({ goal: 'g', sol1: 'a', sol2: 'b' }) },
      'MBOK_IO',
      'valid-labels.lst',
    ],
    [
      'label out of range',
      'hellaswag',
      {
        'hellaswag/hellaswag_val.jsonl': lines({
          activity_label: 'a',
          ctx_a: 'b',
          ctx_b: 'c',
          endings: ['d'],
          label: 1,
        }),
      },
      'MBOK_FORMAT',
      "hellaswag_val.jsonl:1: 'label' must be one of 0",
    ],
  ])('%s', async (name, task, files, code, message) => {
    const data = dataFolder(`bad ${name}`, files as Record<string, string>);
    const loading = loadTask(definition(task), { ...everything, data });
    await expect(loading).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });
});

describeWithShared('the published files', ['data/tasks'], () => {
  test.each([
    ['arc_easy', 2376],
    ['arc_challenge', 1172],
    ['boolq', 3270],
    ['piqa', 1838],
    ['hellaswag', 1000],
    ['winogrande', 1267],
    ['lambada_openai', 5153],
  ])('%s has %d questions', async (task, count) => {
    const data = sharedPath('data/tasks');
    expect((await loadTask(definition(task), { ...everything, data })).questions).toHaveLength(count);
  });
});
