/** Downloads from a server of the hub's API, with the faults that networks and servers have. */

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import promises from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { listCachedModels, removeCachedModel } from '../../lib/hub/manage';
import { type PullProgress, pullModel } from '../../lib/hub/pull';
import { temporaryFolder } from '../helpers/folders';
import { commitOf, etagOf, HubServer, type SeenRequest, type ServedRepository } from '../helpers/hub_server';
import { typeScriptArguments } from '../helpers/run_typescript';

const folder = temporaryFolder();
let hub: HubServer;
let cache: string;
const saved = { ...process.env };

beforeAll(async () => {
  hub = await HubServer.start();
});
afterAll(async () => {
  process.env = saved;
  await hub[Symbol.asyncDispose]();
});
beforeEach(() => {
  hub.reset();
  cache = join(folder, randomBytes(4).toString('hex'));
  process.env = hub.environment({ HF_HUB_CACHE: cache, HF_HOME: folder });
});

const weights = randomBytes(300_000);
const model: ServedRepository = {
  files: {
    'config.json': Buffer.from('{"model_type":"llama"}'),
    'tokenizer.json': Buffer.from('{}'),
    'README.md': Buffer.from('# Model'),
    'model.safetensors': weights,
  },
  large: ['model.safetensors'],
};
const commit = commitOf(model);
const NAME = 'hf:user/model';
const stored = () => join(cache, 'models--user--model');
const blob = () => join(stored(), 'blobs', etagOf(weights, true));
const incomplete = () => `${blob()}.mbok.incomplete`;
const ofWeights = ({ host }: SeenRequest) => host === 'cdn';
const sha = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

/** Applies the faults to the first requests for the weights, one after the other. */
function faults(...list: readonly (ReturnType<HubServer['fault']> & object)[]): void {
  const left = [...list];
  hub.fault = (request) => (ofWeights(request) ? left.shift() : undefined);
}

async function failure(call: Promise<unknown>): Promise<{ code: string; message: string }> {
  return await call.then(
    () => Promise.reject(new Error('the call did not fail')),
    (error) => error,
  );
}

