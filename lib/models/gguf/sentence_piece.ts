/** SentencePiece's byte-pair encodings of GGUF files: pieces with scores, from which merges are derived. */

import { MbokError } from '../../base/errors';
import type { JsonObject } from '../../io/json';
import { bounded, LimitError } from '../../text/bounded';
import type { Merges } from '../../text/merge_table';
import { Vocabulary } from '../../text/vocabulary';
import { BYTE_TOKENS, SPACE } from '../../text/words';
import type { GgufTokenizerParts, GgufVocabulary } from './vocabulary';

/** SentencePiece's sign for a space. */

/** Characters up to which pieces are merged from others; no model has longer ones that are. */
const LONGEST = 256;
/** Ways to put pieces together of two others, for each piece, that a file may list; honest vocabularies have two or three. */
const MOST_MERGES = 8;
/** Milliseconds in which they are found: in any case, and for each piece. */
const TIME = { always: 150, piece: 2e-2 };

/** Throws MBOK_FORMAT where the scores are missing. */
export function sentencePieceParts(vocabulary: GgufVocabulary): GgufTokenizerParts {
  const { tokens, type, scores, unknown, addsSpacePrefix = true } = vocabulary;
  if (scores === undefined) {
    throw new MbokError('MBOK_FORMAT', "GGUF metadata 'tokenizer.ggml.scores' is missing, which merges come from");
  }
  // spaces of user-defined pieces are written out in these files
  const words = new Vocabulary(
    tokens.map((token, id) => (type(id) === 'userDefined' ? token.replaceAll(' ', SPACE) : token)),
  );
  const hasBytes = BYTE_TOKENS.every((token) => words.idOf(token) !== undefined);
  const replace = (from: string, content: string) => ({ type: 'Replace', pattern: { String: from }, content });
  const spaces = replace(' ', SPACE);
  const decoders: JsonObject[] = [replace(SPACE, ' '), { type: 'ByteFallback' }, { type: 'Fuse' }];
  if (addsSpacePrefix) decoders.push({ type: 'Strip', content: ' ', start: 1, stop: 0 });
  const pieces = new ScoredPieces(words, (id) => type(id) === 'normal' || type(id) === 'unused', scores);
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
    },
    words,
    merges: pieces,
    listMerges: () =>
      bounded(TIME.always + TIME.piece * tokens.length, 'the vocabulary of the GGUF file', () => pieces.list()),
    addsBos: true,
    content: (token) => token.replaceAll(SPACE, ' '),
  };
}

/**
 * SentencePiece merges the two neighbors whose joint piece has the highest score. Every way to put a piece together of
 * two others is thus a merge, and their order is that of the scores; among those of one piece, the shortest first part
 * is first. They need not be listed: whether two pieces are one is seen from the piece that they would be.
 */
class ScoredPieces implements Merges {
  /** By id: place in the order of scores, from the highest; -1 for tokens that are not merged. */
  readonly #order: Int32Array;
  /** Ids by place. */
  readonly #pieces: Uint32Array;

  constructor(
    private readonly words: Vocabulary,
    isPiece: (id: number) => boolean,
    scores: ArrayLike<number>,
  ) {
    const ids = Array.from(words.entries(), ([, id]) => id).filter(isPiece);
    // most files have them in order
    this.#pieces = Uint32Array.from(ids.sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b));
    this.#order = new Int32Array(words.tokens.length).fill(-1);
    this.#pieces.forEach((id, place) => {
      this.#order[id] = place;
    });
  }

  rank(left: number, right: number, word: string, from: number, to: number): number {
    if (to - from > LONGEST || !this.#isPiece(left) || !this.#isPiece(right)) return -1;
    const id = this.words.idOf(word.slice(from, to));
    if (id === undefined || !this.#isPiece(id)) return -1;
    return (this.#order[id] as number) * LONGEST + (this.words.tokens[left] as string).length;
  }

  result(rank: number): number {
    return this.#pieces[Math.floor(rank / LONGEST)] as number;
  }

  /** All merges in their order. Throws LimitError where they are far more than the pieces. */
  list(): [string, string][] {
    const { words } = this;
    const merges: [string, string][] = [];
    for (const id of this.#pieces) {
      const piece = words.tokens[id] as string;
      if (piece.length > LONGEST) continue;
      if (merges.length > MOST_MERGES * words.size)
        throw new LimitError('has too many pieces that are parts of others');
      let cut = 0;
      for (const character of piece) {
        cut += character.length;
        if (cut === piece.length) break;
        const parts: [string, string] = [piece.slice(0, cut), piece.slice(cut)];
        if (parts.every((part) => this.#isPiece(words.idOf(part) ?? -1))) merges.push(parts);
      }
    }
    return merges;
  }

  #isPiece(id: number): boolean {
    return (this.#order[id] ?? -1) >= 0;
  }
}
