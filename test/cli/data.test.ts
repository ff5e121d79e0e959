/** Text on the command line: lists, folders, JSON lines and conversations. Needs the compiled package. */

import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MAIN, runMbok } from '../helpers/command_line';
import { TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { describeWithShared, sharedPath } from '../helpers/shared';

const folder = temporaryFolder();
const at = (name: string) => join(folder, name);
const stories = readFileSync(join(TINY_STORIES, 'corpus/valid.txt'), 'utf8').split('<|endoftext|>').slice(0, 12);
const jsonLines = (values: object[]) => values.map((value) => `${JSON.stringify(value)}\n`).join('');

const mbok = (...args: string[]) => runMbok(folder, args);

function json(...args: string[]): Record<string, unknown> {
  const { status, stdout, stderr } = mbok(...args, '--json');
  if (status !== 0) throw new Error(`${args.join(' ')}: ${stderr}`);
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) as string);
}

/** Finetunes for two short steps and returns the loss. */
function finetune(...args: string[]): unknown {
  const { loss } = json('finetune', at('small'), at('out'), ...args, '--steps', '2', '--batch', '1', '--window', '32');
  return loss;
}

beforeAll(() => {
  const source = at('source');
  cpSync(TINY_STORIES, source, { recursive: true });
  writeFileSync(
    join(source, 'chat_template.jinja'),
    '{% for m in messages %}{{ m.role }}: {{ m.content }}<|endoftext|>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}',
  );
  json('binarize', source, at('small'), '--method', 'svid');
  mkdirSync(at('texts'));
  writeFileSync(at('texts/1.txt'), stories.slice(0, 6).join('<|endoftext|>'));
  writeFileSync(at('texts/2.jsonl'), jsonLines(stories.slice(6).map((text) => ({ text, story: text }))));
  writeFileSync(at('all.txt'), stories.join('<|endoftext|>'));
  const messages = [
    { role: 'user', content: 'Tell me a story.' },
    { role: 'assistant', content: 'Once upon a time there was a cat.' },
  ];
  writeFileSync(at('talks.jsonl'), jsonLines([{ messages }, { messages }, { messages }, { messages }]));
});

test('a folder, a list and one file of the same documents give the same training', () => {
  const loss = finetune('--text', at('all.txt'));
  expect(finetune('--text', at('texts'))).toBe(loss);
  expect(finetune('--text', at('texts/1.txt'), '--text', at('texts/2.jsonl'), '--field', 'story')).toBe(loss);
  expect(finetune('--text', at('all.txt'), '--teacher', at('source'))).not.toBe(loss);
});

test('tokens are stored in the folder of --cache', () => {
  finetune('--text', at('all.txt'), '--cache', at('mine'));
  expect(readdirSync(at('mine/datasets'))).toHaveLength(1);
});

test('perplexity is measured on lines of JSON and on conversations', () => {
  const perplexity = (...args: string[]) =>
    json('eval', 'perplexity', at('source'), ...args, '--window', '32').perplexity;
  const plain = perplexity('--text', at('all.txt'));
  expect(perplexity('--text', at('texts/1.txt'), '--text', at('texts/2.jsonl'), '--field', 'story')).toBe(plain);
  expect(perplexity('--text', at('talks.jsonl'), '--chat')).toBeGreaterThan(1);
});

test('conversations are read by the template of the model', () => {
  expect(finetune('--text', at('talks.jsonl'), '--chat', '--eval-text', at('talks.jsonl'))).toBeGreaterThan(0);
  const { status, stderr } = mbok('finetune', at('small'), at('out'), '--text', at('all.txt'), '--chat');
  expect(status).toBe(1);
  expect(stderr).toMatch(/all\.txt/);
});

