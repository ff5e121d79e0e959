import type { Tokenizer } from './tokenizer';

/** Characters that are encoded at a time. */
const PIECE = 1 << 16;
/** Characters on either side of a break that tell whether its pieces give the tokens of the whole. */
const CONTEXT = 256;
/** Breaks that are tried after a line, and then before a word. */
const ATTEMPTS = 16;

/**
 * Encodes documents that come in parts, as long as they like: what is given out together are the tokens of the whole
 * text, preceded by the token that starts a document. A document of white space gives nothing.
 *
 * Long texts are encoded in pieces, so that neither memory nor the event loop has to hold them whole. They are broken
 * where the tokens to either side have been found to be those of the unbroken text: after a line, or else before a word.
 * (A text without any such place is broken where it may be; no text that anybody reads is like that.)
 */
export class DocumentEncoder {
  readonly #tokenizer: Tokenizer;
  /** Not encoded yet. */
  #text = '';
  /** The character before it: what a piece is encoded after. '' at the start of a document. */
  #lead = '';
  #begun = false;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** Takes a part of the document; gives the ids that are certain, a piece at a time. */
  *push(text: string): Generator<number[]> {
    this.#text += text;
    while (this.#text.length > PIECE + CONTEXT) yield this.#take(this.#break());
  }

  /** Ends the document; gives the rest of its ids. */
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

  /** The place at which to break off a piece. */
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

  /** Whether the text around `at` has the same tokens broken and whole. */
  #joins(at: number): boolean {
    const before = this.#text.slice(at - CONTEXT, at);
    const after = this.#text.slice(at, at + CONTEXT);
    const whole = this.#encode(before + after);
    const broken = [...this.#encode(before), ...this.#encodeAfter(lastCharacter(before), after)];
    return whole.length === broken.length && whole.every((id, i) => id === broken[i]);
  }

  /**
   * The ids of a text that follows `lead`: tokenizers treat the very start of a text differently, e.g. put a space
   * before it.
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
