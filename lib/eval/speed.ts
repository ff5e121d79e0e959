/** Speed in tokens per second: of a prompt (prefill), and of tokens one by one (decode). */

import { MbokError } from '../base/errors';
import { integerInRange, options, throwIfAborted } from '../base/validate';
import { cacheBytes } from '../generate/cache';
import { Decoder } from '../generate/decoder';
import { type ActivationBits, arithmeticOf, type Precision } from '../graph/arithmetic';
import { expectModel, type Model } from '../model';

/** Options of {@link measureSpeed}. */
export interface SpeedOptions {
  /** Tokens of the prompt. Default: 512, or the model's limit if that is smaller. */
  readonly prompt?: number | undefined;
  /** Tokens decoded one by one, from an empty cache. Default: 64, or the model's limit if that is smaller. */
  readonly tokens?: number | undefined;
  /** Number of measurements of each, after a warm-up that does not count. Default 5. */
  readonly repeats?: number | undefined;
  /** Precision of dense products. Default 'f32'. */
  readonly precision?: Precision | undefined;
  /** Bits to which the inputs of Boolean layers are rounded. Default: as the precision requires. */
  readonly activations?: ActivationBits | undefined;
  /** Stops the measurement, which then throws MBOK_ABORTED. */
  readonly signal?: AbortSignal | undefined;
  /** Receives the finished share of the work, from 0 to 1, after every repeat. */
  readonly onProgress?: ((progress: { readonly done: number }) => void) | undefined;
}

/** Tokens per second over the repeats. */
export interface Rate {
  /** Median over the repeats. */
  readonly median: number;
  /** The slowest repeat. */
  readonly least: number;
  /** The fastest repeat. */
  readonly most: number;
}

/** Result of {@link measureSpeed}, and the conventions of the measurement. */
export interface SpeedResult {
  /** Tokens of the prompt. */
  readonly prompt: number;
  /** Speed of the prompt. */
  readonly prefill: Rate;
  /** Tokens decoded one by one. */
  readonly tokens: number;
  /** Speed of the tokens after it. */
  readonly decode: Rate;
  /** Number of measurements of each. */
  readonly repeats: number;
  /** Bytes of the key-value cache. */
  readonly cacheBytes: number;
  /** Precision of dense products. */
  readonly precision: Precision;
  /** Bits to which the inputs of Boolean layers were rounded; undefined if only the precision rounded them. */
  readonly activations: ActivationBits | undefined;
}

const KEYS = ['prompt', 'tokens', 'repeats', 'precision', 'activations', 'signal', 'onProgress'] as const;

/**
 * Measures the speed of prefill and decode, up to the logits of the last token; sampling is not included. Token ids are
 * arbitrary, since the time does not depend on them.
 *
 * @param model - dense or Boolean; not changed
 * @returns tokens per second, as median and range over the repeats, and the conventions
 * @throws MbokError MBOK_INVALID_ARGUMENT (more tokens than the model's limit), MBOK_BUSY, MBOK_DISPOSED,
 * MBOK_OUT_OF_MEMORY, MBOK_ABORTED
 *
 * @example
 * const { prefill, decode } = await measureSpeed(model, { precision: 'bf16' });
 * console.log(`${prefill.median} tokens/s of a prompt, then ${decode.median}`);
 */
export async function measureSpeed(model: Model, given: SpeedOptions = {}): Promise<SpeedResult> {
  const { signal, onProgress, ...rest } = options('options', given, KEYS);
  const core = expectModel('model', model);
  const { maxPositions, vocabularySize } = core.config;
  const prompt = within('prompt', rest.prompt ?? Math.min(512, maxPositions), maxPositions);
  const tokens = within('tokens', rest.tokens ?? Math.min(64, maxPositions), maxPositions);
  const repeats = integerInRange('repeats', rest.repeats ?? 5, 1);
  const arithmetic = arithmeticOf(rest);
  throwIfAborted(signal);
  using _ = core.holdToRead();
  const context = Math.max(prompt, tokens);
  await using decoder = new Decoder(core, { context, arithmetic });
  const ids = Int32Array.from({ length: context }, (_, i) => (i * 7919) % vocabularySize);
  let done = 0;
  const rate = async (count: number, work: () => Promise<void>): Promise<Rate> => {
    const rates: number[] = [];
    for (let i = -1; i < repeats; i++) {
      throwIfAborted(signal);
      decoder.rewind(0, ids.subarray(0, 1));
      const started = performance.now();
      await work();
      const seconds = (performance.now() - started) / 1000;
      // skip the first: caches are cold and threads asleep
      if (i >= 0) rates.push(count / seconds);
      onProgress?.({ done: ++done / (2 * (repeats + 1)) });
    }
    rates.sort((a, b) => a - b);
    const [low, high] = [rates[(repeats - 1) >> 1] as number, rates[repeats >> 1] as number];
    return { median: (low + high) / 2, least: rates[0] as number, most: rates.at(-1) as number };
  };
  const prefill = await rate(prompt, async () => {
    await decoder.append(0, ids.subarray(0, prompt), signal);
  });
  const decode = await rate(tokens, async () => {
    for (let i = 0; i < tokens; i++) await decoder.step([{ slot: 0, id: ids[i] as number }], signal);
  });
  const bytes = cacheBytes(core, context, arithmetic.precision);
  return { prompt, prefill, tokens, decode, repeats, cacheBytes: bytes, ...arithmetic };
}

function within(name: string, count: number, limit: number): number {
  if (integerInRange(name, count, 1) <= limit) return count;
  throw new MbokError('MBOK_INVALID_ARGUMENT', `'${name}' is ${count}, more than the model's limit of ${limit}`);
}