describe('the cache', () => {
  beforeEach(() => hub.repositories.set('user/model', model));

  test('has the layout of huggingface_hub', async () => {
    const { path, files, bytes, downloadedBytes } = await pullModel(NAME);
    expect(path).toBe(join(stored(), 'snapshots', commit));
    expect(files.map(({ name }) => name)).toEqual(['config.json', 'tokenizer.json', 'model.safetensors']);
    expect(downloadedBytes).toBe(bytes);
    expect(readlinkSync(join(path, 'model.safetensors'))).toBe(`../../blobs/${etagOf(weights, true)}`);
    expect(readlinkSync(join(path, 'config.json'))).toBe(
      `../../blobs/${etagOf(model.files['config.json'] as Buffer, false)}`,
    );
    expect(readFileSync(join(path, 'model.safetensors')).equals(weights)).toBe(true);
    expect(readFileSync(join(stored(), 'refs/main'), 'utf8')).toBe(commit);
    expect(readdirSync(join(stored(), '.no_exist', commit)).sort()).toEqual([
      'chat_template.jinja',
      'generation_config.json',
      'special_tokens_map.json',
      'tokenizer_config.json',
    ]);
    expect(readdirSync(join(cache, '.locks/models--user--model'))).toEqual([]);
    expect(readdirSync(join(stored(), 'blobs')).length).toBe(3);
  });

  test('gives files a second time without a download, and by commit without any request', async () => {
    const first = await pullModel(NAME);
    hub.requests.length = 0;
    expect(await pullModel(NAME)).toEqual({ ...first, downloadedBytes: 0 });
    expect(hub.requests.length).toBe(1);
    expect(await pullModel(`${NAME}#${commit}`)).toMatchObject({ path: first.path });
    expect(hub.requests.length).toBe(1);
  });

  test('copies files where there are no links', async () => {
    process.env.HF_HUB_DISABLE_SYMLINKS = '1';
    const { path } = await pullModel(NAME);
    expect(lstatSync(join(path, 'model.safetensors')).isFile()).toBe(true);
    expect(readdirSync(join(stored(), 'blobs'))).toEqual([]);
    expect(await pullModel(NAME)).toMatchObject({ downloadedBytes: 0 });
  });

  test('fetches only what a new commit changes, and removes what no commit uses', async () => {
    await pullModel(NAME);
    const changed = { ...model, files: { ...model.files, 'config.json': Buffer.from('{"model_type":"qwen2"}') } };
    hub.repositories.set('user/model', changed);
    expect(await pullModel(NAME)).toMatchObject({ downloadedBytes: 22 });
    expect((await listCachedModels()).map(({ refs, bytes }) => ({ refs, bytes }))).toEqual(
      expect.arrayContaining([
        { refs: ['main'], bytes: 300_024 },
        { refs: [], bytes: 300_024 },
      ]),
    );
    expect(await removeCachedModel(`${NAME}#${commit}`)).toEqual({ repo: 'user/model', bytes: 22 });
    expect(existsSync(blob())).toBe(true);
    expect(await removeCachedModel(NAME)).toEqual({ repo: 'user/model', bytes: 300_024 });
    expect(existsSync(stored())).toBe(false);
    expect(await failure(removeCachedModel(NAME))).toMatchObject({ code: 'MBOK_HUB_MISSING' });
  });

  test('serves when the hub cannot be reached, and under HF_HUB_OFFLINE', async () => {
    process.env.HF_HUB_OFFLINE = '1';
    expect(await failure(pullModel(NAME))).toMatchObject({
      code: 'MBOK_NETWORK',
      message: expect.stringContaining('mbok pull'),
    });
    delete process.env.HF_HUB_OFFLINE;
    const { path } = await pullModel(NAME);
    process.env.HF_HUB_OFFLINE = '1';
    hub.requests.length = 0;
    expect(await pullModel(NAME)).toMatchObject({ path, downloadedBytes: 0 });
    expect(hub.requests).toEqual([]);
    delete process.env.HF_HUB_OFFLINE;
    hub.fault = () => ({ status: 503, headers: { 'retry-after': '0' } });
    const warn = jest.spyOn(process, 'emitWarning').mockImplementation();
    expect(await pullModel(NAME)).toMatchObject({ path });
    expect(warn.mock.calls[0]?.[0]).toMatch(/503, after 6 attempts.*in the cache/);
    warn.mockRestore();
  });

  test('does not take a part of a model for the model', async () => {
    await pullModel(NAME);
    rmSync(join(stored(), 'snapshots', commit, 'model.safetensors'));
    process.env.HF_HUB_OFFLINE = '1';
    expect(await failure(pullModel(NAME))).toMatchObject({ code: 'MBOK_NETWORK' });
  });
});

