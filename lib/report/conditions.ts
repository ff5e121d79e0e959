/** What the figures of a report hold for. */

import { availableParallelism, totalmem } from 'node:os';
import { version } from '../base/version';
import { addon, guarded } from '../native/addon';

export interface Conditions {
  /** Version of mbok. */
  readonly mbok: string;
  readonly node: string;
  readonly platform: string;
  readonly cpu: string;
  readonly isa: string;
  readonly threads: number;
  readonly processors: number;
  /** Bytes of the machine. */
  readonly memory: number;
}

/** Of this process, and of those that it starts. Throws MBOK_NATIVE_MISSING. */
export function conditions(): Conditions {
  const { cpu, isa, threads } = guarded(() => addon().info());
  return {
    mbok: version(),
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    ...{ cpu, isa, threads },
    processors: availableParallelism(),
    memory: totalmem(),
  };
}
