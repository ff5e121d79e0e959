/** Text files of all formats become token streams, and are encoded only once. */

import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { binarize } from '../../lib/compress/binarize';
import { Dataset } from '../../lib/data/dataset';
import { type DatasetOptions, loadDataset, toDataset } from '../../lib/data/load_dataset';
import { readElements, readLines } from '../../lib/data/sources';
import { Model } from '../../lib/model';
import { ChatTemplate } from '../../lib/text/chat';
import { encodeCorpus } from '../../lib/text/corpus';
import type { Tokenizer } from '../../lib/text/tokenizer';
import { finetune } from '../../lib/train/finetune';
import type { FinetuneOptions } from '../../lib/train/finetune_options';
import { GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { tinyTokenizer } from '../helpers/tokenizers';

const folder = temporaryFolder();
const cache = join(folder, 'cache');
mkdirSync(join(cache, 'datasets'), { recursive: true });
const valid = join(TINY_STORIES, 'corpus/valid.txt');
const stories = readFileSync(valid, 'utf8').split('<|endoftext|>');

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await tinyTokenizer('byte-level', folder);
});

let count = 0;
/** Creates a new folder with files in it. */
function files(contents: Record<string, string | Uint8Array>): string {
  const place = join(folder, `texts${count++}`);
  for (const [name, content] of Object.entries(contents)) {
    mkdirSync(join(place, name, '..'), { recursive: true });
    writeFileSync(join(place, name), content);
  }
  return place;
}

/** Returns all tokens of a loaded dataset. */
async function tokensOf(options: DatasetOptions): Promise<number[]> {
  await using data = await loadDataset({ cache: false, ...options }, talker());
  return [...(await data.read(0, data.length))];
}

const encoded = async (...documents: string[]) => [...(await encodeCorpus(tokenizer, documents.join('<|endoftext|>')))];
const lines = (...documents: unknown[]) => documents.map((document) => `${JSON.stringify(document)}\n`).join('');

describe('formats', () => {
  test.each<[string, Record<string, string>, string[]]>([
    ['a text with markers is its documents', { 'a.txt': 'one<|endoftext|>\ntwo<|endoftext|>' }, ['one', '\ntwo']],
    ['a text without markers is one document', { 'a.txt': 'one\n\ntwo' }, ['one\n\ntwo']],
    [
      'a line of JSON is a document',
      { 'a.jsonl': lines({ text: 'one\ntwo' }, { text: 'three' }) },
      ['one\ntwo', 'three'],
    ],
    [
      'empty lines and documents are left out',
      { 'a.jsonl': `\n${lines({ text: 'one' }, { text: ' ' })}  \n` },
      ['one'],
    ],
    ['a last line needs no end', { 'a.ndjson': '{"text":"one"}\r\n{"text":"two"}' }, ['one', 'two']],
    [
      'a folder is its files by name, those below too',
      { 'b.txt': 'two', 'a/z.jsonl': lines({ text: 'one' }), '.hidden': 'no' },
      ['one', 'two'],
    ],
    [
      'a byte order mark is no text',
      { 'a.txt': '\ufeffone', 'b.jsonl': `\ufeff${lines({ text: 'two' })}` },
      ['one', 'two'],
    ],
    [
      'a list of objects is its documents',
      { 'a.json': ' [{"text": "one [\\"]"},\n{"n": {"m": [1, "}"]}, "text": "two"} ]\n', 'b.JSON': '[]' },
      ['one ["]', 'two'],
    ],
    ['a *.json of lines is its lines', { 'a.json': lines({ text: 'one' }, { text: 'two' }) }, ['one', 'two']],
    [
      'a surrogate pair is a character beside a number that only Python writes',
      { 'a.jsonl': '{"text": "a\\ud83d\\ude00", "score": NaN}' },
      ['a😀'],
    ],
    ['a surrogate pair is a character', { 'a.jsonl': '{"text": "a\\ud83d\\ude00 \\\\ud83d"}' }, ['a😀 \\ud83d']],
    ['a web page is a text under its name', { 'a.html': '<html>one</html>' }, ['<html>one</html>']],
    [
      'braces and brackets make no JSON',
      { 'a.txt': '{ x } [1] {"a"}', 'b.md': '[{"a"}]' },
      ['{ x } [1] {"a"}', '[{"a"}]'],
    ],
  ])('%s', async (_, contents, documents) => {
    expect(await tokensOf({ files: files(contents) })).toEqual(await encoded(...documents));
  });

  test('a list of megabytes is split as by JSON.parse', async () => {
    const records = stories.map((text, i) => ({ text: `${text}"\\{[]}`.repeat(3), deep: [[{ i }], '\\"]'] }));
    const place = files({ 'a.json': JSON.stringify(records, null, 1) });
    const read: unknown[] = [];
    for await (const { text } of readElements(join(place, 'a.json'), () => {})) read.push(JSON.parse(text));
    expect(read).toEqual(records);
  });

  test('a list preserves its order', async () => {
    const place = files({ 'a.txt': 'one', 'b.txt': 'two' });
    const list = ['b.txt', 'a.txt', 'b.txt'].map((name) => join(place, name));
    expect(await tokensOf({ files: list })).toEqual(await encoded('two', 'one', 'two'));
  });

  test('the field can be chosen', async () => {
    const place = files({ 'a.jsonl': lines({ text: 'no', content: 'yes' }) });
    expect(await tokensOf({ files: place, field: 'content' })).toEqual(await encoded('yes'));
  });

  test('markers and characters that cross chunks of a file stay whole', async () => {
    // chunks have 1 MiB: each of these texts is cut inside a marker or character
    const fill = (end: string) => 'word '.repeat(1 << 18).slice(0, (1 << 20) - end.length);
    const marked = `${fill('one<|end')}one<|endoftext|>two`;
    expect(await tokensOf({ files: files({ 'a.txt': marked }) })).toEqual(await encoded(marked));
    const [before, after] = [fill('é').slice(0, -1), 'é日本😀'];
    const split = Buffer.concat([Buffer.from(`${before}_`), Buffer.from(after)]);
    expect(await tokensOf({ files: files({ 'a.txt': split }) })).toEqual(await encoded(`${before}_${after}`));
  });

  test('a file of megabytes has the same tokens as its string', async () => {
    const text = stories.join('<|endoftext|>').repeat(12);
    expect(await tokensOf({ files: files({ 'a.txt': text }) })).toEqual(await encoded(text));
  });

  test('reading stops at the requested number of tokens', async () => {
    const some = await tokensOf({ files: valid, maxTokens: 1000 });
    expect(some.length).toBeGreaterThanOrEqual(1000);
    expect(some.length).toBeLessThan(3000);
    expect((await encoded(...stories)).slice(0, some.length)).toEqual(some);
  });
});

