/** Texts of a request, computed side by side. */

import type { GeneratedToken, GenerationRequest, GenerationResult } from '../generate/request';
import type { ServedModel } from './models';

/** What is new of one of the texts. */
export interface Delta {
  /** Which text. */
  readonly index: number;
  readonly text: string;
  /** Tokens since the last delta. Their text may be withheld until it is certain. */
  readonly tokens: readonly GeneratedToken[];
  /** Set when the text has ended. */
  readonly result: GenerationResult | undefined;
}

/** Makes a request, given who wants its tokens. */
export type TextMaker = (onToken: (token: GeneratedToken) => void) => GenerationRequest;

/**
 * Computes texts and returns what is new of them, as it comes. One token of each is computed ahead of the reader.
 *
 * @throws MbokError MBOK_ABORTED, MBOK_NON_FINITE, MBOK_BUSY, MBOK_DISPOSED, MBOK_OUT_OF_MEMORY
 */
export async function* computeTexts(
  { scheduler }: ServedModel,
  makers: readonly TextMaker[],
): AsyncGenerator<Delta, undefined, undefined> {
  const running = makers.map((make) => {
    const tokens: GeneratedToken[] = [];
    return { generation: scheduler.submit(make((token) => tokens.push(token))), tokens };
  });
  const steps = new Map<number, Promise<Delta>>();
  const advance = (index: number) => {
    const { generation, tokens } = running[index] as (typeof running)[number];
    const step = generation.next().then(({ done, value }): Delta => {
      const result = done ? (value as GenerationResult) : undefined;
      return { index, text: done ? '' : (value as string), tokens: tokens.splice(0), result };
    });
    // whoever waits for it gets the error; at the end nobody does
    step.catch(() => undefined);
    steps.set(index, step);
  };
  try {
    for (const index of running.keys()) advance(index);
    while (steps.size > 0) {
      const delta = await Promise.race(steps.values());
      if (delta.result === undefined) advance(delta.index);
      else steps.delete(delta.index);
      yield delta;
    }
  } finally {
    await Promise.allSettled(running.map(({ generation }) => generation.return()));
  }
}