test('the counted tokens of conversations are printed, and none is an error', () => {
  const [question, answer] = ['user', 'assistant'].map((role) => ({ role, content: 'Once upon a time.' }));
  const long = { role: 'user', content: 'Tell me about the cat. '.repeat(30) };
  writeFileSync(at('mixed.jsonl'), jsonLines([{ messages: [long] }, { messages: [question, answer, long] }]));
  writeFileSync(at('silent.jsonl'), jsonLines([{ messages: [question] }, { messages: [long] }]));
  const run = (...args: string[]) =>
    mbok('finetune', at('small'), at('out'), '--chat', '--steps', '2', '--window', '32', '--text', ...args);
  const { status, stdout, stderr } = run(at('mixed.jsonl'), '--eval-text', at('mixed.jsonl'), '--eval-windows', '1');
  expect(status).toBe(0);
  expect(stderr).toMatch(
    /\d+ of \d+ tokens count: what the assistant says, in 1 of 2 conversations nothing; \d+ of \d+ windows of 32 tokens have none of it/,
  );
  expect(stdout).toMatch(/perplexity [\d.]+ of what the assistant says, best of the evaluations/);
  const evaluated = json('eval', 'perplexity', at('out'), '--chat', '--text', at('mixed.jsonl'), '--window', '32');
  expect(evaluated).toMatchObject({ scored: 'assistant', windows: 1 });
  expect(stdout).toContain(`perplexity ${(evaluated.perplexity as number).toFixed(3)}`);
  const error = /silent\.jsonl': no token counts: the assistant says nothing in any of its 2 conversations/;
  for (const args of [[at('silent.jsonl')], [at('mixed.jsonl'), '--eval-text', at('silent.jsonl')]]) {
    const silent = run(...args);
    expect(silent.status).toBe(1);
    expect(silent.stderr).toMatch(error);
  }
});

describeWithShared('text that would be learnt as something else', ['cases/10-text-read-silently'], () => {
  const path = (name: string) => sharedPath(`cases/10-text-read-silently/${name}`);

  test.each([
    ['eval', 'perplexity', at('source'), '--text'],
    ['finetune', at('small'), at('out'), '--text'],
    ['finetune', at('small'), at('out'), '--text', at('all.txt'), '--eval-text'],
    ['binarize', at('source'), at('calibrated'), '--kernels', '1', '--restart', '--calibration'],
    ['baseline', at('source'), at('gptq'), '--method', 'gptq', '--bits', '3', '--calibration'],
  ])('is refused by %s %s', (...args) => {
    const { status, stderr } = mbok(...args, path('latin1.txt'));
    expect(status).toBe(1);
    expect(stderr).toMatch(/latin1\.txt' is not valid UTF-8: byte 0xe9 at offset 20/);
  });

  test('is read in its format', () => {
    const list = JSON.parse(readFileSync(path('alpaca_like.json'), 'utf8')) as { text: string }[];
    writeFileSync(at('alpaca.txt'), list.map(({ text }) => text).join('<|endoftext|>'));
    expect(finetune('--text', path('alpaca_like.json'))).toBe(finetune('--text', at('alpaca.txt')));
  });
});

test('calibration reads conversations and fields', () => {
  const settings = ['--kernels', '1', '--rounds', '1', '--calibration-windows', '2', '--calibration-window', '16'];
  const convert = (...args: string[]) =>
    json('binarize', at('source'), at('calibrated'), ...args, ...settings, '--precision', 'f32', '--restart').residual;
  expect(convert('--calibration', at('texts/2.jsonl'), '--field', 'story')).toBeGreaterThan(0);
  expect(convert('--calibration', at('talks.jsonl'), '--chat')).toBeGreaterThan(0);
});

test.each<[string, string[], number, RegExp]>([
  ['no text', [], 2, /option --text is needed/],
  ['a missing file', ['--text', 'nowhere.txt'], 1, /nowhere\.txt.*ENOENT/],
  ['a missing file to evaluate on', ['--text', MAIN, '--eval-text', 'nowhere.txt'], 1, /nowhere\.txt.*ENOENT/],
])('%s is reported before anything is loaded', (_, args, status, message) => {
  const result = mbok('finetune', 'no-model', at('out'), ...args);
  expect(result.status).toBe(status);
  expect(result.stderr).toMatch(message);
});
