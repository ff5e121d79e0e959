/**
 * Added tokens, against Hugging Face's tokenizers 0.23.3. Its Python package made four small tokenizers with tokens of
 * all settings (`add_tokens([AddedToken(…)])`). It encoded texts of these tokens, with spaces and letters beside them:
 * `[text, tokenizer.encode(text, add_special_tokens=False).ids]`.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeRendered } from '../../lib/text/chat';
import { DocumentEncoder } from '../../lib/text/document_encoder';
import { Tokenizer } from '../../lib/text/tokenizer';
import { GOLDEN, temporaryFolder } from '../helpers/folders';
import { tinyTokenizer } from '../helpers/tokenizers';

interface Golden {
  tokenizers: { name: string; tokenizer: object; cases: [text: string, ids: number[]][] }[];
}

const golden = JSON.parse(readFileSync(join(GOLDEN, 'added_tokens.json'), 'utf8')) as Golden;

describe.each(golden.tokenizers)('$name', ({ name, tokenizer: json, cases }) => {
  const tokenizer = Tokenizer.fromFiles(new Map([['tokenizer.json', Buffer.from(JSON.stringify(json))]]), name);

  test.each(cases)('%j', (text, ids) => {
    expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(ids);
  });
});

describe('a start token that a text repeats', () => {
  const folder = temporaryFolder();
  let tokenizer: Tokenizer;
  let warned: jest.SpyInstance;
  beforeEach(async () => {
    tokenizer = await tinyTokenizer('byte-fallback', folder);
    warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  });
  afterEach(() => warned.mockRestore());
  const message = expect.stringMatching(/a text begins with the token "<s>", which is also put before it/);

  test('is reported once, and stays', () => {
    expect(tokenizer.encode('<s>').slice(0, 2)).toEqual([1, 1]);
    tokenizer.encode('<s>a');
    expect(warned.mock.calls).toEqual([[message, 'MbokWarning']]);
  });

  test('is reported for documents', () => {
    const encoder = new DocumentEncoder(tokenizer);
    expect([...encoder.push('<s>a'), ...encoder.end()].flat().slice(0, 2)).toEqual([1, 1]);
    expect(warned.mock.calls).toEqual([[message, 'MbokWarning']]);
  });

  test('is not reported if nothing is put before the text, or if the text has none', () => {
    encodeRendered(tokenizer, '<s>a');
    tokenizer.encode('a<s>');
    const encoder = new DocumentEncoder(tokenizer);
    for (const _ of encoder.push('a'));
    for (const _ of encoder.end());
    expect(warned).not.toHaveBeenCalled();
  });
});
