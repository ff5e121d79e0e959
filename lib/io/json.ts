import { MbokError } from '../errors';
import { readSmallFile } from './files';

/** A JSON object of unknown content. */
export type JsonObject = { [key: string]: unknown };

/** Decodes UTF-8 strictly (a byte order mark is dropped); throws MBOK_FORMAT naming `what`. */
export function decodeUtf8(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new MbokError('MBOK_FORMAT', `${what} is not valid UTF-8`, { cause });
  }
}

/** Parses `text` to a JSON object; throws MBOK_FORMAT naming `what`. */
export function parseJsonObject(text: string, what: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new MbokError('MBOK_FORMAT', `${what} is not valid JSON: ${(cause as Error).message}`, { cause });
  }
  if (!isJsonObject(value)) throw new MbokError('MBOK_FORMAT', `${what} must hold a JSON object`);
  return value;
}

/** True for what JSON writes in braces. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Reads a file that holds one JSON object.
 *
 * @throws MbokError MBOK_IO (cannot be read), MBOK_FORMAT (far too large, not UTF-8, not JSON, not an object)
 */
export async function readJson(path: string): Promise<JsonObject> {
  return parseJsonObject(decodeUtf8(await readSmallFile(path), `'${path}'`), `'${path}'`);
}
