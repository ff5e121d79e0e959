import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ioFailure, isSystemError } from './failure';

/** The contents of those of the named files that a folder has. Throws MBOK_IO where one is there but cannot be read. */
export async function readFiles(folder: string, names: readonly string[]): Promise<Map<string, Buffer>> {
  const contents = new Map<string, Buffer>();
  for (const name of names) {
    const path = join(folder, name);
    try {
      contents.set(name, await readFile(path));
    } catch (error) {
      if (!isSystemError(error) || error.code !== 'ENOENT') throw ioFailure('read', path, error);
    }
  }
  return contents;
}
