/** Tokenizers rebuilt from GGUF metadata give the same ids as the original programs. */

import fc from 'fast-check';
import { MbokError } from '../../../lib/base/errors';
import { readGgufTokenizer } from '../../../lib/models/gguf/tokenizer';
import { AddedTokens } from '../../../lib/text/added_tokens';
import { Tokenizer } from '../../../lib/text/tokenizer';
import { compilePattern } from '../../../lib/text/word_pattern';
import { wordRule } from '../../../lib/text/words';
import {
  byteLevel,
  byteLevelMetadata,
  metadata,
  pieceMetadata,
  pieces,
  readTokenizerGolden,
  tokenizerFiles,
} from '../../helpers/gguf_tokenizers';

/**
 * Texts over an alphabet, with llama.cpp's ids by rule. The vocabulary has all pairs of letters, so that almost every
 * cut position shows in the ids. `same` lists further names of a rule. `words` are those of byteLevel.texts.
 */
const wordRules = readTokenizerGolden<{
  readonly alphabet: string;
  readonly texts: string[];
  readonly ids: Record<string, number[][]>;
  readonly same: Record<string, string[]>;
  readonly words: Record<string, string[][]>;
}>('word_rules.json');

/** Creates a vocabulary of 256 bytes by value, then the pairs of the alphabet, which merge in this order. */
function pairMetadata(): Record<string, unknown> {
  const spelled = bytesAsGpt2();
  const letters = [...wordRules.alphabet].map((letter) => spelled[letter.charCodeAt(0)] as string);
  const pairs = letters.flatMap((first) => letters.map((second) => [first, second]));
  const tokens = [...spelled, ...pairs.map((pair) => pair.join(''))];
  return metadata({
    model: 'gpt2',
    tokens,
    token_type: tokens.map(() => 1),
    merges: pairs.map((pair) => pair.join(' ')),
  });
}

/** Spells bytes as GPT-2: printable ones as themselves, the others as characters from U+0100 on. */
function bytesAsGpt2(): string[] {
  let next = 256;
  const prints = (byte: number) => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(prints(byte) ? byte : next++));
}

/** Creates all words of up to 14 letters of two kinds, so that every cut of a piece gives two other pieces. */
function piecesOfTwoLetters(): Record<string, unknown> {
  const tokens = ['?'];
  for (let length = 1; length <= 14; length++) {
    for (let word = 0; word < 2 ** length; word++) tokens.push(word.toString(2).padStart(length, '0'));
  }
  return pieceMetadata({ tokens, token_type: tokens.map(() => 1), scores: tokens.map(() => 0) });
}

/** Builds the tokenizer from the files with which a converted model is saved. */
function build(values: Record<string, unknown>): Tokenizer {
  const { tokenizer, config, generation } = tokenizerFiles(values);
  const files = { 'tokenizer.json': tokenizer, 'tokenizer_config.json': config, 'generation_config.json': generation };
  return Tokenizer.fromFiles(
    new Map(Object.entries(files).map(([name, content]) => [name, Buffer.from(JSON.stringify(content))])),
    'model.gguf',
  );
}
const plain = { addSpecialTokens: false };

describe('byte-level byte-pair encoding', () => {
  test.each(Object.keys(byteLevel.ids))('%s cuts and merges as its own tokenizer.json does', (pre) => {
    const tokenizer = build(byteLevelMetadata({ pre }));
    expect(wordRule(readGgufTokenizer(byteLevelMetadata({ pre })))).toBeDefined();
    expect(Object.fromEntries(byteLevel.texts.map((text) => [text, tokenizer.encode(text, plain)]))).toEqual(
      Object.fromEntries(byteLevel.texts.map((text, i) => [text, byteLevel.ids[pre]?.[i]])),
    );
    for (const text of byteLevel.texts.filter((t) => t === t.normalize('NFC'))) {
      expect(tokenizer.decode(tokenizer.encode(text, plain))).toBe(text);
    }
  });

  test.each(Object.entries(wordRules.ids))('%s cuts as llama.cpp does, and so do its other names', (pre, ids) => {
    for (const name of [pre, ...(wordRules.same[pre] ?? [])]) {
      const values = { ...pairMetadata(), 'tokenizer.ggml.pre': name === 'absent' ? undefined : name };
      expect(wordRule(readGgufTokenizer(values))?.isLinear).toBe(true);
      const tokenizer = build(values);
      expect(Object.fromEntries(wordRules.texts.map((text) => [text, tokenizer.encode(text, plain)]))).toEqual(
        Object.fromEntries(wordRules.texts.map((text, i) => [text, ids[i]])),
      );
    }
  });

  test.each(Object.entries(wordRules.words))('%s cuts any script as the published expression does', (pre, words) => {
    const rule = wordRule(readGgufTokenizer(byteLevelMetadata({ pre })));
    expect(byteLevel.texts.map((text) => rule?.split(text, true) ?? [])).toEqual(words);
  });

  test('the tokens around a text come from the file, or from the kind of tokenizer', () => {
    const first = (changes: Record<string, unknown>) => build(byteLevelMetadata(changes)).encode('a')[0];
    const a = byteLevel.tokens.indexOf('a');
    expect(first({})).toBe(a);
    expect(first({ pre: 'llama-bpe' })).toBe(0);
    expect(first({ pre: 'llama-bpe', add_bos_token: false })).toBe(a);
    expect(first({ add_bos_token: true })).toBe(0);
    const both = build(byteLevelMetadata({ add_bos_token: true, add_eos_token: true, eos_token_id: 3 }));
    expect(both.encode('a')).toEqual([0, a, 3]);
  });

  test('tokens that end a message end a text too', () => {
    const tokenizer = build(byteLevelMetadata({ eos_token_id: 3 }));
    expect(tokenizer).toMatchObject({ bosTokenId: 0, eosTokenIds: [3, 1], documentStartId: 1 });
    expect(build(byteLevelMetadata({ eos_token_id: 1, eot_token_id: 2n })).eosTokenIds).toEqual([1, 2, 3]);
  });

  test('the chat template is read', () => {
    const { config } = tokenizerFiles({ ...byteLevelMetadata(), 'tokenizer.chat_template': '{{ messages }}' });
    expect(config.chat_template).toBe('{{ messages }}');
  });
});

