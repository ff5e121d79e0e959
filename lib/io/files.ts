import { rmdir, stat, unlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { MbokError } from '../base/errors';
import { ioFailure, isAbsence } from './failure';
import { openRegular } from './regular_file';
import { expectNoStandIn } from './stand_in';

/** Bytes of a configuration or an index: the largest have 9 MB. */
const MOST_BYTES = 1 << 24;
/** Bytes of vocabularies: the largest have 40 MB. */
export const MOST_VOCABULARY_BYTES = 1 << 26;
/** Characters of a string are at most 2²⁹ − 24, and a byte of UTF-8 is at most one. */
const MOST_TEXT_BYTES = 2 ** 29 - 24;
/** Least that is read at a time of a file of unknown size. */
const CHUNK_BYTES = 1 << 20;

/**
 * Reads a whole file.
 *
 * @param most - bytes that an honest file of its kind does not exceed
 * @throws MbokError MBOK_IO (cannot be read, or is no file), MBOK_FORMAT (larger)
 */
export async function readWhole(path: string, most: number): Promise<Buffer> {
  const tooLarge = (bytes: string) =>
    new MbokError('MBOK_FORMAT', `'${path}' has ${bytes} bytes; ${most} are the most for a file of its kind`);
  const file = await openRegular(path);
  try {
    const { size } = await file.stat();
    if (size > most) throw tooLarge(String(size));
    let bytes = Buffer.alloc(size + 1);
    for (let done = 0; ; ) {
      const { bytesRead } = await file.read(bytes, done, bytes.length - done, done);
      if (bytesRead === 0) return bytes.subarray(0, done);
      done += bytesRead;
      if (done > most) throw tooLarge(`more than ${most}`);
      // it has grown since it was opened, or is one of those of /proc, which claim to be empty
      if (done === bytes.length) bytes = Buffer.concat([bytes], Math.min(2 * done + CHUNK_BYTES, most + 1));
    }
  } catch (error) {
    throw ioFailure('read', path, error);
  } finally {
    await file.close();
  }
}

/**
 * The content of one of the small files of a model: configurations, indices, vocabularies. Throws as {@link readWhole}, and
 * MBOK_FORMAT for what is found in the place of one: a Git LFS pointer, an HTML page.
 */
export async function readSmallFile(path: string): Promise<Buffer> {
  const content = await readWhole(path, basename(path) === 'tokenizer.json' ? MOST_VOCABULARY_BYTES : MOST_BYTES);
  expectNoStandIn(content, path);
  return content;
}

/** The content of a text file; bytes that are not UTF-8 become U+FFFD. Throws as {@link readWhole}. */
export async function readTextFile(path: string): Promise<string> {
  return (await readWhole(path, MOST_TEXT_BYTES)).toString('utf8');
}

/** The contents of those of the named files that a folder has. Throws as {@link readSmallFile} where one is there. */
export async function readFiles(folder: string, names: readonly string[]): Promise<Map<string, Buffer>> {
  const contents = new Map<string, Buffer>();
  for (const name of names) {
    const path = join(folder, name);
    const content = await ifPresent(readSmallFile(path));
    if (content !== undefined) contents.set(name, content);
  }
  return contents;
}

/** What is read; undefined where it cannot be read because the file is not there. */
export async function ifPresent<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

/** A text file; undefined where there is none. Throws as {@link readWhole}. */
export async function readTextIfPresent(path: string): Promise<string | undefined> {
  return await ifPresent(readTextFile(path));
}

/** True for a file or folder that is there. Throws MBOK_IO. */
export async function exists(path: string): Promise<boolean> {
  try {
    return (await ifPresent(stat(path))) !== undefined;
  } catch (error) {
    throw ioFailure('read', path, error);
  }
}

/** Removes a file if it is there; never a folder. Throws MBOK_IO. */
export async function remove(path: string): Promise<void> {
  try {
    await ifPresent(unlink(path));
  } catch (error) {
    throw ioFailure('remove', path, error);
  }
}

/** Removes a folder, but for one that holds files or that cannot be removed, as a mount point: it stays. */
export async function removeIfEmpty(folder: string): Promise<void> {
  await rmdir(folder).catch(() => {});
}