describe('a download', () => {
  beforeEach(() => hub.repositories.set('user/model', model));

  test('reports the bytes of each file and of all', async () => {
    const seen: PullProgress[] = [];
    const { bytes } = await pullModel(NAME, { onProgress: (progress) => seen.push(progress) });
    expect(seen.at(-1)).toMatchObject({ done: 1, bytes, totalBytes: bytes });
    expect(seen.every(({ done }, i) => i === 0 || done >= (seen[i - 1] as PullProgress).done)).toBe(true);
    const last = seen.filter(({ file }) => file.name === 'model.safetensors').at(-1);
    expect(last?.file).toEqual({ name: 'model.safetensors', bytes: 300_000, totalBytes: 300_000 });
  });

  const half = { cutAfter: 150_000 };
  // positions from which the file is requested; after a cut they may be a little before it, as the machine is busy
  test.each<[string, readonly object[], readonly number[]]>([
    ['continues where the connection was cut', [half, { cutAfter: 100_000 }], [0, 150_000, 250_000]],
    ['begins again if the server sends the whole file', [half, { ignoresRange: true }], [0, 150_000]],
    ['begins again if the file has another ETag', [half, { etag: '"other"', content: weights }], [0, 150_000]],
    [
      'begins again if the part is not the one asked for',
      [half, { headers: { 'content-range': 'bytes 0-149999/300000' } }],
      [0, 150_000, 0],
    ],
    ['begins again after a wrong content', [{ content: randomBytes(300_000) }], [0, 0]],
    ['repeats after 429', [{ status: 429, headers: { 'retry-after': '0' } }], [0, 0]],
    ['repeats after 500 and 503', [{ status: 500 }, { status: 503 }], [0, 0, 0]],
    ['repeats after a short answer', [{ content: weights.subarray(0, 1000) }], [0, 0]],
    ['repeats after a long answer', [{ content: Buffer.concat([weights, weights]) }], [0, 0]],
  ])('%s', async (_, list, positions) => {
    faults(...list);
    const { path } = await pullModel(NAME);
    expect(sha(join(path, 'model.safetensors'))).toBe(etagOf(weights, true));
    const found = hub
      .downloads('model.safetensors')
      .map(({ headers }) => Number(/\d+/.exec(headers.range ?? '0')?.[0]));
    expect(found.length).toBe(positions.length);
    for (const [i, position] of positions.entries()) {
      expect(found[i]).toBeLessThanOrEqual(position);
      if (position > 0) expect(found[i]).toBeGreaterThan(position - 100_000);
    }
    expect(existsSync(incomplete())).toBe(false);
  });

  test('sends If-Range with the ETag of the first part', async () => {
    faults(half);
    await pullModel(NAME);
    expect(hub.downloads('model.safetensors').map(({ headers }) => headers['if-range'])).toEqual([
      undefined,
      `"${etagOf(weights, true)}"`,
    ]);
  });

  test.each<[string, (request: SeenRequest) => object | undefined, string, RegExp]>([
    ['a content with a wrong hash', () => ({ content: randomBytes(300_000) }), 'MBOK_FORMAT', /has the hash .* lists/],
    ['a content that is always too short', () => ({ content: weights.subarray(1) }), 'MBOK_NETWORK', /299999 bytes of/],
    [
      'a server that always cuts at once',
      () => ({ cutAfter: 0 }),
      'MBOK_NETWORK',
      /6 attempts; start the command again/,
    ],
    ['a server that cuts and knows no ranges', () => ({ ...half, ignoresRange: true }), 'MBOK_NETWORK', /6 attempts/],
    ['circles of redirects', ({ path }) => ({ location: path }), 'MBOK_NETWORK', /more than 10 redirects/],
    ['redirects to files', () => ({ location: 'file:///etc/passwd' }), 'MBOK_NETWORK', /refused the redirect/],
  ])(
    'fails for %s, and nothing has the final name',
    async (_, fault, code, message) => {
      hub.fault = (request) => (ofWeights(request) ? fault(request) : undefined);
      expect(await failure(pullModel(NAME))).toMatchObject({ code, message: expect.stringMatching(message) });
      expect(existsSync(blob())).toBe(false);
      expect(existsSync(join(stored(), 'snapshots', commit, 'model.safetensors'))).toBe(false);
      expect(existsSync(join(stored(), 'refs/main'))).toBe(false);
    },
    60_000,
  );

  test('larger than the disk is refused before it begins', async () => {
    hub.list = (entry) =>
      entry.rfilename === 'model.safetensors' ? { ...entry, lfs: { ...(entry.lfs as object), size: 1e15 } } : entry;
    expect(await failure(pullModel(NAME))).toMatchObject({
      code: 'MBOK_DISK_FULL',
      message: expect.stringMatching(
        /^user\/model needs 1000000000\.0 MB, but the disk of '.*' has [\d.]+ MB free: .*HF_HUB_CACHE/,
      ),
    });
    expect(hub.requests.length).toBe(1);
  });

  test.each([
    [299_999, 0, 'MBOK_DISK_FULL'],
    [300_024, 0, undefined],
    [150_024, 150_000, undefined],
    [150_023, 150_000, 'MBOK_DISK_FULL'],
  ])('with %d bytes free and %d of 300024 there: %s', async (free, there, code) => {
    mkdirSync(join(stored(), 'blobs'), { recursive: true });
    writeFileSync(incomplete(), weights.subarray(0, there));
    const space = { blocks: 1000, bavail: free, bsize: 1 } as Awaited<ReturnType<typeof promises.statfs>>;
    const statfs = jest.spyOn(promises, 'statfs').mockResolvedValue(space);
    const result = await pullModel(NAME).catch((error) => error);
    statfs.mockRestore();
    expect(result.code).toBe(code);
  });

  test('stopped by a signal, it continues later', async () => {
    hub.pause = 10;
    const controller = new AbortController();
    const onProgress = ({ file }: PullProgress) => {
      if (file.name === 'model.safetensors' && file.bytes > 100_000) controller.abort();
    };
    expect(await failure(pullModel(NAME, { signal: controller.signal, onProgress }))).toMatchObject({
      code: 'MBOK_ABORTED',
    });
    expect(statSync(incomplete()).size).toBeGreaterThan(100_000);
    expect(readdirSync(join(cache, '.locks/models--user--model'))).toEqual([]);
    hub.pause = 0;
    const { path } = await pullModel(NAME);
    expect(sha(join(path, 'model.safetensors'))).toBe(etagOf(weights, true));
    expect(hub.downloads('model.safetensors').at(-1)?.headers.range).toMatch(/^bytes=1\d{5}-$/);
  });

  test.each<[string, number]>([
    ['longer than the file', 400_000],
    ['of other bytes', 100_000],
    ['of other bytes and the full length', 300_000],
  ])('is right after a leftover %s', async (_, bytes) => {
    mkdirSync(join(stored(), 'blobs'), { recursive: true });
    writeFileSync(incomplete(), randomBytes(bytes));
    const { path } = await pullModel(NAME);
    expect(sha(join(path, 'model.safetensors'))).toBe(etagOf(weights, true));
  });

  test('sends the token to the hub only', async () => {
    process.env.HF_TOKEN = 'hf_secret';
    await pullModel(NAME);
    for (const { host, headers } of hub.requests)
      expect(headers.authorization).toBe(host === 'hub' ? 'Bearer hf_secret' : undefined);
    expect(new Set(hub.requests.map(({ host }) => host))).toEqual(new Set(['hub', 'cdn']));
  });
});

