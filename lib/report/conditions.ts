/** Conditions under which the figures of a report were measured. */

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
  /** Memory of the machine in bytes. */
  readonly memory: number;
}

/** Returns the conditions of this process, which hold for its children too. Throws MBOK_NATIVE_MISSING. */
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
