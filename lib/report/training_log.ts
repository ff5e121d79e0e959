/** Log of a finetuning run, transposed from one object per step to one list per quantity. */

import { readTextFile } from '../io/files';
import { parseJsonObject } from '../io/json';

export interface TrainingCurves {
  /** Loss of every step. */
  readonly loss: readonly number[];
  /** Parts of the loss by name: 'kl', 'hidden'. */
  readonly parts: Readonly<Record<string, readonly number[]>>;
  /** Number of weights with a flipped bit, per module and step. */
  readonly flips: Readonly<Record<string, readonly number[]>>;
  readonly evaluations: readonly { readonly step: number; readonly perplexity: number }[];
}

interface Line {
  readonly event?: string;
  readonly step: number;
  readonly loss: number;
  readonly perplexity: number;
  readonly parts?: Readonly<Record<string, number>>;
  readonly flipsByLayer?: Readonly<Record<string, number>>;
}

/** Reads the output of `mbok finetune --log`. Throws MBOK_IO, MBOK_FORMAT. */
export async function readTrainingLog(path: string): Promise<TrainingCurves> {
  const lines = (await readTextFile(path))
    .split('\n')
    .filter((line) => line !== '')
    .map((line, index) => parseJsonObject(line, `'${path}' line ${index + 1}`) as unknown as Line);
  const steps = lines.filter(({ event }) => event === undefined);
  const rounded = (value: number) => Number(value.toPrecision(6));
  const columns = (rows: readonly Readonly<Record<string, number>>[]) =>
    Object.fromEntries(Object.keys(rows[0] ?? {}).map((name) => [name, rows.map((row) => rounded(row[name] ?? 0))]));
  return {
    loss: steps.map(({ loss }) => rounded(loss)),
    parts: columns(steps.map(({ parts = {} }) => parts)),
    flips: columns(steps.map(({ flipsByLayer = {} }) => flipsByLayer)),
    evaluations: lines
      .filter(({ event }) => event === 'evaluation')
      .map(({ step, perplexity }) => ({ step, perplexity })),
  };
}
