/** Requests to the hub: redirects, the access token, repetition after failures, and errors that say what to do. */

import { setTimeout as sleep } from 'node:timers/promises';
import { MbokError } from '../base/errors';
import { abortedError, show, throwIfAborted } from '../base/validate';
import { version } from '../base/version';
import type { HubSettings } from './settings';

/** Attempts without progress before a request is given up. */
const MOST_ATTEMPTS = 6;
/** Milliseconds before the second attempt. Each further pause is twice as long. */
const FIRST_PAUSE = 250;
/** Longest pause in milliseconds that an answer may ask for (Retry-After). */
const LONGEST_PAUSE = 60_000;
/** Milliseconds without a byte after which a connection counts as cut. */
const SILENCE = 60_000;
const MOST_REDIRECTS = 10;
/** Characters of a server's message that are shown. */
const LONGEST_REASON = 300;

/** Bytes to be sent, piece by piece. */
export interface Content {
  readonly length: number;
  pieces(): AsyncIterable<Uint8Array>;
}

/** A request. */
export interface HubRequest {
  readonly settings: HubSettings;
  readonly url: string;
  readonly method?: 'GET' | 'POST' | 'PUT';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Content;
  /** Status besides 2xx that is a success. */
  readonly accepts?: number;
  readonly signal?: AbortSignal | undefined;
  /** What is requested, for messages: `user/repo` at `main`. */
  readonly what: string;
  /** Repository of the request, for messages. */
  readonly repo: string;
}

