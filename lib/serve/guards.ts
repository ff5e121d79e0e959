/** Who may ask, and how: checks before a body is read. */

import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import { HttpError } from './errors';

/**
 * Refuses names that the server does not know. A page whose name is made to resolve to this machine (DNS rebinding) sends its
 * own name; it cannot send localhost or an address in numbers.
 *
 * @throws HttpError 403
 */
export function expectHost(host: string, hosts: readonly string[]): void {
  if (hosts.includes('*')) return;
  const name = hostName(host);
  const isOwn = name === 'localhost' || name?.endsWith('.localhost') || isIP(name ?? '') !== 0;
  if (name !== undefined && (isOwn || hosts.includes(name))) return;
  throw new HttpError(403, `the host '${host.slice(0, 80)}' is not allowed; --allow-host (hosts) allows it`, {
    code: 'host_not_allowed',
  });
}

/** The name in a Host header, without port and brackets. */
function hostName(host: string): string | undefined {
  try {
    return new URL(`http://${host}`).hostname.replace(/^\[|\]$/g, '');
  } catch {
    return undefined;
  }
}

/**
 * Checks the key of a request, in a time that does not depend on how much of it is right.
 *
 * @throws HttpError 401
 */
export function expectKey(authorization: string | undefined, keys: readonly string[]): void {
  if (keys.length === 0) return;
  const given = digest(/^Bearer +(.*)$/is.exec(authorization ?? '')?.[1]?.trim() ?? '');
  // all keys are compared, whichever fits
  const fitting = keys.filter((key) => timingSafeEqual(digest(key), given));
  if (fitting.length === 0)
    throw new HttpError(401, 'the API key is missing or not valid', { code: 'invalid_api_key' });
}

function digest(key: string): Buffer {
  return createHash('sha256').update(key).digest();
}

/** Demands JSON: browsers send other types to any site without asking it. Throws HttpError 415. */
export function expectJson(contentType: string | undefined): void {
  const [type = ''] = (contentType ?? '').split(';');
  if (type.trim().toLowerCase() === 'application/json') return;
  throw new HttpError(415, "the body must have the content type 'application/json'");
}

/** Reads a body of at most so many bytes. Throws HttpError 413. */
export async function readBody(request: Request, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const tooLarge = () => new HttpError(413, `the body has more than ${maxBytes} bytes`, { code: 'body_too_large' });
  // not even begun, if its length is told
  if (Number(request.headers.get('content-length') ?? 0) > maxBytes) throw tooLarge();
  for await (const chunk of request.body ?? []) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
