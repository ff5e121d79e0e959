/** Options of finetuning: their meanings, defaults and limits. */

import { MbokError } from '../base/errors';
import { boolean, finiteNumber, integerInRange, invalid, object, oneOf, options, string } from '../base/validate';
import type { TextData } from '../data/load_dataset';
import { type StartTokenOptions, startIdFor } from '../data/windows';
import { TRAINING_PRECISIONS, type TrainingPrecision } from '../graph/arithmetic';
import { HIDDEN_LOSSES, type HiddenLoss } from '../graph/operations/losses';
import { expectModel, type Model } from '../model';
import type { ModelCore } from '../models/model_core';
import { type BooleanOptimizerSettings, booleanSettings } from './boolean_optimizer';
import { FLIP_DEFAULTS, FLIP_FORMS, type FlipForm, type FlipSettings, flipForms, shortRunFactor } from './flip_forms';
import type { TrainingMemory } from './memory';
import { TRAINABLE, type Trainable } from './trained';

/** Evaluations during a run. */
export interface EvaluationOptions {
  /** Evaluation data, not used for training. In conversations only the assistant's tokens are scored. */
  readonly data: TextData;
  /** Steps between evaluations; the last step is always evaluated. */
  readonly every: number;
  /** Tokens of a window. Default: the training window. */
  readonly window?: number;
  /** Largest number of windows, from the start. Default: all. */
  readonly windows?: number;
}

/** Checkpoints of a run, from which it can resume after a crash. */
export interface CheckpointOptions {
  /** Folder of the checkpoint. Each checkpoint replaces the one before it. */
  readonly folder: string;
  /** Steps between checkpoints. */
  readonly every: number;
}

/** File of a teacher's predictions. */
export interface TeacherCacheOptions {
  /** Path. The file is written if it is missing, or belongs to another teacher, data or choice of windows. */
  readonly file: string;
  /** Tokens stored per position; all others are combined. Default 64. */
  readonly topK?: number;
}

/** Options of {@link finetune}. */
export interface FinetuneOptions extends Partial<BooleanOptimizerSettings>, StartTokenOptions {
  /** Original model, for distillation. If absent, the loss is next-token cross-entropy. */
  readonly teacher?: Model;
  /**
   * Stores the teacher's predictions of all steps in a file, and imitates the stored ones. Several runs on the same
   * windows then compute the teacher once, and need no teacher if the file exists. Hidden states are not stored, so
   * `gamma` is 0.
   */
  readonly teacherCache?: TeacherCacheOptions;
  /**
   * Training data. Without a teacher only the assistant's tokens of conversations count, and windows without any are
   * not drawn.
   */
  readonly data: TextData;
  /** Optimizer steps. Default 300. */
  readonly steps?: number;
  /** Sequences per step. Default 8. */
  readonly batch?: number;
  /** Tokens of a sequence, including the start token. Default 256. */
  readonly window?: number;
  /**
   * Sequences computed at once, a divisor of `batch`. Fewer need less memory for the same step. Default: as many as
   * `memory` allows, or without `memory` at most 2048 tokens. A resumed run uses the value of the earlier run.
   */
  readonly microBatch?: number;
  /**
   * Memory budget of the process in bytes, without evaluations. It determines the micro-batch, and whether the backward
   * pass recomputes activations, which changes no result. Default: the present use plus half of the free memory.
   */
  readonly memory?: number;
  /** Groups of f32 parameters that train. Default: scales and norms. */
  readonly train?: readonly Trainable[];
  /** Peak learning rate of AdamW. Default 1e-3. */
  readonly learningRate?: number;
  /**
   * Peak η of the Boolean optimizer for all weights; 0 freezes all bits. Default by the form of each weight: 0.03 with
   * one kernel, 0.02 with two, 0.015 with more; in pairs of factors 0.03, or 0.02 from 2 bits on. Runs of less than 400
   * steps multiply it by √(400 / steps), at most 2.
   */
  readonly flipRate?: number;
  /** κ of the Boolean optimizer for all weights. Default 0.7 with one kernel and in pairs of factors, 0 otherwise. */
  readonly retainedEvidence?: number;
  /**
   * Distance of hidden states. Default 'logarithmic', which massive activations do not dominate.
   *
   * Measured on SmolLM2 at K = 2: with 'relative' the gradient norm jumps from 5 to 200 whenever the student makes one
   * token's activation massive. KL is a tenth higher after 40 steps.
   */
  readonly hiddenLoss?: HiddenLoss;
  /** Weight of the hidden-state loss. Default 10; 0 with a teacher cache. */
  readonly gamma?: number;
  /** Precision of dense products. Default 'f32'. */
  readonly precision?: TrainingPrecision;
  /** Seed for the choice of windows. Default 1. */
  readonly seed?: number;
  /** Norm at which the gradient of all f32 parameters together is clipped; 0: no clipping. Default 1. */
  readonly clip?: number;
  /**
   * Trains bits by latent weights with a straight-through estimator and Adam instead, for comparison. Default false.
   */
  readonly latent?: boolean;
  /** Evaluates perplexity during the run and restores the best model at the end. */
  readonly evaluation?: EvaluationOptions;
  /** Saves checkpoints, from which the run can resume after a crash. */
  readonly checkpoint?: CheckpointOptions;
  /**
   * Whether to resume from the checkpoint in `checkpoint.folder`, with the same bits as an uninterrupted run. The
   * student must be the one with which the run began. Without a checkpoint the run starts from the beginning. Default
   * false.
   */
  readonly resume?: boolean;
  /** Log file, with one line of JSON per step. */
  readonly log?: string;
  /** Stops the run after a whole number of steps; it then throws MBOK_ABORTED. */
  readonly signal?: AbortSignal;
  /** Called before the first step with the planned memory and the choices that fit it. */
  readonly onMemory?: (memory: TrainingMemory) => void;
  /** Called after every step and its evaluation. */
  readonly onProgress?: (progress: FinetuneProgress) => void;
}

