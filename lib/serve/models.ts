/** Models by name: loaded when a request wants one, unloaded when their memory is needed for another. */

import { MbokError } from '../base/errors';
import { Turns } from '../base/turns';
import { cacheBytes } from '../generate/cache';
import { Scheduler } from '../generate/scheduler';
import type { Arithmetic } from '../graph/arithmetic';
import { localModel } from '../hub/pull';
import { coreOf, Model } from '../model';
import type { ModelCore } from '../models/model_core';
import { inFile } from '../models/parts';
import { ModelSource } from '../models/source';
import { loadedBytes } from '../models/stored_matrix';
import { endTokens } from '../text/chat';
import { HttpError, RETRY_SECONDS } from './errors';
import type { ServerSettings } from './options';

/** Context of a model that allows more: a cache for all of it may take more memory than the model. */
const USUAL_CONTEXT = 4096;
/** Longest time in seconds that a client is told to wait. */
const LONGEST_RETRY = 60;
/** Weight of the newest text in the mean time of a text. */
const NEWEST = 0.2;

/** A loaded model and the texts that it computes. */
export class ServedModel implements AsyncDisposable {
  readonly name: string;
  readonly model: Model;
  readonly core: ModelCore;
  readonly scheduler: Scheduler;
  /** Tokens of a text at most. */
  readonly context: number;
  /** Bytes of weights and cache. */
  readonly bytes: number;
  /** Requests that use the model. */
  users = 0;
  readonly #settings: ServerSettings;
  #texts = 0;
  #secondsOfText = RETRY_SECONDS;
  #ends: readonly number[] | undefined;
  readonly #scoring = new Turns();

  constructor(name: string, model: Model, bytes: number, settings: ServerSettings) {
    this.name = name;
    this.model = model;
    this.core = coreOf(model);
    this.bytes = bytes;
    this.context = contextOf(this.core.config, settings);
    this.#settings = settings;
    const { parallel: slots, arithmetic } = settings;
    this.scheduler = new Scheduler(this.core, { slots, context: this.context, arithmetic });
  }

  get arithmetic(): Arithmetic {
    return this.#settings.arithmetic;
  }

  /** Tokens that end an answer of a chat. Throws as `model.chatTemplate`. */
  get chatEnds(): readonly number[] {
    this.#ends ??= endTokens(this.model.tokenizer, this.model.chatTemplate);
    return this.#ends;
  }

