/** Encoding of files to tokens, with a cache on disk. */

import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join } from 'node:path';
import { MbokError } from '../base/errors';
import { throwIfAborted } from '../base/validate';
import { makeFolder } from '../io/atomic';
import { Pause } from '../text/pause';
import { TokenBuffer } from '../text/token_buffer';
import type { Tokenizer } from '../text/tokenizer';
import { encodeFile, type Format, holdsRecords } from './documents';
import { readChunks, type SourceFile } from './sources';
import { type Conversations, MemoryTokens, TokenFile, type TokenStore, UNCOUNTED, writeTokenFile } from './token_file';

/** Version of the encoding, including chats. A new version invalidates cached files. */
const VERSION = 4;

/** Everything that determines the tokens, and the callbacks. */
export interface Task {
  readonly files: readonly SourceFile[];
  readonly tokenizer: Tokenizer;
  readonly format: Format;
  readonly wide: boolean;
  readonly maxTokens: number;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: { readonly done: number; readonly what: string }) => void) | undefined;
}

/**
 * Reads the tokens from the cache, or encodes the files and stores the tokens there.
 *
 * @param cache - folder of the cache. If undefined, MBOK_CACHE or else the default folder. If the default folder cannot
 * be written, tokens stay in memory.
 */
export async function encodeOnce(task: Task, cache: string | undefined): Promise<TokenStore> {
  const chosen = cache ?? process.env.MBOK_CACHE;
  const key = await keyOf(task);
  const path = join(chosen ?? usualCache(), 'datasets', `${key}.tokens`);
  try {
    return await openOrMake(path, key, task);
  } catch (error) {
    const cannotStore = error instanceof MbokError && error.code === 'MBOK_IO' && error.message.includes(dirname(path));
    if (cannotStore && chosen === undefined) return await encodeInMemory(task);
    throw error;
  }
}

async function openOrMake(path: string, key: string, task: Task): Promise<TokenStore> {
  const cached = await TokenFile.open(path, key);
  if (cached !== undefined) return cached;
  await makeFolder(dirname(path));
  await writeTokenFile(path, { key, wide: task.wide }, async (push) => {
    const { key: used, conversations } = await encodeAll(task, push);
    if (used !== key) throw new MbokError('MBOK_IO', 'a text file changed while it was read');
    return conversations;
  });
  const written = await TokenFile.open(path, key);
  if (written === undefined) throw new MbokError('MBOK_IO', `'${path}' differs from what was written to it`);
  return written;
}

/** Returns the default folder by the XDG Base Directory Specification, which ignores relative paths. */
function usualCache(): string {
  const base = process.env.XDG_CACHE_HOME ?? '';
  return join(isAbsolute(base) ? base : join(homedir(), '.cache'), 'mbok');
}

/** Encodes all tokens, or a little more than the first `maxTokens`. */
export async function encodeInMemory(task: Task): Promise<TokenStore> {
  const buffer = new TokenBuffer(task.wide);
  const { conversations } = await encodeAll(task, async (ids) => buffer.push(ids));
  return new MemoryTokens(buffer.tokens, conversations);
}

/** Encodes all files. Returns the key of the bytes that were read, and the numbers of conversations. */
async function encodeAll(
  task: Task,
  push: (ids: ArrayLike<number>) => Promise<void>,
): Promise<{ readonly key: string; readonly conversations: Conversations | undefined }> {
  const { files, tokenizer, format, maxTokens, signal, onProgress } = task;
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const pause = new Pause(signal);
  const hashes: string[] = [];
  let [read, tokens, count, unanswered] = [0, 0, 0, 0];
  for (const { path } of files) {
    const hash = createHash('sha256');
    const onBytes = (bytes: Uint8Array) => {
      hash.update(bytes);
      read += bytes.length;
    };
    for await (const { ids, counted } of encodeFile(path, tokenizer, format, onBytes)) {
      await push(counted === undefined ? ids : Int32Array.from(ids, (id, i) => (counted[i] ? id : id | UNCOUNTED)));
      tokens += ids.length;
      if (counted !== undefined) count++;
      if (counted !== undefined && !counted.includes(1)) unanswered++;
      if (tokens >= maxTokens) break;
      if (!pause.isDue) continue;
      onProgress?.({ done: Math.min(1, read / total), what: path });
      await pause.take();
    }
    if (tokens >= maxTokens) break;
    hashes.push(hash.digest('hex'));
  }
  return { key: combine(task, hashes), conversations: format.chat && { count, unanswered } };
}

/** Hashes everything that determines the tokens. */
async function keyOf(task: Task): Promise<string> {
  const hashes: string[] = [];
  for (const { path } of task.files) {
    const hash = createHash('sha256');
    for await (const _ of readChunks(path, (bytes) => hash.update(bytes))) throwIfAborted(task.signal);
    hashes.push(hash.digest('hex'));
  }
  return combine(task, hashes);
}

function combine({ files, tokenizer, format }: Task, hashes: readonly string[]): string {
  const { field, chat } = format;
  const records = files.map(({ path }) => holdsRecords(path));
  const parts = [
    VERSION,
    tokenizer.fingerprint,
    tokenizer.documentStartId ?? null,
    records,
    records.includes(true) ? (field ?? null) : null,
    chat?.fingerprint ?? null,
    hashes,
  ];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex');
}
