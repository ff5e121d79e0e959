/** Trainer of one model: the plan of a step, the optimizers' state, and the loop over micro-batches. */

import { MbokError } from '../base/errors';
import type { Precision } from '../graph/arithmetic';
import { appendGradients } from '../graph/gradients';
import { type BooleanOptimizerState, type BooleanTarget, Graph, matrixShape, type Tensor } from '../graph/graph';
import type { HeadLossOptions } from '../graph/operations/head_loss';
import type { HiddenLoss } from '../graph/operations/losses';
import { type BooleanRows, tableUpdate } from '../graph/operations/table';
import { emitZero, lossSeed, requireFinite } from '../graph/operations/training';
import type { Plan } from '../graph/plan';
import type { ModelCore } from '../models/model_core';
import type { Matrix } from '../native/matrix';
import { tableOf } from '../nn/embedding';
import { AdamW } from './adamw';
import { BooleanOptimizer, type BooleanOptimizerSettings } from './boolean_optimizer';
import {
  distillationLoss,
  type ForwardPass,
  forwardPass,
  IDS,
  KEPT,
  KEPT_IDS,
  languageModelLoss,
  storedLoss,
  TARGETS,
  type TrainingLoss,
} from './distillation';
import type { FlipForm } from './flip_forms';
import { LatentWeights } from './latent_weights';
import { fitMemory, type TrainingMemory } from './memory';
import { type BooleanPart, booleanParts, type Trainable, trainedParameters } from './trained';

export interface TrainerOptions {
  /** Original model. Without it the loss is next-token cross-entropy, or imitates predictions (`storedTokens`). */
  readonly teacher?: ModelCore | undefined;
  /** Number of tokens stored per position of a teacher's predictions, which the step receives instead of a teacher. */
  readonly storedTokens?: number | undefined;
  readonly train: readonly Trainable[];
  /** Training of bits: natively with these settings, by latent weights, or not at all. */
  readonly bits: ((form: FlipForm) => BooleanOptimizerSettings & { readonly rate: number }) | 'latent' | 'frozen';
  readonly hiddenLoss: HiddenLoss;
  readonly gamma: number;
  readonly precision: Precision;
  readonly clip: number;
  /** Tokens of a sequence. */
  readonly window: number;
  /** Sequences of a step. */
  readonly batch: number;
  /** Sequences of a micro-batch. Default: chosen to fit the memory. */
  readonly microBatch?: number | undefined;
  /**
   * Memory budget of the process in bytes. Default: the present use plus half of the free memory, with micro-batches of
   * up to 2048 tokens.
   */
  readonly memory?: number | undefined;
}

export interface StepOptions {
  /** From 0. */
  readonly step: number;
  /** Concatenated sequences; a whole number of micro-batches. */
  readonly ids: Int32Array;
  /** Successor of each token, −1 if it does not count. Read only without a teacher. */
  readonly targets: Int32Array;
  /** With {@link TrainerOptions.storedTokens}: logarithms and ids of the stored tokens of every position. */
  readonly predictions?: { readonly logarithms: Float32Array; readonly ids: Int32Array } | undefined;
  readonly learningRate: number;
  readonly flipRate: number;
  /** Obeyed until the first update of the step. */
  readonly signal: AbortSignal | undefined;
}

export interface StepResult {
  readonly loss: number;
  /** Terms of the loss. */
  readonly parts: Readonly<Record<string, number>>;
  /** Norm of the gradient of all f32 parameters together, before clipping; 0 if none is trained. */
  readonly gradientNorm: number;
  /** Weights moved by module; empty unless bits are trained natively. */
  readonly moved: ReadonlyMap<string, number>;
  /** Mean of β over modules. */
  readonly beta: number;
}

const LOSS = 'loss';
const NORM = 'gradient norm';

/** A trainer. It owns the plan and the optimizer state, and changes the student's matrices in place. Dispose it. */
export class Trainer {
  /** Memory of training, known before the first step. */
  readonly memory: TrainingMemory;
  /** Number of weights with trained bits: those of one kernel of every Boolean module. */
  readonly trainedBits: number;
  readonly #options: TrainerOptions;
  readonly #booleans: readonly BooleanPart[];
  readonly #parameters: ReadonlyMap<string, Matrix>;
  readonly #adamw: AdamW;
  readonly #native = new Map<BooleanPart, BooleanOptimizer>();
  readonly #latent = new Map<BooleanPart, LatentWeights>();
  readonly #plan: Plan;
  #outputs: readonly string[] = [];