  /** Admits some texts until disposed. Throws 429 if too many wait, 400 if it can never be. */
  admit(texts: number): Disposable {
    const { parallel, queue } = this.#settings;
    const most = parallel + queue;
    if (texts > most) throw new HttpError(400, `a request may ask for ${most} texts at most, got ${texts}`);
    if (this.#texts + texts > most) {
      const rounds = Math.ceil((this.#texts + texts - most) / parallel);
      throw new HttpError(429, `${this.#texts} texts are being computed or wait: try again later`, {
        code: 'queue_full',
        retrySeconds: Math.min(LONGEST_RETRY, Math.max(RETRY_SECONDS, Math.ceil(rounds * this.#secondsOfText))),
      });
    }
    this.#texts += texts;
    const began = performance.now();
    return {
      [Symbol.dispose]: () => {
        this.#texts -= texts;
        this.#secondsOfText += NEWEST * ((performance.now() - began) / 1000 - this.#secondsOfText);
      },
    };
  }

  /** Runs work that needs memory beside the scheduler's, one after the other. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    return await this.#scoring.run(work);
  }

  /** Frees everything. Nobody may use the model. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.scheduler[Symbol.asyncDispose]();
    this.model.dispose();
  }
}

/** A model in use, which stays loaded until disposed. */
export interface ModelLease extends Disposable {
  readonly served: ServedModel;
}

/** What a name means: a model, perhaps with the first kernels only. */
interface Entry {
  readonly name: string;
  readonly path: string;
  readonly kernels: number | undefined;
}

/** All models of a server. */
export class ModelPool implements AsyncDisposable {
  readonly #settings: ServerSettings;
  /** Loaded models by name, the least recently used first. */
  readonly #loaded = new Map<string, ServedModel>();
  readonly #abort = new AbortController();
  /** Loads and unloads come one after the other, so that their memory is known. */
  readonly #changes = new Turns();

  constructor(settings: ServerSettings) {
    this.#settings = settings;
  }

  /** Names that requests may use; `NAME@K` is another for each of them. */
  get names(): readonly string[] {
    return [...this.#settings.models.keys()];
  }

  /** The loaded models. */
  get loaded(): readonly ServedModel[] {
    return [...this.#loaded.values()];
  }

  /** Tells whether a model has this name. */
  has(name: string): boolean {
    return this.#find(name) !== undefined;
  }

  /**
   * Returns the model of a name, by default the first, loading it if it is not loaded.
   *
   * @throws HttpError 404 for a name that there is not, 503 if there is no memory for it now
   * @throws MbokError what `Model.load` throws
   */
  async use(name: string | undefined): Promise<ModelLease> {
    const entry = this.#find(name ?? (this.names[0] as string));
    if (entry === undefined) throw missing(name as string, this.names);
    // nothing is unloaded between the search and the count of users, since nothing is awaited there
    return this.#lease(entry) ?? (await this.#changes.run(() => this.#load(entry)));
  }

  /** Unloads everything, and ends loads. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await this.#changes.run(async () => {
      for (const served of this.loaded) await this.#unload(served);
    });
  }

  #find(name: string): Entry | undefined {
    const { models } = this.#settings;
    const path = models.get(name);
    if (path !== undefined) return { name, path, kernels: undefined };
    const [, base = '', kernels] = /^(.*)@([1-9])$/s.exec(name) ?? [];
    const nested = models.get(base);
    return nested === undefined ? undefined : { name, path: nested, kernels: Number(kernels) };
  }

  #lease({ name }: Entry): ModelLease | undefined {
    const served = this.#loaded.get(name);
    if (served === undefined) return undefined;
    this.#loaded.delete(name);
    this.#loaded.set(name, served);
    served.users++;
    return {
      served,
      [Symbol.dispose]: () => {
        served.users--;
      },
    };
  }

  async #load(entry: Entry): Promise<ModelLease> {
    // somebody else may have loaded it in the meantime
    const present = this.#lease(entry);
    if (present !== undefined) return present;
    const { signal } = this.#abort;
    const { name, kernels } = entry;
    const path = await localModel(entry.path, { signal });
    const bytes = await this.#sizeOf(path, kernels);
    await this.#makeRoom(name, bytes);
    let model: Model;
    try {
      model = await Model.load(path, { kernels, signal });
    } catch (error) {
      const isNoPrefix = kernels !== undefined && (error as MbokError).code === 'MBOK_INVALID_ARGUMENT';
      if (isNoPrefix) throw missing(name, this.names, (error as MbokError).message);
      throw error;
    }
    this.#loaded.set(name, new ServedModel(name, model, bytes, this.#settings));
    return this.#lease(entry) as ModelLease;
  }

  /** Returns the bytes of a model's weights and cache. */
  async #sizeOf(path: string, kernels: number | undefined): Promise<number> {
    await using source = await ModelSource.open(path, { signal: this.#abort.signal });
    const { slices } = source.loaded(kernels);
    const weights = slices.reduce((sum, slice) => sum + loadedBytes(source.weights, inFile(slice)), 0);
    const { parallel, arithmetic } = this.#settings;
    return weights + cacheBytes(source, parallel * contextOf(source.config, this.#settings), arithmetic.precision);
  }

  /** Unloads models that nobody uses, the least recently used first, until there is room. Throws 503. */
  async #makeRoom(name: string, bytes: number): Promise<void> {
    const { memory } = this.#settings;
    const used = () => this.loaded.reduce((sum, served) => sum + served.bytes, 0);
    for (const served of this.loaded) {
      if (used() + bytes <= memory) return;
      if (served.users === 0) await this.#unload(served);
    }
    if (used() + bytes <= memory) return;
    const need = `'${name}' needs ${bytes} bytes of memory with its cache`;
    if (used() === 0) throw new HttpError(503, `${need}, more than the limit of ${memory}`, { code: 'no_memory' });
    throw new HttpError(503, `${need}, which models in use take: try again later`, {
      code: 'no_memory',
      retrySeconds: RETRY_SECONDS,
    });
  }

  async #unload(served: ServedModel): Promise<void> {
    this.#loaded.delete(served.name);
    await served[Symbol.asyncDispose]();
  }
}

function contextOf({ maxPositions }: ModelCore['config'], { context = USUAL_CONTEXT }: ServerSettings): number {
  return Math.min(maxPositions, context);
}

function missing(name: string, names: readonly string[], why?: string): HttpError {
  const message = `there is no model '${name}'; there are ${names.join(', ')}${why === undefined ? '' : `: ${why}`}`;
  return new HttpError(404, message, { code: 'model_not_found', param: 'model' });
}

/** Maps the failure of a load, which is no fault of the request, for its client. */
export function loadFailure(error: unknown): unknown {
  if (error instanceof HttpError || !(error instanceof MbokError)) return error;
  const isTemporary = ['MBOK_OUT_OF_MEMORY', 'MBOK_NETWORK', 'MBOK_DISPOSED', 'MBOK_ABORTED'].includes(error.code);
  const message = 'the model could not be loaded; the log of the server says why';
  const details = { code: 'model_not_loaded', cause: error, ...(isTemporary && { retrySeconds: RETRY_SECONDS }) };
  return new HttpError(isTemporary ? 503 : 500, message, details);
}
