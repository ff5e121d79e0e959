/** Untrusted tokenizer files: each gives ids or one MbokError, in bounded time and memory. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JsonObject } from '../../lib/io/json';
import { TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { MOST_GROWTH, MOST_TIME, type Outcome, runCases } from '../helpers/hostile_cases';

const FORMAT = 'MBOK_FORMAT';
const VOCABULARY = 2048;
const letters = 'a'.repeat(50);

interface TokenizerJson extends JsonObject {
  model: JsonObject & { vocab: JsonObject };
  added_tokens: JsonObject[];
}
const original = readFileSync(join(TINY_STORIES, 'tokenizer.json'), 'utf8');
/** Returns the embedded tokenizer with a change. */
const changed = (change: (json: TokenizerJson) => void): JsonObject => {
  const json = JSON.parse(original) as TokenizerJson;
  change(json);
  return json;
};
const normalizer = (...normalizers: JsonObject[]) =>
  changed((json) => Object.assign(json, { normalizer: { type: 'Sequence', normalizers } }));
const preTokenizer = (...pretokenizers: JsonObject[]) =>
  changed((json) => Object.assign(json, { pre_tokenizer: { type: 'Sequence', pretokenizers } }));
const decoder = (...decoders: JsonObject[]) =>
  changed((json) => Object.assign(json, { decoder: { type: 'Sequence', decoders } }));
const postProcessor = (single: JsonObject[]) =>
  changed((json) => Object.assign(json, { post_processor: { type: 'TemplateProcessing', single } }));
const token = (content: string, id: unknown) => changed((json) => Object.assign(json.model.vocab, { [content]: id }));
const addedTokens = (tokens: readonly string[]) =>
  changed((json) => {
    json.added_tokens.push(...tokens.map((content, index) => ({ id: VOCABULARY + index, content, special: true })));
  });
/** Creates a tokenizer of a model, without the other parts of the embedded tokenizer. */
const ofModel = (model: JsonObject) => {
  const none = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
  return { ...none, model };
};
const unigram = (vocab: unknown[], unknown: unknown = 0) => ofModel({ type: 'Unigram', unk_id: unknown, vocab });
const wordPiece = ofModel({
  type: 'WordPiece',
  unk_token: '?',
  continuing_subword_prefix: '##',
  max_input_chars_per_word: 1_000_000_000,
  vocab: { '?': 0, a: 1, '##a': 2 },
});

const replace = (from: JsonObject, content: unknown) => ({ type: 'Replace', pattern: from, content });
const string = (text: string) => ({ String: text });
const regex = (expression: string) => ({ Regex: expression });
const split = (expression: string) => ({
  type: 'Split',
  pattern: regex(expression),
  behavior: 'Isolated',
  invert: false,
});
const bytes = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };
const lowercase = { type: 'Lowercase' };
const many = <T>(count: number, item: T): T[] => Array.from({ length: count }, () => item);
const textItem = { Sequence: { id: 'A', type_id: 0 } };
const EXPONENTIAL = '(a|a)+Q';

