/** Options of a generation and what is told when it ends. */

import { MbokError } from '../base/errors';
import { integerInRange, integers, invalid, options, string } from '../base/validate';
import { type ActivationBits, type Arithmetic, arithmeticOf, type Precision } from '../graph/arithmetic';
import type { ModelCore } from '../models/model_core';
import type { ProgressOptions } from '../models/stored_matrix';
import type { Tokenizer } from '../text/tokenizer';
import type { ScoredToken, TokenProbability } from './logprobs';
import { PromptCache } from './prompt_cache';
import { SAMPLING_OPTIONS, type SamplingOptions } from './sampler';

/**
 * Why a generation ended: the model gave its end-of-text token, `maxTokens` were generated, a stop string appeared, the
 * model's context is full, or the caller left the iterator early.
 */
export type EndReason = 'end-of-text' | 'max-tokens' | 'stop' | 'context' | 'left';

/** How a generation went, told when it ends. */
export interface GenerationResult {
  /** Why it ended. */
  readonly reason: EndReason;
  /** The whole text, without the stop string. */
  readonly text: string;
  /** Tokens generated, the end-of-text token included. */
  readonly tokens: number;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Tokens of the prompt that were in a cache, and were not computed again. */
  readonly cachedTokens: number;
  /** The sampler's; give it again for the same text. */
  readonly seed: number;
  /** Bytes of the key-value cache: f32 where products are, f16 otherwise. */
  readonly cacheBytes: number;
  /** From the start of the prompt's computation to the first token. */
  readonly prefillSeconds: number;
  /** From the first token to the end. */
  readonly decodeSeconds: number;
}

/** A token as it is chosen, with its probability if `logprobs` asks for it. */
export type GeneratedToken = Pick<TokenProbability, 'id'> & Partial<ScoredToken>;

/** Options of `model.generate`. */
export interface GenerateOptions extends SamplingOptions, ProgressOptions {
  /** At most this many tokens are generated. Default: as many as fit into the model's context. */
  readonly maxTokens?: number;
  /** The text ends before the first of these strings. */
  readonly stop?: string | readonly string[];
  /** Of dense products. Default 'f32'. */
  readonly precision?: Precision;
  /** Bits that the inputs of Boolean layers are rounded to. Default: as the precision asks. */
  readonly activations?: ActivationBits | undefined;
  /** Keeps keys and values for the next generation, and has those of the last. Default: none are kept. */
  readonly promptCache?: PromptCache | undefined;
  /**
   * Asks for the probability of every token and of this many of the likeliest tokens in its place, which `onToken` is told.
   * They are the model's, before penalties, bias and temperature. Default: none.
   */
  readonly logprobs?: number | undefined;
  /** Told of every token when it is chosen, the token that ends the text included. */
  readonly onToken?: ((token: GeneratedToken) => void) | undefined;
  /** Told once when the generation ends, unless it fails. */
  readonly onEnd?: ((result: GenerationResult) => void) | undefined;
}

/** Options of `model.generateBatch`. The seed is the first prompt's; the next one's is one more, and so on. */
export interface BatchOptions extends Omit<GenerateOptions, 'onToken' | 'onEnd' | 'promptCache'> {
  /** Prompts computed side by side at most; each takes a key-value cache. Default 8. */
  readonly parallel?: number;
  /** Told of every token when it is chosen, and of its prompt. */
  readonly onToken?: ((token: GeneratedToken, index: number) => void) | undefined;
  /** Told whenever a generation ends. */
  readonly onEnd?: ((result: GenerationResult, index: number) => void) | undefined;
}

export const GENERATE_OPTIONS = [
  ...SAMPLING_OPTIONS,
  'maxTokens',
  'stop',
  'precision',
  'activations',
  'logprobs',
  'promptCache',
  'signal',
  'onProgress',
  'onToken',
  'onEnd',
] as const;

/** Checked options and the prompt as token ids. */
export interface GenerationRequest {
  readonly options: GenerateOptions;
  readonly prompt: Int32Array;
  /** Tokens to generate at most. */
  readonly maxTokens: number;
  /** Whether the context ends the generation before `options.maxTokens` does. */
  readonly limitedByContext: boolean;
  readonly stop: readonly string[];
  /** Tokens that end the text. */
  readonly ends: readonly number[];
  readonly arithmetic: Arithmetic;
}

