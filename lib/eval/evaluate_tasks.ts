/** Accuracies on published tasks, by the conventions of EleutherAI's lm-evaluation-harness. */

import { setImmediate } from 'node:timers/promises';
import { MbokError } from '../base/errors';
import { integerInRange, invalid, oneOf, options, string, throwIfAborted } from '../base/validate';
import { type StartToken, type StartTokenOptions, startIdFor, startTokenOf } from '../data/windows';
import { type ActivationBits, arithmeticOf, type Precision } from '../graph/arithmetic';
import { expectModel, type Model } from '../model';
import type { ModelCore } from '../models/model_core';
import type { PartScore } from './lanes';
import { scoreGroups } from './likelihood';
import { type LoadedTask, loadTask, scoredTexts } from './load_task';
import { PairEncoder, type ScoredSequence } from './pair_encoder';
import { type Measurement, mean, perplexity } from './statistics';
import type { Question, TaskDefinition } from './task';
import { TASKS } from './tasks/registry';

/** Names of all tasks. */
export const TASK_NAMES: readonly string[] = TASKS.map(({ name }) => name);

/** Options of {@link evaluateTasks}. */
export interface TaskOptions extends StartTokenOptions {
  /** Folder of the tasks' published files, with e.g. arc/ARC-Easy-Test.jsonl in it. */
  readonly data: string;
  /** Tasks to evaluate. Default: all of {@link TASK_NAMES}. */
  readonly tasks?: readonly string[];
  /** Worked examples before every question of a task. Default 0. */
  readonly shots?: number;
  /** Seed for the choice of worked examples, which are the same for all questions of a task. Default 0. */
  readonly seed?: number;
  /** Largest number of questions per task, from the start of its file. Default: all. */
  readonly limit?: number;
  /** Precision of dense products. Default 'f32'. */
  readonly precision?: Precision;
  /** Bits to which the inputs of Boolean layers are rounded. Default: as the precision requires. */
  readonly activations?: ActivationBits | undefined;
  /** Stops the evaluation, which then throws MBOK_ABORTED. */
  readonly signal?: AbortSignal | undefined;
  /** Receives the finished share of the work, from 0 to 1, and the current task. */
  readonly onProgress?: ((progress: { readonly done: number; readonly what: string }) => void) | undefined;
  /** Receives the result of each task when it is finished. */
  readonly onResult?: ((result: TaskResult) => void) | undefined;
}

/** Result of a model on a task. */
export interface TaskResult {
  /** Name of the task. */
  readonly task: string;
  /** File of the questions. */
  readonly file: string;
  /** Number of questions asked. */
  readonly questions: number;
  /** Worked examples before each question. */
  readonly shots: number;
  /** Seed of the choice of examples. */
  readonly seed: number;
  /**
   * 'auto': texts truncated to the model's limit still began with the tokenizer's start token; 'stream': they did not.
   */
  readonly startToken: StartToken;
  /** Precision of dense products. */
  readonly precision: Precision;
  /** Bits to which the inputs of Boolean layers were rounded; undefined if only the precision rounded them. */
  readonly activations: ActivationBits | undefined;
  /**
   * `acc`: share of questions whose correct option is the likeliest. For LAMBADA it is the share whose last word greedy
   * decoding writes. `acc_norm`: the same by log-likelihood per character. `perplexity`: that of LAMBADA's last words.
   */
  readonly metrics: Readonly<Partial<Record<Metric, Measurement>>>;
}

/** Metrics by their names in the harness. */
export type Metric = 'acc' | 'acc_norm' | 'perplexity';

const KEYS = [
  'data',
  'tasks',
  'shots',
  'seed',
  'startToken',
  'limit',
  'precision',
  'activations',
  'signal',
  'onProgress',
  'onResult',
] as const;

/**
 * Evaluates a model on published tasks. Prompts, tokenization, metrics and standard errors are those of
 * lm-evaluation-harness, with two exceptions. All questions of a task share the same worked examples. A context that is
 * truncated at its start to fit the model's limit retains the tokenizer's start token, unless `startToken` is 'stream'.
 *
 * @param model - dense or Boolean; not changed
 * @returns one result per task, in the order of `tasks`
 * @throws MbokError MBOK_INVALID_ARGUMENT (also for too many shots), MBOK_NO_TOKENIZER, MBOK_IO for a missing file,
 * MBOK_FORMAT naming file and line of a malformed record, MBOK_NON_FINITE, MBOK_ABORTED, MBOK_BUSY, MBOK_DISPOSED
 *
 * @example
 * const [arc] = await evaluateTasks(model, { data: 'tasks', tasks: ['arc_easy'], limit: 500 });
 * console.log(arc.metrics.acc_norm); // { value: 0.478, standardError: 0.022 }
 */
