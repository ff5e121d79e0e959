/** Valid tokenizers of every kind, and hostile parts of every kind to put into them. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GOLDEN } from '../helpers/folders';
import { tokenizerFiles } from '../helpers/gguf_tokenizers';
import type { Draw } from './draw';
import { hostileNumber, hostileString, hostileValue, INHERITED, type Json, JsonMap, json, jsonMap } from './hostile';

const LETTERS = [...'abcdefghijklmnopqrstuvwxyz'];
/** Words and pieces of which texts consist. */
const WORDS = ['the', 'there', 'once', 'upon', 'a', 'time', 'was', 'in', 'and', 'sky', 'blue'];

function vocabulary(tokens: readonly string[]): Record<string, number> {
  return Object.fromEntries([...new Set(tokens)].map((token, id) => [token, id]));
}

function tokenizerJson(model: object, parts: object = {}): object {
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [addedToken(0, '<unk>'), addedToken(1, '<s>'), addedToken(2, '</s>')],
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    decoder: null,
    ...parts,
    model,
  };
}

function addedToken(id: number, content: string): object {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
}

const SPECIAL = ['<unk>', '<s>', '</s>'];
const wordPiece = tokenizerJson(
  {
    type: 'WordPiece',
    unk_token: '<unk>',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab: vocabulary([...SPECIAL, ...LETTERS, ...LETTERS.map((letter) => `##${letter}`), ...WORDS]),
  },
  {
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase: true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: { type: 'BertProcessing', sep: ['</s>', 2], cls: ['<s>', 1] },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  },
);
const unigram = tokenizerJson(
  {
    type: 'Unigram',
    unk_id: 0,
    vocab: [...SPECIAL, '▁', ...LETTERS, ...WORDS.map((word) => `▁${word}`)].map((piece, i) => [piece, -i / 8]),
  },
  {
    normalizer: { type: 'Sequence', normalizers: [{ type: 'NFKC' }, { type: 'StripAccents' }, { type: 'Lowercase' }] },
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
    decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
  },
);
const wordLevel = tokenizerJson(
  { type: 'WordLevel', unk_token: '<unk>', vocab: vocabulary([...SPECIAL, ...WORDS]) },
  { pre_tokenizer: { type: 'Whitespace' } },
);
const pairs = tokenizerJson(
  {
    type: 'BPE',
    dropout: null,
    unk_token: '<unk>',
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: vocabulary([...SPECIAL, ...LETTERS, 'th', 'he', 'the', ' ', 'in', 'an', 'and', '▁']),
    merges: ['t h', 'th e', 'h e', 'i n', 'a n', 'an d'],
  },
  {
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: { type: 'Sequence', decoders: [{ type: 'ByteFallback' }, { type: 'Fuse' }] },
  },
);

/** GGUF metadata, from the trained vocabularies of test/golden. */
export const GGUF_METADATA = ['byte_level', 'sentence_piece'].map((name) => {
  const file = readFileSync(join(GOLDEN, 'tokenizers', `${name}.json`), 'utf8');
  const { tokens, token_type, merges, scores } = JSON.parse(file) as Record<string, unknown>;
  const kind = name === 'byte_level' ? { model: 'gpt2', pre: 'gpt-2', merges } : { model: 'llama', scores };
  return { ...kind, tokens, token_type, bos_token_id: 0, eos_token_id: 1, unknown_token_id: 0, add_space_prefix: true };
});

function fromGguf(index: number): object {
  const entries = Object.entries(GGUF_METADATA[index] as object);
  return tokenizerFiles(Object.fromEntries(entries.map(([key, value]) => [`tokenizer.ggml.${key}`, value]))).tokenizer;
}

const [byteLevel, byteFallback] = [fromGguf(0), fromGguf(1)];

/** Valid tokenizer.json content by kind. */
export const HONEST: Readonly<Record<string, () => JsonMap>> = {
  WordPiece: () => jsonMap(wordPiece),
  Unigram: () => jsonMap(unigram),
  WordLevel: () => jsonMap(wordLevel),
  BPE: () => jsonMap(pairs),
  'byte-level BPE': () => jsonMap(byteLevel),
  'byte-fallback BPE': () => jsonMap(byteFallback),
};

