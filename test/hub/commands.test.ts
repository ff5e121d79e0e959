/** Commands and functions that take a model take its name at the hub. */

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { quantizeFolder } from '../../lib/baselines/quantize_folder';
import { binarizeFolder } from '../../lib/compress/binarize_folder';
import { planConversion } from '../../lib/compress/memory_plan';
import { kernelCorrelations } from '../../lib/eval/kernel_correlations';
import { Model } from '../../lib/model';
import { inspect } from '../../lib/models/inspect';
import { built } from '../helpers/builds';
import { commandEnvironment, MAIN } from '../helpers/command_line';
import { copyTinyStories, GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { commitOf, HubServer } from '../helpers/hub_server';
import { partName, splitGguf } from '../helpers/split_gguf';
import { CASES } from '../helpers/task_records';

const folder = temporaryFolder();
const cache = join(folder, 'hub');
let hub: HubServer;
const saved = { ...process.env };

const files = Object.fromEntries(
  ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'].map((name) => [
    name,
    readFileSync(join(TINY_STORIES, name)),
  ]),
);
const gguf = readFileSync(join(GOLDEN, 'gguf/llama.gguf'));
const commit = commitOf({ files });
const chatFiles = (): Record<string, Buffer> => {
  const chat = join(folder, 'chat');
  mkdirSync(chat);
  copyTinyStories(chat, { tokenizer: { chat_template: "{{ messages[0].content + ' ' }}" } });
  return Object.fromEntries(readdirSync(chat).map((name) => [name, readFileSync(join(chat, name))]));
};
const split = Object.fromEntries(
  splitGguf(gguf, [4, 10, 7]).map((part, i) => [`f16/${partName('m-F16', i, 3)}`, part]),
);

beforeAll(async () => {
  built('dist');
  const questions = CASES.find(({ task }) => task === 'lambada_openai');
  for (const [name, content] of Object.entries(questions?.files ?? {})) {
    mkdirSync(join(folder, 'tasks', name, '..'), { recursive: true });
    writeFileSync(join(folder, 'tasks', name), content);
  }
  hub = await HubServer.start();
  hub.repositories.set('user/tiny', { files, large: ['model.safetensors'] });
  hub.repositories.set('user/chat', { files: chatFiles(), large: ['model.safetensors'] });
  hub.repositories.set('user/split', { files: split, large: Object.keys(split) });
  hub.repositories.set('user/quants', { files: { 'm-Q8_0.gguf': gguf, 'm-Q4_0.gguf': gguf }, large: ['m-Q8_0.gguf'] });
});
afterAll(async () => {
  process.env = saved;
  await hub[Symbol.asyncDispose]();
});

/** Starts a command, for which the server of this process answers. */
function start(args: readonly string[]) {
  const env = { ...commandEnvironment(folder), HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache, HF_HOME: folder };
  return spawn(process.execPath, [MAIN, ...args], { cwd: folder, env });
}

/** Runs a command with a line of input. */
async function mbok(...args: string[]): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = start(args);
  child.stdin.end('Once\n');
  const [out, error]: [Buffer[], Buffer[]] = [[], []];
  child.stdout.on('data', (piece: Buffer) => out.push(piece));
  child.stderr.on('data', (piece: Buffer) => error.push(piece));
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { status, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(error).toString() };
}

test('pull, ls and rm', async () => {
  const pulled = await mbok('pull', 'hf:user/tiny', 'hf:user/quants:q8_0');
  expect(pulled.stderr).toBe('');
  const snapshot = join(cache, 'models--user--tiny/snapshots', commit);
  expect(pulled.stdout).toContain(`${snapshot}\nuser/tiny at ${commit.slice(0, 8)}: 4 files`);
  expect(pulled.stdout).toMatch(/snapshots\/\w+\/m-Q8_0\.gguf\nuser\/quants at \w+: 1 file, /);
  const listed = await mbok('ls', '--json');
  expect(JSON.parse(listed.stdout)).toMatchObject({
    cache,
    models: [
      { repo: 'user/quants', refs: ['main'], files: [{ name: 'm-Q8_0.gguf', bytes: gguf.length }] },
      { repo: 'user/tiny', refs: ['main'], commit, path: snapshot },
    ],
  });
  expect((await mbok('ls')).stdout).toMatch(/^hf:user\/tiny +main +\w{8} +4 +\d+\.\d\d MB$/m);
  expect((await mbok('rm', 'hf:user/quants')).stdout).toMatch(/^user\/quants: .* MB removed$/m);
  expect(readdirSync(cache).filter((name) => name.startsWith('models--'))).toEqual(['models--user--tiny']);
  expect(await mbok('rm', 'hf:user/quants')).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/mbok ls shows what is \(MBOK_HUB_MISSING\)/),
  });
}, 60_000);

