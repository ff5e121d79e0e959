/** Runner of a plan. Like make, it runs only commands whose results are missing or outdated, one after the other. */

import { createHash } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MbokError } from '../base/errors';
import { throwIfAborted } from '../base/validate';
import { removeUnfinished } from '../compress/work_folder';
import { makeFolder, writeFile } from '../io/atomic';
import { ioFailure } from '../io/failure';
import { exists, readTextIfPresent, remove, removeIfEmpty } from '../io/files';
import { removeModelFolder } from '../models/model_folder';
import { Checkpoint } from '../train/checkpoint';
import type { Ending } from './child';
import { expand, type Variables, variablesIn } from './inputs';
import { commandLine, type PlannedCommand } from './plan';
import { readableJson } from './readable_json';
import { Results, type StoredResult } from './results';
import { readTrainingLog } from './training_log';

/** Suffix of the file that stores the key of the command that wrote a model. */
const KEY = '.key';

export interface RunOptions {
  /** Folder of the results, one JSON file per command. */
  readonly dataFolder: string;
  /** Folder of the models: `$WORK`. */
  readonly workFolder: string;
  readonly variables: Variables;
  /** Hashes of the inputs' contents by variable. */
  readonly digests: ReadonlyMap<string, string>;
  /** Further conditions of results: the version of mbok, the machine. */
  readonly circumstances: readonly string[];
  /** Runs a command with its variables replaced. */
  readonly execute: (args: readonly string[], signal: AbortSignal) => Promise<Ending>;
  readonly signal: AbortSignal;
  /** Called before a command runs. */
  readonly onCommand?: ((command: PlannedCommand, done: number, of: number) => void) | undefined;
  readonly onResult?: ((command: PlannedCommand, stored: StoredResult) => void) | undefined;
}

export interface PlanRun {
  readonly results: Results;
  /** Names of the commands that ran, and of those whose results were up to date. */
  readonly ran: readonly string[];
  readonly kept: readonly string[];
  /** Names of commands without a result. */
  readonly failed: readonly string[];
}

/** Removes the models that a plan's commands wrote, then the folder if it is empty. Throws MBOK_IO. */
export async function removeModels(workFolder: string): Promise<void> {
  try {
    const keys = (await readdir(workFolder)).filter((name) => name.endsWith(KEY));
    for (const key of keys) await removeModel(join(workFolder, key.slice(0, -KEY.length)));
    await removeIfEmpty(workFolder);
  } catch (error) {
    throw ioFailure('remove', workFolder, error);
  }
}

/** Removes a model, finished or not, and the files beside it. */
async function removeModel(place: string): Promise<void> {
  await removeModelFolder(place);
  await removeUnfinished(place);
  await Checkpoint.remove(`${place}.checkpoint`);
  for (const file of ['.jsonl', KEY]) await remove(place + file);
}

/**
 * Runs the commands of a complete plan that have no valid result, and those whose models these need. A failed command
 * stores its error message, and the next run tries it again. Commands that need its model are skipped.
 *
 * @throws MbokError MBOK_ABORTED, MBOK_IO
 */
export async function runPlan(plan: readonly PlannedCommand[], options: RunOptions): Promise<PlanRun> {
  return await new Run(plan, options).complete();
}

class Run {
  readonly #plan: readonly PlannedCommand[];
  readonly #options: RunOptions;
  readonly #keys = new Map<string, string>();
  readonly #stored = new Map<string, StoredResult>();

  constructor(plan: readonly PlannedCommand[], options: RunOptions) {
    this.#plan = plan;
    this.#options = options;
    // dependencies come first, so their keys exist
    for (const command of plan) this.#keys.set(command.name, this.#keyOf(command));
  }

