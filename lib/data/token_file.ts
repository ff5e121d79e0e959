/**
 * Files of token ids: the tokens, 16 or 32 bits each (little endian), a JSON description, its length in 4 bytes, and 8
 * bytes of magic. The description comes last because it contains the number and the hash of the tokens.
 */

import { createHash } from 'node:crypto';
import { MbokError } from '../base/errors';
import { integerInRange } from '../base/validate';
import { writeFile } from '../io/atomic';
import { isAbsence } from '../io/failure';
import { isJsonObject } from '../io/json';
import { PositionedFile } from '../io/positioned';
import { type TokenArray, TokenBuffer } from '../text/token_buffer';

const MAGIC = 'mboktok1';
const TRAILER_BYTES = 4 + MAGIC.length;
const LONGEST_DESCRIPTION = 1 << 16;
/** Bytes hashed at a time. */
const CHUNK_BYTES = 1 << 20;
/** Tokens collected per write. */
const TOKENS_AT_ONCE = 1 << 18;

/** Bit of a 32-bit token that marks it as not counted: a model must not learn to say it. */
export const UNCOUNTED = 1 << 31;
/** The other bits, which hold the id. */
export const ID_BITS = ~UNCOUNTED;

/** Numbers of conversations. */
export interface Conversations {
  readonly count: number;
  /** Conversations in which no token counts. */
  readonly unanswered: number;
}

/** Summary of a dataset's tokens. */
export interface TokenSummary {
  readonly tokens: number;
  /** Tokens not marked {@link UNCOUNTED}. */
  readonly counted: number;
  /** −1 if there are no tokens. */
  readonly largestId: number;
  /** Hash of the tokens, marks included. */
  readonly digest: string;
  /** Undefined if the text has no conversations. */
  readonly conversations: Conversations | undefined;
}

/** Storage of a dataset's tokens. */
export interface TokenStore extends TokenSummary {
  /** Reads `count` tokens as stored. Throws MBOK_IO, MBOK_FORMAT if the file was truncated meanwhile, MBOK_DISPOSED. */
  read(start: number, count: number): Promise<TokenArray>;
  close(): Promise<void>;
}

/** Tokens in memory. */
export class MemoryTokens implements TokenStore {
  readonly tokens: number;
  readonly counted: number;
  readonly largestId: number;
  readonly digest: string;

  constructor(
    private readonly ids: TokenArray,
    readonly conversations: Conversations | undefined = undefined,
  ) {
    this.tokens = ids.length;
    this.counted = countedOf(ids);
    this.largestId = largestId(ids);
    this.digest = createHash('sha256').update(ids).digest('hex');
  }

  async read(start: number, count: number): Promise<TokenArray> {
    return this.ids.slice(start, start + count);
  }

  async close(): Promise<void> {}
}

/**
 * Writes a token file atomically.
 *
 * @param options - `key`: hash of everything that determines the tokens; `wide`: whether tokens have 32 bits
 * @param fill - pushes the tokens, part by part; returns the numbers of conversations
 * @throws MbokError MBOK_IO, and errors of `fill`
 */
export async function writeTokenFile(
  path: string,
  { key, wide }: { readonly key: string; readonly wide: boolean },
  fill: (push: (ids: ArrayLike<number>) => Promise<void>) => Promise<Conversations | undefined>,
): Promise<void> {
  await writeFile(path, async (file) => {
    const hash = createHash('sha256');
    const buffer = new TokenBuffer(wide);
    let [tokens, counted, largest] = [0, 0, -1];
    const flush = async () => {
      const { buffer: memory, byteOffset, byteLength } = buffer.tokens;
      const bytes = new Uint8Array(memory, byteOffset, byteLength);
      hash.update(bytes);
      await file.append(bytes);
      tokens += buffer.length;
      counted += countedOf(buffer.tokens);
      largest = Math.max(largest, largestId(buffer.tokens));
      buffer.clear();
    };
    const conversations = await fill(async (ids) => {
      buffer.push(ids);
      if (buffer.length >= TOKENS_AT_ONCE) await flush();
    });
    await flush();
    const json = { key, wide, tokens, counted, largestId: largest, digest: hash.digest('hex'), conversations };
    const description = Buffer.from(JSON.stringify(json));
    const trailer = Buffer.alloc(TRAILER_BYTES);
    trailer.writeUInt32LE(description.length);
    trailer.write(MAGIC, 4);
    await file.append(Buffer.concat([description, trailer]));
  });
}

