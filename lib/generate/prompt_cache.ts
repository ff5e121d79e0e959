/** Keys and values that outlive a generation, for the next one that begins alike. */

import { MbokError } from '../base/errors';
import { sameArithmetic } from '../graph/arithmetic';
import type { ModelCore } from '../models/model_core';
import { Decoder, type DecoderOptions } from './decoder';

/** A decoder lent to one generation. */
export interface Lease {
  readonly decoder: Decoder;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Keeps the key-value cache of the last generation that was given it: the next prompt is computed from where it parts from
 * that text, which makes the turns of a conversation cost their own tokens only. Texts are the same as without, up to
 * rounding. For one generation at a time; dispose it.
 *
 * @example
 * await using promptCache = new PromptCache();
 * for await (const text of model.chat(messages, { promptCache })) process.stdout.write(text);
 */
export class PromptCache {
  #model: ModelCore | undefined;
  #decoder: Decoder | undefined;
  #lent = false;
  #disposed = false;

  /** @internal Room for so many tokens will there be when a text of `context` tokens has been computed. */
  capacityFor(model: ModelCore, context: number): number {
    const kept = model === this.#model ? (this.#decoder?.context ?? 0) : 0;
    // growing copies: a conversation that grows by a little each turn shall not be copied each turn
    return context <= kept ? kept : Math.max(context, Math.min(2 * kept, model.config.maxPositions));
  }

  /** @internal Lends the decoder, with what it holds. Throws MBOK_BUSY, MBOK_DISPOSED, MBOK_OUT_OF_MEMORY. */
  async lend(model: ModelCore, options: DecoderOptions): Promise<Lease> {
    if (this.#disposed) throw new MbokError('MBOK_DISPOSED', 'this prompt cache has been disposed');
    if (this.#lent) throw new MbokError('MBOK_BUSY', 'this prompt cache is in use by another generation');
    this.#lent = true;
    try {
      const decoder = await this.#prepare(model, options);
      return { decoder, [Symbol.asyncDispose]: () => this.#release() };
    } catch (error) {
      this.#lent = false;
      throw error;
    }
  }

  async #prepare(model: ModelCore, { context, arithmetic }: DecoderOptions): Promise<Decoder> {
    const capacity = this.capacityFor(model, context);
    const kept = this.#decoder;
    const fits =
      kept !== undefined && model === this.#model && !kept.isStale && sameArithmetic(kept.arithmetic, arithmetic);
    if (fits && kept.context === capacity) return kept;
    const decoder = new Decoder(model, { context: capacity, arithmetic });
    if (fits) decoder.takeOver(kept);
    this.#decoder = decoder;
    this.#model = model;
    await kept?.[Symbol.asyncDispose]();
    return decoder;
  }

  async #release(): Promise<void> {
    this.#lent = false;
    if (this.#disposed) await this.#decoder?.[Symbol.asyncDispose]();
  }

  /** Frees the cache, after the generation that uses it if there is one. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    if (!this.#lent) await this.#decoder?.[Symbol.asyncDispose]();
  }
}
