/** `inspect` of a model at the hub reads headers by ranges, and says what the model takes before it is downloaded. */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CommandCall } from '../../lib/cli/command';
import { inspectCommand } from '../../lib/cli/inspect';
import { Model } from '../../lib/model';
import { inspect } from '../../lib/models/inspect';
import { GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { commitOf, HubServer } from '../helpers/hub_server';

const folder = temporaryFolder();
const cache = join(folder, 'hub');
const saved = { ...process.env };
let hub: HubServer;
const NAMES = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];
const files = Object.fromEntries(NAMES.map((name) => [name, readFileSync(join(TINY_STORIES, name))]));
const gguf = readFileSync(join(GOLDEN, 'gguf/llama.gguf'));

/** Cuts a safetensors file into two with an index. */
function shards(content: Buffer): Record<string, Buffer> {
  const length = Number(content.readBigUInt64LE(0));
  const { __metadata__: _, ...header } = JSON.parse(content.toString('utf8', 8, 8 + length)) as Record<
    string,
    { data_offsets: [number, number] }
  >;
  const names = Object.keys(header);
  const weightMap: Record<string, string> = {};
  const parts = [names.slice(0, 5), names.slice(5)].map((some, i) => {
    const file = `model-0000${i + 1}-of-00002.safetensors`;
    const pieces: Buffer[] = [];
    let end = 0;
    const entries = some.map((name) => {
      const entry = header[name] as { data_offsets: [number, number] };
      const piece = content.subarray(8 + length + entry.data_offsets[0], 8 + length + entry.data_offsets[1]);
      pieces.push(piece);
      weightMap[name] = file;
      end += piece.length;
      return [name, { ...entry, data_offsets: [end - piece.length, end] }];
    });
    const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
    const start = Buffer.alloc(8);
    start.writeBigUInt64LE(BigInt(json.length));
    return [file, Buffer.concat([start, json, ...pieces])] as const;
  });
  const index = Buffer.from(JSON.stringify({ weight_map: weightMap }));
  return { ...Object.fromEntries(parts), 'model.safetensors.index.json': index };
}

beforeAll(async () => {
  hub = await HubServer.start();
});
afterAll(async () => {
  process.env = saved;
  await hub[Symbol.asyncDispose]();
});
beforeEach(() => {
  hub.reset();
  process.env = hub.environment({ HF_HUB_CACHE: cache, HF_HOME: folder });
  hub.repositories.set('user/tiny', { files, large: ['model.safetensors'] });
  const { 'model.safetensors': whole, ...small } = files;
  hub.repositories.set('user/shards', { files: { ...small, ...shards(whole as Buffer) } });
  hub.repositories.set('user/gguf', { files: { 'm-Q8_0.gguf': gguf }, large: ['m-Q8_0.gguf'] });
});

test('a folder: the same figures as on the disk, from a fraction of the bytes', async () => {
  const remote = await inspect('hf:user/tiny');
  const { download: _, ...local } = await inspect(TINY_STORIES);
  expect(remote).toMatchObject(local);
  const bytes = NAMES.reduce((sum, name) => sum + statSync(join(TINY_STORIES, name)).size, 0);
  expect(remote.download).toMatchObject({ name: 'hf:user/tiny', commit: commitOf({ files }), bytes, cachedBytes: 0 });
  const ranges = hub.downloads('model.safetensors').map(({ headers }) => headers.range);
  expect(ranges).toEqual(['bytes=0-131071']);
  expect(hub.downloads('tokenizer.json')).toEqual([]);
  expect(existsSync(cache)).toBe(false);
});

test('a checkpoint in several files', async () => {
  const { download, parameters } = await inspect('hf:user/shards');
  expect(parameters).toBe(2755008);
  expect(download?.files.map(({ name }) => name)).toEqual([
    'config.json',
    'tokenizer.json',
    'tokenizer_config.json',
    'model.safetensors.index.json',
    'model-00001-of-00002.safetensors',
    'model-00002-of-00002.safetensors',
  ]);
});

test('a GGUF file', async () => {
  const { download: _, ...local } = await inspect(join(GOLDEN, 'gguf/llama.gguf'));
  expect(await inspect('hf:user/gguf:Q8_0')).toMatchObject(local);
});

test('memory is what loading takes, and what is in the cache is said', async () => {
  const { loadedBytes, decodedBytes } = await inspect('hf:user/tiny');
  await using _ = await Model.load('hf:user/tiny');
  expect(loadedBytes).toBeGreaterThan(2 * 2755008);
  expect(decodedBytes).toBeLessThanOrEqual(loadedBytes);
  const { download } = await inspect('hf:user/tiny');
  expect(download?.cachedBytes).toBe(download?.bytes);
  process.env.HF_HUB_OFFLINE = '1';
  expect(await inspect('hf:user/tiny')).toMatchObject({ parameters: 2755008, download: undefined });
});

test('the command prints memory, speed and download', async () => {
  const call = new CommandCall(['https://huggingface.co/user/gguf'], {}, new AbortController().signal);
  const { lines, json } = await inspectCommand.run(call);
  expect(lines.slice(-3)).toEqual([
    expect.stringMatching(/^memory: [\d.]+ MB of weights, [\d.]+ MB for \d+ tokens of context$/),
    expect.stringMatching(/^estimated speed here: \d+ tokens\/s in decode, \d+ tokens\/s in prompts$/),
    expect.stringMatching(
      /^download: hf:user\/gguf at \w{8}, 1 file, [\d.]+ MB, 0\.00 MB of them in the cache; 1 s at/,
    ),
  ]);
  expect(json).toMatchObject({ download: { name: 'hf:user/gguf' }, estimate: { decode: expect.any(Number) } });
});

test('a cut connection is repeated; a server without ranges and a missing file are errors', async () => {
  let cuts = 1;
  hub.fault = ({ host }) => (host === 'cdn' && cuts-- > 0 ? { cutAfter: 1000 } : undefined);
  expect(await inspect('hf:user/tiny')).toMatchObject({ parameters: 2755008 });
  hub.fault = ({ host }) => (host === 'cdn' ? { ignoresRange: true } : undefined);
  await expect(inspect('hf:user/tiny')).rejects.toMatchObject({ code: 'MBOK_NETWORK' });
  await expect(inspect('hf:user/none')).rejects.toMatchObject({ code: 'MBOK_HUB_MISSING' });
});
