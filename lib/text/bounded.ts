/** Work whose length a model's files decide, in bounded time. */

import { createContext, Script } from 'node:vm';
import { MbokError } from '../errors';
import { reasonOf } from './reason';

/** A limit that work exceeds: {@link bounded} tells it as a sentence that begins with what was done. */
export class LimitError extends Error {}

const context = createContext({ work: undefined });
const call = new Script('work()');

/**
 * Does some work and interrupts it when it takes too long, even in the middle of a regular expression. Where the processor
 * did other things most of the time, the work starts again with twice the time. Costs a quarter of a millisecond for a
 * thread that keeps the time, so small pieces of work go together.
 *
 * @param milliseconds - limit
 * @param what - subject of the message, e.g. "the chat template of 'x'"
 * @throws MbokError MBOK_FORMAT where the work exceeds its time, the stack, the length of strings or arrays, or a limit
 * that throws {@link LimitError}; whatever else the work throws
 */
export function bounded<T>(milliseconds: number, what: string, work: () => T): T {
  const before = process.cpuUsage();
  for (let timeout = Math.ceil(milliseconds); ; timeout *= 2) {
    try {
      return interrupted(timeout, work);
    } catch (error) {
      const { code, name } = error as { code?: unknown; name?: unknown };
      // errors of other realms: known by their names
      if (code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') {
        const { user, system } = process.cpuUsage(before);
        if ((user + system) / 1000 < milliseconds / 2) continue;
        throw new MbokError('MBOK_FORMAT', `${what} takes more than ${Math.ceil(milliseconds)} ms`, { cause: error });
      }
      if (error instanceof LimitError) throw new MbokError('MBOK_FORMAT', `${what} ${error.message}`, { cause: error });
      if (name !== 'RangeError') throw error;
      throw new MbokError('MBOK_FORMAT', `${what} needs more than there is: ${reasonOf(error)}`, { cause: error });
    }
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