  async complete(): Promise<PlanRun> {
    const { dataFolder, workFolder, signal, onCommand, onResult } = this.#options;
    await makeFolder(dataFolder);
    await makeFolder(workFolder);
    for (const command of this.#plan) {
      const found = await this.#readResult(command);
      if (found !== undefined) this.#stored.set(command.name, found);
    }
    const wanted = await this.#wanted();
    let done = 0;
    for (const command of this.#plan.filter(({ name }) => wanted.has(name))) {
      throwIfAborted(signal);
      onCommand?.(command, done++, wanted.size);
      const stored = await this.#run(command);
      this.#stored.set(command.name, stored);
      await writeFile(this.#resultFile(command), readableJson(stored));
      onResult?.(command, stored);
    }
    const names = this.#plan.map(({ name }) => name);
    const ran = names.filter((name) => wanted.has(name));
    const kept = names.filter((name) => !wanted.has(name));
    const failed = names.filter((name) => this.#stored.get(name)?.result === undefined);
    return { results: new Results(this.#stored), ran, kept, failed };
  }

  #keyOf(command: PlannedCommand): string {
    const { variables, digests, circumstances } = this.#options;
    const inputs = variablesIn(command.args, variables).map((name) => [name, digests.get(name) ?? '']);
    const needs = command.needs.map(({ name }) => this.#keys.get(name));
    return createHash('sha256')
      .update(JSON.stringify([command.args, inputs, needs, circumstances]))
      .digest('hex');
  }

  /** Returns the commands without a valid result, and the commands whose models these need and that are missing. */
  async #wanted(): Promise<Set<string>> {
    const wanted = new Set<string>();
    for (const command of this.#plan.toReversed()) {
      if (this.#stored.get(command.name)?.result === undefined) wanted.add(command.name);
      if (!wanted.has(command.name)) continue;
      for (const need of command.needs) if (!(await this.#hasModel(need))) wanted.add(need.name);
    }
    return wanted;
  }

  async #run(command: PlannedCommand): Promise<StoredResult> {
    const { execute, variables, signal } = this.#options;
    const key = this.#keys.get(command.name) as string;
    const record = { command: commandLine(command), key };
    const missing = command.needs.find(({ name }) => this.#stored.get(name)?.result === undefined);
    const ended = (seconds: number) => ({ date: new Date().toISOString(), seconds: Number(seconds.toFixed(3)) });
    if (missing !== undefined)
      return { ...record, ...ended(0), error: `not run: it needs '${missing.name}', which failed` };
    await this.#begin(command, key);
    const started = performance.now();
    const ending = await execute(
      command.args.map((word) => expand(word, variables)),
      signal,
    );
    const seconds = (performance.now() - started) / 1000;
    const training =
      command.logs && 'result' in ending ? await readTrainingLog(`${this.#place(command)}.jsonl`) : undefined;
    return { ...record, ...ended(seconds), ...ending, ...(training && { training }) };
  }

  /**
   * Removes the outdated result, and leftovers of a command with the same name and another key. The same command
   * continues from its leftovers.
   */
  async #begin(command: PlannedCommand, key: string): Promise<void> {
    await remove(this.#resultFile(command));
    if (!command.makesModel) return;
    const place = this.#place(command);
    if ((await readTextIfPresent(place + KEY)) === key) return;
    await removeModel(place);
    await writeFile(place + KEY, key);
  }

  /** Tells whether the command's model exists. Models appear atomically, so one under this key is complete. */
  async #hasModel(command: PlannedCommand): Promise<boolean> {
    const place = this.#place(command);
    return (
      (await exists(join(place, 'config.json'))) &&
      (await readTextIfPresent(place + KEY)) === this.#keys.get(command.name)
    );
  }

  /** Reads a valid result; undefined if there is none. */
  async #readResult(command: PlannedCommand): Promise<StoredResult | undefined> {
    const path = this.#resultFile(command);
    const text = await readTextIfPresent(path);
    if (text === undefined) return undefined;
    try {
      const stored = JSON.parse(text) as StoredResult;
      return stored.key === this.#keys.get(command.name) && stored.result !== undefined ? stored : undefined;
    } catch (cause) {
      throw new MbokError('MBOK_FORMAT', `'${path}' is not a result of a report; remove it`, { cause });
    }
  }

  #resultFile({ name }: PlannedCommand): string {
    return join(this.#options.dataFolder, `${name}.json`);
  }

  #place({ name }: PlannedCommand): string {
    return join(this.#options.workFolder, name);
  }
}
