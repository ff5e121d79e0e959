import { string } from '../base/validate';
import type { Tokenizer } from './tokenizer';

/** Number of earlier tokens decoded together with the newest, since the text of a token may depend on them. */
const CONTEXT = 4;
/** Replacement character, to which an incomplete character at the end of the bytes decodes. */
const REPLACEMENT = '\ufffd';

/**
 * A decoder for tokens that arrive one by one. It withholds a character until all its bytes have arrived. The pieces
 * together equal `decode` of all tokens, and no piece splits a code point.
 */
export class StreamDecoder {
  readonly #tokenizer: Tokenizer;
  /** Some tokens whose text has been returned, as context, and those since. */
  #window: number[] = [];
  /** Length of the window's text that has been returned. */
  #returned = 0;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** Takes a token and returns the text that is now final; '' inside a character. */
  push(id: number): string {
    // embeddings are often padded: rows past the vocabulary have no text
    if (id >= this.#tokenizer.vocabSize) return '';
    this.#window.push(id);
    const text = this.#decode();
    // an incomplete character gives one replacement character at the end; earlier ones are invalid bytes and final
    const certain = text.endsWith(REPLACEMENT) ? text.length - REPLACEMENT.length : text.length;
    const piece = text.slice(this.#returned, certain);
    this.#returned = Math.max(this.#returned, certain);
    if (certain === text.length && this.#window.length > 2 * CONTEXT) {
      this.#window = this.#window.slice(-CONTEXT);
      this.#returned = this.#decode().length;
    }
    return piece;
  }

  /** Returns the withheld text: a replacement character if a character was never completed, otherwise ''. */
  flush(): string {
    const withheld = this.#decode().slice(this.#returned);
    this.#window = [];
    this.#returned = 0;
    return withheld;
  }

  #decode(): string {
    return this.#tokenizer.decode(this.#window, { skipSpecialTokens: true });
  }
}

/** Result of {@link StopMatcher.push}. */
export interface Matched {
  /** Text that is certain not to belong to a stop string. */
  readonly text: string;
  /** The stop string that ended the text; after it no text is returned. */
  readonly stop: string | undefined;
}

/**
 * A matcher that cuts a text stream before the first stop string. It withholds text that may start a stop string, so no
 * part of one is ever returned. The result does not depend on how the text is cut into pieces. The stop string that is
 * completed first wins.
 */
export class StopMatcher {
  readonly #stops: readonly string[];
  #withheld = '';
  #stop: string | undefined;

  /** @throws MbokError MBOK_INVALID_ARGUMENT if a stop string is empty or not a string */
  constructor(stops: readonly string[]) {
    this.#stops = stops.map((stop, index) => string(`stop[${index}]`, stop));
  }

  /** Takes a piece of text and returns the text that may be shown. */
  push(piece: string): Matched {
    if (this.#stop !== undefined) return { text: '', stop: this.#stop };
    const text = this.#withheld + piece;
    const match = firstMatch(text, this.#stops);
    if (match) {
      this.#withheld = '';
      this.#stop = match.stop;
      return { text: text.slice(0, match.start), stop: match.stop };
    }
    const certain = text.length - Math.max(0, ...this.#stops.map((stop) => overlap(text, stop)));
    this.#withheld = text.slice(certain);
    return { text: text.slice(0, certain), stop: undefined };
  }

  /** Returns the withheld text at the end of the stream. */
  flush(): string {
    const withheld = this.#withheld;
    this.#withheld = '';
    return withheld;
  }
}

/** Returns the match that ends first; of several with the same end, the longest. */
function firstMatch(text: string, stops: readonly string[]): { start: number; stop: string } | undefined {
  let best: { start: number; end: number; stop: string } | undefined;
  for (const stop of stops) {
    const start = text.indexOf(stop);
    if (start < 0) continue;
    const end = start + stop.length;
    if (!best || end < best.end || (end === best.end && start < best.start)) best = { start, end, stop };
  }
  return best;
}

/** Returns the length of the longest suffix of `text` that is a proper prefix of `stop`. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}
