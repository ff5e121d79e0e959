import { MbokError } from '../errors';
import { uniformInteger } from '../random';
import { integerInRange } from '../validate';
import { DocumentEncoder } from './document_encoder';
import { Pause } from './pause';
import { type TokenArray, TokenBuffer } from './token_buffer';
import type { Tokenizer } from './tokenizer';

export type { TokenArray };

/** Separates the documents of a text file. */
export const DOCUMENT_MARKER = '<|endoftext|>';

/** The documents of a text: its parts between markers, without those that hold nothing but white space. */
export function splitDocuments(text: string): string[] {
  return text.split(DOCUMENT_MARKER).filter((document) => document.trim() !== '');
}

/**
 * The token stream of a text: its documents one after the other, each preceded by the tokenizer's document start (the
 * begin-of-text or end-of-text token), the first included. A text without markers is one document.
 *
 * @param options - `maxTokens`: stop when there are so many; `signal` stops it; `onProgress` is told how much is done,
 *   from 0 to 1
 * @throws MbokError MBOK_INVALID_ARGUMENT (a text without content), MBOK_ABORTED
 */
export async function encodeCorpus(
  tokenizer: Tokenizer,
  text: string,
  options: {
    readonly maxTokens?: number | undefined;
    readonly signal?: AbortSignal | undefined;
    readonly onProgress?: ((done: number) => void) | undefined;
  } = {},
): Promise<TokenArray> {
  const documents = splitDocuments(text);
  if (documents.length === 0) throw new MbokError('MBOK_INVALID_ARGUMENT', 'the text is empty');
  const tokens = new TokenBuffer(tokenizer.vocabSize > 0x10000);
  const encoder = new DocumentEncoder(tokenizer);
  const pause = new Pause(options.signal);
  const most = options.maxTokens ?? Infinity;
  for (const [index, document] of documents.entries()) {
    for (const part of [encoder.push(document), encoder.end()]) {
      for (const ids of part) {
        tokens.push(ids);
        if (tokens.length >= most) return tokens.tokens;
        if (pause.isDue) {
          options.onProgress?.((index + 1) / documents.length);
          await pause.take();
        }
      }
    }
  }
  return tokens.tokens;
}

/**
 * Cuts a token stream into windows that do not overlap. The rest that fills no window is left out, but a stream shorter
 * than one window is a window of its own.
 *
 * @param window - tokens a window
 * @param options - `every`: take each so many-th window (default 1: all); `most`: at most so many windows
 * @throws MbokError MBOK_INVALID_ARGUMENT when the stream has fewer than two tokens: nothing could be predicted
 */
export function splitWindows<T extends TokenArray>(
  tokens: T,
  window: number,
  { every = 1, most = Infinity }: { readonly every?: number; readonly most?: number } = {},
): T[] {
  integerInRange('window', window, 2);
  if (tokens.length < 2)
    throw new MbokError('MBOK_INVALID_ARGUMENT', `the text has ${tokens.length} tokens, 2 are needed`);
  if (tokens.length < window) return [tokens];
  const windows: T[] = [];
  for (let at = 0; at + window <= tokens.length && windows.length < most; at += every * window) {
    windows.push(tokens.subarray(at, at + window) as T);
  }
  return windows;
}

/**
 * The batch of one training step: windows at random offsets that depend on seed, step and place in the batch alone.
 *
 * @param options - `window`: tokens a sequence; `batch`: sequences a step; `seed`; `step`, from 0
 * @returns the sequences one after the other, [batch · window]
 * @throws MbokError MBOK_INVALID_ARGUMENT when the stream is shorter than a window
 */
export function randomWindows(
  tokens: TokenArray,
  options: { readonly window: number; readonly batch: number; readonly seed: number; readonly step: number },
): Int32Array {
  const { window, batch, seed, step } = options;
  const places = tokens.length - window + 1;
  if (places < 1) {
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      `'window' is ${window} tokens, but the text has only ${tokens.length}`,
    );
  }
  const result = new Int32Array(batch * window);
  for (let index = 0; index < batch; index++) {
    const offset = uniformInteger(places, seed, step, index);
    result.set(tokens.subarray(offset, offset + window), index * window);
  }
  return result;
}

/** Each token's successor in its window, −1 (not counted by losses) at a window's end. */
export function nextTokens(ids: Int32Array, window: number): Int32Array {
  return ids.map((_, i) => ((i + 1) % window === 0 ? -1 : (ids[i + 1] as number)));
}