/** `Q …` of the user, `A …<|endoftext|>` of the assistant, in turns. */
const template = new ChatTemplate(
  `{% for m in messages %}{% if m.role == 'user' %}Q {{ m.content }}\n{% elif m.role == 'assistant' %}A {{ m.content }}<|endoftext|>{% else %}{{ raise_exception('no ' + m.role) }}{% endif %}{% endfor %}{% if add_generation_prompt %}A {% endif %}`,
  'template',
);
const talker = () => ({ tokenizer, chatTemplate: template });
const plainIds = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });

describe('conversations', () => {
  const messages = [
    { role: 'user', content: 'Who is there?' },
    { role: 'assistant', content: 'A cat.' },
    { role: 'user', content: 'Bye' },
  ];

  test.each<[string, string | false]>([
    ['memory', false],
    ['the cache', cache],
  ])('only what the assistant says is a target, from %s', async (_, where) => {
    const place = files({ 'a.jsonl': lines({ messages }, { messages }) });
    await using data = await loadDataset({ files: place, chat: true, cache: where }, talker());
    const once = plainIds('Q Who is there?\nA A cat.<|endoftext|>Q Bye\n');
    expect([...(await data.read(0, data.length))]).toEqual([...once, ...once]);
    const { ids, targets } = await data.batch({ window: data.length, batch: 1, seed: 1, step: 0 });
    expect([...ids]).toEqual([...once, ...once]);
    const said = plainIds(' A cat.<|endoftext|>');
    expect([...targets].filter((target) => target >= 0)).toEqual([...said, ...said]);
    const first = targets.findIndex((target) => target >= 0);
    expect(tokenizer.decode([...ids.slice(0, first + 1)])).toBe('Q Who is there?\nA');
    for (const [i, target] of targets.entries()) if (target >= 0) expect(target).toBe(ids[i + 1]);
    expect(data.largestId).toBe(Math.max(...once));
  });

  test('the same tokens with other targets have another digest', async () => {
    const write = (role: string) => files({ 'a.jsonl': lines({ messages: [{ role, content: 'a' }] }) });
    const chatTemplate = new ChatTemplate('{% for m in messages %}{{ m.content }}{% endfor %}', 'template');
    const digests = ['user', 'assistant'].map(async (role) => {
      await using data = await loadDataset(
        { files: write(role), chat: true, cache: false },
        { tokenizer, chatTemplate },
      );
      return data.digest;
    });
    expect(await digests[0]).not.toBe(await digests[1]);
  });

  test('tools, documents and further arguments of a line reach the template', async () => {
    const source =
      '{{ tools[0].name }} {{ documents[0].text }} {{ mood }}{% for m in messages %} {{ m.content }}{% endfor %}';
    const line = { messages, documents: [{ text: 'doc' }], chat_template_kwargs: { mood: 'calm' } };
    const place = files({
      'a.jsonl': lines({ ...line, tools: [{ name: 'clock' }] }, { ...line, tools: '[{ "name": "lamp" }]' }),
    });
    const chatTemplate = new ChatTemplate(source, 'template');
    await using data = await loadDataset({ files: place, chat: true, cache: false }, { tokenizer, chatTemplate });
    const text = (name: string) => plainIds(`${name} doc calm Who is there? A cat. Bye`);
    expect([...(await data.read(0, data.length))]).toEqual([...text('clock'), ...text('lamp')]);
  });

  test.each<[string, object]>([
    ['messages', { messages }],
    [
      'ShareGPT',
      {
        conversations: [
          ['human', 0],
          ['gpt', 1],
          ['user', 2],
        ].map(([from, i]) => ({ from, value: messages[Number(i)]?.content })),
      },
    ],
    ['prompt and completion', { prompt: 'Who is there?', completion: 'A cat.' }],
    ['lists of messages as prompt and completion', { prompt: messages.slice(0, 1), completion: messages.slice(1) }],
    ['Alpaca', { instruction: 'Who is there?', input: '', output: 'A cat.' }],
  ])('are read as %s, also in a list', async (_, record) => {
    const long = 'messages' in record || 'conversations' in record || Array.isArray(Object.values(record)[0]);
    const text = `Q Who is there?\nA A cat.<|endoftext|>${long ? 'Q Bye\n' : ''}`;
    const place = files({ 'a.jsonl': lines(record), 'b.json': JSON.stringify([record]) });
    await using data = await loadDataset({ files: place, chat: true, cache: false }, talker());
    const { ids, labels } = await data.readLabeled(0, data.length);
    expect([...ids]).toEqual([...plainIds(text), ...plainIds(text)]);
    const said = plainIds(' A cat.<|endoftext|>');
    expect([...labels].filter((label) => label >= 0)).toEqual([...said, ...said]);
  });

  test.each<[string, object]>([
    ['an input follows its instruction', { instruction: 'Say:', input: 'one', output: 'two' }],
    ['a system message comes first', { system: 'Say:', prompt: 'one', completion: 'two' }],
    [
      'a system message comes first, of turns too',
      {
        system: 'Say:',
        conversations: [
          ['human', 'one'],
          ['gpt', 'two'],
        ].map(([from, value]) => ({ from, value })),
      },
    ],
  ])('%s', async (_, record) => {
    const chatTemplate = new ChatTemplate('{% for m in messages %}{{ m.content }}\n{% endfor %}', 'template');
    await using data = await loadDataset(
      { files: files({ 'a.jsonl': lines(record) }), chat: true, cache: false },
      { tokenizer, chatTemplate },
    );
    expect([...(await data.read(0, data.length))]).toEqual(plainIds('Say:\none\ntwo\n'));
  });

  test('another template gives other tokens for the same file', async () => {
    const place = files({ 'a.jsonl': lines({ messages }) });
    const other = new ChatTemplate('{% for m in messages %}{{ m.content }}\n{% endfor %}', 'template');
    await using mine = await loadDataset({ files: place, chat: true, cache }, talker());
    await using its = await loadDataset({ files: place, chat: true, cache }, { tokenizer, chatTemplate: other });
    expect(its.digest).not.toBe(mine.digest);
  });

  test.each<[string, unknown, RegExp]>([
    ['no list', 'hello', /line 1: 'messages' must be a list of at least one message/],
    ['a message without content', [{ role: 'user' }], /line 1: 'messages\[0\]' must have a 'role' and a 'content'/],
    ['what the template refuses', [{ role: 'pope', content: 'a' }], /a\.jsonl' line 1: .*template.*no pope/],
    [
      'an unknown speaker',
      { conversations: [{ from: 'narrator', value: 'a' }] },
      /line 1: 'conversations\[0\]\.from' must be one of human, user/,
    ],
    [
      'a history of its own kind',
      { instruction: 'a', output: 'b', history: [['c', 'd']] },
      /line 1: 'history' must be absent/,
    ],
    ['no tools', { messages, tools: '{' }, /line 1: 'tools' must be a list of objects or its JSON/],
  ])('%s is refused with its line', async (_, given, message) => {
    const line = Array.isArray(given) || typeof given === 'string' ? { messages: given } : given;
    const loading = loadDataset({ files: files({ 'a.jsonl': lines(line) }), chat: true, cache: false }, talker());
    await expect(loading).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringMatching(message),
    });
  });

  test('a tokenizer alone cannot read them', async () => {
    const loading = loadDataset({ files: files({ 'a.jsonl': lines({ messages }) }), chat: true }, tokenizer);
    await expect(loading).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  });
});

