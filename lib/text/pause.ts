import { setImmediate } from 'node:timers/promises';
import { throwIfAborted } from '../base/validate';

/** How long work may keep the event loop, in milliseconds. */
const SLICE = 5;

/** Lets other work have its turn now and then. */
export class Pause {
  #since = performance.now();

  constructor(private readonly signal: AbortSignal | undefined) {}

  get isDue(): boolean {
    return performance.now() - this.#since > SLICE;
  }

  /** Throws MBOK_ABORTED where the signal has fired. */
  async take(): Promise<void> {
    await setImmediate();
    throwIfAborted(this.signal);
    this.#since = performance.now();
  }
}
