/** SentencePiece's byte-pair encodings of GGUF files: pieces with scores, from which merges are derived. */

import { MbokError } from '../errors';
import type { JsonObject } from '../io/json';
import { bounded, LimitError } from './bounded';
import type { GgufVocabulary, TokenizerParts } from './gguf_tokenizer';
import { byteToken } from './words';

/** SentencePiece's sign for a space. */
const SPACE = '\u2581';

/** No model has longer pieces that are merged from others; the work for one grows with the square of its length. */
const LONGEST = 256;
/** Ways to put pieces together of two others, for each piece; honest vocabularies have two or three. */
const MOST_MERGES = 8;
/** Milliseconds in which they are found: in any case, and for each piece. */
const TIME = { always: 150, piece: 2e-2 };

/** Throws MBOK_FORMAT where the scores are missing. */
export function sentencePieceParts(vocabulary: GgufVocabulary): TokenizerParts {
  const { tokens, type, scores, unknown, addsSpacePrefix = true } = vocabulary;
  if (scores === undefined) {
    throw new MbokError('MBOK_FORMAT', "GGUF metadata 'tokenizer.ggml.scores' is missing, which merges come from");
  }
  const pieces = new Map<string, number>();
  // spaces of user-defined pieces are written out in these files
  for (const [id, token] of tokens.entries()) {
    pieces.set(type(id) === 'userDefined' ? token.replaceAll(' ', SPACE) : token, id);
  }
  const hasBytes = Array.from({ length: 256 }, (_, byte) => byteToken(byte)).every((token) => pieces.has(token));
  const replace = (from: string, content: string) => ({ type: 'Replace', pattern: { String: from }, content });
  const spaces = replace(' ', SPACE);
  const decoders: JsonObject[] = [replace(SPACE, ' '), { type: 'ByteFallback' }, { type: 'Fuse' }];
  if (addsSpacePrefix) decoders.push({ type: 'Strip', content: ' ', start: 1, stop: 0 });
  return {
    normalizer: addsSpacePrefix
      ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: SPACE }, spaces] }
      : spaces,
    preTokenizer: null,
    decoder: { type: 'Sequence', decoders },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: unknown ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: hasBytes,
      ignore_merges: false,
      vocab: Object.fromEntries(pieces),
      merges: bounded(TIME.always + TIME.piece * tokens.length, 'the vocabulary of the GGUF file', () =>
        derivedMerges(vocabulary, pieces, scores),
      ),
    },
    addsBos: true,
    content: (token) => token.replaceAll(SPACE, ' '),
  };
}

/**
 * SentencePiece merges the two neighbours whose joint piece has the highest score. Every way to put a piece together of
 * two others is thus a merge, and their order is that of the scores.
 */
function derivedMerges(
  { tokens, type }: GgufVocabulary,
  pieces: ReadonlyMap<string, number>,
  scores: ArrayLike<number>,
): [string, string][] {
  const isPiece = (id: number) => ['normal', 'unused'].includes(type(id));
  const parts = new Set([...pieces].flatMap(([piece, id]) => (isPiece(id) ? [piece] : [])));
  const merges: { readonly parts: [string, string]; readonly score: number }[] = [];
  for (const [id, piece] of tokens.entries()) {
    if (!isPiece(id) || piece.length > LONGEST) continue;
    if (merges.length > MOST_MERGES * tokens.length)
      throw new LimitError('has too many pieces that are parts of others');
    let cut = 0;
    for (const character of piece) {
      cut += character.length;
      if (cut === piece.length) break;
      const [first, second] = [piece.slice(0, cut), piece.slice(cut)];
      if (parts.has(first) && parts.has(second)) merges.push({ parts: [first, second], score: scores[id] as number });
    }
  }
  return merges.sort((a, b) => b.score - a.score).map(({ parts }) => parts);
}
