/** Results of a report's commands. */

import type { PlannedCommand } from './plan';
import type { TrainingCurves } from './training_log';

/** Content of `data/<command's name>.json`. */
export interface StoredResult {
  /** Command line, with variables. */
  readonly command: string;
  /** Hash of everything that determines the result: the command, its inputs, its dependencies, mbok and the machine. */
  readonly key: string;
  /** End time in UTC. */
  readonly date: string;
  /** Duration of the process in seconds. */
  readonly seconds: number;
  /** Printed object; absent if the command failed. */
  readonly result?: Readonly<Record<string, unknown>>;
  readonly training?: TrainingCurves;
  /** Error message, if there is no result. */
  readonly error?: string;
}

export class Results {
  readonly #stored: ReadonlyMap<string, StoredResult>;

  constructor(stored: ReadonlyMap<string, StoredResult>) {
    this.#stored = stored;
  }

  /** Returns what a command printed; undefined if it failed. */
  of<T>({ name }: PlannedCommand<T>): T | undefined {
    return this.#stored.get(name)?.result as T | undefined;
  }

  /** Returns the whole stored record of a command. */
  stored({ name }: PlannedCommand): StoredResult | undefined {
    return this.#stored.get(name);
  }

  /** Returns the peak memory of a command's process in bytes. */
  peakMemory({ name }: PlannedCommand): number | undefined {
    const { resources } = (this.#stored.get(name)?.result ?? {}) as { resources?: { peakMemory: number } };
    return resources?.peakMemory;
  }

  /** Returns the seconds of a command and of its direct dependencies. */
  secondsWithNeeds(command: PlannedCommand): number | undefined {
    const seconds = [command, ...command.needs].map((one) => this.#stored.get(one.name)?.seconds);
    return seconds.reduce((sum, own) => (sum === undefined || own === undefined ? undefined : sum + own), 0);
  }
}
