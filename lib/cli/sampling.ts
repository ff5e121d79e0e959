/** Options of commands that generate text. */

import type { GenerateOptions, GenerationResult } from '../generate/request';
import { ARITHMETIC_OPTIONS, givenArithmetic } from './arithmetic';
import { type CommandCall, given, type OptionTable } from './command';
import { megabytes } from './terminal';

/** Creates the sampling options. `byDefault` holds the defaults that the help shows; `other` is that of the filters. */
export function samplingOptions(byDefault: { maxTokens: string; temperature: string; other?: string }): OptionTable {
  const share = { kind: 'number', value: 'X', minimum: 0, maximum: 1 } as const;
  const { other } = byDefault;
  return {
    'max-tokens': {
      kind: 'integer',
      value: 'N',
      minimum: 1,
      help: 'largest number of tokens',
      byDefault: byDefault.maxTokens,
    },
    temperature: {
      kind: 'number',
      value: 'X',
      minimum: 0,
      help: 'temperature of sampling; 0: always the likeliest token',
      byDefault: byDefault.temperature,
    },
    'top-k': {
      kind: 'integer',
      value: 'N',
      minimum: 0,
      help: 'sample only from the N likeliest tokens',
      byDefault: other ?? '0: all',
    },
    'top-p': {
      ...share,
      help: 'sample only from the likeliest tokens that together reach probability X',
      byDefault: other ?? '1',
    },
    'min-p': {
      ...share,
      help: 'sample only from tokens at least X times as likely as the first',
      byDefault: other ?? '0',
    },
    'repetition-penalty': {
      kind: 'number',
      value: 'X',
      minimum: 0,
      help: 'penalty of repeated tokens; above 1: fewer repetitions',
      byDefault: other ?? '1',
    },
    seed: { kind: 'integer', value: 'N', minimum: 0, help: 'seed of sampling, to repeat a text', byDefault: 'random' },
    stop: { kind: 'text', value: 'TEXT', many: true, help: 'end before this text; repeatable' },
    ...ARITHMETIC_OPTIONS,
  };
}

/** Reads the sampling options of a call. */
export function givenSampling(call: CommandCall): GenerateOptions {
  return given({
    maxTokens: call.number('max-tokens'),
    temperature: call.number('temperature'),
    topK: call.number('top-k'),
    topP: call.number('top-p'),
    minP: call.number('min-p'),
    repetitionPenalty: call.number('repetition-penalty'),
    seed: call.number('seed'),
    stop: call.texts('stop'),
    ...givenArithmetic(call),
  });
}

/** Returns the result of a generation for `--json`. */
export function resultJson(result: GenerationResult): Record<string, unknown> {
  const { text, reason, tokens, promptTokens, seed, cacheBytes, prefillSeconds } = result;
  return { text, reason, tokens, promptTokens, seed, cacheBytes, prefillSeconds, tokensPerSecond: speed(result) };
}

/** Formats the result of a generation for people. */
export function resultLine(result: GenerationResult): string {
  const { reason, tokens, seed, cacheBytes } = result;
  const rate = speed(result).toFixed(1);
  return `[${reason}, ${tokens} tokens, ${rate} tokens/s, seed ${seed}, key-value cache ${megabytes(cacheBytes)}]`;
}

function speed({ tokens, decodeSeconds }: GenerationResult): number {
  return tokens > 1 ? (tokens - 1) / decodeSeconds : 0;
}