/** A tokenizer.json, a text, the decoded text or the code of the error, and settings. */
const cases: [name: string, tokenizer: JsonObject, text: string, expected: string, settings?: JsonObject][] = [
  ['the embedded tokenizer', changed(() => {}), 'Once upon a time', 'Once upon a time'],
  // time
  ['words by an expression', preTokenizer(split(EXPONENTIAL), bytes), letters, FORMAT],
  ['words by an expression that looks ahead', preTokenizer(split('(?:a|aa)+(?=Q)'), bytes), letters, FORMAT],
  ['words by the same expression, of a text that fits it', preTokenizer(split(EXPONENTIAL), bytes), 'b', 'b'],
  ['a normalizer by an expression', normalizer(replace(regex(EXPONENTIAL), '')), letters, FORMAT],
  ['a decoder by an expression', decoder({ type: 'Fuse' }, replace(regex(EXPONENTIAL), '')), letters, FORMAT],
  [
    'an added token normalized by an expression',
    changed((json) => {
      Object.assign(json, { normalizer: replace(regex(EXPONENTIAL), '') });
      json.added_tokens.push({ id: VOCABULARY, content: letters, normalized: true });
    }),
    'b',
    FORMAT,
  ],
  ['an expression of many alternatives', preTokenizer(split(`${'a?'.repeat(20_000)}b`), bytes), letters, FORMAT],
  [
    'many special tokens',
    changed(() => {}),
    'b',
    FORMAT,
    { additional_special_tokens: many(300_000, 'x').map((x, i) => x + i) },
  ],
  ['words without end', wordPiece, 'b'.repeat(20_000), FORMAT],
  ['words of no length', preTokenizer({ type: 'FixedLength', length: 0 }), letters, FORMAT],
  [
    'pieces within pieces',
    unigram([['?', 0], ...many(2000, -1).map((score, i) => ['a'.repeat(i + 1), score])]),
    'a'.repeat(40_000),
    FORMAT,
  ],
  [
    'a hundred thousand added tokens of one first letter',
    addedTokens(many(100_000, '<').map((x, i) => `${x}${i}>`)),
    '< <5> '.repeat(5000),
    '< <5> '.repeat(5000),
  ],
  [
    'added tokens that begin with one another',
    addedTokens(many(1000, 'a').map((a, i) => `${a.repeat(i + 1)}b`)),
    'a'.repeat(20_000),
    'a'.repeat(20_000),
  ],
  // memory
  ['a normalizer that doubles', normalizer(...many(60, replace(string('a'), 'aa'))), 'a', FORMAT],
  [
    'a normalizer that doubles after another',
    normalizer(lowercase, ...many(60, replace(string('a'), 'aa'))),
    'a',
    FORMAT,
  ],
  [
    'a normalizer that decomposes',
    normalizer(...many(20, [replace(string('ل'), 'ﷺ'), { type: 'NFKC' }]).flat()),
    'ل',
    FORMAT,
  ],
  ['a long replacement', normalizer(replace(string('a'), 'b'.repeat(60_000))), 'a'.repeat(50_000), FORMAT],
  ['a replacement of a million letters', normalizer(replace(string('a'), 'b'.repeat(1_000_000))), 'a', FORMAT],
  ['a long beginning', normalizer({ type: 'Prepend', prepend: 'a'.repeat(1_000_000) }), 'a', FORMAT],
  ['words as bytes of bytes', preTokenizer(...many(60, bytes), split('x')), 'é', FORMAT],
  [
    'spaces that double',
    preTokenizer(...many(60, { type: 'Metaspace', replacement: '  ', str_rep: '    ' })),
    'a b',
    FORMAT,
  ],
  ['a decoder that doubles', decoder(...many(60, replace(string('e'), 'ee'))), 'Once', FORMAT],
  [
    'a decoder of suffixes of no length',
    decoder(...many(60, { type: 'BPEDecoder', suffix: '' })),
    'Once upon a time',
    FORMAT,
  ],
  ['a template that doubles', postProcessor([textItem, textItem]), 'a', FORMAT],
  ['long added tokens', addedTokens(['a'.repeat(1_000_000)]), 'a', FORMAT],
  [
    'added tokens with little in common',
    addedTokens(many(2000, 0).map((_, i) => String(i).repeat(1000).slice(0, 1000))),
    'a',
    FORMAT,
  ],
  ['a long token', token('a'.repeat(1_000_000), VOCABULARY), 'a', FORMAT],
  [
    'a long end of words',
    changed(({ model }) => Object.assign(model, { end_of_word_suffix: 'x'.repeat(1000) })),
    'a',
    FORMAT,
  ],
  // ids
  ['an id of 2³¹', token('zz', 2 ** 31), 'a', FORMAT],
  ['an id far from the others', token('zz', 1_000_000), 'a', FORMAT],
  ['an id with a fraction', token('zz', 5.5), 'a', FORMAT],
  ['an id below zero', token('zz', -1), 'a', FORMAT],
  ['an id that is a text', token('zz', '5'), 'a', FORMAT],
  ['an id that is nothing', token('zz', null), 'a', FORMAT],
  ['an added id of 2³¹', changed((json) => json.added_tokens.push({ id: 2 ** 31, content: 'zz' })), 'a', FORMAT],
  ['an added id with a fraction', changed((json) => json.added_tokens.push({ id: 5.5, content: 'zz' })), 'a', FORMAT],
  [
    'an unknown token with a fraction',
    unigram(
      [
        ['?', 0],
        ['b', -1],
      ],
      0.5,
    ),
    'a',
    FORMAT,
  ],
  [
    'a template of a token that is not there',
    postProcessor([{ SpecialToken: { id: '<x>', type_id: 0 } }, textItem]),
    'a',
    FORMAT,
  ],
  ['an end token with a fraction', changed(() => {}), 'a', FORMAT, { eos_token_id: 1.5 }],
  ['a beginning of another vocabulary', changed(() => {}), 'a', 'a', { bos_token: null, bos_token_id: 50256 }],
  // kinds and shapes
  ['a model of no known kind', changed(({ model }) => Object.assign(model, { type: 'Foo' })), 'a', FORMAT],
  [
    'scores that are none',
    unigram([
      ['?', 0],
      ['a', null],
    ]),
    'a',
    FORMAT,
  ],
  ['merges that are numbers', changed(({ model }) => Object.assign(model, { merges: [5] })), 'a', FORMAT],
  ['merges that are none', changed(({ model }) => Object.assign(model, { merges: null })), 'a', FORMAT],
  ['added tokens that are none', changed((json) => Object.assign(json, { added_tokens: [null] })), 'a', FORMAT],
  ['a normalizer without its text', normalizer({ type: 'Prepend' }), 'a', FORMAT],
  ['words by no expression', preTokenizer({ type: 'Split', pattern: {}, behavior: 'Isolated' }), 'a', FORMAT],
  [
    'a component in itself',
    changed((json) => {
      let inner: JsonObject = lowercase;
      for (let i = 0; i < 200; i++) inner = { type: 'Sequence', normalizers: [inner] };
      Object.assign(json, { normalizer: inner });
    }),
    'a',
    FORMAT,
  ],
  [
    'the language of a vocabulary',
    ofModel({ type: 'WordLevel', vocab: { a: 0 } }),
    'a',
    'a',
    { target_lang: 'constructor' },
  ],
  // as for byte pairs, text outside the vocabulary is dropped if there is no unknown token, also within words
  [
    'pieces without an unknown token',
    {
      ...unigram(
        [
          ['a', 0],
          ['b', -1],
        ],
        null,
      ),
      pre_tokenizer: { type: 'Whitespace' },
    },
    'axb x',
    'a b',
  ],
  // meaning of replacements
  ['special patterns of a replacement', normalizer(replace(string('a'), "$&$'")), 'ab', "$&$'b"],
  [
    'special patterns of a replacement after another',
    normalizer(lowercase, replace(string('a'), "$&$'")),
    'ab',
    "$&$'b",
  ],
];

