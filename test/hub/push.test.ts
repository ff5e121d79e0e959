/** `mbok push`: the model card and the requests of an upload. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCall } from '../../lib/cli/command';
import { pushCommand } from '../../lib/cli/push';
import { binarizeFolder } from '../../lib/compress/binarize_folder';
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
