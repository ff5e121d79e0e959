import { setImmediate } from 'node:timers/promises';
import { throwIfAborted } from '../base/validate';

/** Longest time to block the event loop, in milliseconds. */
const SLICE = 5;

/** A timer that tells long work when to yield to the event loop. */
export class Pause {
  #since = performance.now();

  constructor(private readonly signal: AbortSignal | undefined) {}

  get isDue(): boolean {
    return performance.now() - this.#since > SLICE;
  }

  /** Yields to the event loop. Throws MBOK_ABORTED if the signal has fired. */
  async take(): Promise<void> {
    await setImmediate();
    throwIfAborted(this.signal);
    this.#since = performance.now();
  }
}
