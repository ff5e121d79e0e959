/** A server of models, as programs use it. */

import type { Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { createAdaptorServer as CreateAdaptorServer } from '@hono/node-server';
import { MbokError } from '../base/errors';
import { finiteNumber, integerInRange, options, string } from '../base/validate';
import { ioFailure } from '../io/failure';
import type { App } from './app';
import { HttpError } from './errors';
import { ModelPool } from './models';
import { readOptions, type ServerOptions } from './options';

/** Options of {@link Server.listen}. */
export interface ListenOptions {
  /** Address to listen on. Default 127.0.0.1, which other machines cannot reach. */
  readonly host?: string | undefined;
  /** Default 8080; 0: any that is free. */
  readonly port?: number | undefined;
}

/** Options of {@link Server.close}. */
export interface CloseOptions {
  /** Seconds that requests in progress have to end by themselves. Default 30. */
  readonly graceSeconds?: number | undefined;
}

const GRACE_SECONDS = 30;
/** Time that answers have to reach their clients after the grace. */
const LAST_SECONDS = 2;
const SWEEP_MILLISECONDS = 20;

/**
 * An OpenAI-compatible server. Its `fetch` answers requests, so that it can be mounted in any application; `listen` makes it a
 * server by itself. Close it.
 */
export class Server implements AsyncDisposable {
  readonly #app: App;
  readonly #pool: ModelPool;
  readonly #createAdaptorServer: typeof CreateAdaptorServer;
  readonly #listening: HttpServer[] = [];
  #closing: Promise<void> | undefined;

  /** @internal Use {@link createServer}. */
  constructor(app: App, pool: ModelPool, createAdaptorServer: typeof CreateAdaptorServer) {
    this.#app = app;
    this.#pool = pool;
    this.#createAdaptorServer = createAdaptorServer;
    this.fetch = this.fetch.bind(this);
  }

  /** Answers a request. It never rejects. It is bound: `app.mount('/llm', server.fetch)`. */
  async fetch(request: Request): Promise<Response> {
    return await this.#app.fetch(request);
  }

  /**
   * Listens for requests.
   *
   * @returns the address, such as 'http://127.0.0.1:8080'
   * @throws MbokError MBOK_IO if the address cannot be had; MBOK_INVALID_ARGUMENT, MBOK_DISPOSED
   */
  async listen(given: ListenOptions = {}): Promise<string> {
    const checked = options('options', given, ['host', 'port']);
    const host = string('host', checked.host ?? '127.0.0.1');
    const port = integerInRange('port', checked.port ?? 8080, 0, 65535);
    if (this.#closing !== undefined) throw new MbokError('MBOK_DISPOSED', 'the server has been closed');
    const server = this.#createAdaptorServer({
      fetch: (request, { outgoing }) => this.#app.fetch(request, { outgoing }),
      overrideGlobalObjects: false,
    }) as HttpServer;
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, host, resolve);
      });
    } catch (error) {
      throw ioFailure('listen on', `${host}:${port}`, error);
    }
    this.#listening.push(server);
    const { address, family, port: actual } = server.address() as AddressInfo;
    return `http://${family === 'IPv6' ? `[${address}]` : address}:${actual}`;
  }

  /**
   * Takes no further requests, lets those in progress end, ends what then still runs, and frees everything.
   *
   * @throws MbokError MBOK_INVALID_ARGUMENT
   */
  async close(given: CloseOptions = {}): Promise<void> {
    const { graceSeconds = GRACE_SECONDS } = options('options', given, ['graceSeconds']);
    finiteNumber('graceSeconds', graceSeconds, 0, 86400);
    this.#closing ??= this.#close(graceSeconds);
    await this.#closing;
  }

  /** Closes the server at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ graceSeconds: 0 });
  }

  async #close(graceSeconds: number): Promise<void> {
    this.#app.draining = true;
    const closed = this.#listening.map((server) => new Promise((resolve) => server.close(resolve)));
    const aborts = setTimeout(() => this.#app.abort(), 1000 * graceSeconds);
    // last bytes may still be on their way when everything has been computed
    const drops = setTimeout(() => this.#each('closeAllConnections'), 1000 * (graceSeconds + LAST_SECONDS));
    await this.#app.idle();
    clearTimeout(aborts);
    // connections that are kept alive would wait for a next request
    const sweeps = setInterval(() => this.#each('closeIdleConnections'), SWEEP_MILLISECONDS);
    await Promise.all(closed);
    clearTimeout(drops);
    clearInterval(sweeps);
    await this.#pool[Symbol.asyncDispose]();
  }

  #each(action: 'closeIdleConnections' | 'closeAllConnections'): void {
    for (const server of this.#listening) server[action]();
  }
}

/**
 * Creates an OpenAI-compatible server and loads its first model; others are loaded when a request names them.
 *
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_OUT_OF_MEMORY (also beyond `memory`); what `Model.load` throws
 *
 * @example
 * const server = await createServer({ models: { tiny: 'assets/tiny-stories' } });
 * console.log(await server.listen({ port: 8080 }));
 */
export async function createServer(given: ServerOptions): Promise<Server> {
  const settings = readOptions(given);
  // required here, since most programs need none of it
  const { App } = require('./app') as typeof import('./app');
  const { createAdaptorServer } = require('@hono/node-server') as typeof import('@hono/node-server');
  const pool = new ModelPool(settings);
  try {
    (await pool.use(undefined))[Symbol.dispose]();
  } catch (error) {
    await pool[Symbol.asyncDispose]();
    if (error instanceof HttpError) throw new MbokError('MBOK_OUT_OF_MEMORY', error.message);
    throw error;
  }
  return new Server(new App(settings, pool), pool, createAdaptorServer);
}
