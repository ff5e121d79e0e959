import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { uniform, uniformInteger } from '../../lib/base/random';
import { AddedTokens } from '../../lib/text/added_tokens';
import { encodeCorpus, splitDocuments } from '../../lib/text/corpus';
import { StopMatcher, StreamDecoder } from '../../lib/text/stream';
import { Tokenizer } from '../../lib/text/tokenizer';
import { tinyTokenizer } from '../helpers/tokenizers';

const assets = join(__dirname, '../../assets/tiny-stories');
/** Hugging Face's package itself, without the word cache. */
const { Tokenizer: Reference } = require('@huggingface/tokenizers') as {
  Tokenizer: new (
    tokenizer: object,
    config: object,
  ) => { encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] } };
};
const readJsonFile = (path: string) => JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;

let folder: string;
let tokenizer: Tokenizer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'mbok-text-'));
  tokenizer = await Tokenizer.fromFolder(assets);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('added tokens', () => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', '<', '😀'), minLength: 1, maxLength: 5 });

  test('the longest token at a position is found, as by exhaustive search', () => {
    fc.assert(
      fc.property(fc.uniqueArray(word, { maxLength: 30 }), fc.array(word, { maxLength: 20 }), (contents, words) => {
        const text = words.join('');
        const added = new AddedTokens({ added_tokens: contents.map((content, id) => ({ content, id })) });
        const expected: (string | number)[] = [];
        let between = '';
        for (let at = 0; at < text.length; ) {
          const here = contents.filter((content) => text.startsWith(content, at));
          const longest = here.sort((a, b) => b.length - a.length)[0];
          // the second half of a character starts no token
          if (longest === undefined || isInside(text, at)) {
            between += text[at++];
            continue;
          }
          if (between !== '') expected.push(between);
          between = '';
          expected.push(contents.indexOf(longest));
          at += longest.length;
        }
        if (between !== '') expected.push(between);
        expect(added.split(text)).toEqual(expected);
      }),
      { numRuns: 2000 },
    );
  });
});

/** Tells whether a place lies between the halves of a character outside the basic plane. */
function isInside(text: string, at: number): boolean {
  return (text.codePointAt(at - 1) ?? 0) > 0xffff;
}

