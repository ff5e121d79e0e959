import { MbokError } from '../base/errors';
import { DocumentEncoder } from './document_encoder';
import { Pause } from './pause';
import { type TokenArray, TokenBuffer } from './token_buffer';
import type { Tokenizer } from './tokenizer';

/** Separator of the documents of a text file. */
export const DOCUMENT_MARKER = '<|endoftext|>';

/** Splits a text at its markers and drops parts of only white space. */
export function splitDocuments(text: string): string[] {
  return text.split(DOCUMENT_MARKER).filter((document) => document.trim() !== '');
}

/**
 * Encodes a text as a token stream. Each document, the first included, follows the tokenizer's document start (the
 * begin-of-text or end-of-text token). A text without markers is one document.
 *
 * @param options - `maxTokens`: stop after about this many tokens; `signal` stops it; `onProgress` receives the
 * finished share, from 0 to 1
 * @throws MbokError MBOK_INVALID_ARGUMENT if the text is empty, MBOK_ABORTED
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
