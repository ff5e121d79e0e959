/**
 * Locks between processes, as files beside or inside what they guard.
 *
 * A lock is a file `<prefix>-<process>-<random>` that identifies its holder. A process that sees no living holder
 * writes such a file and looks again. It has the lock unless it now sees another living holder. In that case it removes
 * its file and tries again. If two processes do so at once, at least one of them sees the other. Names are never
 * reused, so anyone may remove the files of dead processes at any time.
 */

import { randomBytes } from 'node:crypto';
import { open, readdir, rename, stat, utimes } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MbokError } from '../base/errors';
import { leftoverOf, temporaryName } from './atomic';
import { ioFailure } from './failure';
import { ifPresent, readTextIfPresent, remove } from './files';
import { isJsonObject } from './json';
import { isRunning, machineName, startOf } from './running';

/** A process that holds a lock. */
interface Holder {
  readonly pid: number;
  /** As {@link machineName} returns it. */
  readonly machine: string;
  readonly started: string | undefined;
  /**
   * Inode number of the lock file. A copied folder contains a copy of its lock, which has another number and locks
   * nothing.
   */
  readonly file: string;
}

/** Milliseconds between two attempts to take a lock. */
const PAUSE = 20;
/** Milliseconds between two updates of the lock file's time, which other machines see. */
const HEARTBEAT = 20_000;
/** Milliseconds without such an update after which another machine takes over the lock. */
const SILENCE = 120_000;

/**
 * Takes a lock and holds it until disposed.
 *
 * @param prefix - path prefix of the lock files; the folder must exist
 * @param what - the holder's action, for messages: `is writing 'small'`
 * @param options - `wait`: milliseconds to wait for another holder. Default 0
 * @throws MbokError MBOK_BUSY naming the process that holds the lock; MBOK_IO
 */
export async function takeLock(
  prefix: string,
  what: string,
  { wait = 0 }: { readonly wait?: number } = {},
): Promise<AsyncDisposable> {
  const until = performance.now() + wait;
  try {
    for (;;) {
      const lock = await tryLock(prefix);
      if (typeof lock === 'string') return heldLock(lock);
      if (performance.now() >= until) throw new MbokError('MBOK_BUSY', `process ${lock.pid} ${what}`);
      await sleep(PAUSE);
    }
  } catch (error) {
    throw ioFailure('lock', prefix, error);
  }
}

/** Returns the lock, with periodic signs of life until disposed. */
function heldLock(path: string): AsyncDisposable {
  const timer = setInterval(() => utimes(path, new Date(), new Date()).catch(() => {}), HEARTBEAT).unref();
  return {
    [Symbol.asyncDispose]: async () => {
      clearInterval(timer);
      await remove(path);
    },
  };
}

/** Tells whether `name` is a lock file with this prefix, complete or still being written. */
export function isLockName(name: string, prefix: string): boolean {
  const lock = leftoverOf(name)?.of ?? name;
  return lock.startsWith(prefix) && /^-\d+-[0-9a-f]{8}$/.test(lock.slice(prefix.length));
}

/** Returns the path of the acquired lock file, or the present holder. */
async function tryLock(prefix: string): Promise<string | Holder> {
  const holder = await livingHolder((await lookFor(prefix)).locks);
  if (holder !== undefined) return holder;
  const lockPath = `${prefix}-${process.pid}-${randomBytes(4).toString('hex')}`;
  await publish(lockPath);
  const { locks, abandoned } = await lookFor(prefix);
  const others = locks.filter((path) => path !== lockPath);
  if ((await livingHolder(others)) !== undefined) {
    await remove(lockPath);
    await sleep(Math.random() * PAUSE);
    return await tryLock(prefix);
  }
  for (const path of [...others, ...abandoned]) await remove(path);
  return lockPath;
}

/** Returns the first holder whose process is alive. */
async function livingHolder(paths: readonly string[]): Promise<Holder | undefined> {
  for (const path of paths) {
    const holder = await readHolder(path);
    if (holder !== undefined && (await isAlive(holder, path))) return holder;
  }
  return undefined;
}

/** Lists the complete lock files, and the incomplete ones of dead processes. */
async function lookFor(prefix: string): Promise<{ readonly locks: string[]; readonly abandoned: string[] }> {
  const folder = dirname(prefix);
  const locks: string[] = [];
  const abandoned: string[] = [];
  for (const name of await readdir(folder)) {
    if (!isLockName(name, basename(prefix))) continue;
    const unfinished = leftoverOf(name);
    if (unfinished === undefined) locks.push(join(folder, name));
    else if (!isRunning(unfinished.pid)) abandoned.push(join(folder, name));
  }
  return { locks, abandoned };
}

/** Writes the lock file under a temporary name and renames it, so that nobody reads half of it. */
async function publish(path: string): Promise<void> {
  const temporary = temporaryName(path);
  const { pid } = process;
  const holder = { pid, machine: await machineName(), started: await startOf(pid) };
  try {
    const file = await open(temporary, 'wx');
    try {
      const { ino } = await file.stat({ bigint: true });
      await file.writeFile(JSON.stringify({ ...holder, file: String(ino) } satisfies Holder));
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await remove(temporary);
    throw error;
  }
}

/** Reads a lock file. Returns undefined if it is gone, or is a copy of the file that was written. */
async function readHolder(path: string): Promise<Holder | undefined> {
  const text = await readTextIfPresent(path);
  const holder = text === undefined ? undefined : parseHolder(text);
  const status = await ifPresent(stat(path, { bigint: true }));
  return holder?.file === String(status?.ino) ? holder : undefined;
}

function parseHolder(text: string): Holder | undefined {
  try {
    const json: unknown = JSON.parse(text);
    if (!isJsonObject(json)) return undefined;
    const { pid, machine, started, file } = json;
    const texts = typeof machine === 'string' && typeof file === 'string';
    if (!Number.isSafeInteger(pid) || (pid as number) <= 0 || !texts) return undefined;
    return { pid: pid as number, machine, started: typeof started === 'string' ? started : undefined, file };
  } catch {
    return undefined;
  }
}

/**
 * Tells whether the holder may still be running. For processes of other machines, only the last sign of life is known.
 */
async function isAlive({ pid, machine, started }: Holder, path: string): Promise<boolean> {
  if (machine === (await machineName())) {
    return isRunning(pid) && (started === undefined || started === (await startOf(pid)));
  }
  const status = await ifPresent(stat(path));
  return status !== undefined && Date.now() - status.mtimeMs < SILENCE;
}
