/** Recipes of a report: commands that convert and measure models, with the same texts, windows and settings for all. */

import type { AllocationMethod } from '../compress/allocation/allocation_options';
import type { StartToken } from '../data/windows';
import type { TaskResult } from '../eval/evaluate_tasks';
import type { PerplexityResult } from '../eval/perplexity';
import type { SpeedResult } from '../eval/speed';
import type { ActivationBits, Precision } from '../graph/arithmetic';
import { FREQUENT_MULTIPLE } from '../structures/boolean_table';
import type { TrainingMemory } from '../train/memory';
import type { PlannedCommand } from './plan';

/** Settings of a report. */
export interface ReportSettings {
  /** Finetuning steps; 0 for none. */
  readonly steps: number;
  /** Tokens of a window in calibration, training and evaluation. */
  readonly window: number;
  /** Start of windows, if the tokenizer has a start token. */
  readonly startToken?: StartToken | undefined;
  /** Windows of an evaluation. */
  readonly windows: number;
  /** Precision of evaluations. */
  readonly precision: Precision;
  /** Groups of parameters that train besides the bits. */
  readonly train: string;
  /** Number of the model's parameters, and of its tokenizer's tokens. */
  readonly parameters: number;
  readonly vocabulary: number;
  /** Variables of the texts. */
  readonly texts: readonly string[];
  readonly evalTexts: readonly string[];
  /** Tasks whose files exist. */
  readonly tasks: readonly string[];
}

/** Output of `mbok binarize --json`, as far as it is used. */
export interface Conversion {
  readonly bitsPerWeight: number;
  readonly bytes: number;
  readonly residual: number;
}

export interface Finetuning {
  readonly bitsPerWeight: number;
  readonly bytes: number;
  readonly bestStep?: number;
  readonly flips: number;
  readonly tokensPerSecond: number;
  readonly memory: TrainingMemory;
}

/** Output of `mbok baseline --json`, as far as it is used. */
export interface Quantization {
  readonly residual: number;
  readonly packed: { readonly bitsPerWeight: number; readonly bytes: number };
}

/** Output of `mbok inspect --json`, as far as it is used. */
export interface Inspection {
  readonly family: string;
  readonly parameters: number;
  readonly linearWeights: number;
  readonly bitsPerWeight: number;
  readonly bytes: number;
  readonly layers: readonly {
    readonly module: string;
    readonly rows: number;
    readonly cols: number;
    /** Its structure, and the setting of that. */
    readonly format: { readonly format: string; readonly count?: number; readonly rank?: number };
    readonly residual?: number;
  }[];
}

export interface Speed extends SpeedResult {
  readonly bytes: number;
  readonly bitsPerWeight: number;
  readonly loadSeconds: number;
}

export interface Questions {
  readonly models: readonly { readonly model: string; readonly results: readonly TaskResult[] }[];
}

/** A model of the report, and the command that writes it: none for the original. */
export interface PlannedModel<T = unknown> {
  readonly name: string;
  readonly path: string;
  readonly maker?: PlannedCommand<T>;
}

/** Numbers of kernels of uniform models. */
export const KERNELS = [1, 2, 3, 4] as const;
/** Bits per weight of factor pairs. */
export const PAIR_BITS = [0.5, 0.8, 1, 1.5, 2.1] as const;
/** Least bits per weight of pairs that are finetuned. */
export const TRAINED_PAIRS_FROM = 0.8;
/** Default number of calibration windows. */
export const CALIBRATION_WINDOWS = 64;
/** Sequences per training step: the default of `mbok finetune`. */
export const BATCH = 8;
/** Numbers of kernels that are also trained with latent weights. */
export const LATENT_KERNELS = [1, 2] as const;
/** Bits per weight of the factor pair that is also trained with latent weights. */
export const LATENT_PAIR = 1;
/** Number of kernels of the runs whose curves are shown. */
export const WATCHED_KERNELS = 2;
/** Windows of the training text that are evaluated during training. */
export const WATCHED_WINDOWS = 16;

export interface FinetuneRecipe {
  readonly latent?: boolean;
  readonly seed?: number;
  /** Whether to log the steps, and to evaluate the first windows of the training text every tenth of the run. */
  readonly watched?: boolean;
}

export class Recipes {
  readonly original: PlannedModel = { name: 'original', path: '$SRC' };

  constructor(readonly settings: ReportSettings) {}

