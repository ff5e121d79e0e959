import { rmdir, stat, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { MbokError } from '../base/errors';
import { ioFailure, isAbsence } from './failure';
import { openRegular } from './regular_file';
import { expectNoStandIn } from './stand_in';

/** Largest configuration or index, in bytes. The largest known ones have 9 MB. */
const MOST_BYTES = 1 << 24;
/** Largest vocabulary, in bytes. The largest known ones have 40 MB. */
export const MOST_VOCABULARY_BYTES = 1 << 26;
/** V8's longest string has 2²⁹ − 24 characters. A byte of UTF-8 gives at most one character. */
const MOST_TEXT_BYTES = 2 ** 29 - 24;
/** Bytes added to a doubled buffer when a file is longer than its stated size. */
const CHUNK_BYTES = 1 << 20;

/**
 * Reads a whole file.
 *
 * @param maxBytes - size limit in bytes for a file of this kind
 * @throws MbokError MBOK_IO if the file cannot be read or is not a regular file; MBOK_FORMAT if it is larger than
 * `maxBytes`
 */
export async function readWhole(path: string, maxBytes: number): Promise<Buffer> {
  const tooLarge = (bytes: string) =>
    new MbokError('MBOK_FORMAT', `'${path}' has ${bytes} bytes; ${maxBytes} are the most for a file of its kind`);
  const file = await openRegular(path);
  try {
    const { size } = await file.stat();
    if (size > maxBytes) throw tooLarge(String(size));
    let bytes = Buffer.alloc(size + 1);
    for (let done = 0; ; ) {
      const { bytesRead } = await file.read(bytes, done, bytes.length - done, done);
      if (bytesRead === 0) return bytes.subarray(0, done);
      done += bytesRead;
      if (done > maxBytes) throw tooLarge(`more than ${maxBytes}`);
      // the file has grown since it was opened, or lies in /proc, where sizes read 0
      if (done === bytes.length) bytes = Buffer.concat([bytes], Math.min(2 * done + CHUNK_BYTES, maxBytes + 1));
    }
  } catch (error) {
    throw ioFailure('read', path, error);
  } finally {
    await file.close();
  }
}

/**
 * Reads a small file of a model: a configuration, an index or a vocabulary.
 *
 * Throws as {@link readWhole}. Throws MBOK_FORMAT also for a failed download: a Git LFS pointer or an HTML page.
 */
export async function readSmallFile(path: string): Promise<Buffer> {
  const content = await readWhole(path, basename(path) === 'tokenizer.json' ? MOST_VOCABULARY_BYTES : MOST_BYTES);
  expectNoStandIn(content, path);
  return content;
}

/** Reads a text file; bytes that are not UTF-8 become U+FFFD. Throws as {@link readWhole}. */
export async function readTextFile(path: string): Promise<string> {
  return (await readWhole(path, MOST_TEXT_BYTES)).toString('utf8');
}

/** Reads those of the named files that exist in the folder. Throws as {@link readSmallFile}. */
export async function readFiles(folder: string, names: readonly string[]): Promise<Map<string, Buffer>> {
  const contents = new Map<string, Buffer>();
  for (const name of names) {
    const path = join(folder, name);
    const content = await ifPresent(readSmallFile(path));
    if (content !== undefined) contents.set(name, content);
  }
  return contents;
}

/** Awaits `reading`. Returns undefined if it fails because the file does not exist. */
export async function ifPresent<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

/** Reads a text file; returns undefined if it does not exist. Throws as {@link readWhole}. */
export async function readTextIfPresent(path: string): Promise<string | undefined> {
  return await ifPresent(readTextFile(path));
}

/** Tells whether a file or folder exists. Throws MBOK_IO if the system refuses to say. */
export async function exists(path: string): Promise<boolean> {
  try {
    return (await ifPresent(stat(path))) !== undefined;
  } catch (error) {
    throw ioFailure('read', path, error);
  }
}

/** Removes a file if it exists; never a folder. Throws MBOK_IO. */
export async function remove(path: string): Promise<void> {
  try {
    await ifPresent(unlink(path));
  } catch (error) {
    throw ioFailure('remove', path, error);
  }
}

/** Removes a folder if it is empty and removable. Otherwise, as for a mount point, it does nothing. */
export async function removeIfEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch(() => {});
}
