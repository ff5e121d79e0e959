/**
 * Locks between processes, as files beside or within what they guard.
 *
 * A lock is a file `<prefix>-<process>-<random>` that says who its holder is. A process that finds no living holder puts a
 * file of its own there and looks again. It has the lock unless it now finds another living one; then it takes its file
 * back and tries again: of two that do so at the same time, at least one sees the other. No name is ever used twice, so the
 * files of processes that died can be removed by anybody at any time.
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
  /** Of {@link machineName}. */
  readonly machine: string;
  readonly started: string | undefined;
  /** Number of the lock file itself: a copy of a folder holds a copy of its lock, which locks nothing. */
  readonly file: string;
}

/** Milliseconds between two looks at a lock that is waited for. */
const PAUSE = 20;
/** Milliseconds between two signs of life, which other machines see, and after how many without one they take over. */
const HEARTBEAT = 20_000;
const SILENCE = 120_000;

/**
 * Takes a lock until disposed.
 *
 * @param prefix - path with which the lock's files begin; their folder must exist
 * @param what - what the holder does, for messages: `is writing 'small'`
 * @param options - `wait`: milliseconds to wait for another holder. Default 0
 * @throws MbokError MBOK_BUSY naming the process that holds it, MBOK_IO
 */
export async function takeLock(
  prefix: string,
  what: string,
  { wait = 0 }: { readonly wait?: number } = {},
): Promise<AsyncDisposable> {
  const until = performance.now() + wait;
  try {
    for (;;) {
      const taken = await tryLock(prefix);
      if (typeof taken === 'string') return held(taken);
      if (performance.now() >= until) throw new MbokError('MBOK_BUSY', `process ${taken.pid} ${what}`);
      await sleep(PAUSE);
    }
  } catch (error) {
    throw ioFailure('lock', prefix, error);
  }
}

/** The lock file that is ours, with signs of life until disposed. */
function held(path: string): AsyncDisposable {
  const timer = setInterval(() => utimes(path, new Date(), new Date()).catch(() => {}), HEARTBEAT).unref();
  return {
    [Symbol.asyncDispose]: async () => {
      clearInterval(timer);
      await remove(path);
    },
  };
}

/** Tells whether `name` is that of a lock file with this prefix, or of one that is being made. */
export function isLockName(name: string, prefix: string): boolean {
  const lock = leftoverOf(name)?.of ?? name;
  return lock.startsWith(prefix) && /^-\d+-[0-9a-f]{8}$/.test(lock.slice(prefix.length));
}

/** The path of the lock file that is ours now, or its holder. */
async function tryLock(prefix: string): Promise<string | Holder> {
  const holder = await livingHolder((await lookFor(prefix)).locks);
  if (holder !== undefined) return holder;
  const own = `${prefix}-${process.pid}-${randomBytes(4).toString('hex')}`;
  await publish(own);
  const { locks, abandoned } = await lookFor(prefix);
  const others = locks.filter((path) => path !== own);
  if ((await livingHolder(others)) !== undefined) {
    await remove(own);
    await sleep(Math.random() * PAUSE);
    return await tryLock(prefix);
  }
  for (const path of [...others, ...abandoned]) await remove(path);
  return own;
}

/** The holder of one of these lock files whose process lives. */
async function livingHolder(paths: readonly string[]): Promise<Holder | undefined> {
  for (const path of paths) {
    const holder = await readHolder(path);
    if (holder !== undefined && (await isAlive(holder, path))) return holder;
  }
  return undefined;
}

/** Paths of the lock's files, and of those that processes died over. */
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

/** Makes the lock file, complete at once. */
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

/** Undefined where the file is gone, or is not the lock that it was written as. */
async function readHolder(path: string): Promise<Holder | undefined> {
  const text = await readTextIfPresent(path);
  const holder = text === undefined ? undefined : parseHolder(text);
  const found = await ifPresent(stat(path, { bigint: true }));
  return holder?.file === String(found?.ino) ? holder : undefined;
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

/** Whether the holder may still be at work: all that can be told of another machine's processes is when they gave a sign. */
async function isAlive({ pid, machine, started }: Holder, path: string): Promise<boolean> {
  if (machine === (await machineName())) {
    return isRunning(pid) && (started === undefined || started === (await startOf(pid)));
  }
  const found = await ifPresent(stat(path));
  return found !== undefined && Date.now() - found.mtimeMs < SILENCE;
}
