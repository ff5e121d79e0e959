/** Generates texts side by side: requests join and leave at any time, and one loop computes them all. */

import { setImmediate } from 'node:timers/promises';
import { MbokError } from '../base/errors';
import { abortedError, integerInRange, invalid } from '../base/validate';
import { type Arithmetic, sameArithmetic } from '../graph/arithmetic';
import type { ModelCore } from '../models/model_core';
import { cacheBytes } from './cache';
import { Decoder, type Piece } from './decoder';
import { Generation, type Host, type Seat } from './generation';
import type { Lease, PromptCache } from './prompt_cache';
import { fitted, type GenerationRequest } from './request';
import type { Writer, Written } from './writer';

export interface SchedulerOptions {
  /** Texts side by side at most; each takes a key-value cache. */
  readonly slots: number;
  /** Tokens that a text may have. */
  readonly context: number;
  /** Of all requests. */
  readonly arithmetic: Arithmetic;
  /**
   * Lends the decoder, with one slot. All tokens that a prompt shares with the text before are reused, decoded ones too, so
   * texts are the same up to rounding. Default: the scheduler makes a decoder.
   */
  readonly promptCache?: PromptCache | undefined;
}

/** What a scheduler does at a moment. */
export interface SchedulerLoad {
  /** Texts with slots. */
  readonly running: number;
  /** Texts that wait for one. */
  readonly waiting: number;
  /** Share of the cache that running texts take, from 0 to 1. */
  readonly cacheUse: number;
}

interface Consumer {
  resolve(written: Written): void;
  reject(error: unknown): void;
}

/** A request and how far it has come. */
interface Text {
  readonly request: GenerationRequest;
  readonly writer: Writer;
  /** Undefined until it gets one. */
  slot: number | undefined;
  /** See {@link Decoder.path}. */
  path: number;
  /** Tokens that are not in the cache yet: the rest of the prompt, later the last token chosen. */
  rest: Int32Array;
  /** Waits for the next token. */
  consumer: Consumer | undefined;
  /** Why the text cannot continue. */
  error: unknown;
}

/** A run in flight and its texts. */
interface Flight {
  readonly texts: readonly Text[];
  /** Aborts the run; undefined if a text has no signal. */
  readonly controller: AbortController | undefined;
  readonly running: Promise<unknown>;
}

/**
 * Computes requests side by side. A request takes a free slot, of several the one that holds the longest prefix of its
 * prompt. Every turn computes a token of each text whose consumer waits, then one run of prompts: a long prompt delays
 * running texts by one of its runs at most. A request that fails or is aborted ends alone.
 *
 * Texts do not depend on those beside them, bit for bit. A token is decoded as if it were alone, a prompt is computed as
 * its length requires ({@link Decoder.path}), and a prefix is reused only if computing it again would give the same bits.
 *
 * @example
 * await using scheduler = new Scheduler(model, { slots: 8, context: 2048, arithmetic });
 * for await (const text of scheduler.submit(request)) process.stdout.write(text);
 */
export class Scheduler implements Host {
  readonly model: ModelCore;
  readonly cacheBytes: number;
  readonly #options: SchedulerOptions;
  #lease: Lease | undefined;
  /** In order of arrival. */
  readonly #waiting: Text[] = [];
  /** Texts with slots, in order of admission. */
  readonly #seated: Text[] = [];
  /** Free slots, in the order in which they became free. */
  readonly #free: number[];
  #flight: Flight | undefined;
  #turning = false;
  /** Resolves when the loop ends. */
  #turned: Promise<void> | undefined;
  #disposed = false;

  /** Takes no memory before the first request is computed. Throws MBOK_INVALID_ARGUMENT. */
  constructor(model: ModelCore, options: SchedulerOptions) {
    const { slots, context, arithmetic, promptCache } = options;
    integerInRange('slots', slots, 1, promptCache === undefined ? 1024 : 1);
    integerInRange('context', context, 1, model.config.maxPositions);
    this.model = model;
    this.#options = options;
    const rows = promptCache?.capacityFor(model, context) ?? context;
    this.cacheBytes = cacheBytes(model, rows, arithmetic.precision);
    this.#free = Array.from({ length: slots }, (_, slot) => slot);
  }

  /**
   * Returns a request's text, which is computed while it is iterated. Without `maxTokens` it may fill the scheduler's
   * context. Throws MBOK_INVALID_ARGUMENT for a prompt that does not fit, another arithmetic or another prompt cache.
   */
  submit(request: GenerationRequest): Generation {
    const { context, arithmetic, promptCache } = this.#options;
    if (!sameArithmetic(request.arithmetic, arithmetic)) invalid('arithmetic', "the scheduler's", request.arithmetic);
    if (request.options.promptCache !== promptCache) invalid('promptCache', "the scheduler's", 'another');
    return new Generation(this, fitted(request, context));
  }

