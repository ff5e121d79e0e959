/**
 * Atomic file writes. The content goes to a temporary name in the same folder, is synced to disk and then renamed. A
 * failure removes the temporary file and leaves the old one untouched.
 */

import { randomBytes } from 'node:crypto';
import {
  copyFile,
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  rename,
  rm,
  stat,
  unlink,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { ioFailure } from './failure';
import { ifPresent } from './files';
import { isRunning } from './running';

/** Appends bytes to a file that is being written. */
export interface Appender {
  append(bytes: Uint8Array): Promise<void>;
}

/**
 * Writes a file atomically.
 *
 * @param path - the file; its folder must exist
 * @param content - the bytes, a string (UTF-8), or a function that appends them piece by piece
 * @throws MbokError MBOK_IO naming `path` (full disk, no permission, …); the old file, if any, is untouched
 */
export async function writeFile(
  path: string,
  content: string | Uint8Array | ((file: Appender) => Promise<void>),
): Promise<void> {
  let temporary: string | undefined;
  try {
    await removeAbandoned(path);
    const name = temporaryName(path);
    const file = await open(name, 'wx');
    temporary = name;
    try {
      const append = (bytes: Uint8Array) => writeAll(file, bytes);
      if (typeof content === 'function') await content({ append });
      else await append(typeof content === 'string' ? Buffer.from(content) : content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    if (temporary !== undefined) await rm(temporary, { force: true });
    throw ioFailure('write', path, error);
  }
}

/**
 * Creates a folder and its parents. Throws MBOK_IO if that fails.
 *
 * Node's recursive mkdir is not used: it loops forever on file systems that refuse new names with ENOENT, such as
 * /proc.
 */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await makeAll(resolve(folder));
  } catch (error) {
    throw ioFailure('create', folder, error);
  }
}

async function makeAll(folder: string): Promise<void> {
  if (await folderExists(folder)) return;
  const parent = dirname(folder);
  if (parent !== folder) await makeAll(parent);
  try {
    await mkdir(folder);
  } catch (error) {
    // another process may have created it meanwhile
    if (!(await folderExists(folder))) throw error;
  }
}

/** Tells whether `path` is a folder. Throws if the path exists but is not a folder. */
async function folderExists(path: string): Promise<boolean> {
  const status = await ifPresent(stat(path));
  if (status === undefined) return false;
  if (status.isDirectory()) return true;
  throw Object.assign(new Error(`${path} is not a folder`), { code: 'ENOTDIR' });
}

/**
 * State of what a dead writer left beside a file or folder: `tmp` is incomplete, `old` was moved aside, `new` is
 * complete.
 */
export type LeftoverKind = 'tmp' | 'old' | 'new';

/** Returns an unused name beside `path`, with the process id in it. */
export function temporaryName(path: string, kind: LeftoverKind = 'tmp'): string {
  return `${path}.${kind}-${process.pid}-${randomBytes(4).toString('hex')}`;
}

/** Parses a name made by {@link temporaryName}. Returns undefined for other names. */
export function leftoverOf(
  name: string,
): { readonly of: string; readonly kind: LeftoverKind; readonly pid: number } | undefined {
  const [, of, kind, pid] = /^(.+)\.(tmp|old|new)-(\d+)-[0-9a-f]{8}$/.exec(name) ?? [];
  return of === undefined ? undefined : { of, kind: kind as LeftoverKind, pid: Number(pid) };
}

/** Lists leftovers of these kinds beside `path`. Files that a live process is still writing are included. */
export async function leftovers(
  path: string,
  ...kinds: readonly LeftoverKind[]
): Promise<readonly { readonly path: string; readonly kind: LeftoverKind; readonly pid: number }[]> {
  const folder = dirname(path);
  return (await readdir(folder)).flatMap((name) => {
    const leftover = leftoverOf(name);
    return leftover?.of === basename(path) && kinds.includes(leftover.kind)
      ? [{ ...leftover, path: join(folder, name) }]
      : [];
  });
}

/** Lists the incomplete files of dead processes beside `path`. */
export async function abandoned(path: string): Promise<string[]> {
  const unfinished = await leftovers(path, 'tmp');
  return unfinished.filter(({ pid }) => !isRunning(pid)).map((leftover) => leftover.path);
}

/**
 * Removes the incomplete files of dead processes, so that a training run that is killed often does not fill the disk.
 */
async function removeAbandoned(path: string): Promise<void> {
  for (const file of await abandoned(path)) if ((await lstat(file)).isFile()) await unlink(file);
}

/**
 * Writes all bytes, at `position` or after the previous write. It repeats short writes, which happen for example when
 * the disk is nearly full.
 */
export async function writeAll(file: FileHandle, bytes: Uint8Array, position?: number): Promise<void> {
  const MOST = 1 << 26;
  for (let done = 0; done < bytes.length; ) {
    const at = position === undefined ? undefined : position + done;
    const { bytesWritten } = await file.write(bytes, done, Math.min(MOST, bytes.length - done), at);
    done += bytesWritten;
  }
}

/**
 * Hard-links a complete file to a second name. Copies it where links are impossible (FAT, another file system). Throws
 * MBOK_IO if neither works.
 */
export async function linkOrCopy(from: string, to: string): Promise<void> {
  try {
    await link(from, to).catch(async () => {
      await copyFile(from, to);
      await syncPath(to, 'r+');
    });
    await syncFolder(dirname(to));
  } catch (error) {
    throw ioFailure('write', to, error);
  }
}

/** Syncs a folder, so that new names in it survive a system crash. */
export async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open folders, but it journals renames
  if (process.platform !== 'win32') await syncPath(folder);
}

async function syncPath(path: string, flags = 'r'): Promise<void> {
  const handle = await open(path, flags);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
