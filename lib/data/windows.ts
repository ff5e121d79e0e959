/** How text is cut into windows: what each begins with, which of the text it holds and which of its tokens are scored. */

import { oneOf, throwIfAborted } from '../base/validate';
import type { Tokenizer } from '../text/tokenizer';
import { Places } from './positions';
import { ID_BITS, type TokenStore } from './token_file';

/** Tokens read at a time. */
const PIECE = 2 ** 16;

export const START_TOKENS = ['auto', 'stream'] as const;
/**
 * What a window of text begins with. 'auto': the token that the tokenizer puts before a text, where it puts one (Gemma,
 * LLaMA, Mistral, OPT). 'stream': whatever comes next.
 */
export type StartToken = (typeof START_TOKENS)[number];

/** For calls that cut text into windows. */
export interface StartTokenOptions {
  /**
   * 'auto': every window begins with the token that the tokenizer puts before a text, where it puts one (Gemma, LLaMA,
   * Mistral, OPT): these models are lost without it. 'stream': the text is tokenized once and cut as it is, as for the
   * published figures of LLaMA and OPT. The same for tokenizers that put none. Default 'auto'.
   */
  readonly startToken?: StartToken | undefined;
}

/** What all windows of a text have in common. */
export interface WindowShape {
  /** Tokens of a window, the start token included. */
  readonly window: number;
  /** What every window begins with; undefined: whatever the text has there. */
  readonly startId?: number | undefined;
}

/** A model, in memory or on disk, as far as windows for it depend on it. */
export interface TokenizedModel {
  readonly hasTokenizer: boolean;
  /** Throws MBOK_NO_TOKENIZER where there is none. */
  readonly tokenizer: Tokenizer;
}

/** The id that windows for a model begin with; undefined for none. Throws MBOK_INVALID_ARGUMENT naming `name`. */
export function startIdFor(
  model: TokenizedModel,
  startToken: StartToken = 'auto',
  name = 'startToken',
): number | undefined {
  return oneOf(name, startToken, START_TOKENS) === 'auto' && model.hasTokenizer
    ? model.tokenizer.startTokenId
    : undefined;
}

/** What results say of their windows: 'auto' only where each began with a start token. */
export function startTokenOf(startId: number | undefined): StartToken {
  return startId === undefined ? 'stream' : 'auto';
}

/** Tokens of the text in a window, and from one window to the next where they do not overlap. */
export function textTokensOf({ window, startId }: WindowShape): number {
  return startId === undefined ? window : window - 1;
}

/** Which windows of a text are wanted. */
export interface WindowCut {
  /** Place of the first in the stream. Default 0. */
  readonly from?: number;
  /** Tokens of the text from one window to the next. Default: those that a window holds. */
  readonly stride?: number;
  /** At most so many. */
  readonly most: number;
  /** Stops the call, which then throws MBOK_ABORTED. */
  readonly signal?: AbortSignal | undefined;
}

/** A window of the text. */
export interface TextWindow {
  /** Where it begins in the stream. */
  readonly place: number;
  /** The place in the window of the first token that is scored, given those before it. */
  readonly scoredFrom: number;
}

/**
 * Windows from `from` on, each `stride` tokens of the text after the one before; the rest that fills no window is left
 * out. A start token that the text itself has where a window begins is that window's, and no token of the text: so no
 * window begins with two of them, and none of the text is lost.
 *
 * A token is scored in the first window that holds it, except what a window begins with: without overlap all but the first
 * token of each window are scored, with overlap each window's last `stride` tokens.
 *
 * @returns none where the text is shorter than a window
 * @throws MbokError MBOK_ABORTED, and as reading does
 */
export async function cutWindows(
  store: TokenStore,
  shape: WindowShape,
  { from = 0, stride = textTokensOf(shape), most, signal }: WindowCut,
): Promise<TextWindow[]> {
  const windows: TextWindow[] = [];
  let [place, end] = [from, from];
  while (windows.length < most) {
    throwIfAborted(signal);
    const own = await beginsWithStart(store, place, shape);
    const before = shape.startId !== undefined && !own ? 1 : 0;
    const next = place + shape.window - before;
    if (next > store.tokens) break;
    windows.push({ place, scoredFrom: Math.max(1, end - place + before) });
    end = next;
    place += stride + Number(own);
  }
  return windows;
}

/** How many places there are for a window: the text from 0, 1, … on fills it. Throws as reading does. */
export async function countPlaces(store: TokenStore, shape: WindowShape): Promise<number> {
  const last = store.tokens - textTokensOf(shape);
  // where the text has a start token at the last place, the window there wants another token of the text
  return Math.max(0, (await beginsWithStart(store, last, shape)) ? last : last + 1);
}

/** The places of windows in which a token after the first counts. Throws as reading does. */
export async function findCounted(store: TokenStore, shape: WindowShape): Promise<Places> {
  const { window, startId } = shape;
  const places = new Places();
  const last = (await countPlaces(store, shape)) - 1;
  for (let piece = 0; piece < store.tokens; piece += PIECE) {
    // with those before it that a window which holds its first token may begin at
    const from = Math.max(0, piece - window);
    const tokens = await store.read(from, Math.min(piece + PIECE, store.tokens) - from);
    const isStart = (place: number) => startId !== undefined && ((tokens[place - from] ?? -1) & ID_BITS) === startId;
    for (let place = piece; place < from + tokens.length; place++) {
      if ((tokens[place - from] as number) < 0) continue;
      // a window reaches a token further where it begins with a start token of the text, and where none is wanted
      const reaches = startId === undefined || isStart(place - window + 1);
      const first = place - window + (reaches ? 1 : 2);
      const precedes = startId === undefined || isStart(place);
      places.add(Math.max(0, first), Math.min(last, precedes ? place - 1 : place));
    }
  }
  return places;
}

/** The window at a place that the text fills: tokens as they are stored, and the start token unless the text has it there. */
export async function readWindow(
  store: TokenStore,
  place: number,
  { window, startId }: WindowShape,
): Promise<Int32Array> {
  const tokens = await store.read(place, Math.min(window, store.tokens - place));
  if (startId === undefined || ((tokens[0] as number) & ID_BITS) === startId) return Int32Array.from(tokens);
  const read = new Int32Array(window).fill(startId, 0, 1);
  read.set(tokens.subarray(0, window - 1), 1);
  return read;
}

/** Whether the text itself has the start token at a place. */
async function beginsWithStart(store: TokenStore, place: number, { startId }: WindowShape): Promise<boolean> {
  if (startId === undefined || place < 0 || place >= store.tokens) return false;
  const [first] = await store.read(place, 1);
  return ((first as number) & ID_BITS) === startId;
}
