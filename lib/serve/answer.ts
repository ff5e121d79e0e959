/** What the endpoints that generate have in common. */

import { version } from '../base/version';
import type { EndReason, GeneratedToken, GenerationResult } from '../generate/request';
import type { Tokenizer } from '../text/tokenizer';
import type { Exchange } from './exchange';
import type { ServedModel } from './models';
import type { Prompt } from './requests';
import type { Delta, TextMaker } from './texts';

/** Events of a stream, as they are sent. */
export type Events = AsyncGenerator<string, void, undefined>;

/** A request of an endpoint that generates, as it is answered. */
export interface Answer {
  readonly prompts: readonly Prompt[];
  /** The texts to compute; those of a prompt follow one another. */
  readonly makers: readonly TextMaker[];
  /** Makes the whole answer. */
  whole(deltas: AsyncIterable<Delta>): Promise<object>;
  /** Makes the events of a stream. */
  events(deltas: AsyncIterable<Delta>): Events;
}

/** Makes the answer of a checked body. Throws HttpError and MbokError for what can be told before anything is computed. */
export type Endpoint<Body> = (served: ServedModel, body: Body, exchange: Exchange) => Answer;

/** Names what made the answer. */
export const FINGERPRINT = `mbok-${version()}`;

/** OpenAI's names of the reasons why a text ends. */
export function finishReason(reason: EndReason): 'stop' | 'length' {
  return reason === 'max-tokens' || reason === 'context' ? 'length' : 'stop';
}

/** The texts of an answer, put together. */
export interface Collected {
  readonly text: string;
  readonly tokens: readonly GeneratedToken[];
  readonly result: GenerationResult;
}

/** Puts texts together. */
export async function collect(deltas: AsyncIterable<Delta>): Promise<Collected[]> {
  const texts: { text: string; tokens: GeneratedToken[]; result: GenerationResult }[] = [];
  for await (const { index, text, tokens, result } of deltas) {
    texts[index] ??= { text: '', tokens: [], result: result as GenerationResult };
    const one = texts[index] as (typeof texts)[number];
    one.text += text;
    one.tokens.push(...tokens);
    if (result !== undefined) one.result = result;
  }
  return texts;
}

/** Counts of tokens. A prompt of several texts counts once. */
export interface Counts {
  readonly prompt: number;
  readonly cached: number;
  readonly generated: number;
}

export function countTokens(
  prompts: readonly Prompt[],
  results: readonly (GenerationResult | undefined)[],
  textsOfPrompt: number,
): Counts {
  const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);
  return {
    prompt: sum(prompts.map(({ ids }) => ids.length)),
    cached: sum(prompts.map((_, index) => results[index * textsOfPrompt]?.cachedTokens ?? 0)),
    generated: sum(results.map((result) => result?.tokens ?? 0)),
  };
}

/** Usage as the two older endpoints tell it. */
export function usageOf({ prompt, cached, generated }: Counts): object {
  return {
    prompt_tokens: prompt,
    completion_tokens: generated,
    total_tokens: prompt + generated,
    prompt_tokens_details: { cached_tokens: cached, audio_tokens: 0 },
    completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0 },
  };
}

/** A token's text, as its own: a character cut over tokens gives replacement characters. */
export function tokenText(tokenizer: Tokenizer, id: number, skipSpecialTokens = false): string {
  // embeddings are often padded: rows past the vocabulary have no text
  return id < tokenizer.vocabSize ? tokenizer.decode([id], { skipSpecialTokens }) : '';
}

/** A log-probability as JSON can tell it: there is no -Infinity. */
export function finite(logprob: number): number {
  return Math.max(logprob, -9999);
}