export async function evaluateTasks(model: Model, given: TaskOptions): Promise<TaskResult[]> {
  const { data, tasks = TASK_NAMES, shots = 0, seed = 0, limit, ...others } = options('options', given, KEYS);
  const { signal, onProgress, onResult } = others;
  const core = expectModel('model', model);
  string('data', data);
  integerInRange('shots', shots, 0);
  integerInRange('seed', seed, 0);
  if (limit !== undefined) integerInRange('limit', limit, 1);
  const arithmetic = arithmeticOf(given);
  const startId = startIdFor(core, others.startToken);
  const definitions = readTasks(tasks);
  throwIfAborted(signal);
  using _ = core.holdToRead();
  // load all files before the first question: an error in the last one must not appear after an hour
  const loaded: LoadedTask[] = [];
  for (const definition of definitions) {
    loaded.push(await loadTask(definition, { data, shots, seed, limit: limit ?? Infinity }));
  }
  const total = loaded.reduce((sum, { questions }) => sum + questions.length, 0);
  const results: TaskResult[] = [];
  let before = 0;
  for (const [index, definition] of definitions.entries()) {
    const task = loaded[index] as LoadedTask;
    const progress = (questions: number) => {
      onProgress?.({ done: (before + questions) / total, what: definition.name });
    };
    progress(0);
    const scores = await scoreGroups(core, await encodeQuestions(core, task, { startId, signal }), {
      arithmetic,
      signal,
      onProgress: progress,
    });
    before += task.questions.length;
    const metrics = measure(definition, task.questions, scores);
    const conditions = {
      file: task.file,
      questions: task.questions.length,
      shots,
      seed,
      startToken: startTokenOf(startId),
      ...arithmetic,
    };
    results.push({ task: definition.name, ...conditions, metrics });
    onResult?.(results.at(-1) as TaskResult);
  }
  return results;
}

function readTasks(names: readonly string[]): TaskDefinition[] {
  if (!Array.isArray(names) || names.length === 0) return invalid('tasks', 'a list of task names', names);
  return names.map((name: string, index) => {
    oneOf(`tasks[${index}]`, name, TASK_NAMES);
    return TASKS.find((task) => task.name === name) as TaskDefinition;
  });
}

/** Longest time for which encoding may block the event loop, in milliseconds. */
const SLICE = 5;

async function encodeQuestions(
  model: ModelCore,
  { questions, examples }: LoadedTask,
  { startId, signal }: { readonly startId: number | undefined; readonly signal: AbortSignal | undefined },
): Promise<ScoredSequence[][]> {
  const encoder = new PairEncoder(model.tokenizer, model.config.maxPositions, startId);
  const groups: ScoredSequence[][] = [];
  let since = performance.now();
  for (const question of questions) {
    groups.push(scoredTexts(question, examples).map((text) => encoder.encode(text)));
    if (performance.now() - since < SLICE) continue;
    await setImmediate();
    throwIfAborted(signal);
    since = performance.now();
  }
  return groups;
}

function measure(
  { name, kind, normalized }: TaskDefinition,
  questions: readonly Question[],
  scores: readonly (readonly PartScore[])[],
): TaskResult['metrics'] {
  const likelihoods = scores.map((group) => group.map(({ logLikelihood }) => logLikelihood));
  if (!likelihoods.flat().every(Number.isFinite)) {
    throw new MbokError('MBOK_NON_FINITE', `task '${name}': the model gives log-likelihoods that are not finite`);
  }
  if (kind === 'completion') {
    return {
      acc: mean(scores.map(([score]) => Number(score?.greedy))),
      perplexity: perplexity(likelihoods.map(([likelihood = 0]) => -likelihood)),
    };
  }
  const hits = (value: (likelihood: number, choice: string) => number) =>
    mean(
      questions.map(({ options: given, answer }, i) => {
        const values = given.map(({ choice }, j) => value(likelihoods[i]?.[j] as number, choice));
        return Number(values.indexOf(Math.max(...values)) === answer);
      }),
    );
  const acc = hits((likelihood) => likelihood);
  return normalized ? { acc, acc_norm: hits((likelihood, choice) => likelihood / characters(choice)) } : { acc };
}

/** Counts Unicode characters, not UTF-16 units. */
function characters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
