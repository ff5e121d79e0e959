/** SentencePiece byte-pair encodings of GGUF files: pieces with scores, from which merges are derived. */

import { MbokError } from '../../base/errors';
import type { JsonObject } from '../../io/json';
import { bounded, LimitError } from '../../text/bounded';
import type { Merges } from '../../text/merge_table';
import { Vocabulary } from '../../text/vocabulary';
import { BYTE_TOKENS, SPACE } from '../../text/words';
import type { GgufTokenizerParts, GgufVocabulary } from './vocabulary';

/** Maximum characters of pieces that are merged from others; no model has longer ones. */
const LONGEST = 256;
/** Maximum merges per piece that a file may list; regular vocabularies have two or three. */
const MOST_MERGES = 8;
/** Time limit in milliseconds to list the merges: a constant, and an amount per piece. */
const TIME = { always: 150, piece: 2e-2 };

/** Returns the parts of a SentencePiece tokenizer. Throws MBOK_FORMAT if the scores are missing. */
export function sentencePieceParts(vocabulary: GgufVocabulary): GgufTokenizerParts {
  const { tokens, type, scores, unknown, addsSpacePrefix = true } = vocabulary;
  if (scores === undefined) {
    throw new MbokError('MBOK_FORMAT', "GGUF metadata 'tokenizer.ggml.scores' is missing, which merges come from");
  }
  // these files write out the spaces of user-defined pieces
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
 * The merges of SentencePiece, which merges the two neighbors whose joint piece has the highest score. So every split
 * of a piece into two pieces is a merge, ordered by the piece's score. Splits of one piece are ordered by the length of
 * the first part. No list is needed: two pieces merge if their concatenation is a piece.
 */
class ScoredPieces implements Merges {
  /** Rank by score of each id, 0 for the highest score; −1 for tokens that are not merged. */
  readonly #order: Int32Array;
  /** Ids by rank. */
  readonly #pieces: Uint32Array;

  constructor(
    private readonly words: Vocabulary,
    isPiece: (id: number) => boolean,
    scores: ArrayLike<number>,
  ) {
    const ids = Array.from(words.entries(), ([, id]) => id).filter(isPiece);
    // typical files are already sorted
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

  /** Lists all merges in order. Throws LimitError if there are far more merges than pieces. */
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