describe('tokenizer', () => {
  test.each(['byte-level', 'byte-fallback'] as const)(
    'no text has fewer tokens than a %s tokenizer says',
    async (kind) => {
      const tiny = await tinyTokenizer(kind, folder);
      expect(tiny.fewestTokens(1_000_000)).toBeGreaterThan(10_000);
      const words = fc.array(fc.oneof(fc.string(), fc.constantFrom('a', 'ab', ' ab', '  ', '😀', ' little')));
      fc.assert(
        fc.property(words, (parts) => {
          const text = parts.join('');
          const { length } = tiny.encode(text, { addSpecialTokens: false });
          expect(length).toBeGreaterThanOrEqual(tiny.fewestTokens(text.length));
        }),
        { numRuns: 500 },
      );
    },
  );

  test('the embedded tokenizer knows its special tokens', () => {
    expect(tokenizer).toMatchObject({ vocabSize: 2048, bosTokenId: 0, eosTokenIds: [0], documentStartId: 0 });
    expect(tokenizer.encode('Once upon a time')).toEqual([
      0,
      ...tokenizer.encode('Once upon a time', { addSpecialTokens: false }),
    ]);
    expect(tokenizer.encode('', { addSpecialTokens: false })).toEqual([]);
    expect(tokenizer.encode('a<|endoftext|>b', { addSpecialTokens: false })).toContain(0);
    expect(tokenizer.decode([])).toBe('');
    const ids = tokenizer.encode('Hi<|endoftext|>');
    expect(tokenizer.decode(ids)).toBe('<|endoftext|>Hi<|endoftext|>');
    expect(tokenizer.decode(Int32Array.from(ids), { skipSpecialTokens: true })).toBe('Hi');
  });

  test('words from the cache are encoded as Hugging Face encodes whole texts', () => {
    const reference = new Reference(
      readJsonFile(join(assets, 'tokenizer.json')),
      readJsonFile(join(assets, 'tokenizer_config.json')),
    );
    const expected = (text: string) => reference.encode(text, { add_special_tokens: false }).ids;
    const story = readFileSync(join(assets, 'corpus/valid.txt'), 'utf8').slice(0, 50_000);
    expect(tokenizer.encode(story, { addSpecialTokens: false })).toEqual(expected(story));
    const part = fc.constantFrom(
      "'s",
      "'ll",
      ' ',
      '  ',
      '\n',
      '\t',
      'word',
      '12',
      '!?',
      'é',
      '日本',
      '😀',
      '\u00a0',
      "'",
      '<|',
      'S',
    );
    const text = fc.oneof(
      fc.array(part).map((parts) => parts.join('')),
      fc.string({ unit: 'binary' }),
    );
    fc.assert(
      fc.property(text, (sample) =>
        expect(tokenizer.encode(sample, { addSpecialTokens: false })).toEqual(expected(sample)),
      ),
      { numRuns: 500 },
    );
  });

  test('encoded text decodes to itself', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(tokenizer.decode(tokenizer.encode(text, { addSpecialTokens: false }))).toBe(text);
      }),
    );
  });

  test('a tokenizer with begin-of-text, metaspace and byte fallback', async () => {
    const llama = await tinyTokenizer('byte-fallback', folder);
    expect(llama).toMatchObject({ vocabSize: 266, bosTokenId: 1, eosTokenIds: [2, 260], documentStartId: 1 });
    expect(llama.encode('ab a')).toEqual([1, 265, 263]);
    expect(llama.decode(llama.encode('ab é😀 c'), { skipSpecialTokens: true })).toBe('ab é😀 c');
  });

  test('a text of 8 MB is encoded and decoded unchanged', () => {
    const story = readFileSync(join(assets, 'corpus/train.txt'), 'utf8');
    const text = story
      .repeat(Math.ceil(8e6 / story.length))
      .slice(0, 8e6)
      .replaceAll('<|endoftext|>', '');
    expect(tokenizer.decode(tokenizer.encode(text, { addSpecialTokens: false }))).toBe(text);
  });

  test.each<[string, (t: Tokenizer) => unknown, RegExp]>([
    ['a text that is a number', (t) => t.encode(5 as never), /'text' must be a string, got 5/],
    ['an option that does not exist', (t) => t.encode('a', { addSpecial: true } as never), /no option 'addSpecial'/],
    [
      'an option of the wrong type',
      (t) => t.encode('a', { addSpecialTokens: 1 as never }),
      /'addSpecialTokens' must be true or false/,
    ],
    ['an id past the vocabulary', (t) => t.decode([0, 2048]), /'ids\[1\]' must be an integer from 0 to 2047, got 2048/],
    ['an id that is no integer', (t) => t.decode([0.5]), /'ids\[0\]' must be an integer/],
    ['ids that are a string', (t) => t.decode('abc' as never), /'ids' must be an array of integers, got "abc"/],
  ])('%s is refused', (_, call, message) => {
    expect(() => call(tokenizer)).toThrow(
      expect.objectContaining({ code: 'MBOK_INVALID_ARGUMENT', message: expect.stringMatching(message) }),
    );
  });

  test('missing and broken tokenizers give different errors', async () => {
    const none = join(folder, 'none');
    mkdirSync(none);
    await expect(Tokenizer.fromFolder(none)).rejects.toMatchObject({
      code: 'MBOK_IO',
      message: expect.stringMatching(/tokenizer\.json.*ENOENT/),
    });
    writeFileSync(join(none, 'tokenizer.json'), '{"model": 7}');
    await expect(Tokenizer.fromFolder(none)).rejects.toMatchObject({ code: 'MBOK_FORMAT' });
    cpSync(join(assets, 'tokenizer.json'), join(none, 'tokenizer.json'));
    expect(await Tokenizer.fromFolder(none)).toMatchObject({ bosTokenId: undefined, eosTokenIds: [] });
    writeFileSync(join(none, 'tokenizer_config.json'), 'nonsense');
    await expect(Tokenizer.fromFolder(none)).rejects.toMatchObject({ code: 'MBOK_FORMAT' });
  });
});

describe('stream decoder', () => {
  const pieces = (t: Tokenizer, ids: readonly number[]) => {
    const decoder = new StreamDecoder(t);
    return [...ids.map((id) => decoder.push(id)), decoder.flush()];
  };
  /** Both kinds of tokenizer spread characters over several tokens, in different ways. */
  const kinds: [string, () => Promise<Tokenizer>][] = [
    ['byte-level', async () => tokenizer],
    ['byte-fallback', () => tinyTokenizer('byte-fallback', folder)],
  ];

  test.each(kinds)('a %s character is emitted whole and once', async (_, make) => {
    const t = await make();
    const text = 'a 😀é日本 👩‍👩‍👧 b';
    const given = pieces(t, t.encode(text));
    expect(given.join('')).toBe(text);
    expect(given.slice(0, -1).filter((piece) => piece.includes('\ufffd'))).toEqual([]);
    for (const piece of given) expect(Buffer.from(piece).toString()).toBe(piece);
  });

  test.each(kinds)('%s pieces of arbitrary ids join to the whole text', async (_, make) => {
    const t = await make();
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 3, max: t.vocabSize - 1 }), { maxLength: 60 }), (ids) => {
        expect(pieces(t, ids).join('')).toBe(t.decode(ids, { skipSpecialTokens: true }));
      }),
      { numRuns: 300 },
    );
  });

  test('bytes that never become a character do not block the stream', () => {
    const continuation = tokenizer.encode('é', { addSpecialTokens: false }).at(-1) as number;
    const [letter] = tokenizer.encode('x', { addSpecialTokens: false }) as [number];
    const decoder = new StreamDecoder(tokenizer);
    const given = Array.from({ length: 50 }, () => decoder.push(continuation)).join('');
    expect(given.length).toBeGreaterThanOrEqual(49);
    expect(given + decoder.push(letter)).toBe(`${'\ufffd'.repeat(50)}x`);
  });
});

