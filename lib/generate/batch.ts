/** Several texts from a model, side by side. */

import { MbokError } from '../base/errors';
import { integerInRange, invalid, object, throwIfAborted } from '../base/validate';
import type { ModelCore } from '../models/model_core';
import { type BatchOptions, contextOf, type GenerationRequest, type GenerationResult, readRequest } from './request';
import { Scheduler } from './scheduler';

const PARALLEL = 8;

/** See `model.generateBatch`. */
export async function generateBatch(
  model: ModelCore,
  prompts: readonly (string | ArrayLike<number>)[],
  given: BatchOptions,
): Promise<GenerationResult[]> {
  const { parallel = PARALLEL, onEnd, onProgress, ...options } = object('options', given);
  if (onEnd !== undefined && typeof onEnd !== 'function') invalid('onEnd', 'a function', onEnd);
  integerInRange('parallel', parallel, 1, 1024);
  throwIfAborted(options.signal);
  const requests = readRequests(model, prompts, options);
  const [first] = requests;
  if (first === undefined) return [];
  using _ = model.holdToRead();
  const slots = Math.min(parallel, requests.length);
  const context = Math.max(...requests.map(contextOf));
  await using scheduler = new Scheduler(model, { slots, context, arithmetic: first.arithmetic });
  let ended = 0;
  let failure: { readonly error: unknown } | undefined;
  const results = requests.map(async (request, index) => {
    try {
      const generation = scheduler.submit(request);
      for await (const _ of generation);
      const result = await generation.result;
      onEnd?.(result, index);
      ended++;
      onProgress?.({ done: ended / requests.length, what: `text ${ended} of ${requests.length}` });
      return result;
    } catch (error) {
      // one that fails ends all
      failure ??= { error };
      await scheduler[Symbol.asyncDispose]();
      throw error;
    }
  });
  const settled = await Promise.allSettled(results);
  if (failure !== undefined) throw failure.error;
  return settled.map((result) => (result as PromiseFulfilledResult<GenerationResult>).value);
}

/** Every prompt's request; what is wrong with one is told with its number. */
function readRequests(
  model: ModelCore,
  prompts: readonly (string | ArrayLike<number>)[],
  { seed, onToken, ...options }: Omit<BatchOptions, 'parallel' | 'onEnd'>,
): GenerationRequest[] {
  if (!Array.isArray(prompts)) invalid('prompts', 'an array of texts or token ids', prompts);
  if (onToken !== undefined && typeof onToken !== 'function') invalid('onToken', 'a function', onToken);
  return prompts.map((prompt: string | ArrayLike<number>, index) => {
    try {
      return readRequest(model, prompt, {
        ...options,
        ...(seed !== undefined && { seed: seed + index }),
        ...(onToken && { onToken: (token) => onToken(token, index) }),
      });
    } catch (error) {
      if (!(error instanceof MbokError) || error.code !== 'MBOK_INVALID_ARGUMENT') throw error;
      throw new MbokError(error.code, `prompts[${index}]: ${error.message}`, { cause: error });
    }
  });
}
