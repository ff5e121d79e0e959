import { string } from '../base/validate';
import type { Tokenizer } from './tokenizer';

/** How many tokens before the newest are decoded with it, since a token's text may depend on those before it. */
const CONTEXT = 4;
/** What an incomplete character at the end of the bytes decodes to. */
const REPLACEMENT = '\ufffd';

/**
 * Decodes tokens as they come. A character whose bytes are spread over several tokens is held back until it is complete,
 * so the pieces together are the text that `decode` gives for all tokens, and none splits a code point.
 */
export class StreamDecoder {
  readonly #tokenizer: Tokenizer;
  /** Some tokens that have been given out, as context, and those since. */
  #window: number[] = [];
  /** How much of the window's text has been given out. */
  #given = 0;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** Takes a token and returns the text that is now certain; often '' within a character. */
  push(id: number): string {
    // embeddings are often padded: the rows past the vocabulary stand for no text
    if (id >= this.#tokenizer.vocabSize) return '';
    this.#window.push(id);
    const text = this.#decode();
    // an incomplete character gives one replacement character and only at the end; those before are wrong bytes for good
    const certain = text.endsWith(REPLACEMENT) ? text.length - REPLACEMENT.length : text.length;
    const piece = text.slice(this.#given, certain);
    this.#given = Math.max(this.#given, certain);
    if (certain === text.length && this.#window.length > 2 * CONTEXT) {
      this.#window = this.#window.slice(-CONTEXT);
      this.#given = this.#decode().length;
    }
    return piece;
  }

  /** Returns what was held back: the replacement character of a character that was never completed, or ''. */
  flush(): string {
    const rest = this.#decode().slice(this.#given);
    this.#window = [];
    this.#given = 0;
    return rest;
  }

  #decode(): string {
    return this.#tokenizer.decode(this.#window, { skipSpecialTokens: true });
  }
}

/** What {@link StopMatcher.push} found. */
export interface Matched {
  /** Text that belongs to no stop string, whatever follows. */
  readonly text: string;
  /** The stop string that ended the text; from then on nothing is given out. */
  readonly stop: string | undefined;
}

/**
 * Cuts a stream of text before the first of some stop strings. What could be the beginning of one is held back until it
 * is certain that it is not, so no part of a stop string ever gets out; the result does not depend on how the text is cut
 * into pieces. The stop string that is complete first counts.
 */
export class StopMatcher {
  readonly #stops: readonly string[];
  #held = '';
  #stop: string | undefined;

  /** @throws MbokError MBOK_INVALID_ARGUMENT for stop strings that are empty or no strings */
  constructor(stops: readonly string[]) {
    this.#stops = stops.map((stop, index) => string(`stop[${index}]`, stop));
  }

  /** Takes a piece of text; returns what may be shown. */
  push(piece: string): Matched {
    if (this.#stop !== undefined) return { text: '', stop: this.#stop };
    const text = this.#held + piece;
    const match = firstMatch(text, this.#stops);
    if (match) {
      this.#held = '';
      this.#stop = match.stop;
      return { text: text.slice(0, match.start), stop: match.stop };
    }
    const certain = text.length - Math.max(0, ...this.#stops.map((stop) => overlap(text, stop)));
    this.#held = text.slice(certain);
    return { text: text.slice(0, certain), stop: undefined };
  }

  /** Returns what was held back, at the end of the text. */
  flush(): string {
    const rest = this.#held;
    this.#held = '';
    return rest;
  }
}

/** The match that ends first; of those that end together, the longest. */
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

/** Length of the longest end of `text` with which `stop` begins. */
function overlap(text: string, stop: string): number {
  for (let length = Math.min(text.length, stop.length - 1); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}
