/** Options of finetuning: what they mean, their defaults and their limits. */

import { MbokError } from '../base/errors';
import { boolean, finiteNumber, integerInRange, invalid, object, oneOf, options, string } from '../base/validate';
import type { TextData } from '../data/load_dataset';
import { type StartTokenOptions, startIdFor } from '../data/windows';
import { TRAINING_PRECISIONS, type TrainingPrecision } from '../graph/arithmetic';
import { HIDDEN_LOSSES, type HiddenLoss } from '../graph/operations/losses';
import { expectModel, type ModelCore } from '../models/model_core';
import { mostPlanes } from '../models/parts';
import { type BooleanOptimizerSettings, booleanSettings } from './boolean_optimizer';
import type { TrainingMemory } from './memory';
import { TRAINABLE, type Trainable } from './trained';

/** How a run is judged on its way. */
export interface EvaluationOptions {
  /** What the model is not trained on. Of conversations only what the assistant says is scored. */
  readonly data: TextData;
  /** Steps between evaluations; the last step is always evaluated. */
  readonly every: number;
  /** Tokens of a window. Default: the training window. */
  readonly window?: number;
  /** At most this many windows from the start. Default: all. */
  readonly windows?: number;
}

/** Where and how often a run is saved, so that it can go on after a crash. */
export interface CheckpointOptions {
  /** Replaced as a whole by every new checkpoint. */
  readonly folder: string;
  /** Steps between checkpoints. */
  readonly every: number;
}

/** A teacher's predictions, kept in a file. */
export interface TeacherCacheOptions {
  /** Made if it is not there or was made for another teacher, data or choice of windows. */
  readonly file: string;
  /** Tokens kept at every position, all others as one. Default 64. */
  readonly topK?: number;
}

/** Options of {@link finetune}. */
export interface FinetuneOptions extends Partial<BooleanOptimizerSettings>, StartTokenOptions {
  /** The original model, to distil from. Absent: next-token cross-entropy on the text itself. */
  readonly teacher?: ModelCore;
  /**
   * Keep the teacher's predictions of all steps in a file and imitate what was kept: several runs on the same windows then
   * need the teacher once, and none where the file is there already. Of hidden states nothing is kept, so `gamma` is 0.
   */
  readonly teacherCache?: TeacherCacheOptions;
  /**
   * What to train on. Without a teacher, of conversations only what the assistant says counts, and windows that have none of
   * it are not drawn.
   */
  readonly data: TextData;
  /** Optimizer steps. Default 300. */
  readonly steps?: number;
  /** Sequences of a step. Default 8. */
  readonly batch?: number;
  /** Tokens of a sequence, the start token included. Default 256. */
  readonly window?: number;
  /**
   * Sequences computed at once, a divisor of `batch`: less memory for the same step. Default: as many as `memory` allows,
   * or those of 2048 tokens where there is no budget. A resumed run takes what it began with.
   */
  readonly microBatch?: number;
  /**
   * Bytes that the process may use, evaluations not counted; decides the micro-batch and whether activations are computed
   * again in the backward pass, which changes no result. Default: half of what is free.
   */
  readonly memory?: number;
  /** Groups of f32 parameters that train. Default scales and norms. */
  readonly train?: readonly Trainable[];
  /** AdamW's, at its height. Default 1e-3. */
  readonly learningRate?: number;
  /** η of the Boolean optimizer at its height; 0 leaves all bits as they are. Default 0.03, or 0.06 where K = 1. */
  readonly flipRate?: number;
  /**
   * Default 'logarithmic': massive activations do not drown it. SmolLM2 at K = 2: with 'relative' the gradient's norm
   * jumps from 5 to 200 whenever the student makes one token's activation massive, and KL is a tenth higher after 40 steps.
   */
  readonly hiddenLoss?: HiddenLoss;
  /** Weight of the hidden-state loss. Default 10; with a teacher's cache 0. */
  readonly gamma?: number;
  /** Of dense products. Default 'f32'. */
  readonly precision?: TrainingPrecision;
  /** Of the choice of windows. Default 1. */
  readonly seed?: number;
  /** Norm that the gradient of all f32 parameters together is clipped at; 0: never. Default 1. */
  readonly clip?: number;
  /** Train bits by latent weights with a straight-through estimator and Adam instead: for comparison. Default false. */
  readonly latent?: boolean;
  /** Measure perplexity on the way and keep the best model. */
  readonly evaluation?: EvaluationOptions;
  /** Save everything that is needed to go on after a crash. */
  readonly checkpoint?: CheckpointOptions;
  /**
   * Go on from the checkpoint in `checkpoint.folder`, to the same bits as a run that was never interrupted; the student
   * must be the one that the run began with. Starts afresh where there is no checkpoint yet. Default false.
   */
  readonly resume?: boolean;
  /** A file that gets a line of JSON per step. */
  readonly log?: string;
  /** Stops the run after a whole number of steps; it then throws MBOK_ABORTED. */
  readonly signal?: AbortSignal;
  /** Told before the first step what training computes with and what was chosen to fit it. */
  readonly onMemory?: (memory: TrainingMemory) => void;
  /** Told after every step, its evaluation included. */
  readonly onProgress?: (progress: FinetuneProgress) => void;
}

