/** Bounded time for work whose length depends on a model's files. */

import { createContext, Script } from 'node:vm';
import { MbokError } from '../base/errors';
import { reasonOf } from './reason';

/** An exceeded limit. {@link bounded} puts the name of the work before the message. */
export class LimitError extends Error {}

const context = createContext({ work: undefined });
const call = new Script('work()');

/** Share of the time limit that counts as all of it: other programs always take some processor time. */
const ALL = 0.9;

/** Milliseconds that {@link sample} takes on the reference machine of the limits. */
const SAMPLE = 0.75;
let slowness: number | undefined;

/**
 * Runs `work` and interrupts it after a time limit, even inside a regular expression. If other programs used the
 * processor meanwhile, it restarts the work with twice the time. Each call starts a watchdog thread, which takes 0.25
 * ms, so small pieces of work should share a call.
 *
 * @param milliseconds - limit on a fast machine; scaled up on slow ones
 * @param what - subject of the message, e.g. "building 'x'"
 * @throws MbokError MBOK_FORMAT if the work takes longer, and as {@link limited}; every other error of the work
 */
export function bounded<T>(milliseconds: number, what: string, work: () => T): T {
  slowness ??= Math.max(1, Math.min(...Array.from({ length: 4 }, sample)) / SAMPLE);
  const limit = Math.ceil(milliseconds * slowness);
  for (let timeout = limit; ; timeout *= 2) {
    const since = process.cpuUsage();
    try {
      return limited(what, () => interrupted(timeout, work));
    } catch (error) {
      if ((error as { code?: unknown } | null)?.code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
      if (processorTime(since) < limit * ALL) continue;
      throw new MbokError('MBOK_FORMAT', `${what} takes more than ${limit} ms`, { cause: error });
    }
  }
}

/**
 * Runs `work` and converts exceeded limits to MbokErrors.
 *
 * @param what - subject of the message
 * @throws MbokError MBOK_FORMAT if the work exceeds the stack, the length of strings or arrays, or a limit that throws
 * {@link LimitError}; every other error of the work
 */
export function limited<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof LimitError) throw new MbokError('MBOK_FORMAT', `${what} ${error.message}`, { cause: error });
    // compare names: errors of other realms have other classes
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

/** Measures the processor time, in milliseconds, of a small text workload. */
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