const TEXT = join(TINY_STORIES, 'corpus/valid.txt');
const tuned = ['--text', TEXT, '--steps', '1', '--window', '16', '--batch', '1'];
const CALLS: readonly (readonly [command: string, args: readonly string[], prints: RegExp])[] = [
  ['binarize', ['hf:user/tiny', 'small', '--kernels', '2', '--method', 'svid'], /^small: 2\.276 bits/m],
  ['finetune', ['small', 'tuned', '--teacher', 'hf:user/tiny', ...tuned], /^tuned: /m],
  ['eval perplexity', ['hf:user/tiny', '--text', TEXT, '--window', '16', '--max-windows', '2'], /^perplexity /m],
  ['eval tasks', ['hf:user/tiny', 'hf:user/chat', '--data', 'tasks', '--tasks', 'lambada_openai'], /lambada_openai/],
  ['eval speed', ['hf:user/tiny', '--tokens', '2', '--prompt', '2', '--repeats', '1'], /^decode /m],
  ['generate', ['hf:user/tiny', '--prompt', 'Once', '--max-tokens', '4'], /./],
  ['generate', ['hf:user/split', '--prompt', 'a', '--max-tokens', '1', '--temperature', '0'], /./],
  ['chat', ['hf:user/chat', '--max-tokens', '4'], /./],
  ['inspect', ['hf:user/tiny'], /^download: hf:user\/tiny/m],
  ['inspect', ['small', '--original', 'hf:user/tiny'], /^mean corr/m],
  ['export', ['https://huggingface.co/user/tiny/tree/main', 'dense'], /^dense: \d+ parameters/m],
  ['baseline', ['hf.co/user/tiny', 'rtn', '--method', 'rtn', '--bits', '4'], /^rtn: /m],
];

test.each(CALLS)(
  '%s %j',
  async (command, args, prints) => {
    const { status, stdout, stderr } = await mbok(...command.split(' '), ...args);
    expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(prints);
  },
  120_000,
);

test('report, until its first result', async () => {
  const texts = ['--text', TEXT, '--eval-text', TEXT];
  const child = start(['report', 'hf:user/tiny', '--out', 'report', ...texts, '--window', '16', '--windows', '1']);
  const end = new Promise((resolve) => child.once('close', resolve));
  const first = join(folder, 'report/data/original.perplexity.json');
  while (!existsSync(first) && child.exitCode === null) await sleep(50);
  child.kill('SIGINT');
  expect(await end).toBe(130);
  expect(JSON.parse(readFileSync(first, 'utf8'))).toMatchObject({ result: { perplexity: expect.any(Number) } });
}, 120_000);

test('serve', async () => {
  const child = start(['serve', 'hf:user/tiny', '--port', '0']);
  let stderr = '';
  child.stderr.on('data', (piece: Buffer) => {
    stderr += piece.toString();
  });
  const end = new Promise((resolve) => child.once('close', resolve));
  while (!stderr.includes(' at http://') && child.exitCode === null) await sleep(50);
  const [url] = /http:\/\/\S+/.exec(stderr) ?? [];
  const body = JSON.stringify({ prompt: 'Once', max_tokens: 2, temperature: 0 });
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body });
  expect(await answer.json()).toMatchObject({ model: 'user/tiny', usage: { completion_tokens: 2 } });
  child.kill('SIGTERM');
  expect(await end).toBe(0);
}, 120_000);

test('no command that takes a model is left out', async () => {
  const names = [...(await mbok('--help')).stdout.matchAll(/^ {2}(\S+(?: \S+)?) {2,}/gm)].map(
    ([, name]) => name as string,
  );
  expect(names.length).toBeGreaterThan(15);
  const usages = await Promise.all(names.map(async (name) => (await mbok(...name.split(' '), '--help')).stdout));
  const takers = names.filter((_, i) => /^(?:usage: )?mbok .*\b(?:MODEL|SRC)\b/m.test(usages[i] as string));
  expect(new Set(takers)).toEqual(new Set([...CALLS.map(([command]) => command), 'report', 'serve']));
}, 60_000);

