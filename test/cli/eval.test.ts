/** `mbok eval`, end to end in a shell. Needs the compiled package (`npm run build:ts`). */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runMbok } from '../helpers/command_line';
import { TINY_STORIES, temporaryFolder } from '../helpers/folders';

const VALID = join(TINY_STORIES, 'corpus/valid.txt');
const folder = temporaryFolder();
const at = (name: string) => join(folder, name);

const mbok = (...args: string[]) => runMbok(folder, args);

const lines = (...records: object[]) => records.map((record) => `${JSON.stringify(record)}\n`).join('');

beforeAll(() => {
  const sentences = ['The cat was _ happy.', 'A boy had _ big ball.', 'They all went _ to bed.', 'Lily was _ sad.'];
  const words = ['very', 'a', 'home', 'so'];
  mkdirSync(at('data/winogrande_1.1'), { recursive: true });
  mkdirSync(at('data/lambada_openai'), { recursive: true });
  writeFileSync(
    at('data/winogrande_1.1/dev.jsonl'),
    lines(...sentences.map((sentence, i) => ({ sentence, option1: words[i], option2: 'zebra', answer: '1' }))),
  );
  writeFileSync(
    at('data/lambada_openai/lambada_openai.jsonl'),
    lines({ context: 'Once upon a time, there was a little girl named', continuation: 'Lily' }),
  );
});

describe('eval tasks', () => {
  const questions = ['--data', 'data', '--tasks', 'winogrande,lambada_openai'];

  test('puts several models into one table and one file', () => {
    const small = ['binarize', TINY_STORIES, 'small', '--kernels', '3', '--method', 'refit'];
    expect(mbok(...small)).toMatchObject({ status: 0 });
    const { status, stdout, stderr } = mbok('eval', 'tasks', TINY_STORIES, 'small', ...questions, '--out', 'all.json');
    expect(status).toBe(0);
    // finished tasks are reported, since a whole run takes long
    expect(stderr.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/^tiny-stories: winogrande acc 1\.0000 ± 0\.0000$/),
      expect.stringMatching(/^tiny-stories: lambada_openai acc .*, perplexity /),
      expect.stringMatching(/^small: winogrande acc /),
      expect.stringMatching(/^small: lambada_openai acc /),
    ]);
    const [head, ...rows] = stdout.trimEnd().split('\n');
    expect(head).toMatch(/^task +questions +shots +metric +tiny-stories +small$/);
    expect(rows.map((row) => row.split(/ {2,}/).slice(0, 4))).toEqual([
      ['winogrande', '4', '0', 'acc'],
      ['lambada_openai', '1', '0', 'acc'],
      ['lambada_openai', '1', '0', 'perplexity'],
    ]);
    expect(rows[0]).toMatch(/1\.0000 ± 0\.0000/);
    const written = JSON.parse(readFileSync(at('all.json'), 'utf8'));
    expect(written).toMatchObject([{ model: TINY_STORIES }, { model: 'small' }]);
    expect(written[0].results[0]).toMatchObject({ task: 'winogrande', questions: 4, metrics: { acc: { value: 1 } } });
    const { stdout: printed } = mbok('eval', 'tasks', TINY_STORIES, 'small', ...questions, '--json');
    expect(JSON.parse(printed)).toMatchObject({ models: written });
  });

  test('reports errors, and saves results measured before a failure', () => {
    expect(mbok('eval', 'tasks', '--data', 'data')).toMatchObject({ status: 2 });
    expect(mbok('eval', 'tasks', TINY_STORIES)).toMatchObject({ status: 2, stderr: expect.stringContaining('--data') });
    const wrong = mbok('eval', 'tasks', TINY_STORIES, '--data', 'data', '--tasks', 'mmlu');
    expect(wrong).toMatchObject({ status: 2, stderr: expect.stringContaining('arc_easy') });
    const missing = mbok('eval', 'tasks', TINY_STORIES, '--data', 'data');
    expect(missing).toMatchObject({ status: 1, stderr: expect.stringContaining('ARC-Easy-Test.jsonl') });
    const closed = mbok('eval', 'tasks', TINY_STORIES, ...questions, '--out', 'nowhere/out.json');
    expect(closed).toMatchObject({ status: 1, stderr: expect.stringContaining('nowhere/out.json') });
    const second = mbok('eval', 'tasks', TINY_STORIES, 'no-model', ...questions, '--limit', '1', '--out', 'first.json');
    expect(second).toMatchObject({ status: 1, stderr: expect.stringContaining('no-model') });
    expect(JSON.parse(readFileSync(at('first.json'), 'utf8'))).toMatchObject([{ model: TINY_STORIES }]);
    expect(existsSync(at('nowhere'))).toBe(false);
  });
});

describe('eval perplexity', () => {
  test('prints its conventions', () => {
    const args = ['--text', VALID, '--window', '64', '--stride', '32', '--max-windows', '5'];
    const { status, stdout } = mbok('eval', 'perplexity', TINY_STORIES, ...args);
    expect(status).toBe(0);
    expect(stdout).toMatch(
      /^perplexity \d+\.\d{4} {2}\(191 tokens scored in 5 windows of 64, stride 32\)\nof .*valid\.txt, /,
    );
    expect(stdout).toMatch(/tokenizer of 2048 tokens \([0-9a-f]{8}\), f32\n$/);
    const { stdout: printed } = mbok('eval', 'perplexity', TINY_STORIES, ...args, '--json');
    expect(JSON.parse(printed)).toMatchObject({ tokens: 191, windows: 5, window: 64, stride: 32, text: [VALID] });
  });

  test('reads a field of JSON lines, and names the line that lacks it', () => {
    const story = 'Once upon a time there was a cat. The cat was very happy and sat in the sun.';
    writeFileSync(at('stories.jsonl'), lines({ story }, { story }));
    const args = ['--text', 'stories.jsonl', '--window', '16'];
    const { stdout } = mbok('eval', 'perplexity', TINY_STORIES, ...args, '--field', 'story', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ windows: 2 });
    const wrong = mbok('eval', 'perplexity', TINY_STORIES, ...args);
    expect(wrong).toMatchObject({ status: 1, stderr: expect.stringContaining('line 1') });
    expect(mbok('eval', 'perplexity', TINY_STORIES)).toMatchObject({ status: 2 });
  });
});