const temporary = temporaryFolder();
let outcomes: Outcome[];
beforeAll(() => {
  const work = {
    imports: "import { Tokenizer } from './lib/text/tokenizer';",
    work: `
      const [json, text, settings] = input;
      const contents = { 'tokenizer.json': json, 'tokenizer_config.json': settings, 'config.json': settings };
      const files = new Map(Object.entries(contents).map(([name, json]) => [name, Buffer.from(JSON.stringify(json))]));
      const tokenizer = Tokenizer.fromFiles(files, 'place');
      const ids = tokenizer.encode(text, { addSpecialTokens: false });
      if (!ids.every((id) => Number.isInteger(id) && id < tokenizer.vocabSize)) throw new Error('ids of no tokens');
      return tokenizer.decode(ids);`,
  };
  const inputs = cases.map(([, json, text, , settings = {}]) => [json, text, settings]);
  outcomes = runCases(temporary, work, inputs);
});

test.each(cases.map(([name, , , expected], index) => ({ name, expected, index })))('$name', ({ expected, index }) => {
  const { result, code, message = '', time, growth } = outcomes[index] as Outcome;
  expect(code ?? result).toBe(expected);
  expect(time).toBeLessThan(MOST_TIME);
  expect(growth).toBeLessThan(MOST_GROWTH);
  expect(message.length).toBeLessThan(500);
});