  /** What the scheduler does now. */
  get load(): SchedulerLoad {
    const tokens = this.#seated.reduce((sum, { request, writer }) => sum + request.prompt.length + writer.tokens, 0);
    const { slots, context } = this.#options;
    return { running: this.#seated.length, waiting: this.#waiting.length, cacheUse: tokens / (slots * context) };
  }

  join(request: GenerationRequest, writer: Writer): Seat {
    if (this.#disposed) throw disposedError();
    const rest = request.prompt;
    const text: Text = { request, writer, slot: undefined, path: 0, rest, consumer: undefined, error: undefined };
    const { signal } = request.options;
    const abort = () => this.#abort(text);
    signal?.addEventListener('abort', abort, { once: true });
    this.#waiting.push(text);
    return {
      next: () => this.#advance(text),
      [Symbol.asyncDispose]: async () => {
        signal?.removeEventListener('abort', abort);
        await this.#leave(text);
      },
    };
  }

  /** Ends all texts with MBOK_DISPOSED and frees everything, after the run in flight if there is one. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    this.#flight?.controller?.abort();
    await this.#turned;
    for (const text of [...this.#waiting, ...this.#seated]) fail(text, disposedError());
    await this.#close();
  }

  #advance(text: Text): Promise<Written> {
    return new Promise((resolve, reject) => {
      text.consumer = { resolve, reject };
      if (text.error !== undefined) fail(text, text.error);
      else this.#wake();
    });
  }

  /** Ends a text at once, or after its run in flight. A run is aborted when all of its texts are. */
  #abort(text: Text): void {
    const flight = this.#flight;
    if (!flight?.texts.includes(text)) failIfAborted(text);
    else if (flight.texts.every(({ request }) => request.options.signal?.aborted)) flight.controller?.abort();
  }

  async #leave(text: Text): Promise<void> {
    if (this.#flight?.texts.includes(text)) await Promise.allSettled([this.#flight.running]);
    remove(this.#waiting, text);
    if (!remove(this.#seated, text)) return;
    this.#free.push(text.slot as number);
    this.#wake();
  }

  #wake(): void {
    if (this.#turning) return;
    this.#turning = true;
    this.#turned = this.#turn();
  }

  /** Runs the loop as long as a consumer waits for something that can be computed. */
  async #turn(): Promise<void> {
    try {
      for (;;) {
        // consumers ask for their next token first, so that texts stay in step
        if (this.#options.slots > 1) await setImmediate();
        if (this.#disposed) return;
        if (this.#next() !== undefined) await this.#admit();
        const ready = this.#seated.filter(({ consumer }) => consumer !== undefined);
        const running = ready.filter(({ writer }) => writer.tokens > 0);
        const prompts = ready.filter(({ writer }) => writer.tokens === 0);
        if (running.length > 0) await this.#step(running);
        if (prompts.length > 0) await this.#prefill(prompts);
        if (ready.length === 0 && this.#next() === undefined) return;
      }
    } finally {
      this.#turning = false;
    }
  }

  /** Returns the text that gets the next slot, if there are both. */
  #next(): Text | undefined {
    return this.#free.length === 0 ? undefined : this.#waiting.find(({ consumer }) => consumer !== undefined);
  }

  /** Gives free slots to those that wait. */
  async #admit(): Promise<void> {
    let decoder: Decoder;
    try {
      decoder = await this.#open();
    } catch (error) {
      for (const text of this.#waiting) fail(text, error);
      return;
    }
    for (let text = this.#next(); text !== undefined; text = this.#next()) {
      const { prompt } = text.request;
      // decoded tokens have other bits than those of a prompt
      const path = this.#options.promptCache === undefined ? decoder.path(prompt.length) : undefined;
      const held = this.#free.map((slot) => decoder.reusable(slot, prompt, path));
      const [slot] = this.#free.splice(held.indexOf(Math.max(...held)), 1) as [number];
      text.slot = slot;
      const cached = decoder.rewind(slot, prompt, path);
      text.rest = prompt.subarray(cached);
      text.path = path ?? decoder.path(text.rest.length);
      text.writer.start(cached);
      remove(this.#waiting, text);
      this.#seated.push(text);
    }
  }

  /** Returns the decoder, a new one if the model has changed: texts of the old one cannot continue. */
  async #open(): Promise<Decoder> {
    if (this.#lease?.decoder.isStale) {
      try {
        this.#lease.decoder.hold()[Symbol.dispose]();
      } catch (error) {
        for (const text of this.#seated) fail(text, error);
      }
      await this.#close();
    }
    const { slots, context, arithmetic, promptCache } = this.#options;
    this.#lease ??=
      promptCache === undefined
        ? ownDecoder(new Decoder(this.model, { slots, context, arithmetic }))
        : await promptCache.lend(this.model, { context, arithmetic });
    return this.#lease.decoder;
  }

  async #close(): Promise<void> {
    const lease = this.#lease;
    this.#lease = undefined;
    await lease?.[Symbol.asyncDispose]();
  }

  /** Computes a token of every text. */
  async #step(texts: readonly Text[]): Promise<void> {
    const tokens = texts.map(({ slot, rest }) => ({ slot: slot as number, id: rest[0] as number }));
    const logits = await this.#fly(texts, (decoder, signal) => decoder.step(tokens, signal));
    for (const [i, row] of (logits ?? []).entries()) write(texts[i] as Text, row);
  }

  /** Computes one run of prompts: the first one's, and those of its path as far as there is room. */
  async #prefill(prompts: readonly Text[]): Promise<void> {
    const { decoder } = this.#lease as Lease;
    const [{ path }] = prompts as readonly [Text];
    let room = decoder.maxRows;
    const taken = prompts.flatMap((text) => {
      const slot = text.slot as number;
      const ids = text.rest.subarray(0, text.path === path ? decoder.take(slot, text.rest.length, room) : 0);
      room -= ids.length;
      const piece: Piece = { slot, ids, ends: ids.length === text.rest.length };
      return ids.length > 0 && text.consumer !== undefined ? [{ text, piece }] : [];
    });
    const texts = taken.map(({ text }) => text);
    const pieces = taken.map(({ piece }) => piece);
    if (texts.length === 0) return;
    const logits = await this.#fly(texts, (_, signal) => decoder.prefill(pieces, path, signal));
    if (logits === undefined) return;
    for (const { text, piece } of taken) text.rest = text.rest.subarray(piece.ids.length);
    for (const [i, { text }] of taken.filter(({ piece }) => piece.ends).entries())
      write(text, logits[i] as Float32Array);
  }

  /** Runs the decoder. Returns undefined if the run failed, and its texts with it. */
  async #fly(
    texts: readonly Text[],
    run: (decoder: Decoder, signal: AbortSignal | undefined) => Promise<Float32Array[]>,
  ): Promise<Float32Array[] | undefined> {
    const { decoder } = this.#lease as Lease;
    // a run that some text needs to the end takes no signal, which costs as much as the JavaScript of a small step
    const controller = texts.every(({ request }) => request.options.signal) ? new AbortController() : undefined;
    const running = run(decoder, controller?.signal);
    this.#flight = { texts, controller, running };
    try {
      return await running;
    } catch (error) {
      for (const text of texts) if (!failIfAborted(text)) fail(text, this.#disposed ? disposedError() : error);
      return undefined;
    } finally {
      this.#flight = undefined;
      for (const text of texts) failIfAborted(text);
    }
  }
}

function ownDecoder(decoder: Decoder): Lease {
  return { decoder, [Symbol.asyncDispose]: () => decoder[Symbol.asyncDispose]() };
}

function disposedError(): MbokError {
  return new MbokError('MBOK_DISPOSED', 'the scheduler of this text has been disposed');
}

/** Chooses a text's next token by its logits. */
function write(text: Text, logits: Float32Array): void {
  const { consumer } = text;
  if (consumer === undefined) return;
  let written: Written;
  try {
    written = text.writer.write(logits);
  } catch (error) {
    fail(text, error);
    return;
  }
  if (written.next !== undefined) text.rest = Int32Array.of(written.next);
  text.consumer = undefined;
  consumer.resolve(written);
}

function fail(text: Text, error: unknown): void {
  text.error = error;
  const { consumer } = text;
  text.consumer = undefined;
  consumer?.reject(error);
}

/** Fails a text whose signal has fired, and tells whether it has. */
function failIfAborted(text: Text): boolean {
  const { signal } = text.request.options;
  if (!signal?.aborted) return false;
  fail(text, abortedError(signal));
  return true;
}

/** Removes a text, and tells whether it was there. */
function remove(texts: Text[], text: Text): boolean {
  const index = texts.indexOf(text);
  if (index >= 0) texts.splice(index, 1);
  return index >= 0;
}