/** Returns the files of a tokenizer with ids below 64. */
export function smallTokenizer(): Map<string, Buffer> {
  const files = { 'tokenizer.json': pairs, 'tokenizer_config.json': { bos_token: '<s>', eos_token: '</s>' } };
  return new Map(Object.entries(files).map(([name, content]) => [name, Buffer.from(JSON.stringify(content))]));
}

/** Patterns that take exponential or high polynomial time on matching texts, and patterns that only Oniguruma knows. */
const PATTERNS: readonly string[] = [
  '(a+)+$',
  '(a|a)*b',
  '(a|aa)+$',
  '(.*)*x',
  '(\\w+\\s?)*$',
  '(x+x+)+y',
  '(a*)*b',
].concat(
  [
    '^(([a-z])+.)+[A-Z]([a-z])+$',
    '(?=(a+))a*b\\1',
    '(a*)\\1*b',
    '(?:a?){40}a{40}',
    '(?:a|b|ab){1,60}c',
    '\\s*\\s*\\s*\\s*x',
  ],
  [
    '.*.*.*.*x',
    '\\s+$',
    '[^x]+x',
    '\\p{L}*\\p{L}*\\p{L}*\\d',
    '(?:\\s|\\n)*x',
    '(?i:(a+)+)$',
    ' ?(\\p{L}+)+!',
    '(a?){30000}',
  ],
  [
    '(?>a+)b',
    'a++b',
    '\\h',
    '\\R',
    '\\X',
    '\\K',
    '(?<n>a)\\k<n>',
    '(?<n>a|b\\g<n>c)',
    '\\p{Alpha}',
    '[[:alpha:]]',
    '[a&&b]',
  ],
  [
    '(?m:.)',
    '\\A\\z\\Z\\G',
    '(?~abc)',
    '\\x{1F600}',
    '(',
    ')',
    '[',
    '[]',
    '[^]',
    '*',
    'a{2,1}',
    'a{99999999999}',
    '\\',
    '\\u',
    '',
  ],
  [
    '(?!)',
    '(?<=a+)b',
    '(?<!a)',
    '\\b',
    '^',
    '$',
    '.',
    'a|',
    '|',
    '()',
    '(?:)*',
    '(a{1,9}){1,9}{1,9}',
    '[\\s\\S]*?x',
    '(?i)a',
    '\\d+$',
  ],
);

export function pattern(draw: Draw): string {
  return draw.pick<() => string>([
    () => draw.pick(PATTERNS),
    () => draw.pick(PATTERNS),
    () => draw.several(1, 3, () => draw.pick(PATTERNS)).join(draw.pick(['', '|'])),
    () => `(${draw.pick(PATTERNS)})${draw.pick(['*', '+', '{1,40}', '?+'])}${draw.pick(['$', 'b', '!', ''])}`,
    () => `${'('.repeat(draw.size(1e4))}a`,
    () => `(${'a|'.repeat(draw.size(1e4))}a)+$`,
  ])();
}

/** Returns the search pattern of a Replace, Split or similar component. */
function matcher(draw: Draw): Json {
  if (draw.chance(0.03)) return hostileValue(draw);
  return draw.chance(0.6)
    ? jsonMap({ Regex: pattern(draw) })
    : jsonMap({ String: draw.pick(['a', ' ', '', 'aa', '▁', '\n', hostileString(draw)]) });
}

type Part = (draw: Draw) => Json;

/** Creates a component of `type` with some wrong fields. */
function part(draw: Draw, type: string, fields: Readonly<Record<string, Json>>): JsonMap {
  const entries = Object.entries(fields).map(([key, value]): [string, Json] => [
    key,
    draw.chance(0.03) ? hostileValue(draw) : value,
  ]);
  return new JsonMap([
    ['type', draw.chance(0.02) ? draw.pick(INHERITED) : type],
    ...entries.filter(() => !draw.chance(0.02)),
  ]);
}

function sequence(draw: Draw, key: string, inner: Part): JsonMap {
  const most = draw.chance(0.1) ? draw.size(300) : 4;
  return part(draw, 'Sequence', { [key]: draw.several(0, most, () => inner(draw)) });
}

/** Nests a component in sequences. */
function nested(draw: Draw, key: string, inner: Json): Json {
  let value = inner;
  for (let depth = draw.size(500); depth > 0; depth--)
    value = new JsonMap([
      ['type', 'Sequence'],
      [key, [value]],
    ]);
  return value;
}

