/** Windows of a text: their start tokens, their extent, and which of their tokens are scored. */

import { oneOf, throwIfAborted } from '../base/validate';
import type { Tokenizer } from '../text/tokenizer';
import { Places } from './positions';
import { ID_BITS, type TokenStore } from './token_file';

/** Tokens read at a time. */
const PIECE = 2 ** 16;

export const START_TOKENS = ['auto', 'stream'] as const;
/**
 * Start of a window. 'auto': the token that the tokenizer puts before a text, if there is one (Gemma, LLaMA, Mistral,
 * OPT). 'stream': the text itself.
 */
export type StartToken = (typeof START_TOKENS)[number];

/** Options of calls that cut text into windows. */
export interface StartTokenOptions {
  /**
   * 'auto': every window begins with the token that the tokenizer puts before a text. Gemma, LLaMA, Mistral and OPT
   * have such a token, and predict badly without it. 'stream': the text is tokenized once and cut as it is, as for the
   * published figures of LLaMA and OPT. Without such a token both are the same. Default 'auto'.
   */
  readonly startToken?: StartToken | undefined;
}

/** Shape of all windows of a text. */
export interface WindowShape {
  /** Tokens of a window, including the start token. */
  readonly window: number;
  /** Start token of every window; undefined: windows begin with the text itself. */
  readonly startId?: number | undefined;
}

/** The properties of a model, in memory or on disk, that windows depend on. */
export interface TokenizedModel {
  readonly hasTokenizer: boolean;
  /** Throws MBOK_NO_TOKENIZER if there is none. */
  readonly tokenizer: Tokenizer;
}

/**
 * Returns the start token of windows for a model; undefined if there is none. Throws MBOK_INVALID_ARGUMENT naming
 * `name`.
 */
export function startIdFor(
  model: TokenizedModel,
  startToken: StartToken = 'auto',
  name = 'startToken',
): number | undefined {
  return oneOf(name, startToken, START_TOKENS) === 'auto' && model.hasTokenizer
    ? model.tokenizer.startTokenId
    : undefined;
}

/** Returns the setting that results report: 'auto' only if each window began with a start token. */
export function startTokenOf(startId: number | undefined): StartToken {
  return startId === undefined ? 'stream' : 'auto';
}

/** Returns the text tokens of a window, which is also the distance of windows without overlap. */
export function textTokensOf({ window, startId }: WindowShape): number {
  return startId === undefined ? window : window - 1;
}

/** Selection of windows of a text. */
export interface WindowCut {
  /** Place of the first window in the stream. Default 0. */
  readonly from?: number;
  /** Text tokens from one window to the next. Default: the text tokens of a window, so that windows do not overlap. */
  readonly stride?: number;
  /** Largest number of windows. */
  readonly most: number;
  /** Stops the call, which then throws MBOK_ABORTED. */
  readonly signal?: AbortSignal | undefined;
}

/** A window of the text. */
export interface TextWindow {
  /** Start of the window in the stream. */
  readonly place: number;
  /** Index in the window of the first scored token; all later ones are scored too. */
  readonly scoredFrom: number;
}

/**
 * Cuts windows from `from` on, each `stride` text tokens after the one before. A remainder shorter than a window is
 * dropped. If the text itself has a start token where a window begins, the window uses that one. So no window begins
 * with two start tokens, and no text is lost.
 *
 * A token is scored in the first window that contains it, unless it is the first of a window. Without overlap all but
 * the first token of each window are scored. With overlap the last `stride` tokens are.
 *
 * @returns no windows if the text is shorter than one
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
    const hasStart = await beginsWithStart(store, place, shape);
    const before = shape.startId !== undefined && !hasStart ? 1 : 0;
    const next = place + shape.window - before;
    if (next > store.tokens) break;
    windows.push({ place, scoredFrom: Math.max(1, end - place + before) });
    end = next;
    place += stride + Number(hasStart);
  }
  return windows;
}

/** Counts the places at which the text fills a window: 0, 1, … Throws as reading does. */
export async function countPlaces(store: TokenStore, shape: WindowShape): Promise<number> {
  const last = store.tokens - textTokensOf(shape);
  // if the text has a start token at the last place, the window there needs one more text token
  return Math.max(0, (await beginsWithStart(store, last, shape)) ? last : last + 1);
}

/** Finds the places of windows in which a token after the first counts. Throws as reading does. */
export async function findCounted(store: TokenStore, shape: WindowShape): Promise<Places> {
  const { window, startId } = shape;
  const places = new Places();
  const last = (await countPlaces(store, shape)) - 1;
  for (let piece = 0; piece < store.tokens; piece += PIECE) {
    // include the tokens at which a window that contains the first token of the piece may begin
    const from = Math.max(0, piece - window);
    const tokens = await store.read(from, Math.min(piece + PIECE, store.tokens) - from);
    const isStart = (place: number) => startId !== undefined && ((tokens[place - from] ?? -1) & ID_BITS) === startId;
    for (let place = piece; place < from + tokens.length; place++) {
      if ((tokens[place - from] as number) < 0) continue;
      // a window reaches one token further if the text supplies its start token, or if there is none
      const reaches = startId === undefined || isStart(place - window + 1);
      const first = place - window + (reaches ? 1 : 2);
      const precedes = startId === undefined || isStart(place);
      places.add(Math.max(0, first), Math.min(last, precedes ? place - 1 : place));
    }
  }
  return places;
}

/**
 * Reads the window at a place that the text fills: stored tokens, after the start token unless the text has it there.
 */
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

/** Tells whether the text itself has the start token at a place. */
async function beginsWithStart(store: TokenStore, place: number, { startId }: WindowShape): Promise<boolean> {
  if (startId === undefined || place < 0 || place >= store.tokens) return false;
  const [first] = await store.read(place, 1);
  return ((first as number) & ID_BITS) === startId;
}
