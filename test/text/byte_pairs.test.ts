/** Byte-pair encoding: the ids are those of the Python package `tokenizers`, for words of any length. */

import { createHash } from 'node:crypto';
import fc from 'fast-check';
import type { JsonObject } from '../../lib/io/json';
import { type GgufTokenizer, readGgufTokenizer } from '../../lib/models/gguf/tokenizer';
import { BytePairModel, bytePairModel } from '../../lib/text/byte_pairs';
import { HuggingFaceTokenizer } from '../../lib/text/huggingface';
import type { Merges } from '../../lib/text/merge_table';
import { Tokenizer } from '../../lib/text/tokenizer';
import { readTokenizer } from '../../lib/text/tokenizer_file';
import { Vocabulary } from '../../lib/text/vocabulary';
import { TINY_STORIES } from '../helpers/folders';
import { byteLevelMetadata, pieceMetadata, readTokenizerGolden } from '../helpers/gguf_tokenizers';

const golden = readTokenizerGolden<{
  words: [alphabet: string, length: number][];
  ids: Record<string, [count: number, sha256: string][]>;
}>('long_words.json');

const byteLevel = readGgufTokenizer(byteLevelMetadata());
const sentencePiece = (changes: Record<string, unknown> = {}) => readGgufTokenizer(pieceMetadata(changes));

const tokenizerOf = (description: GgufTokenizer) => {
  const { config, generation } = description;
  return Tokenizer.fromParts({ description, config, others: [generation], files: () => [], place: 'model.gguf' });
};
/** Builds the tokenizer from the file with which a model is saved. */
const saved = (description: GgufTokenizer) =>
  Tokenizer.fromFiles(new Map([['tokenizer.json', Buffer.from(JSON.stringify(description.file()))]]), 'model');

const plain = { addSpecialTokens: false };

/** Creates a word by a linear congruential generator. */
function wordOf(alphabet: string, length: number): string {
  const letters = [...alphabet];
  let seed = 1;
  return Array.from({ length }, () => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return letters[(seed >>> 24) % letters.length];
  }).join('');
}

describe('words of a hundred thousand and of a million letters have the ids of `tokenizers`', () => {
  const built: Record<string, () => Tokenizer | Promise<Tokenizer>> = {
    byte_level: () => tokenizerOf(byteLevel),
    sentence_piece: () => tokenizerOf(sentencePiece()),
    tiny_stories: () => Tokenizer.fromFolder(TINY_STORIES),
  };
  test.each(Object.keys(built))('%s', async (name) => {
    const tokenizer = await (built[name] as () => Tokenizer | Promise<Tokenizer>)();
    const ids = golden.words.map(([alphabet, length]) => {
      const encoded = tokenizer.encode(wordOf(alphabet, length), plain);
      return [encoded.length, createHash('sha256').update(Int32Array.from(encoded)).digest('hex')];
    });
    expect(ids).toEqual(golden.ids[name]);
  });

  test('a model of pieces with probabilities encodes words too', () => {
    const vocab = [['?', 0], ...[...'abcde'].map((letter) => [letter, -3]), ['ab', -4], ['cde', -5]];
    const none = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
    const json = { ...none, model: { type: 'Unigram', unk_id: 0, vocab } };
    const tokenizer = Tokenizer.fromFiles(new Map([['tokenizer.json', Buffer.from(JSON.stringify(json))]]), 'model');
    expect(tokenizer.encode('abcde'.repeat(60_000))).toEqual(Array.from({ length: 120_000 }, (_, i) => 6 + (i % 2)));
  });
});

/** Counts the queries to a merge table. */
class Counted implements Merges {
  asked = 0;

  constructor(private readonly merges: Merges) {}

  rank(...pair: Parameters<Merges['rank']>): number {
    this.asked++;
    return this.merges.rank(...pair);
  }

  result(rank: number): number {
    return this.merges.result(rank);
  }
}

