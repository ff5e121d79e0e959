/** Several texts from a model, side by side. */

import { MbokError } from '../base/errors';
import { integerInRange, invalid, object, throwIfAborted } from '../base/validate';
import type { ModelCore } from '../models/model_core';
import { BatchDecoder, type Piece } from './batch_decoder';
import { cacheBytes } from './cache';
import {
  type BatchOptions,
  contextOf,
  type EndReason,
  type GenerationRequest,
  type GenerationResult,
  readRequest,
} from './request';
import { Writer } from './writer';

const PARALLEL = 8;

/** A text that has a slot. */
interface Active {
  readonly index: number;
  readonly slot: number;
  readonly writer: Writer;
  /** Tokens that the cache does not hold yet. */
  rest: Int32Array;
  /** Tokens that it holds. */
  position: number;
}

/** See `model.generateBatch`. */
export async function generateBatch(
  model: ModelCore,
  prompts: readonly (string | ArrayLike<number>)[],
  given: BatchOptions,
): Promise<GenerationResult[]> {
  const { parallel = PARALLEL, onEnd, ...options } = object('options', given);
  if (onEnd !== undefined && typeof onEnd !== 'function') invalid('onEnd', 'a function', onEnd);
  integerInRange('parallel', parallel, 1, 1024);
  const requests = readRequests(model, prompts, options);
  const [first] = requests;
  if (first === undefined) return [];
  const { signal, onProgress } = options;
  throwIfAborted(signal);
  using _ = model.holdToRead();
  const slots = Math.min(parallel, requests.length);
  const context = Math.max(...requests.map(contextOf));
  await using decoder = new BatchDecoder(model, { slots, context, arithmetic: first.arithmetic });
  const results: GenerationResult[] = [];
  const waiting = requests.entries();
  const free = Array.from({ length: slots }, (_, slot) => slots - 1 - slot);
  const active: Active[] = [];
  for (let ended = 0; ended < requests.length; ) {
    admit(model, waiting, free, active);
    const pieces = choosePieces(active, decoder.maxRows);
    const logits = await decoder.append(pieces, signal);
    for (const [i, piece] of pieces.entries()) {
      const text = active.find(({ slot }) => slot === piece.slot) as Active;
      text.position += piece.ids.length;
      text.rest = text.rest.subarray(piece.ids.length);
      if (text.rest.length > 0) continue;
      const { next } = text.writer.write(logits[i] as Float32Array);
      if (next !== undefined) {
        text.rest = Int32Array.of(next);
        continue;
      }
      const bytes = cacheBytes(model, context, first.arithmetic.precision);
      const result = text.writer.result(text.writer.reason as EndReason, bytes);
      results[text.index] = result;
      active.splice(active.indexOf(text), 1);
      free.push(text.slot);
      ended++;
      onEnd?.(result, text.index);
      onProgress?.({ done: ended / requests.length, what: `text ${ended} of ${requests.length}` });
    }
    throwIfAborted(signal);
    if (model.disposed) throw new MbokError('MBOK_DISPOSED', 'the model was disposed while it generated');
  }
  return results;
}

/** Every prompt's request; what is wrong with one is told with its number. */
function readRequests(
  model: ModelCore,
  prompts: readonly (string | ArrayLike<number>)[],
  { seed, ...options }: Omit<BatchOptions, 'parallel' | 'onEnd'>,
): GenerationRequest[] {
  if (!Array.isArray(prompts)) invalid('prompts', 'an array of texts or token ids', prompts);
  return prompts.map((prompt: string | ArrayLike<number>, index) => {
    try {
      return readRequest(model, prompt, { ...options, ...(seed !== undefined && { seed: seed + index }) });
    } catch (error) {
      if (!(error instanceof MbokError) || error.code !== 'MBOK_INVALID_ARGUMENT') throw error;
      throw new MbokError(error.code, `prompts[${index}]: ${error.message}`, { cause: error });
    }
  });
}

/** Gives free slots to the texts that wait. */
function admit(
  model: ModelCore,
  waiting: Iterator<[number, GenerationRequest]>,
  free: number[],
  active: Active[],
): void {
  while (free.length > 0) {
    const { value, done } = waiting.next();
    if (done === true) return;
    const [index, request] = value;
    const writer = new Writer(model.tokenizer, request);
    writer.start();
    active.push({ index, slot: free.pop() as number, writer, rest: request.prompt, position: 0 });
  }
}

/**
 * What the next run computes: prompts first, as much of them as fits, then a token of every text. The two do not mix, so
 * that tokens are computed as they are one by one.
 */
function choosePieces(active: readonly Active[], maxRows: number): Piece[] {
  const prompts = active.filter(({ writer }) => writer.tokens === 0);
  let room = maxRows;
  return (prompts.length > 0 ? prompts : active).flatMap(({ slot, position, rest }) => {
    const ids = rest.subarray(0, room);
    room -= ids.length;
    return ids.length > 0 ? [{ slot, position, ids }] : [];
  });
}