/** Result of one step. */
export interface FinetuneProgress {
  /** Steps completed, from 1. */
  readonly step: number;
  /** Steps of the whole run. */
  readonly steps: number;
  /** Mean loss over the tokens of the step that count. */
  readonly loss: number;
  /** Terms of the loss: kl and hidden, or crossEntropy. */
  readonly parts: Readonly<Record<string, number>>;
  /** Fraction of the trained weights that moved in this step. */
  readonly flips: number;
  /** Mean β of the Boolean optimizers. */
  readonly beta: number;
  /** Training tokens per second in this step. */
  readonly tokensPerSecond: number;
  /** Perplexity, if this step was evaluated. */
  readonly perplexity?: number;
}

/** Options with all defaults filled in. */
export type FinetuneSettings = Omit<
  Required<FinetuneOptions>,
  keyof Optional | 'startToken' | 'teacher' | 'retainedEvidence'
> &
  Optional & {
    /** How bits flip by the form of their weight, for the forms in the student. `flipRate` is the largest of the rates. */
    readonly flipSettings: Readonly<Partial<Record<FlipForm, FlipSettings>>>;
    /** Start token of every sequence; undefined: sequences begin with the text itself. */
    readonly startId: number | undefined;
    readonly teacher: ModelCore | undefined;
  };
type Optional = Pick<
  FinetuneOptions,
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
  'retainedEvidence',
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

/** Checks the options of finetuning `student` and fills in defaults. Throws MBOK_INVALID_ARGUMENT, MBOK_SHAPE. */
export function finetuneSettings(student: ModelCore, given: FinetuneOptions): FinetuneSettings {
  options('options', object('options', given), KEYS);
  const { rule, normalizer, decay, accumulator } = given;
  const set = { rule, normalizer, decay, accumulator };
  const batch = integerInRange('batch', given.batch ?? 8, 1, 2 ** 16);
  const window = checkedWindow('window', given.window ?? 256, student);
  const { microBatch, memory } = given;
  if (batch % integerInRange('microBatch', microBatch ?? 1, 1, batch) !== 0)
    invalid('microBatch', `a divisor of the batch of ${batch}`, microBatch);
  const steps = integerInRange('steps', given.steps ?? 300, 1, 2 ** 31);
  const flipSettings = checkedFlips(student, steps, given);
  const { evaluation, checkpoint, log, signal, onProgress, data } = given;
  const teacher = given.teacher === undefined ? undefined : checkedTeacher(student, given.teacher);
  const teacherCache =
    given.teacherCache === undefined ? undefined : checkedCache(given.teacherCache, given.gamma, student);
  if (given.resume === true && checkpoint === undefined)
    invalid('checkpoint', 'given where resume is true', checkpoint);
  const { retainedEvidence: _, ...optimizer } = booleanSettings(
    Object.fromEntries(Object.entries(set).filter(([, value]) => value !== undefined)),
  );
  return {
    ...optimizer,
    flipSettings,
    teacher,
    teacherCache,
    data,
    steps,
    batch,
    window,
    startId: startIdFor(student, given.startToken),
    microBatch,
    memory: memory === undefined ? undefined : finiteNumber('memory', memory, 1),
    train: checkedGroups(given.train ?? ['scales', 'norms']),
    learningRate: finiteNumber('learningRate', given.learningRate ?? 1e-3, 0, 1),
    flipRate: Math.max(0, ...Object.values(flipSettings).map(({ flipRate }) => flipRate)),
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

/** Returns the given settings for every form in the student, with defaults filled in. */
function checkedFlips(
  student: ModelCore,
  steps: number,
  { flipRate, retainedEvidence }: Partial<FlipSettings>,
): FinetuneSettings['flipSettings'] {
  if (flipRate !== undefined) finiteNumber('flipRate', flipRate, 0, 1);
  if (retainedEvidence !== undefined) finiteNumber('retainedEvidence', retainedEvidence, 0, 0.9999);
  const forms = new Set(flipForms(student).values());
  const chosen = FLIP_FORMS.filter((form) => forms.has(form)).map((form) => {
    const { flipRate: rate, retainedEvidence: retained } = FLIP_DEFAULTS[form];
    const byDefault = rate * shortRunFactor(steps);
    return [form, { flipRate: flipRate ?? byDefault, retainedEvidence: retainedEvidence ?? retained }] as const;
  });
  return Object.fromEntries(chosen);
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
  const maxTopK = Math.min(4096, student.config.vocabularySize - 1);
  return { file: string('teacherCache.file', file), topK: integerInRange('teacherCache.topK', topK, 1, maxTopK) };
}

function checkedWindow(name: string, window: number, student: ModelCore): number {
  return integerInRange(name, window, 2, student.config.maxPositions);
}

function checkedGroups(groups: readonly Trainable[]): readonly Trainable[] {
  if (!Array.isArray(groups)) return invalid('train', `a list of ${TRAINABLE.join(', ')}`, groups);
  for (const group of groups) oneOf('train', group, TRAINABLE);
  // fixed order, so that a resumed run may list the groups in another order
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

function checkedTeacher(student: ModelCore, given: Model): ModelCore {
  const teacher = expectModel('teacher', given);
  for (const key of ['vocabularySize', 'hiddenSize', 'layers'] as const) {
    const [studentValue, teacherValue] = [student.config[key], teacher.config[key]];
    if (studentValue !== teacherValue)
      throw new MbokError('MBOK_SHAPE', `'teacher' has ${key} ${teacherValue}, the student ${studentValue}`);
  }
  return teacher;
}
