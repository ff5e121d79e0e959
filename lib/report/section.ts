/** Sections of a report: the commands that they need, and what they show of the results. */

import type { ChartOptions } from '../plot/draw';
import type { PlannedCommand } from './plan';
import type { Results } from './results';

export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** A chart, a table or both, with their data. */
export interface Exhibit {
  /** Name of its file: `figures/<id>.json`. */
  readonly id: string;
  /** What is shown, and how it was measured. */
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
  /** Commands that it needs; some may fail. */
  readonly commands: readonly PlannedCommand[];
  /** Shows the results that exist. */
  show(results: Results): Content;
}