/** An open token file, read by position. */
export class TokenFile implements TokenStore {
  readonly tokens: number;
  readonly counted: number;
  readonly largestId: number;
  readonly digest: string;
  readonly conversations: Conversations | undefined;

  private constructor(
    private readonly file: PositionedFile,
    private readonly wide: boolean,
    { tokens, counted, largestId, digest, conversations }: TokenSummary,
  ) {
    this.tokens = tokens;
    this.counted = counted;
    this.largestId = largestId;
    this.digest = digest;
    this.conversations = conversations;
  }

  /**
   * Opens a file and checks all of it, including the hash.
   *
   * @returns undefined if the file is missing, damaged, or has another key
   * @throws MbokError MBOK_IO
   */
  static async open(path: string, key: string): Promise<TokenFile | undefined> {
    let file: PositionedFile | undefined;
    try {
      file = await PositionedFile.open(path);
      const description = await readDescription(file);
      if (
        description !== undefined &&
        description.key === key &&
        (await digestOf(file, description.bytes)) === description.digest
      ) {
        return new TokenFile(file, description.wide, description);
      }
      await file.close();
      return undefined;
    } catch (error) {
      await file?.close();
      if (isAbsence(error)) return undefined;
      throw error;
    }
  }

  async read(start: number, count: number): Promise<TokenArray> {
    const ids = this.wide ? new Int32Array(count) : new Uint16Array(count);
    const bytes = await this.file.upTo(start * ids.BYTES_PER_ELEMENT, ids.byteLength, new Uint8Array(ids.buffer));
    if (bytes.length === ids.byteLength) return ids;
    throw new MbokError('MBOK_FORMAT', `'${this.file.path}' was truncated since it was opened`);
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

interface Description extends TokenSummary {
  readonly key: unknown;
  readonly wide: boolean;
  /** Bytes of all tokens. */
  readonly bytes: number;
}

async function readDescription(file: PositionedFile): Promise<Description | undefined> {
  const { size } = file;
  const trailer = Buffer.from(await file.upTo(Math.max(0, size - TRAILER_BYTES), TRAILER_BYTES));
  if (trailer.length < TRAILER_BYTES || trailer.toString('latin1', 4) !== MAGIC) return undefined;
  const length = trailer.readUInt32LE(0);
  const bytes = size - TRAILER_BYTES - length;
  if (length > LONGEST_DESCRIPTION || bytes < 0) return undefined;
  const text = Buffer.from(await file.upTo(bytes, length));
  try {
    const json: unknown = JSON.parse(text.toString());
    if (!isJsonObject(json)) return undefined;
    const { key, wide, digest } = json;
    const tokens = integerInRange('tokens', json.tokens, 0);
    const counted = integerInRange('counted', json.counted, 0, tokens);
    const largestId = integerInRange('largestId', json.largestId, -1);
    const conversations = readConversations(json.conversations);
    const fits = typeof wide === 'boolean' && typeof digest === 'string' && bytes === tokens * (wide ? 4 : 2);
    return fits ? { key, wide, digest, tokens, counted, largestId, conversations, bytes } : undefined;
  } catch {
    // an invalid file is rewritten, so the reason does not matter
    return undefined;
  }
}

function readConversations(json: unknown): Conversations | undefined {
  if (!isJsonObject(json)) return undefined;
  const count = integerInRange('count', json.count, 0);
  return { count, unanswered: integerInRange('unanswered', json.unanswered, 0, count) };
}

function countedOf(tokens: TokenArray): number {
  let counted = 0;
  for (const token of tokens) if (token >= 0) counted++;
  return counted;
}

function largestId(tokens: TokenArray): number {
  let largest = -1;
  for (const token of tokens) largest = Math.max(largest, token & ID_BITS);
  return largest;
}

async function digestOf(file: PositionedFile, length: number): Promise<string> {
  const hash = createHash('sha256');
  const chunk = new Uint8Array(CHUNK_BYTES);
  for (let done = 0; done < length; done += CHUNK_BYTES) {
    hash.update(await file.upTo(done, Math.min(CHUNK_BYTES, length - done), chunk));
  }
  return hash.digest('hex');
}
