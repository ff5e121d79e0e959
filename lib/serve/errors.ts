/** Errors as OpenAI's clients know them: `{ error: { message, type, param, code } }` with a status. */

import { MbokError } from '../base/errors';

/** Kinds of errors by status. */
const TYPES: Readonly<Record<number, string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  405: 'invalid_request_error',
  413: 'invalid_request_error',
  415: 'invalid_request_error',
  429: 'rate_limit_error',
  499: 'client_closed_request',
  500: 'server_error',
  503: 'service_unavailable',
};

export type ErrorStatus = keyof typeof TYPES;

interface ErrorDetails {
  /** Stable name of the error, such as 'model_not_found'. */
  readonly code?: string;
  /** The member of the body that is wrong. */
  readonly param?: string | undefined;
  /** After which the client may try again. */
  readonly retrySeconds?: number;
  readonly cause?: unknown;
}

/** Body of an error's answer. */
export interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

/** An error with the status that the client gets. */
export class HttpError extends Error {
  readonly status: number;
  readonly retrySeconds: number | undefined;
  readonly body: ErrorBody;

  constructor(status: number, message: string, details: ErrorDetails = {}) {
    super(message, { cause: details.cause });
    this.status = status;
    this.retrySeconds = details.retrySeconds;
    const type = TYPES[status] as string;
    this.body = { error: { message, type, param: details.param ?? null, code: details.code ?? null } };
  }

  /** The answer that carries the error. */
  response(): Response {
    const headers = {
      'content-type': 'application/json',
      ...(this.retrySeconds !== undefined && { 'retry-after': String(this.retrySeconds) }),
      // the rest of a body that is too large is not read
      ...(this.status === 413 && { connection: 'close' }),
    };
    return new Response(JSON.stringify(this.body), { status: this.status, headers });
  }
}

/** What the client can do nothing about is 500, and its message is for the log only. */
const STATUS: Partial<Record<MbokError['code'], number>> = {
  MBOK_INVALID_ARGUMENT: 400,
  MBOK_UNSUPPORTED: 400,
  MBOK_NO_TOKENIZER: 400,
  // the files have been read: what is left to be malformed is the request
  MBOK_FORMAT: 400,
  MBOK_ABORTED: 499,
  MBOK_BUSY: 503,
  MBOK_DISPOSED: 503,
  MBOK_OUT_OF_MEMORY: 503,
};

/** Seconds after which a client should try again where nothing better is known. */
export const RETRY_SECONDS = 1;

/** Maps any error to one with a status. */
export function httpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  const status = (error instanceof MbokError && STATUS[error.code]) || 500;
  if (status === 500) return new HttpError(500, 'the server failed; its log says why', { cause: error });
  const { message, code } = error as MbokError;
  return new HttpError(status, message, {
    code: code.toLowerCase().replace('mbok_', ''),
    ...(status === 503 && { retrySeconds: RETRY_SECONDS }),
    cause: error,
  });
}
