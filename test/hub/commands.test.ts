/** Commands and functions that take a model take its name at the hub. */

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Model } from '../../lib/model';
import { built } from '../helpers/builds';
import { commandEnvironment, MAIN } from '../helpers/command_line';
import { TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { commitOf, HubServer } from '../helpers/hub_server';

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
const gguf = readFileSync(join(__dirname, '../golden/gguf/llama.gguf'));
const commit = commitOf({ files });

beforeAll(async () => {
  built('dist');
  hub = await HubServer.start();
  hub.repositories.set('user/tiny', { files, large: ['model.safetensors'] });
  hub.repositories.set('user/quants', { files: { 'm-Q8_0.gguf': gguf, 'm-Q4_0.gguf': gguf }, large: ['m-Q8_0.gguf'] });
});
afterAll(async () => {
  process.env = saved;
  await hub[Symbol.asyncDispose]();
});

/** Runs a command while the server of this process answers. */
async function mbok(...args: string[]): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const env = { ...commandEnvironment(folder), HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache, HF_HOME: folder };
  const child = spawn(process.execPath, [MAIN, ...args], { cwd: folder, env });
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

test.each<[string, readonly string[], RegExp]>([
  ['binarize', ['binarize', 'hf:user/tiny', 'small', '--kernels', '2', '--method', 'svid'], /^small: 2\.276 bits/m],
  ['generate', ['generate', 'hf:user/tiny', '--prompt', 'Once', '--max-tokens', '4'], /./],
  ['eval speed', ['eval', 'speed', 'hf:user/tiny', '--tokens', '2', '--prompt', '2', '--repeats', '1'], /^decode /m],
  [
    'finetune',
    [
      'finetune',
      'small',
      'tuned',
      '--teacher',
      'hf:user/tiny',
      '--text',
      'TEXT',
      '--steps',
      '1',
      '--window',
      '16',
      '--batch',
      '1',
    ],
    /^tuned: /m,
  ],
  [
    'export of a pasted address',
    ['export', 'https://huggingface.co/user/tiny/tree/main', 'dense'],
    /^dense: \d+ parameters/m,
  ],
  ['baseline', ['baseline', 'hf:user/tiny', 'rtn', '--method', 'rtn', '--bits', '4'], /^rtn: /m],
])(
  '%s',
  async (_, args, prints) => {
    const text = join(TINY_STORIES, 'corpus/valid.txt');
    const { status, stdout, stderr } = await mbok(...args.map((arg) => (arg === 'TEXT' ? text : arg)));
    expect({ status, stderr: status === 0 ? '' : stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(prints);
  },
  120_000,
);

test('a mistake is found before the download', async () => {
  await mbok('rm', 'hf:user/tiny');
  hub.requests.length = 0;
  expect(await mbok('binarize', 'hf:user/tiny', 'x', '--method', 'calibrated')).toMatchObject({ status: 2 });
  expect(await mbok('pull', 'hf:user/tiny', 'hf:tiny')).toMatchObject({ status: 1 });
  expect(hub.requests).toEqual([]);
}, 60_000);

test('Model.load downloads, reports it, and can be stopped', async () => {
  process.env = hub.environment({ HF_HUB_CACHE: join(folder, 'other'), HF_HOME: folder });
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
