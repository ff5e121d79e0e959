/** What a section of a report is: what it needs to know, and what it shows of that. */

import type { ChartOptions } from '../plot/draw';
import type { PlannedCommand } from './plan';
import type { Results } from './results';

export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** A chart, a table or both, with the numbers behind them. */
export interface Exhibit {
  /** Of its file: `figures/<id>.json`. */
  readonly id: string;
  /** What one sees, and how it was measured. */
  readonly caption: string;
  readonly chart?: ((options: ChartOptions) => Promise<string>) | undefined;
  readonly table?: Table | undefined;
  readonly data: unknown;
}

export interface Content {
  readonly text: readonly string[];
  readonly exhibits: readonly Exhibit[];
}

export interface Section {
  readonly id: string;
  readonly title: string;
  /** What is to be run for it; some may fail. */
  readonly commands: readonly PlannedCommand[];
  /** Shows what is there of the results. */
  show(results: Results): Content;
}
