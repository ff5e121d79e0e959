/** Texts that are generated side by side: requests come and go at any time, one loop computes them all. */

import { setImmediate } from 'node:timers/promises';
import { MbokError } from '../base/errors';
import { abortedError, integerInRange, invalid } from '../base/validate';
import { type Arithmetic, sameArithmetic } from '../graph/arithmetic';
import type { ModelCore } from '../models/model_core';
import { cacheBytes } from './cache';
import { Decoder, type Piece } from './decoder';
import { Generation } from './generation';
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
   * Lends the decoder, of one slot. What a text before has in common with a prompt is then reused whatever way it was
   * computed, so texts are the same up to rounding. Default: a decoder of the scheduler's.
   */
  readonly promptCache?: PromptCache | undefined;
}

/** A request among those that a scheduler computes. Dispose it when its text ends: it may have a slot. */
export interface Seat extends AsyncDisposable {
  /**
   * Chooses the next token, as soon as the scheduler comes to it; nothing is computed before this is called. Rejects with
   * MBOK_ABORTED when the request's signal fires, MBOK_NON_FINITE, MBOK_BUSY, MBOK_DISPOSED, MBOK_OUT_OF_MEMORY.
   */
  next(): Promise<Written>;
}

interface Consumer {
  resolve(written: Written): void;
  reject(error: unknown): void;
}

/** A request and how far it has come. */
interface Text {
  readonly request: GenerationRequest;
  readonly writer: Writer;
  /** Undefined while it waits for one. */
  slot: number | undefined;
  /** See {@link Decoder.path}. */
  path: number;
  /** Tokens that the cache does not hold yet: of the prompt, later the last one chosen. */
  rest: Int32Array;
  /** Who waits for the next token; the text stands still while nobody does. */
  consumer: Consumer | undefined;
  /** Why it can not go on, whoever asks. */
  error: unknown;
}

/** Texts that a run in flight computes. */
interface Flight {
  readonly texts: readonly Text[];
  readonly controller: AbortController;
  readonly landed: Promise<void>;
}

/**
 * Computes requests side by side. A request takes a slot when there is one, best that which holds the longest beginning of
 * its prompt. Then turn follows turn: a token for every text whose consumer waits for one, and one run of prompts, so
 * that a long prompt delays running texts by no more than a run of it. A request that fails or is aborted ends alone.
 *
 * A text does not depend on what runs beside it, bit for bit: tokens are computed as one alone is, prompts as their
 * length asks (Decoder.path), and no beginning is reused unless it has the bits that would be computed.
 *
 * @example
 * await using scheduler = new Scheduler(model, { slots: 8, context: 2048, arithmetic });
 * for await (const text of scheduler.submit(request)) process.stdout.write(text);
 */
export class Scheduler implements AsyncDisposable {
  readonly model: ModelCore;
  /** Bytes of the key-value cache of one text. */
  readonly cacheBytes: number;
  readonly #options: SchedulerOptions;
  #lease: Lease | undefined;
  /** In the order in which they came. */
  readonly #waiting: Text[] = [];
  /** Those that have slots, in the order in which they got them. */
  readonly #seated: Text[] = [];
  /** Slots, the one that was left first first. */
  readonly #free: number[];
  #flight: Flight | undefined;
  #turning = false;
  /** When the loop ends, or has ended. */
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
   * A request's text, which is computed while it is iterated. A text without `maxTokens` may fill the scheduler's context.
   * Throws MBOK_INVALID_ARGUMENT for a prompt that does not fit, another arithmetic or a prompt cache, MBOK_DISPOSED.
   */
  submit(request: GenerationRequest): Generation {
    const { context, arithmetic, promptCache } = this.#options;
    if (!sameArithmetic(request.arithmetic, arithmetic)) invalid('arithmetic', "the scheduler's", request.arithmetic);
    if (request.options.promptCache !== promptCache) invalid('promptCache', "the scheduler's", 'another');
    return new Generation(this, fitted(request, context));
  }

  /** A place for a request; `writer` makes its text. Throws MBOK_DISPOSED. */
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

  /** Ends texts under way with MBOK_DISPOSED and frees everything, after the run in flight if there is one. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    this.#flight?.controller.abort();
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

  /** Ends a text at once, or after the run in flight that computes it: that is aborted when all of its texts are. */
  #abort(text: Text): void {
    const flight = this.#flight;
    if (!flight?.texts.includes(text)) failIfAborted(text);
    else if (flight.texts.every(({ request }) => request.options.signal?.aborted)) flight.controller.abort();
  }

  async #leave(text: Text): Promise<void> {
    if (this.#flight?.texts.includes(text)) await this.#flight.landed;
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

  /** The loop: runs as long as somebody waits for what can be computed. */
  async #turn(): Promise<void> {
    try {
      for (;;) {
        // those that got a token come back for the next one first, so that texts stay together
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

  /** The text that gets the next slot, if there is one. */
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
      // what was decoded has other bits than a prompt's tokens
      const path = this.#options.promptCache === undefined ? decoder.path(prompt.length) : undefined;
      const held = this.#free.map((slot) => decoder.reusable(slot, prompt, path));
      const [slot] = this.#free.splice(held.indexOf(Math.max(...held)), 1) as [number];
      text.slot = slot;
      text.rest = prompt.subarray(decoder.rewind(slot, prompt, path));
      text.path = path ?? decoder.path(text.rest.length);
      text.writer.start();
      remove(this.#waiting, text);
      this.#seated.push(text);
    }
  }

  /** The decoder, or a new one where the model has changed: texts that it was computing can not go on. */
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

  /** A token of every text. */
  async #step(texts: readonly Text[]): Promise<void> {
    const tokens = texts.map(({ slot, rest }) => ({ slot: slot as number, id: rest[0] as number }));
    const logits = await this.#fly(texts, (decoder, signal) => decoder.step(tokens, signal));
    for (const [i, row] of (logits ?? []).entries()) write(texts[i] as Text, row);
  }

  /** One run of prompts: the one that came first, and others of its path as far as there is room. */
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

  /** A run; undefined where it failed, and its texts with it. */
  async #fly(
    texts: readonly Text[],
    run: (decoder: Decoder, signal: AbortSignal) => Promise<Float32Array[]>,
  ): Promise<Float32Array[] | undefined> {
    const { decoder } = this.#lease as Lease;
    const controller = new AbortController();
    const running = run(decoder, controller.signal);
    const landed = running.then(ignore, ignore);
    this.#flight = { texts, controller, landed };
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

function ignore(): void {}

function disposedError(): MbokError {
  return new MbokError('MBOK_DISPOSED', 'the scheduler of this text has been disposed');
}

/** Gives a text its next token, by its logits. */
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

/** Whether it was aborted, and has failed. */
function failIfAborted(text: Text): boolean {
  const { signal } = text.request.options;
  if (!signal?.aborted) return false;
  fail(text, abortedError(signal));
  return true;
}

/** Whether it was there. */
function remove(texts: Text[], text: Text): boolean {
  const index = texts.indexOf(text);
  if (index >= 0) texts.splice(index, 1);
  return index >= 0;
}