/** What one step showed. */
export interface FinetuneProgress {
  /** Steps completed, from 1. */
  readonly step: number;
  /** Steps of the whole run. */
  readonly steps: number;
  /** Mean over all tokens of the step that count. */
  readonly loss: number;
  /** What the loss consists of: kl and hidden, or crossEntropy. */
  readonly parts: Readonly<Record<string, number>>;
  /** Fraction of the trained weights that moved in this step. */
  readonly flips: number;
  /** Mean of the Boolean optimizers' β. */
  readonly beta: number;
  /** Training tokens a second in this step. */
  readonly tokensPerSecond: number;
  /** Where this step was evaluated. */
  readonly perplexity?: number;
}

/** Options with every default in its place. */
export type FinetuneSettings = Omit<Required<FinetuneOptions>, keyof Optional | 'startToken'> &
  Optional & {
    /** What every sequence begins with; undefined: whatever the text has there. */
    readonly startId: number | undefined;
  };
type Optional = Pick<
  FinetuneOptions,
  | 'teacher'
  | 'evaluation'
  | 'checkpoint'
  | 'log'
  | 'signal'
  | 'onProgress'
  | 'data'
  | 'microBatch'
  | 'memory'
  | 'teacherCache'
  | 'onMemory'
>;

const KEYS = [
  'rule',
  'normalizer',
  'decay',
  'accumulator',
  'teacher',
  'teacherCache',
  'data',
  'steps',
  'batch',
  'window',
  'startToken',
  'microBatch',
  'memory',
  'train',
  'learningRate',
  'flipRate',
  'hiddenLoss',
  'gamma',
  'precision',
  'seed',
  'clip',
  'latent',
  'evaluation',
  'checkpoint',
  'resume',
  'log',
  'signal',
  'onMemory',
  'onProgress',
] as const;

/** η at its height: measured best for several kernels, and for one (method of the paper, §3; η ≥ 0.12 is worse). */
const FLIP_RATE = { several: 0.03, single: 0.06 };