describe('SentencePiece', () => {
  test.each([
    ['with a space before every text', true, pieces.ids],
    ['without', false, pieces.ids_without_prefix],
  ])('merges follow the scores, bytes stand in for unknown characters: %s', (_, add_space_prefix, ids) => {
    const tokenizer = build(pieceMetadata({ add_space_prefix }));
    // runs of spaces are separate pieces in Gemma, which adds no space before a text
    const texts = pieces.texts.filter((text) => !add_space_prefix || !/^ | {2}/.test(text));
    expect(Object.fromEntries(texts.map((text) => [text, tokenizer.encode(text, plain)]))).toEqual(
      Object.fromEntries(texts.map((text) => [text, ids[pieces.texts.indexOf(text)]])),
    );
  });

  test('decoded text is that of SentencePiece', () => {
    const tokenizer = build(pieceMetadata());
    const decoded = pieces.ids.map((ids) => tokenizer.decode(ids));
    // Hugging Face's decoder drops a byte order mark from bytes at the start of a word
    const comparable = (texts: readonly string[]) => texts.map((text) => text.replace('\ufeff', ''));
    expect(comparable(decoded)).toEqual(comparable(pieces.decoded));
  });

  test('a text begins with the begin-of-text token, and words are cached', () => {
    expect(build(pieceMetadata()).encode('a')[0]).toBe(1);
    expect(build(pieceMetadata({ add_bos_token: false })).encode('a')[0]).not.toBe(1);
    expect(wordRule(readGgufTokenizer(pieceMetadata()))).toBeDefined();
  });

  test("Phi-3's control tokens take in the white space after them", () => {
    const tokens = [...pieces.tokens];
    const control = pieces.token_type.map((type, id) => (tokens[id] === '<|user|>' ? 3 : type));
    const phi = { ...pieceMetadata({ token_type: control }), 'general.architecture': 'phi3' };
    const user = tokens.indexOf('<|user|>');
    const tokenizer = build(phi);
    expect(tokenizer.encode('<|user|>\n a', plain)).toEqual([user, ...tokenizer.encode('a', plain)]);
    const other = build(pieceMetadata());
    expect(other.encode('<|user|>\n a', plain)).toEqual([user, ...other.encode('\n a', plain)]);
  });
});

test('equal tokens leave ids unused, but not the majority', () => {
  const tokens = Array.from({ length: 200_000 }, () => 'same');
  expect(() => build(byteLevelMetadata({ tokens, token_type: undefined, merges: [] }))).toThrow(
    expect.objectContaining({ code: 'MBOK_FORMAT', message: expect.stringMatching(/id of the token "same"/) }),
  );
});

