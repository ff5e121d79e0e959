/**
 * Added tokens, against Hugging Face's tokenizers 0.23.3. Its Python package made four small tokenizers with tokens of all
 * settings (`add_tokens([AddedToken(…)])`) and encoded texts of them, of spaces and of letters beside them:
 * `[text, tokenizer.encode(text, add_special_tokens=False).ids]`.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '../lib/text/tokenizer';
import { GOLDEN } from './folders';

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