const text = (draw: Draw) => draw.pick(['a', 'aa', '', ' ', '▁', 'ab', '##', '</w>', hostileString(draw)]);

export function normalizer(draw: Draw): Json {
  return draw.pick<() => Json>([
    () => part(draw, 'Replace', { pattern: matcher(draw), content: text(draw) }),
    () => part(draw, 'Replace', { pattern: matcher(draw), content: text(draw) }),
    () => part(draw, 'Prepend', { prepend: text(draw) }),
    () => part(draw, draw.pick(['NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'StripAccents', 'Nmt', 'ByteLevel']), {}),
    () => part(draw, 'Strip', { strip_left: true, strip_right: true }),
    () => part(draw, 'Precompiled', { precompiled_charsmap: text(draw) }),
    () =>
      part(draw, 'BertNormalizer', {
        clean_text: true,
        handle_chinese_chars: true,
        strip_accents: true,
        lowercase: true,
      }),
    () => sequence(draw, 'normalizers', normalizer),
    () => nested(draw, 'normalizers', jsonMap({ type: 'NFC' })),
    // each doubles the text
    () => doubling(draw, 'normalizers'),
  ])();
}

/** Creates replacements that multiply the length of a text by 2ⁿ. */
function doubling(draw: Draw, key: string): JsonMap {
  const replace = () =>
    draw.pick([
      { type: 'Replace', pattern: { String: 'a' }, content: 'aa' },
      { type: 'Replace', pattern: { Regex: '.' }, content: 'aa' },
      { type: 'Replace', pattern: { Regex: '(a)' }, content: '$1$1' },
      { type: 'Replace', pattern: { String: '' }, content: 'a' },
    ]);
  const count = draw.size(60);
  return jsonMap({ type: 'Sequence', [key]: Array.from({ length: count }, replace) });
}

export function preTokenizer(draw: Draw): Json {
  const behavior = draw.pick([
    'Isolated',
    'Removed',
    'MergedWithPrevious',
    'MergedWithNext',
    'Contiguous',
    'isolated',
    'x',
  ]);
  return draw.pick<() => Json>([
    () => part(draw, 'Split', { pattern: matcher(draw), behavior, invert: draw.chance(0.3) }),
    () => part(draw, 'Split', { pattern: matcher(draw), behavior, invert: draw.chance(0.3) }),
    () => byteLevelAfter(draw),
    () =>
      part(draw, 'ByteLevel', { add_prefix_space: draw.chance(0.5), trim_offsets: true, use_regex: draw.chance(0.5) }),
    () =>
      part(draw, 'Metaspace', {
        replacement: text(draw),
        prepend_scheme: draw.pick(['always', 'first', 'never', 'x']),
        split: draw.chance(0.5),
      }),
    () => part(draw, draw.pick(['Whitespace', 'WhitespaceSplit', 'BertPreTokenizer', 'UnicodeScripts']), {}),
    () => part(draw, 'Punctuation', { behavior }),
    () => part(draw, 'Digits', { individual_digits: draw.chance(0.5) }),
    () => part(draw, 'Replace', { pattern: matcher(draw), content: text(draw) }),
    () => part(draw, 'FixedLength', { length: hostileNumber(draw) }),
    () => part(draw, 'CharDelimiterSplit', { delimiter: text(draw) }),
    () => sequence(draw, 'pretokenizers', preTokenizer),
    () => nested(draw, 'pretokenizers', jsonMap({ type: 'Whitespace' })),
    () => doubling(draw, 'pretokenizers'),
  ])();
}

/** Creates a pre-tokenizer like that of LLaMA 3 and Qwen, whose patterns mbok compiles instead of the library. */
function byteLevelAfter(draw: Draw): JsonMap {
  const behavior = draw.pick(['Isolated', 'Removed']);
  const split = new JsonMap([
    ['type', 'Split'],
    ['pattern', jsonMap({ Regex: pattern(draw) })],
    ['behavior', behavior],
    ['invert', behavior === 'Removed'],
  ]);
  const bytes = jsonMap({ type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false });
  return new JsonMap([
    ['type', 'Sequence'],
    ['pretokenizers', [split, bytes]],
  ]);
}

export function postProcessor(draw: Draw): Json {
  const token = () => draw.pick(['<s>', '</s>', 'a', 'missing', hostileString(draw)]);
  const special = () => jsonMap({ SpecialToken: { id: token(), type_id: draw.chance(0.9) ? 0 : hostileNumber(draw) } });
  const item = () =>
    draw.chance(0.5) ? special() : jsonMap({ Sequence: { id: draw.pick(['A', 'B', 'C']), type_id: 0 } });
  return draw.pick<() => Json>([
    () =>
      part(draw, 'TemplateProcessing', {
        single: [
          ...draw.several(0, draw.size(1000), special),
          ...(draw.chance(0.8) ? [jsonMap({ Sequence: { id: 'A', type_id: 0 } })] : []),
          ...draw.several(0, 2, () => (draw.chance(0.8) ? special() : item())),
        ],
        pair: draw.several(0, 3, item),
        special_tokens: new JsonMap(
          draw.several(0, 3, () => [token(), jsonMap({ id: token(), ids: [1], tokens: [token()] })]),
        ),
      }),
    () => part(draw, 'BertProcessing', { sep: [token(), hostileNumber(draw)], cls: [token(), 1] }),
    () =>
      part(draw, 'RobertaProcessing', { sep: [token(), 2], cls: [token(), hostileNumber(draw)], trim_offsets: true }),
    () => part(draw, 'ByteLevel', { add_prefix_space: true, trim_offsets: true }),
    () => sequence(draw, 'processors', postProcessor),
    () => nested(draw, 'processors', jsonMap({ type: 'ByteLevel' })),
  ])();
}

export function decoder(draw: Draw): Json {
  return draw.pick<() => Json>([
    () => part(draw, 'Replace', { pattern: matcher(draw), content: text(draw) }),
    () => part(draw, 'ByteLevel', {}),
    () => part(draw, 'WordPiece', { prefix: text(draw), cleanup: draw.chance(0.5) }),
    () => part(draw, 'Metaspace', { replacement: text(draw), prepend_scheme: 'always', split: true }),
    () => part(draw, 'BPEDecoder', { suffix: text(draw) }),
    () => part(draw, 'CTC', { pad_token: text(draw), word_delimiter_token: text(draw), cleanup: draw.chance(0.5) }),
    () => part(draw, draw.pick(['Fuse', 'ByteFallback']), {}),
    () => part(draw, 'Strip', { content: text(draw), start: hostileNumber(draw), stop: hostileNumber(draw) }),
    () => sequence(draw, 'decoders', decoder),
    () => nested(draw, 'decoders', jsonMap({ type: 'Fuse' })),
    () => doubling(draw, 'decoders'),
  ])();
}

/** Assigns ids to tokens, some of them invalid. */
function idsOf(draw: Draw, tokens: readonly string[]): JsonMap {
  const makeId = draw.pick<(id: number) => Json>([
    (id) => id,
    (id) => id,
    (id) => id,
    (id) => id,
    (id) => id + 1000,
    (id) => (id === 9 ? hostileNumber(draw) : id),
    (id) => (draw.chance(0.1) ? hostileValue(draw) : id),
    (id) => id * draw.pick([2, 1000, 0, -1, 0.5, 1e6]),
    (id) => id + draw.pick([1e6, 2 ** 24, 2 ** 31, 2 ** 53]),
    (id) => String(id),
    () => 5,
  ]);
  return new JsonMap(tokens.map((token, id) => [token, makeId(id)]));
}

export function model(draw: Draw): Json {
  const tokens = [...SPECIAL, ...LETTERS, ...LETTERS.map((letter) => `##${letter}`), ...WORDS, ' ', '▁', '▁a'].concat(
    draw.several(0, draw.size(200), (i) => 'a'.repeat(draw.size(50)) + i),
    draw.several(0, 3, () => hostileString(draw)),
  );
  const unknown = draw.pick(['<unk>', '<unk>', 'missing', null]);
  return draw.pick<() => Json>([
    () =>
      part(draw, 'BPE', {
        vocab: idsOf(draw, tokens),
        merges: merges(draw, tokens),
        unk_token: unknown,
        byte_fallback: draw.chance(0.3),
        fuse_unk: draw.chance(0.3),
        ignore_merges: draw.chance(0.3),
        dropout: draw.pick([null, 0.5, 1]),
        end_of_word_suffix: draw.pick([null, '</w>', text(draw)]),
        continuing_subword_prefix: draw.pick([null, '##', text(draw)]),
      }),
    () =>
      part(draw, 'WordPiece', {
        vocab: idsOf(draw, tokens),
        unk_token: unknown,
        max_input_chars_per_word: draw.pick([100, 1e9, hostileNumber(draw)]),
        continuing_subword_prefix: draw.pick(['##', '', text(draw)]),
      }),
    () =>
      part(draw, 'Unigram', {
        vocab: tokens.map((token) =>
          draw.chance(0.01) ? hostileValue(draw) : [token, draw.pick([-1, 0, 1, hostileNumber(draw)])],
        ),
        unk_id: draw.pick([0, 0, null, hostileNumber(draw)]),
      }),
    () => part(draw, 'WordLevel', { vocab: idsOf(draw, tokens), unk_token: unknown }),
    () => part(draw, draw.pick(['bpe', '', ...INHERITED]), { vocab: idsOf(draw, tokens), merges: [] }),
    // older files do not name the type
    () =>
      new JsonMap([
        ['vocab', idsOf(draw, tokens)],
        ['merges', merges(draw, tokens)],
      ]),
  ])();
}

function merges(draw: Draw, tokens: readonly string[]): Json {
  const side = () => draw.pick(tokens);
  return draw.several(0, draw.size(500), () =>
    draw.pick<() => Json>([
      () => `${side()} ${side()}`,
      () => [side(), side()],
      () => 'a a',
      () => ['a', 'a'],
      () => draw.pick(['a', '', ' ', 'a b c', '#version: 0.2', 'missing a']),
      () => draw.pick<Json>([[], ['a'], ['a', 'b', 'c'], [['a'], 'b'], hostileValue(draw)]),
    ])(),
  );
}

/** Creates added tokens. */
export function addedTokens(draw: Draw): Json {
  const flag = () => draw.chance(0.3);
  const content = draw.pick<(i: number) => string>([
    (i) => `<${i}>`,
    (i) => 'a'.repeat(1 + (i % 200)),
    (i) => `a${i}`,
    (i) => `${' '.repeat(i % 30)}a`,
    () => hostileString(draw),
    () => draw.pick([' ', 'a', '\n', '', '^', ']', '\\', '-', '[a-z]', '.*', '\ud83d', '\ude00', 'é', '▁']),
  ]);
  const many = draw.chance(0.1) ? draw.size(2e4) : draw.size(20);
  const id = draw.pick<(i: number) => Json>([
    (i) => 100 + i,
    (i) => 100 + i,
    (i) => i,
    () => hostileNumber(draw),
    () => hostileValue(draw),
  ]);
  return Array.from({ length: many }, (_, i) =>
    draw.chance(0.01)
      ? hostileValue(draw)
      : jsonMap({
          id: json(id(i)),
          content: content(i),
          single_word: flag(),
          lstrip: flag(),
          rstrip: flag(),
          normalized: flag(),
          special: flag(),
        }),
  );
}

/** Creates texts that are hard for tokenizers. */
export function hardText(draw: Draw): string {
  const most = draw.chance(0.05) ? 1e5 : 2000;
  const unit = draw.pick([
    'a',
    ' ',
    '\n',
    'ab',
    'x',
    '▁',
    'é',
    '中',
    '\u{1f600}',
    '1',
    '\t',
    ' a',
    '\r\n',
    '\u0301',
    '!',
    'th',
    '<s>',
  ]);
  return draw.pick<() => string>([
    () => 'Once upon a time, there was a blue sky in the sea.',
    () => 'Once upon a time. '.repeat(draw.size(most / 16)),
    () => unit.repeat(draw.size(most)),
    () => `${unit.repeat(draw.size(most))}!`,
    () => `${'a'.repeat(draw.integer(20, 60))}!`,
    () => 'ab '.repeat(draw.size(most)),
    () => draw.pick(['\ud800', '\udc00', 'a\ud800b', '\ude00\ud83d']).repeat(draw.size(most / 4)),
    () => String.fromCharCode(...draw.several(1, 200, () => draw.integer(0, 0xffff))),
    () => '',
    () => draw.pick(INHERITED),
  ])();
}