describe('batches', () => {
  const model = () => ({ tokenizer, config: { vocabularySize: 100 } });
  const options = { window: 8, batch: 4, seed: 1, step: 3 };

  test('depend only on seed, step and place, and reach both ends', async () => {
    const data = await toDataset(
      'data',
      Uint16Array.from({ length: 40 }, (_, i) => i),
      model(),
    );
    const { ids } = await data.batch(options);
    expect((await data.batch(options)).ids).toEqual(ids);
    expect((await data.batch({ ...options, batch: 2 })).ids).toEqual(ids.subarray(0, 16));
    expect((await data.batch({ ...options, step: 4 })).ids).not.toEqual(ids);
    expect((await data.batch({ ...options, seed: 2 })).ids).not.toEqual(ids);
    const starts = new Set<number>();
    for (let step = 0; step < 200; step++) {
      const batch = await data.batch({ ...options, step });
      for (let i = 0; i < 4; i++) {
        const start = batch.ids[8 * i] as number;
        starts.add(start);
        const follow = Array.from({ length: 8 }, (_, j) => start + j);
        expect([...batch.ids.subarray(8 * i, 8 * i + 8)]).toEqual(follow);
        expect([...batch.targets.subarray(8 * i, 8 * i + 8)]).toEqual([...follow.slice(1), -1]);
      }
    }
    expect(Math.min(...starts)).toBe(0);
    expect(Math.max(...starts)).toBe(32);
  });

  test('of tokens on disk equal those of the same tokens in memory', async () => {
    await using kept = await loadDataset({ files: valid, cache }, tokenizer);
    await using read = await loadDataset({ files: valid, cache: false }, tokenizer);
    expect(await kept.batch(options)).toEqual(await read.batch(options));
    expect(kept.digest).toBe(read.digest);
  });

  test('of a text shorter than a window are refused', async () => {
    const data = await toDataset('data', [1, 2, 3], model());
    await expect(data.batch({ ...options, window: 4 })).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringContaining("'window' is 4 tokens, but the text has only 3"),
    });
  });

  test.each([
    [-1, 1],
    [0, 4],
    [3, 1],
    [0.5, 1],
  ])('a range that is not within the data is refused: %d + %d', async (start, length) => {
    const data = await toDataset('data', [1, 2, 3], model());
    await expect(data.read(start, length)).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  });
});

