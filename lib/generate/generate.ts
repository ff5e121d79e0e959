/** Text from a model, token by token. */

import { MbokError } from '../base/errors';
import { throwIfAborted } from '../base/validate';
import type { ModelCore } from '../models/model_core';
import { cacheBytes } from './cache';
import { Decoder, type DecoderOptions } from './decoder';
import type { Lease } from './prompt_cache';
import { contextOf, type EndReason, type GenerationRequest, type GenerationResult } from './request';
import { Writer } from './writer';

/**
 * A running generation: iterate it for the text, piece by piece. Pieces never split a character and never hold a part of
 * a stop string. Why it ended is told three ways, since `for await` drops the iterator's return value: by `result`, by the
 * option `onEnd`, and by the return value itself. Leaving the loop early stops the work and frees everything.
 *
 * @example
 * const generation = model.generate('Once upon a time', { maxTokens: 100 });
 * for await (const text of generation) process.stdout.write(text);
 * const { reason, tokens } = await generation.result;
 */
export class Generation implements AsyncGenerator<string, GenerationResult, undefined> {
  /**
   * Settles when the iteration ends: with the result, or with the error that the iteration threw (MBOK_ABORTED,
   * MBOK_DISPOSED, MBOK_NON_FINITE). Pending for as long as nobody iterates.
   */
  readonly result: Promise<GenerationResult>;
  /** Bytes of the key-value cache that the generation takes while it runs. */
  readonly cacheBytes: number;
  readonly #run: GenerationRun;
  readonly #pieces: AsyncGenerator<string, GenerationResult, undefined>;
  #started = false;

  /** @internal Use `model.generate()` or `model.chat()`. */
  constructor(model: ModelCore, request: GenerationRequest) {
    this.#run = new GenerationRun(model, request);
    this.cacheBytes = this.#run.cacheBytes;
    this.result = this.#run.result;
    this.#pieces = this.#run.pieces();
  }

  /** The next piece of text; rejects with MBOK_ABORTED, MBOK_DISPOSED, MBOK_NON_FINITE, MBOK_OUT_OF_MEMORY. */
  next(): Promise<IteratorResult<string, GenerationResult>> {
    this.#started = true;
    return this.#pieces.next();
  }

  /** Ends the generation early; everything it holds is freed when the promise resolves. */
  async return(): Promise<IteratorResult<string, GenerationResult>> {
    await this.#leave();
    return { done: true, value: await this.result };
  }

  /** Ends the generation early and throws `error`. */
  async throw(error: unknown): Promise<IteratorResult<string, GenerationResult>> {
    await this.#leave();
    throw error;
  }

  /** Itself: a generation can be iterated once. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends the generation early, as `return` does. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#leave();
  }

  async #leave(): Promise<void> {
    // a generator that was never started skips its `finally`
    if (!this.#started) this.#run.end('left');
    await this.#pieces.return(undefined as unknown as GenerationResult);
  }
}

interface Settlement {
  resolve(result: GenerationResult): void;
  reject(error: unknown): void;
}

/** The state of one generation. */
class GenerationRun {
  readonly result: Promise<GenerationResult>;
  readonly cacheBytes: number;
  /** Tokens that the cache has room for. */
  readonly #context: number;
  readonly #model: ModelCore;
  readonly #request: GenerationRequest;
  readonly #writer: Writer;
  #settlement: Settlement | undefined;

  constructor(model: ModelCore, request: GenerationRequest) {
    this.#model = model;
    this.#request = request;
    this.#context = contextOf(request);
    const { options, arithmetic } = request;
    const rows = options.promptCache?.capacityFor(model, this.#context) ?? this.#context;
    this.cacheBytes = cacheBytes(model, rows, arithmetic.precision);
    this.#writer = new Writer(model.tokenizer, request);
    this.result = new Promise((resolve, reject) => {
      this.#settlement = { resolve, reject };
    });
    // whoever iterates gets the same error: nobody has to look here
    this.result.catch(() => undefined);
  }

  async *pieces(): AsyncGenerator<string, GenerationResult, undefined> {
    let reason: EndReason | undefined = 'left';
    try {
      reason = yield* this.#generate();
    } catch (error) {
      reason = undefined;
      this.#settlement?.reject(error);
      throw error;
    } finally {
      if (reason !== undefined) this.end(reason);
    }
    return this.result;
  }

  /** Settles the result; once. */
  end(reason: EndReason): void {
    const settlement = this.#settlement;
    this.#settlement = undefined;
    if (settlement === undefined) return;
    const result = this.#writer.result(reason, this.cacheBytes);
    settlement.resolve(result);
    const { onProgress, onEnd } = this.#request.options;
    onProgress?.({ done: 1, what: reason });
    onEnd?.(result);
  }

  async *#generate(): AsyncGenerator<string, EndReason, undefined> {
    const { prompt, maxTokens, arithmetic, options } = this.#request;
    const { signal, onProgress, promptCache } = options;
    throwIfAborted(signal);
    onProgress?.({ done: 0, what: 'prompt' });
    const writer = this.#writer;
    writer.start();
    const settings = { context: this.#context, arithmetic };
    await using lease = (await promptCache?.lend(this.#model, settings)) ?? ownDecoder(this.#model, settings);
    const { decoder } = lease;
    for (let ids = prompt.subarray(decoder.rewind(prompt)); ; ) {
      const { text, next } = writer.write(await decoder.append(ids, signal));
      if (text !== '') yield text;
      if (next === undefined) return writer.reason as EndReason;
      throwIfAborted(signal);
      if (this.#model.disposed) throw new MbokError('MBOK_DISPOSED', 'the model was disposed while it generated');
      onProgress?.({ done: writer.tokens / maxTokens, what: 'tokens' });
      ids = Int32Array.of(next);
    }
  }
}

/** A decoder that ends with its generation. */
function ownDecoder(model: ModelCore, options: DecoderOptions): Lease {
  const decoder = new Decoder(model, options);
  return { decoder, [Symbol.asyncDispose]: () => decoder[Symbol.asyncDispose]() };
}
