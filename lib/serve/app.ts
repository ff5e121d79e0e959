/** The routes of a server. */

import { type Context, Hono } from 'hono';
import { cors } from 'hono/cors';
import type { z } from 'zod';
import { decodeUtf8, parseJsonObject } from '../io/json';
import type { Endpoint, Events } from './answer';
import { chatAnswer } from './chat';
import { completionAnswer } from './completions';
import { HttpError, RETRY_SECONDS } from './errors';
import { type EventStreamOptions, event, eventStream } from './event_stream';
import { Exchange } from './exchange';
import { expectHost, expectJson, expectKey, readBody } from './guards';
import { Metrics } from './metrics';
import { loadFailure, type ModelLease, type ModelPool } from './models';
import { openApi } from './openapi';
import type { ServerSettings } from './options';
import { expectMayFit, renderChat } from './requests';
import { responseAnswer } from './responses';
import { chatBody, completionBody, detokenizeBody, responseBody, templateBody, tokenizeBody } from './schemas';
import { computeTexts } from './texts';

/** What the adaptor of Node's server tells of a request; nothing where the server is mounted elsewhere. */
export interface Connection {
  readonly outgoing?: { destroy(): unknown };
}

type Env = { Variables: { exchange: Exchange }; Bindings: Connection };
type Call = Context<Env>;

/** Paths that tell nothing, for those who watch the process. */
const PUBLIC = ['/health', '/ready'];

/** The routes and what is in progress on them. */
export class App {
  /** Whether no further requests are taken. */
  draining = false;
  readonly #settings: ServerSettings;
  readonly #pool: ModelPool;
  readonly #metrics: Metrics;
  readonly #hono = new Hono<Env>();
  readonly #running = new Set<Exchange>();
  #idle: (() => void) | undefined;

  constructor(settings: ServerSettings, pool: ModelPool) {
    this.#settings = settings;
    this.#pool = pool;
    this.#metrics = new Metrics(pool);
    this.#route();
  }

  /** Answers a request. */
  async fetch(request: Request, connection: Connection = {}): Promise<Response> {
    return await this.#hono.fetch(request, connection);
  }