  /** Converts without text, by 'svid' or 'refit'. */
  plain(method: 'svid' | 'refit', kernels: number): PlannedModel<Conversion> {
    return this.#model(`${method}-k${kernels}`, [], (out) => [
      ...['binarize', '$SRC', out, '--kernels', String(kernels), '--method', method],
    ]);
  }

  calibrated(kernels: number, windows = CALIBRATION_WINDOWS): PlannedModel<Conversion> {
    const suffix = windows === CALIBRATION_WINDOWS ? '' : `-w${windows}`;
    return this.#model(`calibrated-k${kernels}${suffix}`, [], (out) => [
      ...['binarize', '$SRC', out, '--kernels', String(kernels), ...this.#calibration(windows)],
    ]);
  }

  /** Converts every layer to a factor pair of `bits` per weight, with calibration. */
  pairs(bits: number): PlannedModel<Conversion> {
    return this.#model(`pairs-${bits}bits`, [], (out) => [
      ...['binarize', '$SRC', out, '--factors', String(bits), ...this.#calibration(CALIBRATION_WINDOWS)],
    ]);
  }

  /** Converts with calibration to `kernels` kernels, and embedding and head to a form of `--embeddings`. */
  withTables(kernels: number, form: string): PlannedModel<Conversion> {
    return this.#model(`calibrated-k${kernels}-tables-${form.replace(/\W/g, '_')}`, [], (out) => [
      ...['binarize', '$SRC', out, '--kernels', String(kernels), '--embeddings', form],
      ...this.#calibration(CALIBRATION_WINDOWS),
    ]);
  }

  /** Converts to a file of at most 1/`divisor` of the parameters in 32 bits, shared between tables and linear layers. */
  wholeFile(divisor: number): PlannedModel<Conversion> {
    const bytes = Math.floor((4 * this.settings.parameters) / divisor);
    return this.#model(`file-${divisor}th`, [], (out) => [
      ...['binarize', '$SRC', out, '--size', String(bytes), ...this.#calibration(CALIBRATION_WINDOWS)],
    ]);
  }

  /** Number of the most frequent tokens in a table with two classes of rows: an eighth of the vocabulary. */
  get frequent(): number {
    return Math.max(1, Math.round(this.settings.vocabulary / 8 / FREQUENT_MULTIPLE)) * FREQUENT_MULTIPLE;
  }

  /** Converts with calibration, and chooses the form of each layer within a budget of `bits` per weight. */
  allocated(bits: number, allocation: AllocationMethod): PlannedModel<Conversion> {
    return this.#model(`${allocation}-${bits}bits`, [], (out) => [
      ...['binarize', '$SRC', out, '--bits', String(bits), '--allocation', allocation],
      ...this.#calibration(CALIBRATION_WINDOWS),
    ]);
  }

  nested(kernels: number): PlannedModel<Conversion> {
    return this.#model(`nested-k${kernels}`, [], (out) => [
      ...['binarize', '$SRC', out, '--kernels', String(kernels), '--nested'],
      ...this.#calibration(CALIBRATION_WINDOWS),
    ]);
  }

  baseline(method: 'rtn' | 'gptq', bits: number): PlannedModel<Quantization> {
    return this.#model(`${method}-${bits}bits`, [], (out) => [
      ...['baseline', '$SRC', out, '--method', method, '--bits', String(bits)],
      ...(method === 'gptq' ? this.#calibration(CALIBRATION_WINDOWS) : []),
    ]);
  }

  finetuned(
    start: PlannedModel,
    { latent = false, seed, watched = false }: FinetuneRecipe = {},
  ): PlannedModel<Finetuning> {
    const { steps, train } = this.settings;
    const kind = latent ? 'latent' : 'finetuned';
    const name = `${start.name}-${kind}${seed === undefined ? '' : `-seed${seed}`}`;
    const watch = (out: string) => [
      ...this.#texts('--eval-text'),
      ...['--eval-every', String(Math.max(1, Math.round(steps / 10))), '--eval-windows', String(WATCHED_WINDOWS)],
      ...['--log', `${out}.jsonl`],
    ];
    return this.#model(
      name,
      makerOf(start),
      (out) => [
        ...this.#training(start, out),
        ...['--train', train],
        ...(latent ? ['--latent'] : []),
        ...(seed === undefined ? [] : ['--seed', String(seed)]),
        ...(watched ? watch(out) : []),
      ],
      watched,
    );
  }

  finetunedKernels(kernels: number): PlannedModel<Finetuning> {
    return this.finetuned(this.calibrated(kernels), { watched: kernels === WATCHED_KERNELS });
  }

  latentKernels(kernels: number): PlannedModel<Finetuning> {
    return this.finetuned(this.calibrated(kernels), { latent: true, watched: kernels === WATCHED_KERNELS });
  }

  /** Finetunes factor pairs; undefined for a size that is only converted. */
  finetunedPairs(bits: number): PlannedModel<Finetuning> | undefined {
    return bits < TRAINED_PAIRS_FROM ? undefined : this.finetuned(this.pairs(bits));
  }

  /** Trains by OneBit's recipe (docs/baselines.md): every parameter trains. */
  oneBit(): PlannedModel<Finetuning> {
    const start = this.plain('svid', 1);
    return this.#model('onebit', makerOf(start), (out) => [
      ...this.#training(start, out),
      ...['--train', 'scales,norms,embeddings', '--latent', '--hidden-loss', 'relative', '--gamma', '2'],
    ]);
  }

  perplexity(
    model: PlannedModel,
    { kernels, activations }: { readonly kernels?: number; readonly activations?: ActivationBits } = {},
  ): PlannedCommand<PerplexityResult> {
    const { window, windows, precision, evalTexts } = this.settings;
    const suffix = `${kernels === undefined ? '' : `-k${kernels}`}${activations === undefined ? '' : `-a${activations}`}`;
    return measured(
      `${model.name}.perplexity${suffix}`,
      [model],
      [
        ...['eval', 'perplexity', model.path],
        ...evalTexts.flatMap((text) => ['--text', text]),
        ...['--window', String(window), ...this.#start, '--max-windows', String(windows), '--precision', precision],
        ...(kernels === undefined ? [] : ['--kernels', String(kernels)]),
        ...(activations === undefined ? [] : ['--activations', String(activations)]),
      ],
    );
  }

  inspection(model: PlannedModel): PlannedCommand<Inspection> {
    return measured(`${model.name}.layers`, [model], ['inspect', model.path]);
  }

  speed(model: PlannedModel, precision: Precision): PlannedCommand<Speed> {
    const args = ['eval', 'speed', model.path, '--precision', precision];
    return measured(`${model.name}.speed-${precision}`, [model], args);
  }

  questions(models: readonly PlannedModel[]): PlannedCommand<Questions> {
    const { precision, tasks } = this.settings;
    const paths = models.map(({ path }) => path);
    const questions = ['--data', '$TASKS', '--tasks', tasks.join(','), ...this.#start];
    return measured('tasks', models, ['eval', 'tasks', ...paths, ...questions, '--precision', precision]);
  }

  #training(start: PlannedModel, out: string): string[] {
    const { steps, window } = this.settings;
    return [
      ...['finetune', start.path, out, '--teacher', '$SRC', ...this.#texts('--text')],
      // --resume starts from scratch if there is nothing to resume
      ...['--steps', String(steps), '--window', String(window), ...this.#start, '--precision', 'bf16', '--resume'],
    ];
  }

  #calibration(windows: number): string[] {
    const { window } = this.settings;
    const size = ['--calibration-windows', String(windows), '--calibration-window', String(window)];
    return [...this.#texts('--calibration'), ...size, ...this.#start];
  }

  /** The option --start-token, stated explicitly wherever a tokenizer has a start token. */
  get #start(): readonly string[] {
    const { startToken } = this.settings;
    return startToken === undefined ? [] : ['--start-token', startToken];
  }

  #texts(option: string): string[] {
    return this.settings.texts.flatMap((text) => [option, text]);
  }

  #model<T>(
    name: string,
    needs: readonly PlannedCommand[],
    args: (out: string) => readonly string[],
    logs = false,
  ): PlannedModel<T> {
    const path = `$WORK/${name}`;
    return { name, path, maker: { name, args: args(path), needs, makesModel: true, logs } };
  }
}

function measured<T>(name: string, models: readonly PlannedModel[], args: readonly string[]): PlannedCommand<T> {
  return { name, args, needs: models.flatMap(makerOf), makesModel: false, logs: false };
}

function makerOf({ maker }: PlannedModel): PlannedCommand[] {
  return maker === undefined ? [] : [maker];
}