describe('stop strings', () => {
  const run = (stops: string[], pieces: readonly string[]) => {
    const matcher = new StopMatcher(stops);
    let text = '';
    for (const piece of pieces) {
      const found = matcher.push(piece);
      text += found.text;
      if (found.stop !== undefined) return { text, stop: found.stop };
    }
    return { text: text + matcher.flush(), stop: undefined };
  };

  test.each<[string[], string[], string, string | undefined]>([
    [['END'], ['a', 'E', 'N', 'D', 'b'], 'a', 'END'],
    [['END'], ['aEN', 'Db'], 'a', 'END'],
    [['END'], ['aE', 'NE', 'NDx'], 'aEN', 'END'],
    [['END'], ['aEN'], 'aEN', undefined],
    [['END'], ['a', 'b'], 'ab', undefined],
    [[], ['a', 'b'], 'ab', undefined],
    [['\n\n'], ['a\n', 'b\n', '\nc'], 'a\nb', '\n\n'],
    [['aab'], ['aaa', 'ab'], 'aa', 'aab'],
    [['abcd', 'bc'], ['xabcd'], 'xa', 'bc'],
    [['abcd', 'bc'], ['xab', 'cd'], 'xa', 'bc'],
    [['bc', 'abc'], ['xab', 'c'], 'x', 'abc'],
    [['😀'], ['a😀b'], 'a', '😀'],
    [['😀'], ['a😁b'], 'a😁b', undefined],
    [['日本語'], ['今日', '日本', '語'], '今日', '日本語'],
    [['👩‍👧'], ['x👩', '\u200d', '👧 y'], 'x', '👩‍👧'],
  ])('%j in %j leaves %j', (stops, pieces, text, stop) => {
    expect(run(stops, pieces)).toEqual({ text, stop });
  });

  test('the result does not depend on the pieces, and no part of a stop string is emitted', () => {
    const letters = fc.array(fc.constantFrom('a', 'b', 'c', '😀', '😁'), { maxLength: 30 });
    const stop = fc
      .array(fc.constantFrom('a', 'b', '😀'), { minLength: 1, maxLength: 4 })
      .map((parts) => parts.join(''));
    fc.assert(
      fc.property(
        letters,
        fc.array(stop, { maxLength: 3 }),
        fc.array(fc.integer({ min: 1, max: 5 })),
        (parts, stops, cuts) => {
          const pieces: string[] = [];
          for (let at = 0, i = 0; at < parts.length; i++) {
            const length = cuts[i % (cuts.length || 1)] ?? 1;
            pieces.push(parts.slice(at, at + length).join(''));
            at += length;
          }
          const result = run(stops, pieces);
          expect(result).toEqual(run(stops, [parts.join('')]));
          for (const each of stops) expect(result.text).not.toContain(each);
          expect(parts.join('').startsWith(result.text + (result.stop ?? ''))).toBe(true);
        },
      ),
    );
  });

  test('an empty stop string and one of another type are refused', () => {
    expect(() => new StopMatcher(['a', ''])).toThrow(/'stop\[1\]' must be a string that is not empty/);
    expect(() => new StopMatcher([7 as never])).toThrow(expect.objectContaining({ code: 'MBOK_INVALID_ARGUMENT' }));
  });
});

describe('corpus', () => {
  test('every document, including the first, follows the end-of-text token', async () => {
    const ids = (text: string) => tokenizer.encode(text, { addSpecialTokens: false });
    const tokens = await encodeCorpus(tokenizer, 'One.<|endoftext|>Two.<|endoftext|>\n');
    expect(tokens).toBeInstanceOf(Uint16Array);
    expect([...tokens]).toEqual([0, ...ids('One.'), 0, ...ids('Two.')]);
    expect([...(await encodeCorpus(tokenizer, 'One. Two.'))]).toEqual([0, ...ids('One. Two.')]);
    expect(splitDocuments('<|endoftext|> \n<|endoftext|>a')).toEqual(['a']);
  });

  test('an empty text is refused, and an abort stops the call', async () => {
    for (const text of ['', ' \n', '<|endoftext|>']) {
      await expect(encodeCorpus(tokenizer, text)).rejects.toMatchObject({ code: 'MBOK_INVALID_ARGUMENT' });
    }
    const text = readFileSync(join(assets, 'corpus/train.txt'), 'utf8');
    const controller = new AbortController();
    const encoding = encodeCorpus(tokenizer, text, { signal: controller.signal, onProgress: () => controller.abort() });
    await expect(encoding).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  });

  test('counter-based random numbers are uniform and the same in all versions', () => {
    expect([uniform(0), uniform(1, 2), uniform(2 ** 40, 5)].map((x) => x.toFixed(12))).toMatchInlineSnapshot(`
[
  "0.388750724550",
  "0.787342104893",
  "0.434555263909",
]
`);
    const bins = new Array<number>(10).fill(0);
    for (let i = 0; i < 10_000; i++) {
      const bin = uniformInteger(10, 7, i);
      bins[bin] = (bins[bin] as number) + 1;
    }
    for (const count of bins) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });
});