/** Checks the options of finetuning `student` and fills in defaults. Throws MBOK_INVALID_ARGUMENT, MBOK_SHAPE. */
export function finetuneSettings(student: ModelCore, given: FinetuneOptions): FinetuneSettings {
  expectModel('student', student);
  options('options', object('options', given), KEYS);
  const { rule, normalizer, decay, accumulator } = given;
  const set = { rule, normalizer, decay, accumulator };
  const batch = integerInRange('batch', given.batch ?? 8, 1, 2 ** 16);
  const window = checkedWindow('window', given.window ?? 256, student);
  const { microBatch, memory } = given;
  if (batch % integerInRange('microBatch', microBatch ?? 1, 1, batch) !== 0)
    invalid('microBatch', `a divisor of the batch of ${batch}`, microBatch);
  const single = mostPlanes(student.parts) <= 1;
  const { teacher, evaluation, checkpoint, log, signal, onProgress, data } = given;
  if (teacher !== undefined) checkTeacher(student, teacher);
  const teacherCache =
    given.teacherCache === undefined ? undefined : checkedCache(given.teacherCache, given.gamma, student);
  if (given.resume === true && checkpoint === undefined)
    invalid('checkpoint', 'given where resume is true', checkpoint);
  return {
    ...booleanSettings(Object.fromEntries(Object.entries(set).filter(([, value]) => value !== undefined))),
    teacher,
    teacherCache,
    data,
    steps: integerInRange('steps', given.steps ?? 300, 1, 2 ** 31),
    batch,
    window,
    startId: startIdFor(student, given.startToken),
    microBatch,
    memory: memory === undefined ? undefined : finiteNumber('memory', memory, 1),
    train: checkedGroups(given.train ?? ['scales', 'norms']),
    learningRate: finiteNumber('learningRate', given.learningRate ?? 1e-3, 0, 1),
    flipRate: finiteNumber('flipRate', given.flipRate ?? (single ? FLIP_RATE.single : FLIP_RATE.several), 0, 1),
    hiddenLoss: oneOf('hiddenLoss', given.hiddenLoss ?? 'logarithmic', HIDDEN_LOSSES),
    gamma: finiteNumber('gamma', given.gamma ?? (teacherCache ? 0 : 10), 0, 1e6),
    precision: oneOf('precision', given.precision ?? 'f32', TRAINING_PRECISIONS),
    seed: integerInRange('seed', given.seed ?? 1, 0, 2 ** 32 - 1),
    clip: finiteNumber('clip', given.clip ?? 1, 0),
    latent: boolean('latent', given.latent ?? false),
    evaluation: evaluation === undefined ? undefined : checkedEvaluation(evaluation, window, student),
    checkpoint: checkpoint === undefined ? undefined : checkedCheckpoint(checkpoint),
    resume: boolean('resume', given.resume ?? false),
    log: log === undefined ? undefined : string('log', log),
    signal,
    onMemory: given.onMemory,
    onProgress,
  };
}

function checkedCache(
  given: TeacherCacheOptions,
  gamma: number | undefined,
  student: ModelCore,
): Required<TeacherCacheOptions> {
  const { file, topK = 64 } = options('teacherCache', given, ['file', 'topK']);
  if (gamma !== undefined && gamma !== 0) {
    const why = "0 with 'teacherCache', which keeps predictions alone: hidden states need the teacher itself";
    invalid('gamma', why, gamma);
  }
  const most = Math.min(4096, student.config.vocabularySize - 1);
  return { file: string('teacherCache.file', file), topK: integerInRange('teacherCache.topK', topK, 1, most) };
}

function checkedWindow(name: string, window: number, student: ModelCore): number {
  return integerInRange(name, window, 2, student.config.maxPositions);
}

function checkedGroups(groups: readonly Trainable[]): readonly Trainable[] {
  if (!Array.isArray(groups)) return invalid('train', `a list of ${TRAINABLE.join(', ')}`, groups);
  for (const group of groups) oneOf('train', group, TRAINABLE);
  // in one order, so that the order given does not matter to a resumed run
  return TRAINABLE.filter((group) => groups.includes(group));
}

function checkedEvaluation(given: EvaluationOptions, trained: number, student: ModelCore): EvaluationOptions {
  const {
    data,
    every,
    window = trained,
    windows,
  } = options('evaluation', given, ['data', 'every', 'window', 'windows']);
  integerInRange('evaluation.every', every, 1);
  checkedWindow('evaluation.window', window, student);
  if (windows === undefined) return { data, every, window };
  return { data, every, window, windows: integerInRange('evaluation.windows', windows, 1) };
}

function checkedCheckpoint(given: CheckpointOptions): CheckpointOptions {
  const { folder, every } = options('checkpoint', given, ['folder', 'every']);
  return { folder: string('checkpoint.folder', folder), every: integerInRange('checkpoint.every', every, 1) };
}

function checkTeacher(student: ModelCore, teacher: ModelCore): void {
  expectModel('teacher', teacher);
  for (const key of ['vocabularySize', 'hiddenSize', 'layers'] as const) {
    const [own, its] = [student.config[key], teacher.config[key]];
    if (own !== its) throw new MbokError('MBOK_SHAPE', `'teacher' has ${key} ${its}, the student ${own}`);
  }
}
