/** Metrics of a model for its card: from the files that `mbok eval` writes, and from reports. */

import { readdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import { ioFailure } from '../io/failure';
import { exists, readSmallFile } from '../io/files';
import { decodeUtf8, isJsonObject, type JsonObject } from '../io/json';
import type { ModelInspection } from '../models/inspect';
import type { CardMetric } from '../models/model_card';
import { MARKER } from '../report/folder';

/** Largest relative difference of residuals of one model, converted by two machines. */
const RESIDUAL_TOLERANCE = 1e-3;

/**
 * Reads metrics from a file of results or from the folder of a report. Of a report these are the results of the model
 * whose name, size and residual are those of `folder`.
 *
 * @param folder - the model
 * @param storage - its inspection
 * @throws MbokError MBOK_IO; MBOK_FORMAT if there are no results of the model
 */
export async function readMetrics(
  path: string,
  folder: string,
  storage: ModelInspection,
): Promise<readonly CardMetric[]> {
  const metrics = (await isFolder(path)) ? await ofReport(path, folder, storage) : await ofFile(path, folder);
  if (metrics.length > 0) return metrics;
  throw new MbokError('MBOK_FORMAT', `'${path}' has no perplexity and no results of tasks`);
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    throw ioFailure('read', path, error);
  }
}

async function ofFile(file: string, folder: string): Promise<readonly CardMetric[]> {
  const json = await readResult(file);
  // a report stores what a command printed under 'result'
  const result = isJsonObject(json) && isJsonObject(json.result) ? json.result : json;
  const models = Array.isArray(result) ? result : isJsonObject(result) ? result.models : undefined;
  if (!Array.isArray(models)) return isJsonObject(result) ? perplexityOf(result) : [];
  const all = models.filter(isJsonObject);
  const named = all.filter(({ model }) => typeof model === 'string' && resolve(model) === resolve(folder));
  const [own] = all.length === 1 ? all : named;
  if (own !== undefined) return taskMetrics(own);
  const names = show(all.map(({ model }) => model));
  throw new MbokError('MBOK_FORMAT', `'${file}' has results of ${names}, but not of '${folder}'`);
}

/** A stored command of a report: its words, and what it printed. */
interface Command {
  readonly words: readonly string[];
  readonly result: JsonObject;
}

async function ofReport(report: string, folder: string, storage: ModelInspection): Promise<readonly CardMetric[]> {
  if (!(await exists(join(report, MARKER)))) {
    throw new MbokError('MBOK_FORMAT', `'${report}' is not the folder of a report: it has no ${MARKER}`);
  }
  const commands = await commandsOf(join(report, 'data'));
  const name = basename(resolve(folder));
  const path = `$WORK/${name}`;
  const makers = commands.filter(({ words }) => words[3]?.startsWith('$WORK/') && words[1] !== 'eval');
  const maker = makers.find(({ words }) => words[3] === path);
  if (maker === undefined) {
    const names = makers.map(({ words }) => words[3]?.slice('$WORK/'.length));
    throw new MbokError('MBOK_FORMAT', `'${report}' has no model '${name}'; it has ${show(names)}`);
  }
  expectSame(maker.result, storage, `the model '${name}' of '${report}'`);
  return commands.flatMap(({ words, result }) => {
    if (words[1] !== 'eval') return [];
    if (words[2] === 'perplexity' && words[3] === path) return perplexityOf(result, optionOf(words, '--kernels'));
    const models = Array.isArray(result.models) ? result.models.filter(isJsonObject) : [];
    return models.filter(({ model }) => basename(String(model)) === name).flatMap(taskMetrics);
  });
}

async function commandsOf(folder: string): Promise<readonly Command[]> {
  let names: string[];
  try {
    names = (await readdir(folder)).filter((name) => name.endsWith('.json')).sort();
  } catch (error) {
    throw ioFailure('read', folder, error);
  }
  const commands: Command[] = [];
  for (const name of names) {
    const stored = await readResult(join(folder, name));
    // a command that failed has no result
    if (!isJsonObject(stored) || typeof stored.command !== 'string' || !isJsonObject(stored.result)) continue;
    commands.push({ words: stored.command.split(' '), result: stored.result });
  }
  return commands;
}

function optionOf(words: readonly string[], option: string): string | undefined {
  const at = words.indexOf(option);
  return at < 0 ? undefined : words[at + 1];
}

/** Throws MBOK_FORMAT if a report measured another model of the same name. */
function expectSame({ bytes, residual }: JsonObject, { bytes: own, conversion }: ModelInspection, what: string): void {
  if (bytes !== own)
    throw new MbokError('MBOK_FORMAT', `${what} is another: its weights have ${show(bytes)} bytes, not ${own}`);
  if (typeof residual !== 'number' || conversion === undefined) return;
  if (Math.abs(residual - conversion.residual) <= RESIDUAL_TOLERANCE * conversion.residual) return;
  throw new MbokError('MBOK_FORMAT', `${what} is another: its residual is ${residual}, not ${conversion.residual}`);
}

async function readResult(file: string): Promise<unknown> {
  const text = decodeUtf8(await readSmallFile(file), `'${file}'`);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new MbokError('MBOK_FORMAT', `'${file}' is not JSON`, { cause });
  }
}

/** @param kernels - number of kernels that were read, or of the size; undefined for all */
function perplexityOf(result: JsonObject, kernels?: string): readonly CardMetric[] {
  const { perplexity: value, text, window, windows, activations } = result;
  if (typeof value !== 'number') return [];
  const dataset = Array.isArray(text) ? text.map((path) => basename(String(path))).join(', ') : 'text';
  const conditions = [
    `${String(windows)} windows of ${String(window)} tokens`,
    ...(kernels === undefined ? [] : [`--kernels ${kernels}`]),
    ...(activations === undefined ? [] : [`activations of ${String(activations)} bits`]),
  ];
  return [{ dataset, metric: 'perplexity', value, conditions: conditions.join(', ') }];
}

function taskMetrics({ results }: JsonObject): readonly CardMetric[] {
  const tasks = Array.isArray(results) ? results.filter(isJsonObject) : [];
  return tasks.flatMap(({ task, shots, questions, metrics }) =>
    Object.entries(isJsonObject(metrics) ? metrics : {}).flatMap(([metric, measured]) =>
      isJsonObject(measured) && typeof measured.value === 'number'
        ? [
            {
              dataset: String(task),
              metric,
              value: measured.value,
              conditions: `${String(questions)} questions, ${String(shots)} shots`,
            },
          ]
        : [],
    ),
  );
}
