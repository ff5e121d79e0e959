import type { Tokenizer } from './tokenizer';

/** Characters encoded at a time. */
const PIECE = 1 << 16;
/** Characters on each side of a break that are compared, broken and whole. */
const CONTEXT = 256;
/** Number of line breaks tried, and then of spaces. */
const ATTEMPTS = 16;

/**
 * An encoder of documents that arrive in parts, of any length. Its output, concatenated, is the tokens of the whole
 * text after the document start token. A document of only white space gives nothing.
 *
 * Long texts are encoded in pieces to bound memory and the time that the event loop is blocked. A break must leave the
 * tokens on both sides as in the unbroken text. Breaks after lines are tried first, then those before words. If none
 * qualifies, the text is cut at the piece length. Natural text does not need that.
 */
export class DocumentEncoder {
  readonly #tokenizer: Tokenizer;
  /** Text that is not encoded yet. */
  #text = '';
  /** Character before `#text`, as context for encoding; '' at the start of a document. */
  #lead = '';
  #begun = false;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** Takes a part of the document and yields the ids that are final, piece by piece. */
  *push(text: string): Generator<number[]> {
    this.#text += text;
    while (this.#text.length > PIECE + CONTEXT) yield this.#take(this.#break());
  }

  /** Ends the document and yields its remaining ids. */
  *end(): Generator<number[]> {
    yield this.#take(this.#text.length);
    this.#lead = '';
    this.#begun = false;
  }

  #take(length: number): number[] {
    const piece = this.#text.slice(0, length);
    this.#text = this.#text.slice(length);
    if (!this.#begun && piece.trim() === '') return [];
    const ids = this.#encodeAfter(this.#lead, piece);
    const start = this.#begun ? undefined : this.#tokenizer.documentStartId;
    if (start !== undefined) {
      this.#tokenizer.tellRepeated(start, ids);
      ids.unshift(start);
    }
    this.#begun = true;
    this.#lead = lastCharacter(piece);
    return ids;
  }

  /** Returns the position at which to cut a piece. */
  #break(): number {
    for (const { before, shift } of [
      { before: '\n', shift: 1 },
      { before: ' ', shift: 0 },
    ]) {
      let at = PIECE;
      for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
        at = this.#text.lastIndexOf(before, at - 1 - shift) + shift;
        if (at < PIECE / 2) break;
        if (this.#joins(at)) return at;
      }
    }
    return isHighSurrogate(this.#text.charCodeAt(PIECE - 1)) ? PIECE - 1 : PIECE;
  }

  /** Tells whether the text around `at` has the same tokens broken and whole. */
  #joins(at: number): boolean {
    const before = this.#text.slice(at - CONTEXT, at);
    const after = this.#text.slice(at, at + CONTEXT);
    const whole = this.#encode(before + after);
    const broken = [...this.#encode(before), ...this.#encodeAfter(lastCharacter(before), after)];
    return whole.length === broken.length && whole.every((id, i) => id === broken[i]);
  }

  /**
   * Encodes a text that follows `lead`. Tokenizers treat the very start of a text differently: for example, they
   * prepend a space.
   */
  #encodeAfter(lead: string, text: string): number[] {
    if (lead === '') return this.#encode(text);
    const ids = this.#encode(lead + text);
    const skipped = this.#encode(lead);
    return skipped.every((id, i) => id === ids[i]) ? ids.slice(skipped.length) : this.#encode(text);
  }

  #encode(text: string): number[] {
    return this.#tokenizer.encode(text, { addSpecialTokens: false });
  }
}

function lastCharacter(text: string): string {
  const last = text.slice(-1);
  return last >= '\udc00' && last <= '\udfff' ? text.slice(-2) : last;
}

function isHighSurrogate(code: number): boolean {
  return code >= 0xd800 && code <= 0xdbff;
}