test('a name at the hub is no output', async () => {
  const args = ['binarize', TINY_STORIES, 'hf:user/small', '--kernels', '1', '--method', 'svid'];
  expect(await mbok(...args)).toMatchObject({
    status: 2,
    stderr: expect.stringMatching(/'output' must be a folder, which mbok push can upload, got "hf:user\/small"/),
  });
  expect(existsSync(join(folder, 'hf:user'))).toBe(false);
}, 60_000);

test('a mistake is found before the download', async () => {
  await mbok('rm', 'hf:user/tiny');
  hub.requests.length = 0;
  expect(await mbok('binarize', 'hf:user/tiny', 'x', '--method', 'calibrated')).toMatchObject({ status: 2 });
  expect(await mbok('pull', 'hf:user/tiny', 'hf:tiny')).toMatchObject({ status: 1 });
  expect(hub.requests).toEqual([]);
}, 60_000);

describe('functions', () => {
  beforeAll(() => {
    process.env = hub.environment({ HF_HUB_CACHE: join(folder, 'other'), HF_HOME: folder });
  });

  test('Model.load downloads, reports it, and can be stopped', async () => {
    const stopped = Model.load('hf:user/tiny', { signal: AbortSignal.abort() });
    await expect(stopped).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
    const seen = new Set<string>();
    const onProgress = ({ what }: { what: string }) => void seen.add(what.replace(/ [\d.]+ of .*/, ''));
    const model = await Model.load('hf:user/tiny', { onProgress });
    expect(model.config.family).toBe('llama');
    model.dispose();
    expect([...seen]).toEqual(expect.arrayContaining(['download model.safetensors', 'weights', 'loaded']));
    expect(existsSync(join(folder, 'other/models--user--tiny/refs/main'))).toBe(true);
  });

  test('Model.load can be stopped during the download, and continues it', async () => {
    const controller = new AbortController();
    hub.pause = 2;
    const onProgress = ({ done }: { done: number }) => void (done > 0.3 && controller.abort());
    const stopped = Model.load('hf:user/chat', { signal: controller.signal, onProgress });
    await expect(stopped).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
    hub.pause = 0;
    const before = hub.downloads('model.safetensors').length;
    (await Model.load('hf:user/chat')).dispose();
    const [next] = hub.downloads('model.safetensors').slice(before);
    expect(next?.headers.range).toMatch(/^bytes=[1-9]\d+-$/);
  });

  const calibration = { data: 'Once upon a time there was a cat. '.repeat(20), windows: 1, length: 16 };
  test.each<[string, (model: string, out: string) => Promise<unknown>]>([
    ['inspect', async (model) => ({ ...(await inspect(model)), download: undefined })],
    ['planConversion', async (model) => await planConversion(model, { kernels: 2, method: 'calibrated', calibration })],
    ['kernelCorrelations', async (model) => await kernelCorrelations(join(folder, 'small'), model)],
    ['binarizeFolder', async (model, out) => await binarizeFolder(model, out, { kernels: 1, method: 'svid' })],
    ['quantizeFolder', async (model, out) => await quantizeFolder(model, out, { method: 'rtn', bits: 4 })],
  ])('%s gives the same for a name as for a folder', async (name, call) => {
    const local = await call(TINY_STORIES, join(folder, `${name}-local`));
    expect(await call('hf:user/tiny', join(folder, `${name}-named`))).toEqual(local);
    expect(await call('https://huggingface.co/user/tiny', join(folder, `${name}-address`))).toEqual(local);
  });

  test('a split GGUF file is inspected by ranges and loaded, whichever part is named', async () => {
    const { download, bytes, parts, ...remote } = await inspect('hf:user/split');
    const {
      bytes: _,
      parts: __,
      download: ___,
      bitsPerParameter: ____,
      ...whole
    } = await inspect(join(GOLDEN, 'gguf/llama.gguf'));
    expect(remote).toMatchObject(whole);
    expect(download).toMatchObject({ bytes, cachedBytes: 0 });
    expect(download?.files.map(({ name }) => name)).toEqual(Object.keys(split));
    expect(parts.dense).toBeGreaterThan(0);
    await using expected = await Model.load(join(GOLDEN, 'gguf/llama.gguf'));
    const { data } = await expected.logits([1, 2, 3]);
    const second = Object.keys(split)[1];
    for (const name of [
      'hf:user/split',
      'hf:user/split:f16',
      `hf:user/split/${second}`,
      'hf.co/user/split/tree/main/f16',
    ]) {
      await using model = await Model.load(name);
      expect((await model.logits([1, 2, 3])).data).toEqual(data);
    }
  });
});
