/** Progress of a run, as stored in its checkpoint. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import { isJsonObject, type JsonObject } from '../io/json';
import type { FinetuneProgress } from './finetune_options';

/** Record of one step. */
export type FinetuneRecord = Omit<FinetuneProgress, 'steps' | 'tokensPerSecond'>;

/** The best evaluation of a run. */
export interface BestEvaluation {
  /** Its perplexity. */
  readonly perplexity: number;
  /** Its step, from 1; 0 before the first. */
  readonly step: number;
}

/** Progress of a run. */
export interface Progress {
  /** One entry per step. */
  readonly history: readonly FinetuneRecord[];
  /** Best evaluation; the run restores that model at its end. Undefined without evaluations. */
  readonly best: BestEvaluation | undefined;
}

/**
 * Checks the progress in a checkpoint of a run of `steps` steps. An infinite perplexity is null in JSON.
 *
 * @param json - content of progress.json
 * @param path - its path, for messages
 * @throws MbokError MBOK_FORMAT naming the entry that no run can have written
 */
export function readProgress(json: JsonObject, steps: number, path: string): Progress & { readonly step: number } {
  const fail = (what: string, value: unknown): never => {
    throw new MbokError('MBOK_FORMAT', `'${path}' is not the progress of this run: ${what} is ${show(value)}`);
  };
  const { step, hasBest } = json;
  if (!isCount(step) || step > steps) return fail(`'step', of ${steps},`, step);
  const { history, best } = isJsonObject(json.progress) ? json.progress : fail("'progress'", json.progress);
  if (!Array.isArray(history) || history.length !== step) return fail(`the history of ${step} steps`, history);
  const records = history.map(
    (entry: unknown, i) => readRecord(entry, i + 1) ?? fail(`the record of step ${i + 1}`, entry),
  );
  if ((best !== undefined) !== (hasBest === true)) return fail("'hasBest'", hasBest);
  return { step, history: records, best: best === undefined ? best : (readBest(best, step) ?? fail("'best'", best)) };
}

function readRecord(entry: unknown, step: number): FinetuneRecord | undefined {
  if (!isJsonObject(entry) || entry.step !== step || !isJsonObject(entry.parts)) return undefined;
  const { loss, parts, flips, beta } = entry;
  if (![loss, flips, beta, ...Object.values(parts)].every(Number.isFinite)) return undefined;
  const record = { step, loss, parts, flips, beta } as FinetuneRecord;
  if (entry.perplexity === undefined) return record;
  const perplexity = readPerplexity(entry.perplexity);
  return perplexity === undefined ? undefined : { ...record, perplexity };
}

function readBest(best: unknown, steps: number): Progress['best'] {
  const { perplexity, step } = isJsonObject(best) ? best : {};
  const measured = readPerplexity(perplexity);
  return measured !== undefined && isCount(step) && step <= steps ? { perplexity: measured, step } : undefined;
}

function readPerplexity(value: unknown): number | undefined {
  if (value === null) return Infinity;
  return typeof value === 'number' && value > 0 ? value : undefined;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
