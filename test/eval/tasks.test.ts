/** Tasks: prompts as in the harness, results of a model, and malformed files. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { evaluateTasks, TASK_NAMES } from '../../lib/eval/evaluate_tasks';
import { loadTask, scoredTexts } from '../../lib/eval/load_task';
import { capitalize, clean } from '../../lib/eval/tasks/hellaswag';
import { TASKS } from '../../lib/eval/tasks/registry';
import { Model } from '../../lib/model';
import { TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { describeWithShared, sharedPath } from '../helpers/shared';
import { CASES, lines } from '../helpers/task_records';

const folder = temporaryFolder();

/** Writes files below the temporary folder and returns their folder. */
function dataFolder(name: string, files: Record<string, string | Uint8Array>): string {
  const data = join(folder, name);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(data, path)), { recursive: true });
    writeFileSync(join(data, path), content);
  }
  return data;
}

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

  test('come from the training file, with prompt, answer and an empty line', async () => {
    const data = dataFolder('shots-train', { ...piqa(5), ...piqa(9, 'train') });
    const { examples, questions } = await load(data, { shots: 2 });
    expect(examples).toMatch(/^(Question: traing(\d)\nAnswer: a\2\n\n){2}$/);
    expect(questions).toHaveLength(5);
    expect(scoredTexts(questions[3] as (typeof questions)[number], examples)[1]).toEqual({
      context: `${examples}Question: g3\nAnswer:`,
      continuation: ' b3',
    });
  });

  test('depend only on the seed, and are not asked if they come from the questions', async () => {
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

  test('must be fewer than the questions', async () => {
    const data = dataFolder('shots-many', piqa(3));
    await expect(load(data, { shots: 3 })).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  });
});

describe('a model is asked', () => {
  let model: Model;
  let data: string;
  beforeAll(async () => {
    model = await Model.load(TINY_STORIES);
    const story = (end: string) => ({ context: 'Once upon a time, there was a little', continuation: end });
    data = dataFolder('asked', {
      // the first choice is likelier but long: the second wins by log-likelihood per character
      'piqa/valid.jsonl': lines(
        { goal: 'The cat', sol1: 'q', sol2: 'is a very happy cat and she likes to play with her friends' },
        { goal: 'The cat', sol1: 'was happy', sol2: 'zebra quantum' },
      ),
      'piqa/valid-labels.lst': '1\n0\n',
      'lambada_openai/lambada_openai.jsonl': lines(story('girl'), story('zebra')),
    });
  });
  afterAll(() => model.dispose());

  test('and answers by likelihood, per character if normalized, or by writing the last word', async () => {
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
    [
      'Latin-1',
      'boolq',
      { 'boolq/dev.jsonl': Buffer.from('{"question": "caf\xe9"}', 'latin1') },
      'MBOK_FORMAT',
      "dev.jsonl' is not valid UTF-8: byte 0xe9 at offset 17",
    ],
    [
      'half a character',
      'boolq',
      { 'boolq/dev.jsonl': '{"passage": "a\\udc00"}' },
      'MBOK_FORMAT',
      'dev.jsonl:1 holds half of a surrogate pair',
    ],
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
    const data = dataFolder(`bad ${name}`, files as Record<string, string | Uint8Array>);
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

test('HellaSwag is cleaned as by the expressions of the harness', () => {
  const text = fc.string({
    unit: fc.constantFrom('[', ']', ' ', 'a', 'É', '😀', '\n', '\u2028', ' [title]'),
    maxLength: 12,
  });
  fc.assert(
    fc.property(text, (given) => {
      const expected = given
        .trim()
        .replaceAll(' [title]', '. ')
        .replace(/\[.*?\]/g, '')
        .replaceAll('  ', ' ');
      expect(clean(given)).toBe(expected);
      const [first = '', ...rest] = given;
      expect(capitalize(given)).toBe(first.toUpperCase() + rest.join('').toLowerCase());
    }),
    { numRuns: 2000 },
  );
});