/** A failure after which the same request may succeed: a cut connection, 429 or 5xx. */
export class TransientFailure extends Error {
  /** @param pause - milliseconds to wait, as the server asks */
  constructor(
    message: string,
    readonly pause?: number,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** An answer whose body is read under a watchdog. */
export interface HubAnswer extends AsyncDisposable {
  readonly status: number;
  readonly headers: Headers;
  /** Yields the body piece by piece. Throws TransientFailure if the connection is cut or silent, MBOK_ABORTED. */
  pieces(): AsyncGenerator<Uint8Array>;
}

/**
 * Repeats `attempt` after transient failures, with growing pauses.
 *
 * @param attempt - calls `progressed` when it has advanced, which resets the count of attempts
 * @throws MbokError MBOK_NETWORK after the last attempt; MBOK_ABORTED; what `attempt` throws otherwise
 */
export async function repeated<T>(
  what: string,
  signal: AbortSignal | undefined,
  attempt: (progressed: () => void) => Promise<T>,
): Promise<T> {
  let failures = 0;
  for (;;) {
    throwIfAborted(signal);
    try {
      return await attempt(() => {
        failures = 0;
      });
    } catch (error) {
      if (!(error instanceof TransientFailure)) throw error;
      failures++;
      if (failures >= MOST_ATTEMPTS) {
        const advice = 'start the command again later; it continues where it stopped';
        const message = `${what}: ${error.message}, after ${failures} attempts; ${advice}`;
        throw new MbokError('MBOK_NETWORK', message, { cause: error });
      }
      // a random part keeps processes that failed together from returning together
      const pause = error.pause ?? FIRST_PAUSE * 2 ** (failures - 1) * (0.75 + Math.random() / 2);
      await sleep(pause, undefined, signal && { signal }).catch(() => throwIfAborted(signal));
    }
  }
}

/**
 * Sends a request once and follows redirects. The access token goes to the hub itself and never to another host.
 *
 * @throws TransientFailure for cut connections, 429 and 5xx; MbokError for all other answers but 2xx and 416
 */
export async function send(request: HubRequest): Promise<HubAnswer> {
  const { settings, method = 'GET', signal, what } = request;
  let url: URL = new URL(request.url);
  for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
    const answer = await sendTo(url, request);
    const location = answer.headers.get('location');
    if (![301, 302, 303, 307, 308].includes(answer.status) || location === null) {
      return await checked(answer, request);
    }
    await answer[Symbol.asyncDispose]();
    throwIfAborted(signal);
    if (method !== 'GET') throw new MbokError('MBOK_NETWORK', `${what}: the hub redirects to ${show(location)}`);
    const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
    // a step down to http would let others read what is sent and change what is received
    if (
      next === undefined ||
      !/^https?:$/.test(next.protocol) ||
      (url.protocol === 'https:' && next.protocol === 'http:')
    )
      throw new MbokError('MBOK_NETWORK', `${what}: refused the redirect to ${show(location)}`);
    url = next;
  }
  throw new MbokError('MBOK_NETWORK', `${what}: more than ${MOST_REDIRECTS} redirects, from ${settings.endpoint}`);
}

async function sendTo(url: URL, request: HubRequest): Promise<HubAnswer> {
  const { settings, method = 'GET', headers, body, signal } = request;
  const silence = new AbortController();
  const watchdog = setTimeout(() => silence.abort(), SILENCE);
  const stop = () => silence.abort();
  signal?.addEventListener('abort', stop, { once: true });
  const end = () => {
    clearTimeout(watchdog);
    signal?.removeEventListener('abort', stop);
  };
  const failure = (error: unknown) => {
    if (signal?.aborted) return abortedError(signal);
    const reason = silence.signal.aborted ? `no answer for ${SILENCE / 1000} seconds` : reasonOf(error);
    return new TransientFailure(`cannot read from ${url.host}: ${reason}`, undefined, { cause: error });
  };
  try {
    throwIfAborted(signal);
    const isHub = url.origin === new URL(settings.endpoint).origin;
    const response = await fetch(url, {
      method,
      redirect: 'manual',
      signal: silence.signal,
      headers: {
        'user-agent': `mbok/${version()}`,
        // ranges and lengths count the bytes of the file
        'accept-encoding': 'identity',
        ...headers,
        // storage servers want a length, which a stream has not
        ...(typeof body === 'object' && { 'content-length': String(body.length) }),
        ...(isHub && settings.token !== undefined && { authorization: `Bearer ${settings.token}` }),
      },
      ...(typeof body === 'string'
        ? { body }
        : body && { body: watched(body, () => watchdog.refresh()), duplex: 'half' }),
    } as RequestInit);
    const cancel = async () => {
      end();
      silence.abort();
      await response.body?.cancel().catch(() => {});
    };
    return {
      status: response.status,
      headers: response.headers,
      async *pieces() {
        try {
          for await (const piece of response.body ?? []) {
            watchdog.refresh();
            yield piece as Uint8Array;
          }
        } catch (error) {
          throw failure(error);
        } finally {
          end();
        }
      },
      [Symbol.asyncDispose]: cancel,
    };
  } catch (error) {
    end();
    throw error instanceof MbokError ? error : failure(error);
  }
}

/** Yields the pieces of a content, and calls `onPiece` for each. */
async function* watched(content: Content, onPiece: () => void): AsyncGenerator<Uint8Array> {
  for await (const piece of content.pieces()) {
    onPiece();
    yield piece;
  }
}

/** Returns the system's reason of a failed fetch, which is a cause of the error. */
function reasonOf(error: unknown): string {
  const { message, cause, code } = error as { message?: string; cause?: unknown; code?: string };
  if (cause !== undefined && cause !== null) return reasonOf(cause);
  return message || code || String(error);
}

/** Returns the answer if it is a success or 416. Throws otherwise, with what the user can do. */
async function checked(answer: HubAnswer, request: HubRequest): Promise<HubAnswer> {
  const { status, headers } = answer;
  if ((status >= 200 && status < 300) || status === 416 || status === request.accepts) return answer;
  const { settings, what, repo } = request;
  const code = headers.get('x-error-code') ?? '';
  const said = headers.get('x-error-message');
  const reason = said === null ? '' : ` (${said.slice(0, LONGEST_REASON)})`;
  await answer[Symbol.asyncDispose]();
  if (status === 429 || status >= 500)
    throw new TransientFailure(`the hub answers ${status}${reason}`, pauseOf(headers));
  const page = `${settings.endpoint}/${repo}`;
  const denied = (advice: string) =>
    new MbokError('MBOK_HUB_DENIED', `${what}: the hub answers ${status}${reason}; ${advice}`);
  const tokens = `${settings.endpoint}/settings/tokens`;
  if (code === 'GatedRepo') {
    const login =
      settings.token === undefined
        ? `, create a token at ${tokens} and set HF_TOKEN`
        : ' with the account of your token';
    throw denied(`the model is gated: accept its terms at ${page}${login}`);
  }
  if (code === 'RevisionNotFound' || code === 'EntryNotFound' || (status === 404 && code !== 'RepoNotFound')) {
    throw new MbokError('MBOK_HUB_MISSING', `${what}: not found${reason}; ${page}/tree/main shows what there is`);
  }
  if (status === 404 || code === 'RepoNotFound') {
    const login = settings.token === undefined ? 'set HF_TOKEN if it is private' : 'your token may not read it';
    throw new MbokError(
      'MBOK_HUB_MISSING',
      `${what}: there is no such repository${reason}; check its name, or ${login}`,
    );
  }
  if (status === 401) {
    throw denied(
      settings.token === undefined
        ? `create a token at ${tokens} and set HF_TOKEN`
        : `the token is not valid: create another at ${tokens} and set HF_TOKEN`,
    );
  }
  if (status === 403) throw denied(`your token has no permission: see ${page} and ${tokens}`);
  throw new MbokError('MBOK_NETWORK', `${what}: the hub answers ${status}${reason}`);
}

/** Reads how long the server asks to wait, in milliseconds. */
function pauseOf(headers: Headers): number | undefined {
  const seconds = Number(headers.get('retry-after') ?? Number.NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds * 1000, LONGEST_PAUSE) : undefined;
}

/** Reads a whole body of at most `maxBytes`. Throws as `pieces`, and MBOK_FORMAT if it is longer. */
export async function readBody(answer: HubAnswer, maxBytes: number, what: string): Promise<Buffer> {
  await using _ = answer;
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of answer.pieces()) {
    bytes += piece.length;
    if (bytes > maxBytes) throw new MbokError('MBOK_FORMAT', `${what}: the answer has more than ${maxBytes} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
