/** Opens regular files only. Opening a pipe could block forever, and a device has no end. */

import type { Stats } from 'node:fs';
import { constants, type FileHandle, open, stat } from 'node:fs/promises';
import { MbokError } from '../base/errors';
import { ioFailure } from './failure';

/** Non-blocking, in case a pipe replaces the file between the two checks. Windows has no such flag. */
const FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/**
 * Opens a regular file, or the target of a link, for reading.
 *
 * @throws MbokError MBOK_IO naming `path` if it cannot be opened, or is a pipe, a socket, a device or a folder
 */
export async function openRegular(path: string): Promise<FileHandle> {
  let file: FileHandle | undefined;
  try {
    // check before opening: opening alone can trigger what a device does
    expectRegular(path, await stat(path));
    file = await open(path, FLAGS);
    expectRegular(path, await file.stat());
    return file;
  } catch (error) {
    await file?.close();
    throw ioFailure('read', path, error);
  }
}

/** Throws if `status` is not that of a regular file: MBOK_IO, or an EISDIR error for a folder. */
export function expectRegular(path: string, status: Stats): void {
  if (status.isFile()) return;
  if (status.isDirectory()) throw Object.assign(new Error(`${path} is a folder`), { code: 'EISDIR' });
  const kind = status.isFIFO() ? 'pipe' : status.isSocket() ? 'socket' : 'device';
  throw new MbokError(
    'MBOK_IO',
    `cannot read '${path}': it is a ${kind}; mbok reads files, not standard input or the output of a process`,
  );
}
