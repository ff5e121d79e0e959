/** Text from a model, token by token. */

import { MbokError } from '../errors';
import type { ModelCore } from '../models/model_core';
import { StopMatcher, StreamDecoder } from '../text/stream';
import { throwIfAborted } from '../validate';
import { cacheBytes } from './cache';
import { Decoder } from './decoder';
import type { EndReason, GenerationRequest, GenerationResult } from './options';
import { Sampler } from './sampler';

/** Tokens of the prompt that the decoding of the first token's text looks back at. */
const CONTEXT_TOKENS = 4;

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

  /** Use `model.generate()` or `model.chat()`. */
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
  /** Tokens that the cache has room for: the last token generated needs no place, nothing is computed after it. */
  readonly #context: number;
  readonly #model: ModelCore;
  readonly #request: GenerationRequest;
  readonly #sampler: Sampler;
  #settlement: Settlement | undefined;
  #text = '';
  #tokens = 0;
  #started = 0;
  #firstToken = 0;

  constructor(model: ModelCore, request: GenerationRequest) {
    this.#model = model;
    this.#request = request;
    this.#context = request.prompt.length + request.maxTokens - 1;
    this.cacheBytes = cacheBytes(model, this.#context);
    this.#sampler = new Sampler(request.options);
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
    const now = performance.now();
    const result: GenerationResult = {
      reason,
      text: this.#text,
      tokens: this.#tokens,
      promptTokens: this.#request.prompt.length,
      seed: this.#sampler.seed,
      cacheBytes: this.cacheBytes,
      prefillSeconds: this.#tokens === 0 ? 0 : (this.#firstToken - this.#started) / 1000,
      decodeSeconds: this.#tokens === 0 ? 0 : (now - this.#firstToken) / 1000,
    };
    settlement.resolve(result);
    const { onProgress, onEnd } = this.#request.options;
    onProgress?.({ done: 1, what: reason });
    onEnd?.(result);
  }

  async *#generate(): AsyncGenerator<string, EndReason, undefined> {
    const { prompt, maxTokens, limitedByContext, stop, ends, precision, options } = this.#request;
    const { signal, onProgress } = options;
    throwIfAborted(signal);
    onProgress?.({ done: 0, what: 'prompt' });
    const { tokenizer } = this.#model;
    this.#started = performance.now();
    await using decoder = new Decoder(this.#model, { context: this.#context, precision });
    const text = new StreamDecoder(tokenizer);
    // a token's text may depend on its neighbours: the prompt's end is context, its own text is not given out
    for (const id of prompt.subarray(-CONTEXT_TOKENS)) text.push(id);
    const matcher = new StopMatcher(stop);
    for (const id of prompt) this.#sampler.see(id);
    for (let next = prompt; ; ) {
      const id = this.#sampler.sample(await decoder.append(next, signal));
      if (this.#tokens++ === 0) this.#firstToken = performance.now();
      const ended = ends.includes(id);
      const last = ended || this.#tokens === maxTokens;
      const found = matcher.push(ended ? text.flush() : text.push(id) + (last ? text.flush() : ''));
      const stopped = found.stop !== undefined;
      yield* this.#emit(found.text + (last && !stopped ? matcher.flush() : ''));
      if (stopped) return 'stop';
      if (ended) return 'end-of-text';
      if (last) return limitedByContext ? 'context' : 'max-tokens';
      throwIfAborted(signal);
      if (this.#model.disposed) throw new MbokError('MBOK_DISPOSED', 'the model was disposed while it generated');
      onProgress?.({ done: this.#tokens / maxTokens, what: 'tokens' });
      this.#sampler.see(id);
      next = Int32Array.of(id);
    }
  }

  *#emit(piece: string): Generator<string, void, undefined> {
    if (piece === '') return;
    this.#text += piece;
    yield piece;
  }
}
