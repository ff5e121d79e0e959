/**
 * Locks between processes, as files beside or within what they guard.
 *
 * A lock is a numbered file `<prefix>-<n>` that names its holder. A process that finds no living holder links a file of
 * its own under the next number and has the lock if it then finds no other living one. So the lock of a process that died
 * is taken over without being removed first: it might be a new holder's by the time it is removed.
 */

import { link, open, readdir, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MbokError } from '../errors';
import { leftoverOf, temporaryName } from './atomic';
import { ioFailure, isSystemError } from './failure';
import { ifPresent, readTextIfPresent } from './files';
import { isJsonObject } from './json';
import { isRunning, machineName, startOf } from './running';

/** A process that holds a lock. */
interface Holder {
  readonly pid: number;
  /** Of {@link machineName}. */
  readonly machine: string;
  readonly started: string | undefined;
  /** Number of the lock file itself: a copy of a folder holds a copy of its lock, which locks nothing. */
  readonly file: string | undefined;
}

/** Milliseconds between two looks at a lock that is waited for. */
const PAUSE = 20;
/** Milliseconds between two signs of life, which other machines see, and after how many without one they take over. */
const HEARTBEAT = 20_000;
const SILENCE = 120_000;

/**
 * Takes a lock until disposed.
 *
 * @param prefix - path of the lock's files without their number; the folder must exist
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
      await removeFile(path);
    },
  };
}

/** Tells whether `name` is that of a lock file with this prefix, or of one that is being made. */
export function isLockName(name: string, prefix: string): boolean {
  return numberOf(leftoverOf(name)?.of ?? name, prefix) !== undefined;
}

function numberOf(name: string, prefix: string): number | undefined {
  const [, number] = name.startsWith(prefix) ? (/^-(\d{1,15})$/.exec(name.slice(prefix.length)) ?? []) : [];
  return number === undefined ? undefined : Number(number);
}

/** The path of the lock file that is ours now, or its holder. */
async function tryLock(prefix: string): Promise<string | Holder> {
  const found = await lookFor(prefix);
  const holder = await livingHolder(prefix, found.numbers);
  if (holder !== undefined) return holder;
  const number = (found.numbers.at(-1) ?? 0) + 1;
  const own = `${prefix}-${number}`;
  if (!(await publish(own))) return await tryLock(prefix);
  // a process that looked before us may have linked another number: each sees the other's now, and both try again
  const others = (await lookFor(prefix)).numbers.filter((other) => other !== number);
  if ((await livingHolder(prefix, others)) !== undefined) {
    await removeFile(own);
    await sleep(Math.random() * PAUSE);
    return await tryLock(prefix);
  }
  for (const path of [...others.map((other) => `${prefix}-${other}`), ...found.abandoned]) await removeFile(path);
  return own;
}

/** Of the lock's files of these numbers, the holder of one whose process lives. */
async function livingHolder(prefix: string, numbers: readonly number[]): Promise<Holder | undefined> {
  for (const number of numbers) {
    const holder = await readHolder(`${prefix}-${number}`);
    if (holder !== undefined && (await isAlive(holder, `${prefix}-${number}`))) return holder;
  }
  return undefined;
}

/** Numbers of the lock's files in ascending order, and paths of those that processes died over. */
async function lookFor(prefix: string): Promise<{ readonly numbers: number[]; readonly abandoned: string[] }> {
  const [folder, own] = [dirname(prefix), basename(prefix)];
  const names = (await readdir(folder)).filter((name) => isLockName(name, own));
  const numbers = names.flatMap((name) => numberOf(name, own) ?? []).sort((a, b) => a - b);
  const unfinished = names.filter((name) => !isRunning(leftoverOf(name)?.pid ?? process.pid));
  return { numbers, abandoned: unfinished.map((name) => join(folder, name)) };
}

/** File systems without hard links (FAT, some on networks) answer so. */
const NO_LINKS: readonly unknown[] = ['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'];

/** Makes the lock file, complete at once; false where its number is taken. */
async function publish(path: string): Promise<boolean> {
  const temporary = temporaryName(path);
  const { pid } = process;
  const holder = { pid, machine: await machineName(), started: await startOf(pid) };
  try {
    const file = await open(temporary, 'wx');
    try {
      const { ino } = await file.stat({ bigint: true });
      await file.writeFile(JSON.stringify({ ...holder, file: String(ino) }));
    } finally {
      await file.close();
    }
    await link(temporary, path).catch(async (error) => {
      if (!isSystemError(error) || !NO_LINKS.includes(error.code)) throw error;
      // empty for a moment, which readers allow for
      await writeFile(path, JSON.stringify(holder), { flag: 'wx' });
    });
    return true;
  } catch (error) {
    if (isSystemError(error) && error.code === 'EEXIST') return false;
    throw error;
  } finally {
    await removeFile(temporary);
  }
}

/** Undefined where the file is gone, or is not the lock that it was written as. */
async function readHolder(path: string): Promise<Holder | undefined> {
  let text = await readTextIfPresent(path);
  if (text === '') {
    await sleep(PAUSE);
    text = await readTextIfPresent(path);
  }
  const holder = text === undefined ? undefined : parseHolder(text);
  if (holder?.file === undefined) return holder;
  const found = await ifPresent(stat(path, { bigint: true }));
  return holder.file === String(found?.ino) ? holder : undefined;
}

function parseHolder(text: string): Holder | undefined {
  try {
    const json: unknown = JSON.parse(text);
    if (!isJsonObject(json)) return undefined;
    const { pid, machine, started, file } = json;
    if (!Number.isSafeInteger(pid) || (pid as number) <= 0 || typeof machine !== 'string') return undefined;
    const ifText = (value: unknown) => (typeof value === 'string' ? value : undefined);
    return { pid: pid as number, machine, started: ifText(started), file: ifText(file) };
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

async function removeFile(path: string): Promise<void> {
  await ifPresent(unlink(path));
}