describe('invalid tokenizers', () => {
  const unsupported = 'MBOK_UNSUPPORTED';
  const format = 'MBOK_FORMAT';
  test.each<[string, Record<string, unknown>, string, RegExp]>([
    ['no tokenizer at all', {}, format, /'tokenizer\.ggml\.tokens' must be a list of strings, got nothing/],
    ['another kind', byteLevelMetadata({ model: 't5' }), unsupported, /'t5' is not supported; 'gpt2'.*'llama'/],
    ['another rule', byteLevelMetadata({ pre: 'kimi-k2' }), unsupported, /'kimi-k2' is not known.*gpt-2.*qwen2/],
    ['a rule that objects have', byteLevelMetadata({ pre: 'constructor' }), unsupported, /'constructor'/],
    ['tokens of numbers', byteLevelMetadata({ tokens: [1] }), format, /'tokenizer\.ggml\.tokens'/],
    ['types of strings', byteLevelMetadata({ token_type: ['1'] }), format, /token_type' must be a list of 641 numbers/],
    ['too few types', byteLevelMetadata({ token_type: [1] }), format, /token_type' must be a list of 641 numbers/],
    ['a merge of three', byteLevelMetadata({ merges: ['a b', 'a b c'] }), format, /number 1 must be two tokens/],
    ['an id past the end', byteLevelMetadata({ bos_token_id: 641 }), format, /bos_token_id' must be an id below 641/],
    ['an id that is text', byteLevelMetadata({ eos_token_id: '1' }), format, /eos_token_id'.*got "1"/],
    [
      'a flag that is a number',
      byteLevelMetadata({ add_bos_token: 1 }),
      format,
      /add_bos_token' must be true or false/,
    ],
    ['no scores', pieceMetadata({ scores: undefined }), format, /scores' is missing/],
    ['a score that is none', pieceMetadata({ scores: pieces.scores.map(() => NaN) }), format, /scores' must be a list/],
    [
      'a rule of 1 MB',
      byteLevelMetadata({ pre: 'x'.repeat(1 << 20) }),
      unsupported,
      /^the rule 'x{200}…' is not known/,
    ],
    ['a merge of 1 MB', byteLevelMetadata({ merges: ['x'.repeat(1 << 20)] }), format, /two tokens, got "x{79}…$/],
    ['pieces that are all parts of others', piecesOfTwoLetters(), format, /too many pieces that are parts of others/],
  ])('%s', (_, values, code, message) => {
    expect(() => tokenizerFiles(values)).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });
});

test('any content of an entry gives a tokenizer or one MbokError', () => {
  const entries = Object.entries({ ...byteLevelMetadata(), ...pieceMetadata() });
  const value = fc.oneof(
    fc.anything({ withBigInt: true, withTypedArray: true }),
    fc.constantFrom('gpt2', 'llama', 'smollm', 'x'.repeat(100_000)),
    fc.array(fc.string(), { maxLength: 5 }),
    fc.integer(),
  );
  const keys = [
    ...entries.map(([key]) => key),
    'tokenizer.ggml.merges',
    'tokenizer.ggml.pre',
    'tokenizer.chat_template',
  ];
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom(...keys), value), { minLength: 1, maxLength: 3 }), (changes) => {
      const changed = Object.fromEntries([...entries, ['tokenizer.ggml.pre', 'gpt-2'], ...changes]);
      try {
        tokenizerFiles(changed);
      } catch (error) {
        expect(error).toBeInstanceOf(MbokError);
      }
    }),
    { numRuns: 300 },
  );
});

test('a piece of a million characters is not split into all its parts', () => {
  const piece = 'a'.repeat(1e6);
  // without merging limits this would take 10¹² characters and never end
  const { tokenizer } = tokenizerFiles(pieceMetadata({ tokens: pieces.tokens.with(-1, piece) }));
  expect(JSON.stringify(tokenizer)).toContain(piece);
});

test('a vocabulary larger than the embedding is refused, added tokens past it are not', () => {
  const tokenizer = build(byteLevelMetadata());
  expect(() => tokenizer.expectWithin(641, 'm.gguf')).not.toThrow();
  expect(() => tokenizer.expectWithin(640, 'm.gguf')).toThrow(
    expect.objectContaining({ code: 'MBOK_SHAPE', message: expect.stringMatching(/m\.gguf.*id 640.*only 640 rows/) }),
  );
  const { tokenizer: json } = tokenizerFiles(byteLevelMetadata());
  const added = [...(json.added_tokens as object[]), { id: 700, content: '<image>', special: true }];
  const files = new Map([['tokenizer.json', Buffer.from(JSON.stringify({ ...json, added_tokens: added }))]]);
  expect(() => Tokenizer.fromFiles(files, 'm').expectWithin(641, 'm')).not.toThrow();
});

test('the longest added token wins, and tokens that trim include white space', () => {
  const added = new AddedTokens({
    added_tokens: [
      { id: 0, content: '<a>' },
      { id: 1, content: '<a><b>', lstrip: true },
      { id: 2, content: '😀', rstrip: true },
      { id: 3, content: '' },
    ],
  });
  expect(added.split('x <a><b><a> y 😀 z <')).toEqual(['x', 1, 0, ' y ', 2, 'z <']);
  expect(added.split('')).toEqual([]);
  expect(new AddedTokens({}).split('<a>')).toEqual(['<a>']);
});

test.each<[string, string, string[] | undefined]>([
  [String.raw`(?i:'s|[dm]t)|\s+`, "'S dT\u0085\ufeffmt", ["'S", ' ', 'dT', '\u0085', 'mt']],
  [String.raw`[^\s\p{L}{}]+|\p{N}{1,2}`, '12\u0085ab{}3', ['12', '3']],
  [String.raw`\d+`, '1\u0661a', ['1\u0661']],
  ['a++', '', undefined],
  ['a?+', '', undefined],
  [String.raw`\w+`, '', undefined],
  ['^a', '', undefined],
  ['a.', '', undefined],
  ['[[:alpha:]]', '', undefined],
  ['[a&&b]', '', undefined],
  ['(?>a)', '', undefined],
  [String.raw`(?i:\p{L})`, '', undefined],
])('the pattern %s', (pattern, text, matches) => {
  const compiled = compilePattern(pattern);
  expect(compiled && text.match(compiled)).toEqual(matches);
});