describe('cached tokens', () => {
  const keptFiles = () => readdirSync(join(cache, 'datasets'));
  /** Loads a dataset; returns its tokens, and whether the text was encoded for it. */
  async function load(options: DatasetOptions) {
    const encode = jest.spyOn(tokenizer, 'encode');
    await using data = await loadDataset({ cache, ...options }, tokenizer);
    const encodedNow = encode.mock.calls.length > 0;
    encode.mockRestore();
    return { tokens: [...(await data.read(0, data.length))], encodedNow, digest: data.digest };
  }

  test('are reused for the same content under any name and date', async () => {
    const place = files({ 'a.txt': 'one two', 'copy.txt': 'one two' });
    const path = join(place, 'a.txt');
    const first = await load({ files: path });
    expect(first.encodedNow).toBe(true);
    utimesSync(path, 1, 1);
    expect(await load({ files: path })).toEqual({ ...first, encodedNow: false });
    expect(await load({ files: join(place, 'copy.txt') })).toEqual({ ...first, encodedNow: false });
    writeFileSync(path, 'one too');
    utimesSync(path, 1, 1);
    const changed = await load({ files: path });
    expect(changed).toMatchObject({ encodedNow: true, tokens: await encoded('one too') });
  });

  test.each<[string, Record<string, string>, DatasetOptions, DatasetOptions]>([
    ['field', { 'a.jsonl': lines({ x: 'one', y: 'two' }) }, { files: '', field: 'x' }, { files: '', field: 'y' }],
    ['order of files', { a: 'one', b: 'two' }, { files: ['a', 'b'] }, { files: ['b', 'a'] }],
    ['boundary between files', { a: 'one', b: 'two', c: 'onetwo' }, { files: ['a', 'b'] }, { files: ['c'] }],
  ])('depend on the %s', async (_, contents, ...both) => {
    const place = files(contents);
    const [one, other] = await Promise.all(
      both.map((options) => load({ ...options, files: [options.files].flat().map((name) => join(place, name)) })),
    );
    expect(one?.tokens).not.toEqual(other?.tokens);
  });

  test('depend on the tokenizer', async () => {
    const place = files({ 'a.txt': 'ab ab' });
    const other = await tinyTokenizer('byte-fallback', folder);
    await using mine = await loadDataset({ files: place, cache }, tokenizer);
    await using its = await loadDataset({ files: place, cache }, other);
    expect(its.digest).not.toBe(mine.digest);
  });

  test.each<[string, (path: string) => void]>([
    ['cut short', (path) => truncateSync(path, 100)],
    ['empty', (path) => truncateSync(path, 0)],
    ['longer', (path) => appendFileSync(path, 'x')],
    [
      'changed in one bit',
      (path) => {
        const bytes = readFileSync(path);
        bytes[50] = (bytes[50] as number) ^ 1;
        writeFileSync(path, bytes);
      },
    ],
    [
      'changed in its description',
      (path) => writeFileSync(path, readFileSync(path, 'latin1').replace('"tokens":', '"tokenz":'), 'latin1'),
    ],
    [
      'of another text',
      (path) => {
        const other = keptFiles()
          .map((name) => join(cache, 'datasets', name))
          .find((name) => name !== path);
        writeFileSync(path, readFileSync(other as string));
      },
    ],
  ])('that are %s are written again', async (what, damage) => {
    const before = new Set(keptFiles());
    const place = files({ 'a.txt': `${what} ${'and so on '.repeat(50)}` });
    const first = await load({ files: place });
    const [kept] = keptFiles().filter((name) => !before.has(name));
    damage(join(cache, 'datasets', kept as string));
    expect(await load({ files: place })).toEqual(first);
    expect(await load({ files: place })).toEqual({ ...first, encodedNow: false });
  });

  test('are correct for several concurrent calls', async () => {
    const place = files({ 'a.txt': stories.slice(0, 50).join('<|endoftext|>') });
    const all = await Promise.all([1, 2, 3, 4].map(() => load({ files: place })));
    for (const { tokens } of all) expect(tokens).toEqual(all[0]?.tokens);
    expect(keptFiles().filter((name) => name.includes('tmp'))).toEqual([]);
  });

  test('go to the folder in the environment, and to memory if the default folder cannot be written', async () => {
    const place = files({ 'a.txt': 'one' });
    const { MBOK_CACHE, XDG_CACHE_HOME } = process.env;
    try {
      process.env.MBOK_CACHE = join(folder, 'elsewhere');
      await (await loadDataset({ files: place }, tokenizer)).close();
      expect(readdirSync(join(folder, 'elsewhere/datasets'))).toHaveLength(1);
      delete process.env.MBOK_CACHE;
      process.env.XDG_CACHE_HOME = join(folder, 'xdg');
      await (await loadDataset({ files: place }, tokenizer)).close();
      expect(readdirSync(join(folder, 'xdg/mbok/datasets'))).toHaveLength(1);
      // a file in the place of the folder, since even root cannot write there
      process.env.XDG_CACHE_HOME = join(place, 'a.txt');
      await using data = await loadDataset({ files: place }, tokenizer);
      expect(data.length).toBe((await encoded('one')).length);
      await expect(loadDataset({ files: place, cache: join(place, 'a.txt') }, tokenizer)).rejects.toMatchObject({
        code: 'MBOK_IO',
      });
    } finally {
      for (const [name, value] of Object.entries({ MBOK_CACHE, XDG_CACHE_HOME })) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    }
  });

  test('that are truncated during use give an error', async () => {
    const before = new Set(keptFiles());
    await using data = await loadDataset({ files: files({ 'a.txt': 'cut '.repeat(99) }), cache }, tokenizer);
    const [kept] = keptFiles().filter((name) => !before.has(name));
    truncateSync(join(cache, 'datasets', kept as string), 10);
    await expect(data.read(0, data.length)).rejects.toMatchObject({ code: 'MBOK_FORMAT' });
  });

  test('cannot be read after the dataset is closed', async () => {
    const data = await loadDataset({ files: files({ 'a.txt': 'one two three' }), cache }, tokenizer);
    await data.close();
    await data.close();
    await expect(data.read(0, 1)).rejects.toMatchObject({ code: 'MBOK_DISPOSED' });
  });
});