  /** Resolves when no request is in progress. */
  async idle(): Promise<void> {
    if (this.#running.size === 0) return;
    await new Promise<void>((resolve) => {
      this.#idle = resolve;
    });
  }

  /** Ends all requests in progress. */
  abort(): void {
    const reason = new HttpError(503, 'the server is shutting down', { code: 'shutting_down' });
    for (const exchange of this.#running) exchange.abort(reason);
  }

  #route(): void {
    const app = this.#hono;
    const { origins, hosts, apiKeys } = this.#settings;
    app.use(async (c, next) => {
      const exchange = new Exchange(c.req.raw, this.#metrics, this.#settings, () => {
        this.#running.delete(exchange);
        if (this.#running.size === 0) this.#idle?.();
      });
      this.#running.add(exchange);
      c.set('exchange', exchange);
      await next();
      c.res.headers.set('x-request-id', exchange.id);
      if (!exchange.streams) exchange.end(c.res.status);
    });
    app.use(async (c, next) => {
      expectHost(c.req.header('host') ?? new URL(c.req.url).host, hosts);
      await next();
    });
    if (origins.length > 0) {
      // it echoes the headers that a browser asks for: clients send many of their own
      app.use(cors({ origin: origins.includes('*') ? '*' : [...origins], maxAge: 600 }));
    }
    app.use(async (c, next) => {
      const isPublic = PUBLIC.includes(c.req.path);
      if (!isPublic) expectKey(c.req.header('authorization'), apiKeys);
      if (c.req.method === 'POST') {
        expectJson(c.req.header('content-type'));
        if (this.draining) throw shuttingDown();
      }
      await next();
    });
    app.onError((error, c) => {
      const failure = c.get('exchange').failure(error);
      return failure.response();
    });
    app.notFound((c) => new HttpError(404, `there is no ${c.req.method} ${c.req.path}`).response());

    app.get('/health', (c) => c.json({ status: 'ok' }));
    app.get('/ready', (c) => (this.draining ? c.json({ status: 'draining' }, 503) : c.json({ status: 'ready' })));
    app.get('/metrics', async (c) =>
      c.text(await this.#metrics.text(), 200, { 'content-type': this.#metrics.contentType }),
    );
    app.get('/openapi.json', (c) => c.json(openApi()));
    app.get('/v1/models', (c) =>
      c.json({ object: 'list', data: this.#pool.names.map((name) => this.#describe(name)) }),
    );
    app.get('/v1/models/:name{.+}', (c) => {
      const name = c.req.param('name');
      if (!this.#pool.has(name)) throw new HttpError(404, `there is no model '${name}'`, { code: 'model_not_found' });
      return c.json(this.#describe(name));
    });
    app.post('/v1/chat/completions', (c) => this.#answer(c, chatBody, chatAnswer));
    app.post('/v1/completions', (c) => this.#answer(c, completionBody, completionAnswer));
    app.post('/v1/responses', (c) => this.#answer(c, responseBody, responseAnswer));
    app.post('/tokenize', async (c) => {
      const { model, content, add_special: addSpecialTokens } = await this.#read(c, tokenizeBody);
      using lease = await this.#use(model);
      expectMayFit(lease.served, content);
      const { tokenizer } = lease.served.model;
      return c.json({ tokens: tokenizer.encode(content, { addSpecialTokens: addSpecialTokens ?? false }) });
    });
    app.post('/detokenize', async (c) => {
      const { model, tokens } = await this.#read(c, detokenizeBody);
      using lease = await this.#use(model);
      return c.json({ content: lease.served.model.tokenizer.decode(tokens) });
    });
    app.post('/apply-template', async (c) => {
      const body = await this.#read(c, templateBody);
      using lease = await this.#use(body.model);
      return c.json({ prompt: renderChat(lease.served, body) });
    });
  }

  #describe(name: string): object {
    const served = this.#pool.loaded.find((one) => one.name === name);
    return {
      id: name,
      object: 'model',
      created: 0,
      owned_by: 'mbok',
      loaded: served !== undefined,
      ...(served && { max_model_len: served.context }),
    };
  }

  async #use(name: string | null | undefined): Promise<ModelLease> {
    try {
      return await this.#pool.use(name ?? undefined);
    } catch (error) {
      throw loadFailure(error);
    }
  }

  async #read<T extends z.ZodType>(c: Call, schema: T): Promise<z.infer<T>> {
    const bytes = await readBody(c.req.raw, this.#settings.maxBody);
    const result = schema.safeParse(parseJsonObject(decodeUtf8(bytes, 'the body'), 'the body'));
    if (result.success) return result.data;
    const [issue] = result.error.issues as [z.core.$ZodIssue, ...z.core.$ZodIssue[]];
    const param = issue.path.map(String).join('.');
    throw new HttpError(400, `'${param || 'body'}' is not valid: ${issue.message}`, { param, code: 'invalid_value' });
  }

  /** Answers a request of an endpoint that generates, at once or in a stream. */
  async #answer<T extends z.ZodType<{ model?: string | null | undefined; stream?: boolean | null | undefined }>>(
    c: Call,
    schema: T,
    endpoint: Endpoint<z.infer<T>>,
  ): Promise<Response> {
    const exchange = c.get('exchange');
    const body = await this.#read(c, schema);
    const held: Disposable[] = [];
    const release = () => {
      for (const one of held.splice(0)) one[Symbol.dispose]();
    };
    try {
      const lease = await this.#use(body.model);
      held.push(lease);
      const { served } = lease;
      const answer = endpoint(served, body, exchange);
      held.push(served.admit(Math.max(answer.makers.length, answer.prompts.length)));
      exchange.begin(served, answer.prompts);
      const deltas = exchange.watch(computeTexts(served, answer.makers));
      if (body.stream !== true) return c.json(await answer.whole(deltas));
      exchange.streams = true;
      const { keepAliveSeconds, stallSeconds } = this.#settings;
      const { outgoing } = c.env;
      const options: EventStreamOptions = {
        keepAliveSeconds,
        stallSeconds,
        drop: outgoing && (() => outgoing.destroy()),
        onLeave: (reason) => exchange.abort(reason),
      };
      const stream = eventStream(finished(answer.events(deltas), exchange, release), options);
      // proxies must not collect events
      const headers = { 'content-type': 'text/event-stream', 'cache-control': 'no-cache', 'x-accel-buffering': 'no' };
      return c.body(stream, 200, headers);
    } finally {
      if (!exchange.streams) release();
    }
  }
}

/** Adds the end to events: an error as the last event, and what has to be freed and told. */
async function* finished(events: Events, exchange: Exchange, release: () => void): Events {
  let status = 200;
  try {
    yield* events;
  } catch (error) {
    const failure = exchange.failure(error);
    status = failure.status;
    yield event(failure.body);
  } finally {
    release();
    exchange.end(status);
  }
}

function shuttingDown(): HttpError {
  return new HttpError(503, 'the server is shutting down', { code: 'shutting_down', retrySeconds: RETRY_SECONDS });
}
