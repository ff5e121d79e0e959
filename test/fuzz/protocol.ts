/** What the runner and its workers tell each other. */

import type { GeneratorName } from './generators';
import type { Fault } from './trial';

/** Cases that a worker is to try: `from` to `to` - 1. */
export interface Assignment {
  readonly generator: GeneratorName;
  readonly seed: number;
  readonly from: number;
  readonly to: number;
  /** By which a case may make the process grow. */
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
  /** The worker ends here, perhaps before the last case. */
  | { readonly kind: 'done' };