describe('unreadable files', () => {
  test.each<[string, Record<string, string>, Partial<DatasetOptions>, string, RegExp]>([
    [
      'a line that is no JSON',
      { 'a.jsonl': `${lines({ text: 'one' })}\n{"text":` },
      {},
      'MBOK_FORMAT',
      /a\.jsonl' line 3 is not valid JSON/,
    ],
    [
      'a line that is no object',
      { 'a.jsonl': '["one"]' },
      {},
      'MBOK_FORMAT',
      /a\.jsonl' line 1 must hold a JSON object/,
    ],
    [
      'a missing field',
      { 'a.jsonl': lines({ text: 'a' }, { body: 1, url: 2 }) },
      {},
      'MBOK_FORMAT',
      /line 2 has no field 'text'; it has "body", "url"/,
    ],
    [
      'a field from the prototype',
      { 'a.jsonl': lines({}) },
      { field: 'constructor' },
      'MBOK_FORMAT',
      /has no field 'constructor'; it has none/,
    ],
    [
      'a field that is no string',
      { 'a.jsonl': lines({ text: 5 }) },
      {},
      'MBOK_FORMAT',
      /line 1: 'text' must be a string, got 5/,
    ],
    ['an image', { 'a.png': '\x89PNG\0\0' }, {}, 'MBOK_FORMAT', /a\.png' is not UTF-8 text: it holds zero bytes/],
    [
      'a list that is cut off',
      { 'a.json': '[{"text": "a"}, {"text": "b' },
      {},
      'MBOK_FORMAT',
      /a\.json' is not a list of objects in JSON: it goes wrong after record 1/,
    ],
    [
      'a list without a comma',
      { 'a.json': '[{"text": "a"} {"text": "b"}]' },
      {},
      'MBOK_FORMAT',
      /wrong after record 1/,
    ],
    ['a list with a comma too many', { 'a.json': '[{"text": "a"}, ]' }, {}, 'MBOK_FORMAT', /wrong after record 1/],
    ['text behind a list', { 'a.json': '[{"text": "a"}] x' }, {}, 'MBOK_FORMAT', /wrong after record 1/],
    ['a list of strings', { 'a.json': '["a", "b"]' }, {}, 'MBOK_FORMAT', /wrong at its beginning/],
    ['a list of numbers', { 'a.json': '[1, 2]' }, {}, 'MBOK_FORMAT', /wrong at its beginning/],
    ['a list closed by a brace', { 'a.json': '[{"text": "a"}}' }, {}, 'MBOK_FORMAT', /wrong after record 1/],
    [
      'a record of a list that is wrong',
      { 'a.json': '[{"text": "a"}, {"text": 5}]' },
      {},
      'MBOK_FORMAT',
      /a\.json' record 2: 'text' must be a string, got 5/,
    ],
    [
      'a list under the name of a text',
      { 'a.txt': '\n[ {"text": "a"}]' },
      {},
      'MBOK_FORMAT',
      /a\.txt' holds JSON, not plain text: name it \*\.json/,
    ],
    [
      'lines of JSON under the name of a text',
      { 'a.txt': lines({ text: 'a' }) },
      {},
      'MBOK_FORMAT',
      /a\.txt' holds JSON, not plain text/,
    ],
    ['a table', { 'a.csv': 'text,label\na,1\n' }, {}, 'MBOK_FORMAT', /a\.csv' is a table: write its rows as objects/],
    [
      'a conversation where text is meant',
      { 'a.jsonl': lines({ messages: [] }) },
      {},
      'MBOK_FORMAT',
      /line 1 has no field 'text'; it has "messages": a conversation, which chat \(--chat\) reads/,
    ],
    [
      'an instruction where text is meant',
      { 'a.json': '[{"instruction": "a", "input": "", "output": "b"}]' },
      {},
      'MBOK_FORMAT',
      /record 1 has no field 'text'; it has "instruction", "input", "output": a conversation/,
    ],
    ['white space alone', { 'a.txt': ' \n ', 'b.jsonl': '\n' }, {}, 'MBOK_INVALID_ARGUMENT', /the text is empty/],
    [
      'conversations in plain text',
      { 'a.txt': 'one' },
      { chat: true },
      'MBOK_INVALID_ARGUMENT',
      /'files' must be files named \*\.jsonl/,
    ],
    ['a folder without a file', { '.hidden': 'one' }, {}, 'MBOK_INVALID_ARGUMENT', /has no files/],
    [
      'an option that does not exist',
      { 'a.txt': 'one' },
      { shuffle: true } as never,
      'MBOK_INVALID_ARGUMENT',
      /no option 'shuffle'/,
    ],
  ])('%s', async (_, contents, options, code, message) => {
    await expect(tokensOf({ files: files(contents), ...options })).rejects.toMatchObject({
      name: 'MbokError',
      code,
      message: expect.stringMatching(message),
    });
  });

  // bytes, then the byte and position of Python's UnicodeDecodeError
  test.each([
    ['Latin-1', '636166e92e2078', 'e9', 3],
    ['a lead byte without its continuation', 'c328', 'c3', 0],
    ['an end within a character', 'c3a9e282', 'e2', 2],
    ['a character of three of its four bytes', '6162f09f9878', 'f0', 2],
    ['a continuation without a lead byte', '80', '80', 0],
    ['half of a surrogate pair', '61eda080', 'ed', 1],
    ['an overlong form', 'c080', 'c0', 0],
    ['a code point beyond the last', 'f4908080', 'f4', 0],
    ['a byte that is never in UTF-8', '61ffc3a9', 'ff', 1],
    ['a wrong byte behind a byte order mark', 'efbbbf61fe', 'fe', 4],
    ['Latin-1 behind a part in which a file is read', `${'61'.repeat(2 ** 20 - 1)}c3a9e962`, 'e9', 1048577],
  ])('%s is refused with its place', async (_, hex, byte, offset) => {
    for (const name of ['a.txt', 'a.jsonl', 'a.json']) {
      const place = files({ [name]: Buffer.from(hex, 'hex') });
      await expect(tokensOf({ files: place })).rejects.toMatchObject({
        code: 'MBOK_FORMAT',
        message: expect.stringContaining(
          `${name}' is not valid UTF-8: byte 0x${byte} at offset ${offset}. Convert the file, e.g. from Latin-1 by: iconv`,
        ),
      });
    }
  });

  test.each<[string, Uint8Array, RegExp]>([
    ['UTF-16', Buffer.from('\ufeffone', 'utf16le'), /is UTF-16 \(iconv/],
    ['UTF-16 of the other order', Buffer.from('\ufeffone', 'utf16le').swap16(), /is UTF-16/],
    ['UTF-16 without a byte order mark', Buffer.from('one', 'utf16le'), /holds zero bytes/],
    ['a GGUF file', readFileSync(join(GOLDEN, 'gguf/gpt2.gguf')), /is a GGUF file/],
    ['safetensors', readFileSync(join(GOLDEN, 'svid.safetensors')), /is a safetensors file/],
    ['gzip', gzipSync('one'), /is compressed by gzip/],
    ['a ZIP archive', Buffer.from('504b030414000000', 'hex'), /is a ZIP archive/],
    ['Parquet', Buffer.from('50415231150415f0', 'hex'), /is a Parquet file/],
    ['Zstandard', Buffer.from('28b52ffd04000900', 'hex'), /is compressed by zstd/],
    ['an HTML page', Buffer.from('\n<!DOCTYPE html><title>Sign in</title>'), /is an HTML page/],
    [
      'a Git LFS pointer',
      Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:00\n'),
      /Git LFS pointer/,
    ],
  ])('%s is told by what it is', async (_, content, message) => {
    await expect(tokensOf({ files: files({ 'a.txt': content }) })).rejects.toMatchObject({
      code: 'MBOK_FORMAT',
      message: expect.stringMatching(message),
    });
  });

  test('a missing file is named', async () => {
    await expect(tokensOf({ files: [valid, join(folder, 'none')] })).rejects.toMatchObject({
      code: 'MBOK_IO',
      message: expect.stringMatching(/none.*ENOENT/),
    });
  });

  test('an error leaves nothing in the cache', async () => {
    const place = files({ 'a.jsonl': `${lines(...stories.slice(0, 20).map((text) => ({ text })))}{` });
    const before = readdirSync(join(cache, 'datasets'));
    await expect(tokensOf({ files: place, cache })).rejects.toMatchObject({ code: 'MBOK_FORMAT' });
    expect(readdirSync(join(cache, 'datasets'))).toEqual(before);
  });

  test('a signal stops the call', async () => {
    const abort = new AbortController();
    const onProgress = () => abort.abort();
    const place = files({ 'a.txt': stories.join('<|endoftext|>').repeat(3) });
    await expect(tokensOf({ files: place, signal: abort.signal, onProgress })).rejects.toMatchObject({
      code: 'MBOK_ABORTED',
    });
  });
});

describe('data for a model', () => {
  const model = () => ({ tokenizer, config: { vocabularySize: 100 } });

  test('ids outside its vocabulary are refused, also in a dataset', async () => {
    await expect(toDataset('data', [5, 100], model())).rejects.toMatchObject({
      message: expect.stringContaining("'data[1]'"),
    });
    const data = await toDataset('data', 'a story', { tokenizer, config: { vocabularySize: 2048 } });
    await expect(toDataset('data', data, model())).rejects.toMatchObject({
      code: 'MBOK_INVALID_ARGUMENT',
      message: expect.stringContaining(`got ${data.largestId}`),
    });
    await expect(toDataset('data', [], model())).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
  });

  test('a dataset is used unchanged', async () => {
    const data = await toDataset('data', [5, 6], model());
    expect(await toDataset('data', data, model())).toBe(data);
    expect(data).toBeInstanceOf(Dataset);
  });
});

describe('finetuning', () => {
  test("with a dataset equals that with the same text, and counts only the assistant's tokens", async () => {
    const original = await Model.load(TINY_STORIES);
    const options = { steps: 2, batch: 2, window: 16, train: ['scales'] as const, flipRate: 0 };
    /** Returns the loss of the first step, which is that of the converted student. */
    const lossOn = async (data: FinetuneOptions['data'], teacher?: Model) => {
      const student = await binarize(original, { kernels: 2, method: 'svid' });
      const { history } = await finetune(student, { ...options, data, ...(teacher && { teacher }) });
      student.dispose();
      return history.map(({ loss }) => loss);
    };
    const text = stories.slice(0, 5).join('<|endoftext|>');
    await using plain = await loadDataset({ files: files({ 'a.txt': text }), cache }, tokenizer);
    expect(await lossOn(plain)).toEqual(await lossOn(text));
    expect(await lossOn(plain, original)).toEqual(await lossOn(text, original));
    const said = Array.from({ length: 40 }, () => [
      { role: 'user', content: 'xq zv' },
      { role: 'assistant', content: 'Once upon a time' },
    ]);
    const place = files({ 'a.jsonl': lines(...said.map((messages) => ({ messages }))) });
    await using counted = await loadDataset({ files: place, chat: true, cache }, talker());
    await using all = await toDataset('data', await counted.read(0, counted.length), original);
    const [own, both] = [await lossOn(counted), await lossOn(all)];
    // the user's text is gibberish to a model of stories
    expect(own[0]).toBeLessThan((both[0] as number) * 0.8);
    // a teacher is imitated at every token
    expect(await lossOn(counted, original)).toEqual(await lossOn(all, original));
    original.dispose();
  });
});

test('a folder with links back to itself is refused', async () => {
  const place = files({ 'a/b/c.txt': 'one' });
  for (const name of ['back', 'again']) symlinkSync(place, join(place, 'a/b', name));
  await expect(tokensOf({ files: place })).rejects.toMatchObject({
    code: 'MBOK_IO',
    message: expect.stringMatching(/b\/again': it leads back to a folder around it$/),
  });
});

test('lines are whole for any chunk boundaries', async () => {
  const texts = ['a'.repeat(2_500_000), 'b', 'ä'.repeat(600_000), '', 'c'.repeat(1_048_575), 'd'];
  const place = files({ 'a.txt': texts.join('\n') });
  const read: string[] = [];
  for await (const { text, place: at } of readLines(join(place, 'a.txt'), () => {}))
    read[Number(at.split(' ').at(-1)) - 1] = text;
  expect(Array.from(read, (line) => line ?? '')).toEqual(texts);
});
