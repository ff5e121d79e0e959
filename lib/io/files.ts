import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MbokError } from '../errors';
import { ioFailure, isSystemError } from './failure';

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
    try {
      contents.set(name, await readSmallFile(path));
    } catch (error) {
      const cause = (error as Error).cause;
      if (!isSystemError(cause) || cause.code !== 'ENOENT') throw error;
    }
  }
  return contents;
}