describe('models that are not simply there', () => {
  const advice = { settings: /settings\/tokens and set HF_TOKEN/, terms: /accept its terms at http.*\/user\/model/ };
  test.each<[string, ServedRepository | undefined, string | undefined, string, string, RegExp]>([
    [
      'with terms, without a token',
      { ...model, access: { token: 't', gated: true } },
      undefined,
      NAME,
      'MBOK_HUB_DENIED',
      advice.terms,
    ],
    [
      'with terms, with another token',
      { ...model, access: { token: 't', gated: true } },
      'x',
      NAME,
      'MBOK_HUB_DENIED',
      advice.terms,
    ],
    [
      'private',
      { ...model, access: { token: 't', gated: false } },
      undefined,
      NAME,
      'MBOK_HUB_MISSING',
      /set HF_TOKEN if it is private/,
    ],
    ['of no such repository', undefined, 't', NAME, 'MBOK_HUB_MISSING', /no such repository.*may not read it/],
    ['of no such revision', model, undefined, `${NAME}#v9`, 'MBOK_HUB_MISSING', /user\/model at v9: not found/],
    ['of no such file', model, undefined, `${NAME}/x.gguf`, 'MBOK_HUB_MISSING', /there is config.json, tokenizer.json/],
  ])('%s', async (_, repository, token, name, code, message) => {
    if (repository !== undefined) hub.repositories.set('user/model', repository);
    if (token !== undefined) process.env.HF_TOKEN = token;
    expect(await failure(pullModel(name))).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test.each<[number, string, RegExp]>([
    [401, 'MBOK_HUB_DENIED', advice.settings],
    [403, 'MBOK_HUB_DENIED', /no permission/],
    [400, 'MBOK_NETWORK', /answers 400/],
  ])('an answer %d without a reason', async (status, code, message) => {
    hub.fault = () => ({ status });
    expect(await failure(pullModel(NAME))).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test('with the right token they are', async () => {
    hub.repositories.set('user/model', { ...model, access: { token: 't', gated: true } });
    writeFileSync(join(folder, 'token'), 't\n');
    try {
      expect(await pullModel(NAME)).toMatchObject({ commit });
    } finally {
      rmSync(join(folder, 'token'));
    }
  });
});

describe('models in several files', () => {
  const [one, two] = [randomBytes(50_000), randomBytes(60_000)];
  const index = { weight_map: { a: 'model-00001-of-00002.safetensors', b: 'model-00002-of-00002.safetensors' } };
  const sharded = (weightMap: object = index.weight_map): ServedRepository => ({
    files: {
      'config.json': Buffer.from('{}'),
      'model.safetensors.index.json': Buffer.from(JSON.stringify({ weight_map: weightMap })),
      'model-00001-of-00002.safetensors': one,
      'model-00002-of-00002.safetensors': two,
      'other.safetensors': one,
    },
    large: ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'],
  });

  test('all shards are fetched', async () => {
    hub.repositories.set('user/model', sharded());
    const { path, bytes } = await pullModel(NAME);
    expect(readdirSync(path).sort()).toEqual([
      'config.json',
      'model-00001-of-00002.safetensors',
      'model-00002-of-00002.safetensors',
      'model.safetensors.index.json',
    ]);
    expect(bytes).toBeGreaterThan(110_000);
    rmSync(join(path, 'model-00002-of-00002.safetensors'));
    process.env.HF_HUB_OFFLINE = '1';
    expect(await failure(pullModel(NAME))).toMatchObject({ code: 'MBOK_NETWORK' });
  });

  test('all parts of a split GGUF file are fetched', async () => {
    const files = { 'q/m-Q8_0-00001-of-00002.gguf': one, 'q/m-Q8_0-00002-of-00002.gguf': two, 'm-Q4_0.gguf': two };
    hub.repositories.set('user/model', { files, large: Object.keys(files) });
    const { path } = await pullModel(`${NAME}:q8_0`);
    expect(path).toBe(join(stored(), 'snapshots', commitOf({ files }), 'q/m-Q8_0-00001-of-00002.gguf'));
    expect(readlinkSync(path)).toBe(`../../../blobs/${etagOf(one, true)}`);
    expect(readdirSync(join(path, '..')).length).toBe(2);
    process.env.HF_HUB_OFFLINE = '1';
    expect(await pullModel(`${NAME}:Q8_0`)).toMatchObject({ path });
    expect(await removeCachedModel(`${NAME}:Q8_0`)).toEqual({ repo: 'user/model', bytes: 110_000 });
  });

  test.each([
    ['../../../../stolen', 'MBOK_FORMAT'],
    ['/etc/passwd', 'MBOK_FORMAT'],
    ['a\\b', 'MBOK_FORMAT'],
    ['absent.safetensors', 'MBOK_HUB_MISSING'],
  ])('an index that names %j is refused', async (shard, code) => {
    hub.repositories.set('user/model', sharded({ a: shard }));
    expect(await failure(pullModel(NAME))).toMatchObject({ code });
  });
});

describe('what a hostile hub lists', () => {
  test.each([
    '../x.gguf',
    '/x.gguf',
    'a/../../x.gguf',
    'a\\..\\x.gguf',
    'C:x.gguf',
    'a\0.gguf',
    './x.gguf',
    'a//x.gguf',
  ])('%j is never written', async (name) => {
    hub.repositories.set('user/model', { files: { [name]: weights, 'good.gguf': weights } });
    expect(await pullModel(NAME)).toMatchObject({ files: [{ name: 'good.gguf', bytes: 300_000 }] });
    const { stdout } = await finished(spawn('find', [folder, '-name', '*x.gguf*']));
    expect(stdout).toBe('');
  });

  test.each<[string, object]>([
    ['a hash that is a path', { lfs: { sha256: '../../x', size: 5 } }],
    ['a size below 0', { size: -1, lfs: undefined }],
    ['no name', { rfilename: 5 }],
  ])('%s is MBOK_FORMAT', async (_, change) => {
    hub.repositories.set('user/model', model);
    hub.list = (entry) => ({ ...entry, ...change });
    expect(await failure(pullModel(NAME))).toMatchObject({ code: 'MBOK_FORMAT' });
  });
});

const PULL = `
  import { pullModel } from './lib/hub/pull';
  pullModel(${JSON.stringify(NAME)}).then(({ path, downloadedBytes }) => console.log(JSON.stringify({ path, downloadedBytes })));`;
const start = () =>
  spawn(process.execPath, typeScriptArguments(PULL), { cwd: join(__dirname, '../..'), env: process.env });

async function finished(child: ChildProcess): Promise<{ stdout: string; code: number | null }> {
  let stdout = '';
  child.stdout?.on('data', (piece) => {
    stdout += piece;
  });
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { stdout, code };
}

describe('several processes', () => {
  const big = randomBytes(4_000_000);
  const bigModel: ServedRepository = { files: { 'big.gguf': big }, large: ['big.gguf'] };
  beforeEach(() => {
    hub.repositories.set('user/model', bigModel);
    hub.pause = 5;
  });

  test('download the same model once', async () => {
    const ends = await Promise.all([finished(start()), finished(start())]);
    const results = ends.map(({ stdout }) => JSON.parse(stdout) as { path: string; downloadedBytes: number });
    expect(results.map(({ downloadedBytes }) => downloadedBytes).sort()).toEqual([0, big.length]);
    expect(hub.downloads('big.gguf').length).toBe(1);
    expect(sha((results[0] as { path: string }).path)).toBe(etagOf(big, true));
  }, 60_000);

  test('killed twenty times, a download resumes to the right content', async () => {
    const partial = join(stored(), 'blobs', `${etagOf(big, true)}.mbok.incomplete`);
    const size = () => (existsSync(partial) ? statSync(partial).size : 0);
    for (let kill = 0; kill < 20; kill++) {
      const before = size();
      const child = start();
      const end = finished(child);
      // at least one more piece each time, so that the twenty kills are spread over the file
      while (size() <= before && child.exitCode === null) await sleep(5);
      await sleep(Math.random() * 30);
      child.kill('SIGKILL');
      await end;
      expect(existsSync(join(stored(), 'blobs', etagOf(big, true)))).toBe(false);
    }
    const { stdout } = await finished(start());
    expect(sha((JSON.parse(stdout) as { path: string }).path)).toBe(etagOf(big, true));
    const ranges = hub.downloads('big.gguf').map(({ headers }) => Number(/\d+/.exec(headers.range ?? '0')?.[0]));
    expect(ranges.length).toBe(21);
    expect(ranges).toEqual([...ranges].sort((a, b) => a - b));
    expect(ranges.filter((from) => from > 0).length).toBeGreaterThan(15);
  }, 240_000);
});
