/** Small tokenizers of the two kinds that models have. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '../../lib/text/tokenizer';
import { TINY_STORIES } from './folders';

/** Byte-level byte pairs with GPT-2's word splitting; or metaspace, byte fallback and `<s>` before every text. */
export type TokenizerKind = 'byte-level' | 'byte-fallback';

/** Returns a tokenizer, written below `folder` if the project has none of its kind. */
export async function tinyTokenizer(kind: TokenizerKind, folder: string): Promise<Tokenizer> {
  if (kind === 'byte-level') return Tokenizer.fromFolder(TINY_STORIES);
  const path = join(folder, 'llama-like');
  mkdirSync(path, { recursive: true });
  writeLlamaLike(path);
  return Tokenizer.fromFolder(path);
}

/** Writes a tokenizer like those converted from SentencePiece. */
function writeLlamaLike(path: string): void {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const pieces = ['<unk>', '<s>', '</s>', ...bytes, '▁', 'a', 'b', 'c', '▁a', 'ab', '▁ab'];
  const special = (id: number) => ({
    id,
    content: pieces[id],
    special: true,
    normalized: false,
    lstrip: false,
    rstrip: false,
    single_word: false,
  });
  const json = {
    version: '1.0',
    added_tokens: [0, 1, 2].map(special),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      byte_fallback: true,
      fuse_unk: true,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: ['a b', '▁ ab', '▁ a'],
    },
  };
  writeFileSync(join(path, 'tokenizer.json'), JSON.stringify(json));
  const config = { bos_token: { content: '<s>' }, eos_token: '</s>', add_bos_token: true };
  writeFileSync(join(path, 'tokenizer_config.json'), JSON.stringify(config));
  writeFileSync(join(path, 'generation_config.json'), JSON.stringify({ eos_token_id: [2, 260] }));
}
