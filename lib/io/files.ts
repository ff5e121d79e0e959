import { readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MbokError } from '../errors';
import { ioFailure, isAbsence } from './failure';

/** Larger ones are no configurations or tokenizers (the largest of these have 40 MB), but mistakes. */
const MOST_BYTES = 1 << 28;

/** The content of a small file. Throws MBOK_IO, MBOK_FORMAT where it is not small. */
export async function readSmallFile(path: string): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size <= MOST_BYTES) return await readFile(path);
    throw new MbokError(
      'MBOK_FORMAT',
      `'${path}' has ${size} bytes; ${MOST_BYTES} are the most for a file of its kind`,
    );
  } catch (error) {
    throw ioFailure('read', path, error);
  }
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

/** A text file; undefined where there is none. Throws MBOK_IO. */
export async function readTextIfPresent(path: string): Promise<string | undefined> {
  try {
    return await ifPresent(readFile(path, 'utf8'));
  } catch (error) {
    throw ioFailure('read', path, error);
  }
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
    await rm(path, { force: true });
  } catch (error) {
    throw ioFailure('remove', path, error);
  }
}
