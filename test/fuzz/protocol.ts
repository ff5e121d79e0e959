/** Messages between the runner and its workers. */

import type { GeneratorName } from './generators';
import type { Fault } from './trial';

/** Cases for a worker: `from` to `to` - 1. */
export interface Assignment {
  readonly generator: GeneratorName;
  readonly seed: number;
  readonly from: number;
  readonly to: number;
  /** Limit on the growth of the process in a case. */
  readonly mostMegabytes: number;
}

/** One line of a worker. */
export type Report =
  | { readonly kind: 'case'; readonly number: number; readonly label: string; readonly bytes: number }
  | { readonly kind: 'call'; readonly call: string }
  | {
      readonly kind: 'end';
      readonly codes: readonly string[];
      readonly notes: readonly string[];
      readonly fault: Fault | undefined;
    }
  /** The worker stops here, perhaps before the last case. */
  | { readonly kind: 'done' };
