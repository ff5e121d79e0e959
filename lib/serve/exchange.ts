/** One request and its answer: its id, what stops it, and what is told when it ends. */

import { randomUUID } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { HttpError, httpError } from './errors';
import type { Metrics } from './metrics';
import type { ServedModel } from './models';
import type { RequestRecord, ServerSettings } from './options';
import type { Delta } from './texts';

/** Status of a request whose client has left; nobody gets it. */
const LEFT = 499;

export class Exchange {
  readonly id = randomUUID();
  /** When the request came, in seconds since 1970. */
  readonly created = Math.floor(Date.now() / 1000);
  /** Fires when the client leaves or the server ends. */
  readonly signal: AbortSignal;
  /** Whether the answer is still being made after its head has been sent. */
  streams = false;
  readonly #controller = new AbortController();
  readonly #request: Request;
  readonly #metrics: Metrics;
  readonly #settings: ServerSettings;
  readonly #began = performance.now();
  readonly #time = new Date().toISOString();
  readonly #ended: () => void;
  #hasEnded = false;
  #served: ServedModel | undefined;
  #promptTokens = 0;
  #cachedTokens = 0;
  #tokens = 0;
  #firstToken: number | undefined;
  readonly #reasons: string[] = [];
  readonly #prompts: string[] = [];
  readonly #answers: string[] = [];
  #error: unknown;

  /** `onEnd` is called once, at the end of the answer. */
  constructor(request: Request, metrics: Metrics, settings: ServerSettings, onEnd: () => void) {
    this.#request = request;
    this.#metrics = metrics;
    this.#settings = settings;
    this.#ended = onEnd;
    this.signal = AbortSignal.any([request.signal, this.#controller.signal]);
    // every text of the request listens: Node would warn of a leak
    setMaxListeners(0, this.signal);
  }

  /** Stops the work for the answer. */
  abort(reason: unknown): void {
    this.#controller.abort(reason);
  }

  /** Begins with the texts of a model. */
  begin(served: ServedModel, prompts: readonly { readonly ids: Int32Array }[]): void {
    this.#served = served;
    for (const { ids } of prompts) {
      this.#promptTokens += ids.length;
      if (this.#settings.logTexts) this.#prompts.push(served.model.tokenizer.decode(ids));
    }
  }

  /** Counts what passes. */
  async *watch(deltas: AsyncIterable<Delta>): AsyncGenerator<Delta, undefined, undefined> {
    const model = this.#served?.name as string;
    const started = new Set<number>();
    for await (const delta of deltas) {
      const { index, tokens, result, text } = delta;
      this.#tokens += tokens.length;
      this.#metrics.generatedTokens.inc({ model }, tokens.length);
      if (tokens.length > 0 && !started.has(index)) {
        started.add(index);
        this.#firstToken ??= this.#seconds;
        this.#metrics.firstToken.observe({ model }, this.#seconds);
      }
      if (this.#settings.logTexts) this.#answers[index] = (this.#answers[index] ?? '') + text;
      if (result !== undefined) {
        this.#reasons.push(result.reason);
        this.#cachedTokens += result.cachedTokens;
        this.#metrics.promptTokens.inc({ model }, result.promptTokens);
        this.#metrics.cachedTokens.inc({ model }, result.cachedTokens);
        const { decodeSeconds, tokens: count } = result;
        if (count > 1) this.#metrics.perToken.observe({ model }, decodeSeconds / (count - 1));
      }
      yield delta;
    }
  }

  /** Maps an error of the work to the client's. */
  failure(error: unknown): HttpError {
    this.#error ??= error;
    const { reason } = this.signal;
    return this.signal.aborted && reason instanceof HttpError ? reason : httpError(error);
  }

  /** Tells of the end of the answer; once. A client that has left gets no status. */
  end(status: number): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    const { aborted, reason } = this.signal;
    const code = aborted && !(reason instanceof HttpError) ? LEFT : status;
    this.#metrics.requests.inc({ code: String(code) });
    this.#ended();
    this.#settings.onRequest?.(this.#record(code));
  }

  get #seconds(): number {
    return (performance.now() - this.#began) / 1000;
  }

  #record(status: number): RequestRecord {
    const { method, url } = this.#request;
    const served = this.#served;
    return {
      time: this.#time,
      id: this.id,
      method,
      path: new URL(url).pathname,
      status,
      seconds: this.#seconds,
      ...(served && {
        model: served.name,
        promptTokens: this.#promptTokens,
        cachedTokens: this.#cachedTokens,
        tokens: this.#tokens,
        ...(this.#firstToken !== undefined && { firstTokenSeconds: this.#firstToken }),
        reasons: this.#reasons,
      }),
      ...(this.#error !== undefined && { error: messageOf(this.#error) }),
      ...(this.#settings.logTexts && served && { prompts: this.#prompts, answers: this.#answers }),
    };
  }
}

/** The message of an error and of those that led to it. Unexpected errors have their stack. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (cause !== undefined && error instanceof HttpError) return `${error.message}: ${messageOf(cause)}`;
  return error.name === 'MbokError' || error instanceof HttpError ? error.message : (error.stack ?? error.message);
}
