import { MbokError } from '../base/errors';
import { readSmallFile, readWhole } from './files';
import { CLOSE_LIST, CLOSE_OBJECT, COLON, COMMA, ESCAPE, OPEN_LIST, OPEN_OBJECT, QUOTE } from './json_units';
import { Utf8Decoder } from './utf8';

/** A JSON object of unknown content. */
export type JsonObject = { [key: string]: unknown };

/** Decodes UTF-8 strictly and drops a byte order mark. Throws MBOK_FORMAT, naming `what` and the first invalid byte. */
export function decodeUtf8(bytes: Uint8Array, what: string): string {
  const decoder = new Utf8Decoder(what);
  const text = decoder.push(bytes);
  decoder.end();
  return text;
}

/** Largest nesting depth: that of serde_json, with which safetensors and tokenizers read these files. */
const DEEPEST = 128;
/** Largest number of values in a configuration or an index. The largest known ones have 90 thousand. */
const MOST_VALUES = 2 ** 17;

/**
 * Parses `text` to a JSON object. It accepts NaN, Infinity and -Infinity as numbers, since Python writes them.
 *
 * @param what - name of the text, for messages
 * @param maxValues - limit on the number of values
 * @throws MbokError MBOK_FORMAT
 */
export function parseJsonObject(text: string, what: string, maxValues = MOST_VALUES): JsonObject {
  expectBounded(text, what, maxValues);
  let value: unknown;
  try {
    value = parseLikePython(text, maxValues);
  } catch (cause) {
    throw new MbokError('MBOK_FORMAT', `${what} is not valid JSON: ${(cause as Error).message}`, { cause });
  }
  if (!isJsonObject(value)) throw new MbokError('MBOK_FORMAT', `${what} must hold a JSON object`);
  return value;
}

// UTF-16 units of Python's constants
const UPPER_N = 0x4e;
const UPPER_I = 0x49;

/** Stands for NaN until the text has been parsed. */
const NAN = '\u0000NaN';

/**
 * Parses JSON plus NaN, Infinity and -Infinity. Python's `json` writes those, so Hugging Face configurations contain
 * them. Throws SyntaxError.
 */
function parseLikePython(text: string, maxValues: number): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const plain = withoutConstants(text, maxValues);
    if (plain === undefined) throw error;
    return JSON.parse(plain, (_, value: unknown) => (value === NAN ? NaN : value));
  }
}

/**
 * Replaces Python's constants outside strings by JSON that {@link parseLikePython} recognizes. Returns undefined if
 * there are none, or more than `maxValues`.
 */
function withoutConstants(text: string, maxValues: number): string | undefined {
  const pieces: string[] = [];
  let done = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit === QUOTE) i = endOfString(text, i);
    const constant = unit === UPPER_N ? 'NaN' : unit === UPPER_I ? 'Infinity' : undefined;
    if (constant === undefined || !text.startsWith(constant, i)) continue;
    if (pieces.length >= 2 * maxValues) return undefined;
    // JSON.parse turns 1e999, which is beyond the largest number, into Infinity
    pieces.push(text.slice(done, i), constant === 'NaN' ? JSON.stringify(NAN) : '1e999');
    i += constant.length - 1;
    done = i + 1;
  }
  return done === 0 ? undefined : pieces.join('') + text.slice(done);
}

/**
 * Throws MBOK_FORMAT if a string in `value` holds half of a surrogate pair. Encoding it would silently give U+FFFD.
 *
 * @param text - the JSON that `value` was parsed from
 */
export function expectWholeCharacters(value: unknown, text: string, what: string): void {
  // only an escape can produce a lone surrogate
  if (/\\u[dD][89a-fA-F]/.test(text)) expectWhole(value, what);
}

function expectWhole(value: unknown, what: string): void {
  if (typeof value === 'string' && /\p{Surrogate}/u.test(value)) {
    throw new MbokError('MBOK_FORMAT', `${what} holds half of a surrogate pair: a text was cut within a character`);
  }
  if (typeof value === 'object' && value !== null) for (const part of Object.values(value)) expectWhole(part, what);
}

/**
 * Limits the number of values and the depth of JSON before it is parsed. JSON.parse makes 33 million objects of 100 MB
 * of `{}`, which takes a minute. Values nested deeper than the stack could not be serialized again. If the text is
 * invalid, the count holds up to the fault, where JSON.parse stops too.
 *
 * @throws MbokError MBOK_FORMAT
 */
export function expectBounded(text: string, what: string, maxValues = MOST_VALUES): void {
  let values = 1;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit === QUOTE) i = endOfString(text, i);
    else if (unit === COMMA) values++;
    else if (unit === OPEN_LIST || unit === OPEN_OBJECT) {
      values++;
      if (++depth > DEEPEST) {
        throw new MbokError('MBOK_FORMAT', `${what} has lists or objects more than ${DEEPEST} deep`);
      }
    } else if (unit === CLOSE_LIST || unit === CLOSE_OBJECT) depth--;
    if (values > maxValues) {
      throw new MbokError('MBOK_FORMAT', `${what} has more than ${maxValues} values, the limit for its kind`);
    }
  }
}

/**
 * Returns the first key that an object in `text` (valid JSON) repeats. JSON.parse silently takes the last value, so two
 * readers of one file could see different values.
 */
export function repeatedKey(text: string): string | undefined {
  /** Keys of the objects that enclose the current position; undefined for lists. */
  const open: (Set<string> | undefined)[] = [];
  let isValue = false;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit === OPEN_OBJECT) open.push(new Set());
    else if (unit === OPEN_LIST) open.push(undefined);
    else if (unit === CLOSE_OBJECT || unit === CLOSE_LIST) open.pop();
    else if (unit === QUOTE) {
      const start = i;
      i = endOfString(text, start);
      const keys = isValue ? undefined : open.at(-1);
      if (keys === undefined) continue;
      const key = JSON.parse(text.slice(start, i + 1)) as string;
      if (keys.has(key)) return key;
      keys.add(key);
    }
    if (unit === COLON) isValue = true;
    else if (unit === COMMA || unit === OPEN_OBJECT) isValue = false;
  }
  return undefined;
}

/** Returns the position of the quote that ends the string starting at `start`, or the text's length. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit === QUOTE) return i;
    if (unit === ESCAPE) i++;
  }
  return text.length;
}

/** Tells whether `value` is an object in the sense of JSON: not null and not a list. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Size limits for a kind of file. */
export interface JsonLimits {
  readonly bytes: number;
  readonly values: number;
}

/**
 * Reads a file that holds one JSON object.
 *
 * @param limits - default: those of configurations
 * @throws MbokError MBOK_IO if it cannot be read; MBOK_FORMAT if it is too large, not UTF-8, not JSON, or not an object
 */
export async function readJson(path: string, limits?: JsonLimits): Promise<JsonObject> {
  const bytes = limits === undefined ? await readSmallFile(path) : await readWhole(path, limits.bytes);
  return parseJsonObject(decodeUtf8(bytes, `'${path}'`), `'${path}'`, limits?.values);
}