/**
 * Checks a request against the model. `ends`: the tokens that end the text; by default the tokenizer's. Throws
 * MBOK_INVALID_ARGUMENT, MBOK_NO_TOKENIZER, MBOK_DISPOSED.
 */
export function readRequest(
  model: ModelCore,
  prompt: string | ArrayLike<number>,
  given: GenerateOptions | undefined,
  ends: readonly number[] = model.tokenizer.eosTokenIds,
): GenerationRequest {
  const checked = options('options', given, GENERATE_OPTIONS);
  const { maxTokens, stop = [], promptCache, logprobs, logitBias } = checked;
  const { vocabularySize } = model.config;
  if (promptCache !== undefined && !(promptCache instanceof PromptCache)) {
    invalid('promptCache', 'a PromptCache', promptCache);
  }
  if (maxTokens !== undefined) integerInRange('maxTokens', maxTokens, 1);
  if (logprobs !== undefined) integerInRange('logprobs', logprobs, 0, vocabularySize);
  const strange = Object.keys(logitBias ?? {}).find((id) => Number(id) >= vocabularySize);
  if (strange !== undefined) invalid('logitBias', `biases of tokens below ${vocabularySize}`, logitBias);
  const arithmetic = arithmeticOf(checked);
  const stops = typeof stop === 'string' ? [stop] : [...stop];
  for (const [i, entry] of stops.entries()) string(`stop[${i}]`, entry);
  // needed for the text that comes out even where the prompt is given as ids
  const { tokenizer } = model;
  const ids = promptIds(prompt, tokenizer, model.config);
  const room = model.config.maxPositions - ids.length;
  // the last token generated needs no place of its own: nothing is computed after it
  const fitting = room + 1;
  return {
    options: checked,
    prompt: ids,
    maxTokens: Math.min(maxTokens ?? fitting, fitting),
    limitedByContext: maxTokens === undefined || maxTokens > fitting,
    stop: stops,
    ends,
    arithmetic,
  };
}

/** Places that a generation needs in a cache: the last token needs none, nothing is computed after it. */
export function contextOf({ prompt, maxTokens }: GenerationRequest): number {
  return prompt.length + maxTokens - 1;
}

/**
 * Returns the request with a limit for a cache of `context` tokens. Throws MBOK_INVALID_ARGUMENT if the prompt does not fit.
 */
export function fitted(request: GenerationRequest, context: number): GenerationRequest {
  const { length } = request.prompt;
  if (length > context) {
    const message = `the prompt has ${length} tokens, more than the ${context} that there is room for`;
    throw new MbokError('MBOK_INVALID_ARGUMENT', message);
  }
  const maxTokens = Math.min(request.maxTokens, context - length + 1);
  return { ...request, maxTokens, limitedByContext: request.limitedByContext || maxTokens < request.maxTokens };
}

/**
 * Checks, without encoding it, that a prompt may fit into a model's context.
 *
 * @throws MbokError MBOK_INVALID_ARGUMENT for a text of which no tokenizer could make so few tokens
 */
export function expectRoom(text: string, tokenizer: Tokenizer, { maxPositions }: ModelCore['config']): void {
  expectTokens(tokenizer.fewestTokens(text.length), 'at least ', maxPositions);
}

/** A text is encoded with what the tokenizer puts around one; an empty text begins a new document. */
function promptIds(prompt: string | ArrayLike<number>, tokenizer: Tokenizer, config: ModelCore['config']): Int32Array {
  const start = tokenizer.documentStartId;
  let ids: ArrayLike<number>;
  if (prompt === '' && start !== undefined) ids = [start];
  else if (typeof prompt === 'string') {
    expectRoom(prompt, tokenizer, config);
    ids = tokenizer.encode(prompt);
  } else ids = prompt;
  // before its numbers are looked at one by one
  expectTokens(ids?.length ?? 0, '', config.maxPositions);
  if (integers('prompt', ids, 0, config.vocabularySize - 1).length > 0) return Int32Array.from(ids);
  throw new MbokError('MBOK_INVALID_ARGUMENT', "'prompt' must have at least one token");
}

function expectTokens(tokens: number, atLeast: string, context: number): void {
  if (!(tokens > context)) return;
  throw new MbokError(
    'MBOK_INVALID_ARGUMENT',
    `the prompt has ${atLeast}${tokens} tokens, more than the model's context of ${context}`,
  );
}