  /** Throws MBOK_INVALID_ARGUMENT, MBOK_SHAPE, MBOK_OUT_OF_MEMORY, MBOK_DISPOSED. */
  constructor(student: ModelCore, trainerOptions: TrainerOptions) {
    const { teacher, train, bits, clip } = trainerOptions;
    this.#options = trainerOptions;
    this.#booleans = booleanParts(student, train).filter(({ isTable }) => !isTable || bits !== 'latent');
    this.trainedBits = this.#booleans.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
    this.#parameters = trainedParameters(student, train);
    const models = teacher === undefined ? [student] : [student, teacher];
    const residents = new Set(models.flatMap((model) => [...model.parameters.values()]));
    this.#adamw = new AdamW(this.#parameters, { clip });
    for (const entry of this.#booleans) {
      const { bits: matrix, form, count, rows, cols } = entry;
      if (bits === 'latent') this.#latent.set(entry, new LatentWeights(matrix, count));
      else if (bits !== 'frozen') this.#native.set(entry, new BooleanOptimizer({ rows, cols, ...bits(form) }));
    }
    const fitted = fitMemory((recompute) => this.#graph(student, recompute), residents, trainerOptions);
    this.#plan = fitted.plan;
    this.memory = fitted.memory;
  }

  /** The student's matrices that training changes: f32 parameters and bits, by checkpoint name. */
  get changed(): ReadonlyMap<string, Matrix> {
    const frozen = this.#options.bits === 'frozen';
    const bits = frozen ? [] : this.#booleans.map((part) => [part.name, part.bits] as const);
    return new Map<string, Matrix>([...this.#parameters, ...bits]);
  }

  /** All optimizer state by name. */
  get state(): ReadonlyMap<string, Matrix> {
    const bits = [...this.#native, ...this.#latent].flatMap(([{ label }, { matrices }]) =>
      [...matrices].map(([name, matrix]) => [`${label}.${name}`, matrix] as const),
    );
    return new Map([...this.#adamw.matrices, ...bits]);
  }

  /**
   * Runs one optimizer step. Rejects with MBOK_ABORTED before anything has changed, or with MBOK_NON_FINITE naming the
   * step.
   *
   * If the loss is not finite, no weight has changed, but with several micro-batches optimizer state may have. If the
   * loss is finite and a gradient is not, f32 parameters have not changed, but bits may have moved. Each layer's bits
   * move as soon as its gradient is computed, before the norm of all gradients is known.
   */
  async step({ step, ids, targets, predictions, learningRate, flipRate, signal }: StepOptions): Promise<StepResult> {
    const { window, teacher, storedTokens: count } = this.#options;
    const rows = window * this.memory.microBatch;
    const microBatches = ids.length / rows;
    const imitates = teacher !== undefined || count !== undefined;
    const shares = !imitates ? countedShares(targets, rows) : undefined;
    const sums = new Map<string, number>();
    let gradientNorm = 0;
    for (let index = 0; index < microBatches; index++) {
      const part = (all: Int32Array) => all.subarray(index * rows, (index + 1) * rows);
      const inputs: Record<string, Int32Array | Float32Array> = { [IDS]: part(ids) };
      if (!imitates) inputs[TARGETS] = part(targets);
      if (count !== undefined && predictions !== undefined) {
        inputs[KEPT] = predictions.logarithms.subarray(index * rows * (count + 1), (index + 1) * rows * (count + 1));
        inputs[KEPT_IDS] = predictions.ids.subarray(index * rows * count, (index + 1) * rows * count);
      }
      const last = index === microBatches - 1;
      const share = shares?.[index] ?? 1 / microBatches;
      const scalars = {
        rows,
        sequenceLength: window,
        lossScale: share,
        flipRate,
        learningRate,
        step: step + 1,
        microBatches,
        first: index === 0 ? 1 : 0,
        last: last ? 1 : 0,
      };
      const results = await this.#plan
        .run({ inputs, scalars, signal: index === 0 ? signal : undefined })
        .catch((error) => rethrowNaming(step, error));
      for (const name of [LOSS, ...this.#outputs]) {
        sums.set(name, (sums.get(name) ?? 0) + (results[name]?.[0] as number) * share);
      }
      if (last) gradientNorm = results[NORM]?.[0] ?? 0;
    }
    return { ...this.#flips(), loss: sums.get(LOSS) as number, parts: this.#parts(sums), gradientNorm };
  }

  /** Frees plan and optimizer state. The student stays as trained. */
  dispose(): void {
    this.#plan.dispose();
    this.#adamw.dispose();
    for (const optimizer of [...this.#native.values(), ...this.#latent.values()]) optimizer.dispose();
  }

  /** Builds the graph of a micro-batch, with activations of blocks stored or recomputed. */
  #graph(student: ModelCore, recompute: boolean): Graph {
    const graph = new Graph({ precision: this.#options.precision });
    const seed = lossSeed(graph);
    const ids = graph.input(IDS, { rows: 'tokens', cols: 1, type: 'i32' });
    const { teacher, window } = this.#options;
    const teacherPass = teacher && forwardPass(graph, teacher, ids, { role: 'teacher', window });
    const pass = forwardPass(graph, student, ids, { role: 'weights', window });
    // before the loss, which already adds to gradients; if the loss is not finite, the run stops before those of the
    // blocks
    const tables = this.#tables(graph, student);
    const accumulators = new Map([...this.#adamw.accumulators(graph), ...tables.gradients]);
    const { loss, parts } = this.#loss(graph, pass, teacherPass, { seed, accumulators });
    requireFinite(loss);
    const booleans = this.#targets(graph);
    appendGradients(loss, seed, { accumulators, booleans, recomputed: recompute ? pass.parts : [] });
    tables.update(accumulators);
    const norm = this.#adamw.step(graph);
    for (const latent of this.#latent.values()) latent.step(graph);
    for (const [name, part] of Object.entries(parts)) graph.output(name, part);
    graph.output(LOSS, loss);
    if (norm !== undefined) graph.output(NORM, norm);
    this.#outputs = Object.keys(parts);
    return graph;
  }

  #loss(graph: Graph, pass: ForwardPass, teacher: ForwardPass | undefined, options: HeadLossOptions): TrainingLoss {
    const { gamma, hiddenLoss: hidden, storedTokens: count } = this.#options;
    if (teacher !== undefined) return distillationLoss(pass, teacher, { gamma, hidden, ...options });
    if (count !== undefined) {
      const stored = graph.input(KEPT, { rows: 'tokens', cols: count + 1 });
      return storedLoss(
        pass,
        { stored, ids: graph.input(KEPT_IDS, { rows: 'tokens', cols: count, type: 'i32' }) },
        options,
      );
    }
    return languageModelLoss(pass, graph.input(TARGETS, { rows: 'tokens', cols: 1, type: 'i32' }), options);
  }

  /**
   * Emits a dense gradient, initially zero, for the Boolean rows of each trained table. Head and look-ups add to it.
   * `update` then emits what follows from the sum.
   */
  #tables(graph: Graph, student: ModelCore) {
    const builder = student.builder(graph);
    const tables = booleanParts(student, this.#options.train).filter(({ isTable }) => isTable);
    const trained = tables.map(({ name, module, rows, cols }) => {
      const gradient = graph.create(matrixShape(rows, cols));
      emitZero(gradient);
      const optimizer = [...this.#native].find(([part]) => part.name === name)?.[1];
      return { gradient, optimizer, rows: tableOf(builder, module).boolean as BooleanRows };
    });
    return {
      gradients: trained.map(({ gradient, rows }) => [rows.kernels, gradient] as const),
      update(accumulators: ReadonlyMap<Tensor, Tensor>) {
        for (const { gradient, optimizer, rows } of trained) {
          const ofScales = { ofSOut: accumulators.get(rows.sOut), ofSIn: accumulators.get(rows.sIn) };
          tableUpdate(gradient, rows, ofScales, optimizer?.target(graph) as BooleanOptimizerState | undefined);
        }
      },
    };
  }

  #targets(graph: Graph): Map<Tensor, BooleanTarget> {
    const optimizers = [...this.#native, ...this.#latent].filter(([{ isTable }]) => !isTable);
    return new Map(optimizers.map(([{ bits }, optimizer]) => [graph.bind(bits), optimizer.target(graph)]));
  }

  #parts(sums: ReadonlyMap<string, number>): Record<string, number> {
    return Object.fromEntries(this.#outputs.map((name) => [name, sums.get(name) as number]));
  }

  #flips(): Pick<StepResult, 'moved' | 'beta'> {
    const moved = new Map([...this.#native].map(([{ label }, optimizer]) => [label, optimizer.moved]));
    const betas = [...this.#native.values()].map(({ beta }) => beta);
    return { moved, beta: betas.length === 0 ? 0 : betas.reduce((sum, beta) => sum + beta, 0) / betas.length };
  }
}

/** Returns each micro-batch's share of the targets that count. At least one must count. */
function countedShares(targets: Int32Array, rows: number): number[] {
  const count = (part: Int32Array) => part.reduce((sum, target) => sum + (target >= 0 ? 1 : 0), 0);
  const total = count(targets);
  const microBatches = Array.from({ length: targets.length / rows }, (_, i) => i * rows);
  return microBatches.map((from) => count(targets.subarray(from, from + rows)) / total);
}

function rethrowNaming(step: number, error: unknown): never {
  if (error instanceof MbokError && error.code === 'MBOK_NON_FINITE') {
    throw new MbokError(
      'MBOK_NON_FINITE',
      `step ${step + 1}: the loss or a gradient is not finite. If it is only a gradient, scales and norms are unchanged, ` +
        'but bits may have moved in this step; resume from a checkpoint',
      { cause: error },
    );
  }
  throw error;
}
