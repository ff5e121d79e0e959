/**
 * Files and folders that appear complete or not at all. The content is written under a temporary name in the same
 * folder, synced to the disk and renamed; a failure removes the temporary and leaves what was there before.
 */

import { randomBytes } from 'node:crypto';
import { type FileHandle, lstat, mkdir, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { MbokError } from '../errors';
import { throwIfAborted } from '../validate';
import { ioFailure, isSystemError } from './failure';
import { ifPresent } from './files';

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
 * Writes a folder atomically: `fill` gets a temporary folder beside `path`, which then takes the place of `path`. A
 * folder that is there already stays whole until the new one is complete.
 *
 * @param path - the folder; missing parents are made
 * @param options - `signal`: stops before the new folder takes its place; `marker`: a file name that tells a folder of
 *   this kind (default config.json): an existing folder without it, unless empty, is somebody else's and is not replaced
 * @param fill - writes the files into the folder that it is given
 * @throws MbokError MBOK_IO naming `path`, MBOK_ABORTED
 */
export async function writeFolder(
  path: string,
  { signal, marker = 'config.json' }: { readonly signal?: AbortSignal | undefined; readonly marker?: string },
  fill: (folder: string) => Promise<void>,
): Promise<void> {
  throwIfAborted(signal);
  const { target, replaces, temporary } = await beginFolder(path, marker);
  try {
    await fill(temporary);
    await syncTree(temporary);
    throwIfAborted(signal);
    if (replaces) await exchange(target, temporary);
    else await rename(temporary, target);
    await syncFolder(dirname(target));
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw ioFailure('write', path, withoutTemporaryName(error, temporary, path));
  }
}

/**
 * Throws what {@link writeFolder} would throw before it writes a file: better before an hour of work than after it.
 * Missing parents are made.
 */
export async function tryFolder(path: string, { marker = 'config.json' }: { readonly marker?: string } = {}) {
  const { temporary } = await beginFolder(path, marker);
  await rm(temporary, { recursive: true, force: true });
}

async function beginFolder(path: string, marker: string) {
  try {
    await makeAll(dirname(resolve(path)));
    await recoverFolder(path);
    const target = await followLinks(path);
    const replaces = await isReplaceable(target, marker);
    await removeAbandoned(target);
    const temporary = temporaryName(target);
    await mkdir(temporary);
    return { target, replaces, temporary };
  } catch (error) {
    throw ioFailure('write', path, error);
  }
}

/**
 * Puts back a folder that {@link writeFolder} had moved aside when the process died before the new one took its
 * place. Call it before reading such a folder; it does nothing when all is well.
 */
export async function recoverFolder(path: string): Promise<void> {
  const target = resolve(path);
  try {
    if (await exists(target)) return;
    const folder = dirname(target);
    const aside = (await readdir(folder)).find((name) => leftover(name, target)?.kind === 'old');
    if (aside === undefined) return;
    // a writer that lives needs microseconds between its two renames
    await setTimeout(200);
    if (!(await exists(target))) await rename(join(folder, aside), target);
  } catch (error) {
    // nothing to recover: whoever reads the folder reports that it is not there
    if (isSystemError(error) && (error.code === 'ENOENT' || error.code === 'ENOTDIR')) return;
    throw ioFailure('recover', path, error);
  }
}

/** Errors of files within the folder shall name them by the path that the caller knows. */
function withoutTemporaryName(error: unknown, temporary: string, path: string): unknown {
  if (!(error instanceof MbokError) || !error.message.includes(temporary)) return error;
  return new MbokError(error.code, error.message.replaceAll(temporary, path), { cause: error });
}

/** Two renames, since Node has no exchange of names: in between, `recoverFolder` finds the old folder. */
async function exchange(target: string, complete: string): Promise<void> {
  const aside = temporaryName(target, 'old');
  await rename(target, aside);
  try {
    await rename(complete, target);
  } catch (error) {
    await rename(aside, target);
    throw error;
  }
  await rm(aside, { recursive: true, force: true });
}

/** True when a folder is there that may be replaced, false when nothing is there; throws when something else is. */
async function isReplaceable(target: string, marker: string): Promise<boolean> {
  if (!(await exists(target))) return false;
  if (!(await lstat(target)).isDirectory()) {
    throw new MbokError('MBOK_IO', `cannot write '${target}': a file of this name exists`);
  }
  const names = await readdir(target);
  if (names.length === 0 || names.includes(marker)) return true;
  throw new MbokError('MBOK_IO', `will not replace the folder '${target}': it holds files but no ${marker}`);
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

async function followLinks(path: string): Promise<string> {
  return (await exists(path)) ? realpath(path) : resolve(path);
}

/** Of a link too that leads nowhere. */
async function exists(path: string): Promise<boolean> {
  return (await ifPresent(lstat(path))) !== undefined;
}

function temporaryName(path: string, kind: 'tmp' | 'old' = 'tmp'): string {
  return `${path}.${kind}-${process.pid}-${randomBytes(4).toString('hex')}`;
}

/** Tells whether `name` is one that {@link temporaryName} gave to something that belongs to `path`. */
function leftover(name: string, path: string): { kind: string; pid: number } | undefined {
  const own = basename(path);
  const match = name.startsWith(own) ? /^\.(tmp|old)-(\d+)-[0-9a-f]{8}$/.exec(name.slice(own.length)) : null;
  return match ? { kind: match[1] as string, pid: Number(match[2]) } : undefined;
}

/** Removes what dead processes left of `path`: a training run that is killed often must not fill the disk. */
async function removeAbandoned(path: string): Promise<void> {
  const folder = dirname(path);
  for (const name of await readdir(folder)) {
    const found = leftover(name, path);
    if (found && !isRunning(found.pid)) await rm(join(folder, name), { recursive: true, force: true });
  }
}

/** Whether there is a process of this number. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it runs, as somebody else
    return !(isSystemError(error) && error.code === 'ESRCH');
  }
}

/** A write may take only a part of the bytes, e.g. the last ones that fit on the disk. */
async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  const MOST = 1 << 26;
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, Math.min(MOST, bytes.length - done));
    done += bytesWritten;
  }
}

async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else if (entry.isFile()) await syncPath(path);
  }
  await syncFolder(folder);
}

async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open folders; its renames are journalled
  if (process.platform !== 'win32') await syncPath(folder);
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
