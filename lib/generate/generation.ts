/** A running generation, as its consumer sees it. */

import { MbokError } from '../base/errors';
import { throwIfAborted } from '../base/validate';
import type { ModelCore } from '../models/model_core';
import type { EndReason, GenerationRequest, GenerationResult } from './request';
import { Writer, type Written } from './writer';

/** A request in a scheduler. Dispose it when its text ends, so that others can have its slot. */
export interface Seat extends AsyncDisposable {
  /**
   * Asks for the next token: the text stands still until somebody does. Rejects with MBOK_ABORTED when the request's signal
   * fires, MBOK_NON_FINITE, MBOK_BUSY, MBOK_DISPOSED, MBOK_OUT_OF_MEMORY.
   */
  next(): Promise<Written>;
}

/** A scheduler, as its generations see it. */
export interface Host extends AsyncDisposable {
  readonly model: ModelCore;
  /** Bytes of the key-value cache of one text. */
  readonly cacheBytes: number;
  /** Adds a request, whose text `writer` makes. Throws MBOK_DISPOSED. */
  join(request: GenerationRequest, writer: Writer): Seat;
}

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

  /**
   * @internal Use `model.generate()` or `model.chat()`.
   *
   * @param alone - whether the host ends with the generation
   */
  constructor(host: Host, request: GenerationRequest, alone = false) {
    this.#run = new GenerationRun(host, request, alone);
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
  readonly #host: Host;
  readonly #request: GenerationRequest;
  readonly #alone: boolean;
  readonly #writer: Writer;
  #settlement: Settlement | undefined;

  constructor(host: Host, request: GenerationRequest, alone: boolean) {
    this.#host = host;
    this.#request = request;
    this.#alone = alone;
    this.cacheBytes = host.cacheBytes;
    this.#writer = new Writer(host.model.tokenizer, request);
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
    const { maxTokens, options } = this.#request;
    const { signal, onProgress } = options;
    throwIfAborted(signal);
    onProgress?.({ done: 0, what: 'prompt' });
    const writer = this.#writer;
    await using _ = this.#alone ? this.#host : undefined;
    await using seat = this.#host.join(this.#request, writer);
    for (;;) {
      const { text, next } = await seat.next();
      if (text !== '') yield text;
      if (next === undefined) return writer.reason as EndReason;
      throwIfAborted(signal);
      if (this.#host.model.disposed) {
        throw new MbokError('MBOK_DISPOSED', 'the model was disposed while it generated');
      }
      onProgress?.({ done: writer.tokens / maxTokens, what: 'tokens' });
    }
  }
}
