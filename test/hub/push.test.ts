/** `mbok push`: the model card and the requests of an upload. */

import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCall } from '../../lib/cli/command';
import { pushCommand } from '../../lib/cli/push';
import { binarizeFolder } from '../../lib/compress/binarize_folder';
import { inspect } from '../../lib/models/inspect';
import { TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { etagOf, HubServer } from '../helpers/hub_server';

const folder = temporaryFolder();
const small = join(folder, 'small');
const saved = { ...process.env };
let hub: HubServer;

beforeAll(async () => {
  hub = await HubServer.start();
  await binarizeFolder(TINY_STORIES, small, { kernels: 2, method: 'svid' });
  const text = { perplexity: 9.5, windows: 4, window: 256, text: ['/data/valid.txt'] };
  writeFileSync(join(folder, 'perplexity.json'), JSON.stringify({ command: 'mbok', result: text }));
  const metrics = { acc: { value: 0.25, standardError: 0.01 } };
  const results = [{ task: 'piqa', shots: 0, questions: 100, metrics }];
  const others = [
    { model: 'other', results: [] },
    { model: small, results },
  ];
  writeFileSync(join(folder, 'tasks.json'), JSON.stringify(others));
});
afterAll(async () => {
  process.env = saved;
  await hub[Symbol.asyncDispose]();
});
beforeEach(() => {
  hub.reset();
  process.env = hub.environment({ HF_HOME: folder, HF_TOKEN: 'write' });
});

const push = async (...args: string[]) =>
  await pushCommand.run(parseCall(pushCommand, args, new AbortController().signal));
const weights = () => readFileSync(join(small, 'model.safetensors'));

/** The content of a small file in the commit. */
function committed(name: string): string {
  const line = hub.commits.get('me/small')?.find(({ value }) => value.path === name);
  return Buffer.from(String(line?.value.content), 'base64').toString();
}

test.each([
  ['whole', undefined],
  ['in parts', 400_000],
])('large files are stored %s, all files are in one commit', async (_, chunk) => {
  hub.chunk = chunk;
  const { json } = await push(small, 'me/small');
  expect(json).toMatchObject({ repo: 'me/small', commit: `${hub.endpoint}/me/small/commit/1` });
  const oid = etagOf(weights(), true);
  expect(hub.stored.get(oid)?.equals(weights())).toBe(true);
  const lines = hub.commits.get('me/small') ?? [];
  expect(lines.map(({ key, value }) => `${key} ${String(value.path ?? value.summary)}`)).toEqual([
    expect.stringMatching(/^header Upload by mbok \d/),
    'file README.md',
    'file config.json',
    'file tokenizer.json',
    'file tokenizer_config.json',
    'file mbok.json',
    'lfsFile model.safetensors',
  ]);
  expect(lines.at(-1)?.value).toEqual({ path: 'model.safetensors', algo: 'sha256', size: weights().length, oid });
  expect(committed('config.json')).toBe(readFileSync(join(small, 'config.json'), 'utf8'));
  // a second push sends no content again, and the repository exists
  const before = hub.requests.filter(({ method }) => method === 'PUT').length;
  await push(small, 'me/small');
  expect(hub.requests.filter(({ method }) => method === 'PUT').length).toBe(before);
});

test('the card names base model, relation, forms and metrics', async () => {
  const metrics = ['perplexity', 'tasks'].flatMap((name) => ['--metrics', join(folder, `${name}.json`)]);
  await push(small, 'me/small', '--base', 'you/dense', ...metrics);
  const card = committed('README.md');
  expect(card).toMatch(/^---\nlibrary_name: mbok\npipeline_tag: text-generation\nbase_model: "you\/dense"\n/);
  expect(card).toContain('base_model_relation: quantized\nquantized_by: "me"\n');
  expect(card).toContain('| linear layers | 42 × K = 2 |');
  expect(card).toContain('| valid.txt | perplexity | 9.500 | 4 windows of 256 tokens |');
  expect(card).toContain('| piqa | acc | 0.2500 | 100 questions, 0 shots |');
  expect(card).toMatch(/model-index:\n- name: "small"\n[\s\S]*type: "perplexity"\n {6}value: 9.5\n/);
});

test('the card of a nested model names its sizes, and that of Boolean tables their forms', async () => {
  const data = readFileSync(join(TINY_STORIES, 'corpus/valid.txt'), 'utf8').slice(0, 2000);
  const nested = join(folder, 'nested');
  await binarizeFolder(TINY_STORIES, nested, {
    kernels: 3,
    nested: true,
    embeddings: 2,
    method: 'calibrated',
    calibration: { data, windows: 2, length: 32 },
  });
  await push(nested, 'me/small');
  const card = committed('README.md');
  expect(card).toContain('| linear layers | 42 × K = 3 |');
  expect(card).toContain('| model.embed_tokens.weight | K = 2 |');
  expect(card).toContain('| nested | 3 models in one file, by `--kernels 1` to `--kernels 3` |');
}, 60_000);

describe('the folder of a report', () => {
  const report = join(folder, 'report');
  const stored = (name: string, command: string, result: object | undefined) => {
    mkdirSync(join(report, 'data'), { recursive: true });
    writeFileSync(join(report, 'data', `${name}.json`), JSON.stringify({ command: `mbok ${command}`, result }));
  };
  const perplexity = { windows: 4, window: 256, text: ['/data/valid.txt'] };
  const tasks = (value: number) => [
    { task: 'piqa', shots: 0, questions: 100, metrics: { acc: { value, standardError: 0.01 } } },
  ];
  beforeAll(async () => {
    const { bytes, conversion } = await inspect(small);
    writeReport({ bytes, residual: conversion?.residual });
    stored('small.perplexity', 'eval perplexity $WORK/small --text $EVAL', { perplexity: 9.5, ...perplexity });
    stored('small.perplexity-k1', 'eval perplexity $WORK/small --text $EVAL --kernels 1', {
      perplexity: 30.25,
      ...perplexity,
    });
    stored('small.perplexity-a4', 'eval perplexity $WORK/small --activations 4', {
      perplexity: 9.75,
      activations: 4,
      ...perplexity,
    });
    stored('other.perplexity', 'eval perplexity $WORK/other --text $EVAL', { perplexity: 77, ...perplexity });
    stored('failed', 'eval perplexity $WORK/small', undefined);
    stored('tasks', 'eval tasks $SRC $WORK/small $WORK/other', {
      models: [
        { model: '/src', results: tasks(0.5) },
        { model: '/report/work/small', results: tasks(0.25) },
        { model: '/report/work/other', results: tasks(0.75) },
      ],
    });
  });
  const writeReport = (small: object) => {
    stored('small', 'binarize $SRC $WORK/small --kernels 2', small);
    writeFileSync(join(report, 'report.json'), '{}');
  };

  test('gives the results of the model of that name', async () => {
    await push(small, 'me/small', '--metrics', report);
    const rows = committed('README.md')
      .split('\n')
      .filter((line) => /perplexity \||acc \|/.test(line));
    expect(rows).toEqual([
      '| valid.txt | perplexity | 9.750 | 4 windows of 256 tokens, activations of 4 bits |',
      '| valid.txt | perplexity | 30.250 | 4 windows of 256 tokens, --kernels 1 |',
      '| valid.txt | perplexity | 9.500 | 4 windows of 256 tokens |',
      '| piqa | acc | 0.2500 | 100 questions, 0 shots |',
    ]);
  });

  test('is refused for another model, or if it is no report', async () => {
    const metrics = ['me/small', '--metrics', report];
    const renamed = join(folder, 'renamed');
    cpSync(small, renamed, { recursive: true });
    await expect(push(renamed, ...metrics)).rejects.toThrow(/has no model 'renamed'; it has \["small"/);
    await expect(push(small, 'me/small', '--metrics', small)).rejects.toThrow(/not the folder of a report/);
    const { bytes } = await inspect(small);
    writeReport({ bytes: 5 });
    await expect(push(small, ...metrics)).rejects.toThrow(/is another: its weights have 5 bytes/);
    writeReport({ bytes, residual: 0.1 });
    await expect(push(small, ...metrics)).rejects.toThrow(/is another: its residual is 0.1/);
  });
});

test.each<[string, readonly string[], NodeJS.ProcessEnv, RegExp]>([
  ['no token', [small, 'me/small'], { HF_TOKEN: '' }, /create one that may write at .*settings\/tokens/],
  ['a token that only reads', [small, 'me/small'], { HF_TOKEN: 'read' }, /403.*no permission/],
  ['no network', [small, 'me/small'], { HF_HUB_OFFLINE: '1' }, /HF_HUB_OFFLINE/],
  ['no repository', [small, 'small'], {}, /must be a repository such as me\/model/],
  ['no folder', [join(folder, 'none'), 'me/small'], {}, /none/],
  ['no metrics', [small, 'me/small', '--metrics', join(small, 'config.json')], {}, /no perplexity and no results/],
])('%s is an error that says what to do', async (_, args, env, message) => {
  Object.assign(process.env, env);
  await expect(push(...args)).rejects.toThrow(message);
  expect(hub.commits.size).toBe(0);
});

test('a cut or refused request is repeated', async () => {
  let faults = 2;
  hub.fault = ({ method }) => (method === 'PUT' && faults-- > 0 ? { status: 503 } : undefined);
  await push(small, 'me/small');
  expect(hub.stored.size).toBe(1);
});
