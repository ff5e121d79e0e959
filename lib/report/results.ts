/** What the commands of a report gave. */

import type { PlannedCommand } from './plan';
import type { TrainingCurves } from './training_log';

/** The content of `data/<command's name>.json`. */
export interface StoredResult {
  /** With variables. */
  readonly command: string;
  /** A hash of all that the result depends on: the command, its inputs, what it needs, mbok and the machine. */
  readonly key: string;
  /** When it ended, in UTC. */
  readonly date: string;
  /** From the start of the process to its end. */
  readonly seconds: number;
  /** What it printed. Absent where it failed. */
  readonly result?: Readonly<Record<string, unknown>>;
  readonly training?: TrainingCurves;
  /** Why there is no result. */
  readonly error?: string;
}

export class Results {
  readonly #stored: ReadonlyMap<string, StoredResult>;

  constructor(stored: ReadonlyMap<string, StoredResult>) {
    this.#stored = stored;
  }

  /** What a command printed; undefined where it failed. */
  of<T>({ name }: PlannedCommand<T>): T | undefined {
    return this.#stored.get(name)?.result as T | undefined;
  }

  /** All that is known of a command. */
  stored({ name }: PlannedCommand): StoredResult | undefined {
    return this.#stored.get(name);
  }

  /** Most bytes of memory that a command's process held. */
  peakMemory({ name }: PlannedCommand): number | undefined {
    const { resources } = (this.#stored.get(name)?.result ?? {}) as { resources?: { peakMemory: number } };
    return resources?.peakMemory;
  }

  /** Seconds of a command and of those that made what it reads. */
  secondsWithNeeds(command: PlannedCommand): number | undefined {
    const seconds = [command, ...command.needs].map((one) => this.#stored.get(one.name)?.seconds);
    return seconds.reduce((sum, own) => (sum === undefined || own === undefined ? undefined : sum + own), 0);
  }
}
