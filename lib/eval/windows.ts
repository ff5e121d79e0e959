/** How a stream of tokens is cut into windows, and which of their tokens count. */

import { MbokError } from '../errors';

/** A window of the stream. */
export interface EvaluationWindow {
  /** Its first token's place in the stream. */
  readonly start: number;
  /** The place in the window of the first token that is scored, given those before it. */
  readonly scoredFrom: number;
}

/**
 * Windows from the stream's start, each `stride` tokens after the one before; the rest that fills no window is left out.
 * A token is scored in the first window that holds it, except a window's first token, which nothing precedes: without
 * overlap every position but the first of each window is scored, with overlap each window's last `stride` tokens.
 *
 * @throws MbokError MBOK_INVALID_ARGUMENT for a stream shorter than a window
 */
export function evaluationWindows(
  tokens: number,
  { window, stride, most }: { readonly window: number; readonly stride: number; readonly most: number },
): EvaluationWindow[] {
  if (tokens < window) {
    throw new MbokError('MBOK_INVALID_ARGUMENT', `the text has ${tokens} tokens, fewer than a window of ${window}`);
  }
  const count = Math.min(Math.floor((tokens - window) / stride) + 1, most);
  return Array.from({ length: count }, (_, i) => ({
    start: i * stride,
    scoredFrom: i === 0 ? 1 : Math.max(1, window - stride),
  }));
}
