/**
 * Files that appear complete or not at all. The content is written under a temporary name in the same folder, synced to
 * the disk and renamed; a failure removes the temporary and leaves what was there before.
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
 * Makes a folder and its parents. Node's own recursive mkdir tries for ever where a file system refuses new names with
 * ENOENT, as /proc does. Throws MBOK_IO.
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
    // somebody else may have made it meanwhile
    if (!(await folderExists(folder))) throw error;
  }
}

/** Throws where something that is no folder has the name. */
async function folderExists(path: string): Promise<boolean> {
  const found = await ifPresent(stat(path));
  if (found === undefined) return false;
  if (found.isDirectory()) return true;
  throw Object.assign(new Error(`${path} is not a folder`), { code: 'ENOTDIR' });
}

/** What a writer that dies may leave beside a file or folder: `tmp`, not complete; `old`, moved aside; `new`, complete. */
export type LeftoverKind = 'tmp' | 'old' | 'new';

/** A name beside `path` that nothing else has. */
export function temporaryName(path: string, kind: LeftoverKind = 'tmp'): string {
  return `${path}.${kind}-${process.pid}-${randomBytes(4).toString('hex')}`;
}

/** What {@link temporaryName} made a name of, and in which process; undefined for other names. */
export function leftoverOf(
  name: string,
): { readonly of: string; readonly kind: LeftoverKind; readonly pid: number } | undefined {
  const [, of, kind, pid] = /^(.+)\.(tmp|old|new)-(\d+)-[0-9a-f]{8}$/.exec(name) ?? [];
  return of === undefined ? undefined : { of, kind: kind as LeftoverKind, pid: Number(pid) };
}

/** What writers have left beside `path` in one of these ways, or are writing just now. */
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

/** What dead processes have left unfinished beside `path`. */
export async function abandoned(path: string): Promise<string[]> {
  const unfinished = await leftovers(path, 'tmp');
  return unfinished.filter(({ pid }) => !isRunning(pid)).map((leftover) => leftover.path);
}

/** A training run that is killed often must not fill the disk. */
async function removeAbandoned(path: string): Promise<void> {
  for (const file of await abandoned(path)) if ((await lstat(file)).isFile()) await unlink(file);
}

/**
 * Writes all bytes, from `position` or where the last write ended: a write may take only a part of them, e.g. the last ones
 * that fit on the disk.
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
 * Gives a complete file a second name, or copies it where the file system does not let a file have two: on FAT, or from
 * one file system to another. Throws MBOK_IO.
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

/** Makes the names in a folder outlive a crash of the machine. */
export async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open folders; its renames are journaled
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
