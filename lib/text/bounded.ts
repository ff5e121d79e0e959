/** Work whose length a model's files decide, in bounded time. */

import { createContext, Script } from 'node:vm';
import { MbokError } from '../base/errors';
import { reasonOf } from './reason';

/** A limit that work exceeds: {@link bounded} tells it as a sentence that begins with what was done. */
export class LimitError extends Error {}

const context = createContext({ work: undefined });
const call = new Script('work()');

/** Share of the time that is taken for all of it: the processor is never one program's alone. */
const ALL = 0.9;

/** Milliseconds of {@link sample} on the machine for which limits are chosen. */
const SAMPLE = 0.75;
let slowness: number | undefined;

/**
 * Does some work and interrupts it when it takes too long, even in the middle of a regular expression. Where the processor
 * did other things meanwhile, the work starts again with twice the time. Costs a quarter of a millisecond for a
 * thread that keeps the time, so small pieces of work go together.
 *
 * @param milliseconds - limit on a fast machine; on a slow one it is longer
 * @param what - subject of the message, e.g. "building 'x'"
 * @throws MbokError MBOK_FORMAT where the work takes longer, and as {@link limited}; whatever else the work throws
 */
export function bounded<T>(milliseconds: number, what: string, work: () => T): T {
  slowness ??= Math.max(1, Math.min(...Array.from({ length: 4 }, sample)) / SAMPLE);
  const most = Math.ceil(milliseconds * slowness);
  for (let timeout = most; ; timeout *= 2) {
    const since = process.cpuUsage();
    try {
      return limited(what, () => interrupted(timeout, work));
    } catch (error) {
      if ((error as { code?: unknown } | null)?.code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
      if (processorTime(since) < most * ALL) continue;
      throw new MbokError('MBOK_FORMAT', `${what} takes more than ${most} ms`, { cause: error });
    }
  }
}

/**
 * Does some work.
 *
 * @param what - subject of the message
 * @throws MbokError MBOK_FORMAT where the work exceeds the stack, the length of strings or arrays, or a limit that throws
 * {@link LimitError}; whatever else the work throws
 */
export function limited<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof LimitError) throw new MbokError('MBOK_FORMAT', `${what} ${error.message}`, { cause: error });
    // by its name: errors of other realms are of other classes
    if ((error as { name?: unknown } | null)?.name !== 'RangeError') throw error;
    throw new MbokError('MBOK_FORMAT', `${what} needs more than there is: ${reasonOf(error)}`, { cause: error });
  }
}

function interrupted<T>(timeout: number, work: () => T): T {
  context.work = work;
  try {
    return call.runInContext(context, { timeout }) as T;
  } finally {
    context.work = undefined;
  }
}

/** Processor time of a little work on texts, in milliseconds. */
function sample(): number {
  const since = process.cpuUsage();
  const places = new Map<string, number>();
  for (let i = 0; i < 2000; i++) {
    const key = JSON.stringify(['a', String(i % 1000)]);
    places.set(key, places.get(key) ?? i);
  }
  return processorTime(since);
}

function processorTime(since: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1000;
}