test.each([
  ['listed merges', byteLevel],
  ['pieces with scores', sentencePiece()],
])('the work for a word grows with its length: %s', (_, description) => {
  for (const alphabet of ['a', 'etaoinshr']) {
    const merges = new Counted(description.merges as Merges);
    const model = bytePairModel({ ...description, merges }) as BytePairModel;
    const length = 50_000;
    model.encode(wordOf(alphabet, length));
    // once per pair of letters, and for the two neighbors of every merge
    expect(merges.asked).toBeLessThan(3 * length);
    expect(merges.asked).toBeGreaterThanOrEqual(length - 1);
  }
});

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 60 }),
  fc.string({
    unit: fc.constantFrom('a', 'b', ' ', '\u2581', 'the', 'é', '\n', '<', '😀', '\ud800', '.'),
    maxLength: 60,
  }),
);

describe('whatever the text', () => {
  test.each([
    ['byte-level', byteLevel],
    ['SentencePiece', sentencePiece()],
    ['SentencePiece without a space before every text', sentencePiece({ add_space_prefix: false })],
  ])('a tokenizer has the ids and texts that its saved file has with the package: %s', (_, description) => {
    const json = description.file();
    const [own, file] = [tokenizerOf(description), saved(description)];
    const published = new HuggingFaceTokenizer(json, {});
    fc.assert(
      fc.property(text, (written) => {
        const ids = own.encode(written, plain);
        expect(file.encode(written, plain)).toEqual(ids);
        expect(own.decode(ids)).toBe(published.decode(ids, false));
        expect(published.encode(written, false)).toEqual(ids);
      }),
      { numRuns: 300 },
    );
  });

  test('merges with equal scores follow the order of their list', () => {
    const letters = ['?', 'a', 'b'];
    for (let length = 2; length <= 5; length++) {
      for (let word = 0; word < 2 ** length; word++) {
        letters.push(word.toString(2).padStart(length, '0').replaceAll('0', 'a').replaceAll('1', 'b'));
      }
    }
    const scores = letters.map((_, id) => -(id % 3));
    const description = sentencePiece({ tokens: letters, token_type: undefined, scores });
    const published = new HuggingFaceTokenizer(description.file(), {});
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 40 }), (word) => {
        expect(bytePairModel(description)?.encode(word)).toEqual(published.encodeWord(word));
      }),
    );
  });
});

describe('characters outside the vocabulary', () => {
  const model = (settings: object) =>
    new BytePairModel({
      vocabulary: new Vocabulary(['?', 'a', '<0xC3>', '<0xA9>']),
      merges: { rank: () => -1, result: () => -1 },
      unknown: '?',
      fusesUnknown: false,
      fallsBackToBytes: false,
      ignoresMerges: false,
      suffix: '',
      ...settings,
    });
  // as PyPI's tokenizers 0.23 encodes them
  test.each<[string, object, number[]]>([
    ['are unknown one by one', {}, [1, 0, 0, 1, 0]],
    ['or together', { fusesUnknown: true }, [1, 0, 1, 0]],
    ['or bytes, where there are all', { fallsBackToBytes: true }, [1, 2, 3, 0, 1, 0]],
    ['or nothing', { unknown: undefined }, [1, 1]],
  ])('%s', (_, settings, ids) => {
    expect(model(settings).encode('aébab')).toEqual(ids);
  });
});

test.each<[string, JsonObject[], RegExp]>([
  ['of something that is no token', [['a', 'x']] as never, /model\.merges: number 0 needs the token "x"/],
  ['into something that is no token', ['a b', 'a ab'] as never, /model\.merges: number 1 needs the token "aab"/],
])('a merge %s is refused, as by `tokenizers`', (_, merges, message) => {
  const none = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
  const model = { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges };
  expect(() => readTokenizer({ ...none, model })).toThrow(
    expect.objectContaining({ code: 'MBOK_FORMAT', message: expect.stringMatching(message) }),
  );
});
