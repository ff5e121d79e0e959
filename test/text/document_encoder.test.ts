/** Long documents, encoded in pieces, give the tokens of the whole. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeCorpus } from '../../lib/text/corpus';
import { DocumentEncoder } from '../../lib/text/document_encoder';
import type { Tokenizer } from '../../lib/text/tokenizer';
import { TINY_STORIES, temporaryFolder } from '../helpers/folders';
import { Random } from '../helpers/random';
import { type TokenizerKind, tinyTokenizer } from '../helpers/tokenizers';

const folder = temporaryFolder();
const kinds: TokenizerKind[] = ['byte-level', 'byte-fallback'];
const stories = readFileSync(join(TINY_STORIES, 'corpus/train.txt'), 'utf8').replaceAll('<|endoftext|>', '\n');

/** Encodes a document that arrives in parts of random lengths. */
function encodeInParts(tokenizer: Tokenizer, text: string, longest: number): number[] {
  const random = new Random(5);
  const encoder = new DocumentEncoder(tokenizer);
  const ids: number[][] = [];
  for (let at = 0; at < text.length; ) {
    const end = at + random.integer(1, longest);
    ids.push(...encoder.push(text.slice(at, end)));
    at = end;
  }
  return [...ids, ...encoder.end()].flat();
}

/** Returns the document start, then the tokens of the whole text. */
const whole = (tokenizer: Tokenizer, text: string) => [
  tokenizer.documentStartId as number,
  ...tokenizer.encode(text, { addSpecialTokens: false }),
];

const lines = (separator: string) => stories.slice(0, 140_000).split(/\s+/).join(separator);

describe.each(kinds)('with a %s tokenizer', (kind) => {
  test.each([
    ['paragraphs', stories.slice(0, 140_000)],
    ['lines that begin with a space, as WikiText has them', ` \n = Title = \n \n ${lines(' \n ')}`],
    ['one word a line', lines('\n')],
    ['empty lines', lines('\n\n')],
    ['a single line', lines(' ')],
    ['runs of spaces', lines('   ')],
    ['characters outside the basic plane', '😀 日本é '.repeat(12_000)],
  ])('%s keep their tokens', async (_, text) => {
    const tokenizer = await tinyTokenizer(kind, folder);
    expect(encodeInParts(tokenizer, text, 50_000)).toEqual(whole(tokenizer, text));
  });

  test('text without a place to break is encoded completely', async () => {
    const tokenizer = await tinyTokenizer(kind, folder);
    const text = '😀a'.repeat(30_000);
    const ids = encodeInParts(tokenizer, text, 100_000);
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(text);
  });

  test('a document of white space of any length gives no tokens', async () => {
    const tokenizer = await tinyTokenizer(kind, folder);
    expect(encodeInParts(tokenizer, ' \n'.repeat(100_000), 1000)).toEqual([]);
    expect(encodeInParts(tokenizer, '', 1)).toEqual([]);
  });
});

test('every document starts with a fresh state', async () => {
  const tokenizer = await tinyTokenizer('byte-fallback', folder);
  const encoder = new DocumentEncoder(tokenizer);
  const encode = (text: string) => [...encoder.push(text), ...encoder.end()].flat();
  expect(encode('ab')).toEqual(whole(tokenizer, 'ab'));
  expect(encode(' ')).toEqual([]);
  expect(encode('ab')).toEqual(whole(tokenizer, 'ab'));
});

test('a corpus of long documents is their concatenation', async () => {
  const tokenizer = await tinyTokenizer('byte-level', folder);
  const documents = [stories.slice(0, 80_000), 'short', stories.slice(80_000, 250_000)];
  const tokens = await encodeCorpus(tokenizer, documents.join('<|endoftext|>'));
  expect([...tokens]).toEqual(documents.flatMap((document) => whole(tokenizer, document)));
});
