/** Boolean optimizer: it flips bits by their accumulated signal, without latent weights. */

import { finiteNumber, integerInRange, object, oneOf, options } from '../base/validate';
import { type BooleanOptimizerState, type BooleanTarget, expectGraph, type Graph, type Tensor } from '../graph/graph';
import { graphOf } from '../graph/operation';
import { booleanUpdate } from '../graph/operations/training';
import { Matrix } from '../native/matrix';

export const BOOLEAN_RULES: readonly BooleanRule[] = ['lastKernel', 'neighbors'];
export const NORMALIZERS: readonly Normalizer[] = ['none', 'mean', 'factored'];
export const ACCUMULATOR_TYPES: readonly AccumulatorType[] = ['f16', 'bf16', 'f32'];

/**
 * 'lastKernel': only the last kernel flips; 'neighbors': the code of a weight's K bits moves to the neighboring level.
 */
export type BooleanRule = 'lastKernel' | 'neighbors';
/** Divisor of a signal: none, its mean magnitude, or the factored root of its second moments. */
export type Normalizer = 'none' | 'mean' | 'factored';
/** Element type of the accumulator. */
export type AccumulatorType = 'f16' | 'bf16' | 'f32';

/** Settings of a {@link BooleanOptimizer}. */
export interface BooleanOptimizerSettings {
  /** Rule by which bits flip. */
  readonly rule: BooleanRule;
  /** Divisor of signals. */
  readonly normalizer: Normalizer;
  /** 0: each step is normalized by its own statistics; in (0, 1): by running means over earlier steps. */
  readonly decay: number;
  /** Element type of the accumulator, the only state with one number per weight. */
  readonly accumulator: AccumulatorType;
  /**
   * κ in [0, 1): a moved weight's accumulator starts with κ of the evidence for the move back, so that a mistaken move
   * is undone by less evidence. A flipped bit's accumulator becomes κ · (its new sign). Default 0, as in BOLD.
   */
  readonly retainedEvidence: number;
}

/**
 * Defaults of finetuning, chosen by perplexity on tiny-stories (256 windows of 256). Each run has 300 steps of 8 × 256
 * tokens from the calibrated start. K = 2, relative hidden loss:
 *
 * | rule        | normalizer | instant (decay 0) | running (decay 0.9) |
 * | ----------- | ---------- | ----------------- | ------------------- |
 * | neighbors   | factored   | 7.419             | 7.403               |
 * | neighbors   | mean       | 7.440             | 7.422               |
 * | last kernel | factored   | 7.411             | 7.428               |
 * | last kernel | mean       | 7.440             | 7.444               |
 *
 * Differences of 0.02 are noise. At K = 3 a PyTorch reference gives 6.99 (neighbors) and 7.00 (last kernel). K = 1
 * decides for instant statistics: 9.64 against 10.77 with running ones (plain hidden loss). There gradients shrink
 * tenfold during the run, and running statistics lag behind.
 *
 * Instant statistics read the tiles of a layer's gradient twice, so the tiles wait in scratch memory [m, n] in f32.
 * Accumulators at K = 2: bf16 7.419, f16 7.418, f32 7.413. bf16 cannot overflow when evidence grows without a level to
 * move to. flip_forms.ts has rates and retained evidence by the form of a weight.
 */
export const BOOLEAN_DEFAULTS: BooleanOptimizerSettings = {
  rule: 'neighbors',
  normalizer: 'factored',
  decay: 0,
  accumulator: 'bf16',
  retainedEvidence: 0,
};

/** Indices into the state [1, 8]; see native/operations/boolean_optimizer.cc. */
const BETA = 0;
const MOVED = 1;

/**
 * State of the Boolean optimizer for one ±1 parameter of m × n trained weights (native Boolean optimization, BOLD and
 * the paper's §4.3). M ← β·M + η·Q̂; bits move where |M| is large enough, which leaves κ of it with the other sign; β ← 1 −
 * fraction moved.
 *
 * The sign is that of descent: Q = ∂loss/∂w, and a weight flips when its signal agrees with it. η is the scalar
 * `flipRate` of a run times the optimizer's `rate`. With several micro-batches β applies at the first, and bits move at
 * the last.
 *
 * @example
 * const optimizer = new BooleanOptimizer({ rows: m, cols: n });
 * appendGradients(loss, lossSeed(graph), { booleans: new Map([[kernels, optimizer.target(graph)]]) });
 */
export class BooleanOptimizer {
  /** m, the outputs. */
  readonly rows: number;
  /** n, the inputs. */
  readonly cols: number;
  /** Factor of a run's `flipRate` for this parameter, so that parameters can flip at several rates. */
  readonly rate: number;
  /** Settings with all defaults filled in. */
  readonly settings: BooleanOptimizerSettings;
  /** State by name, which checkpoints save. */
  readonly matrices: ReadonlyMap<string, Matrix>;
  readonly #state: Matrix;

  /** `rate` is 1 by default. Throws MBOK_INVALID_ARGUMENT, MBOK_OUT_OF_MEMORY. */
  constructor(
    given: { readonly rows: number; readonly cols: number; readonly rate?: number } & Partial<BooleanOptimizerSettings>,
  ) {
    const { rows, cols, rate = 1, ...settings } = object('options', given);
    this.rows = integerInRange('rows', rows, 1, 2 ** 31);
    this.cols = integerInRange('cols', cols, 1, 2 ** 31);
    this.rate = finiteNumber('rate', rate, 0, 1e6);
    this.settings = booleanSettings(settings);
    this.#state = new Matrix({ rows: 1, cols: 8 });
    this.matrices = new Map([
      ['accumulator', new Matrix({ rows, cols, type: this.settings.accumulator })],
      ['row_statistics', new Matrix({ rows: 2, cols: rows })],
      ['column_statistics', new Matrix({ rows: 2, cols })],
      ['state', this.#state],
    ]);
  }

  /**
   * Returns an entry of `booleans` for {@link appendGradients}: this optimizer consumes the parameter's signal tile by
   * tile.
   */
  target(graph: Graph): BooleanTarget {
    return this.#bind(graph);
  }

  /** Emits one step with a dense signal q [m, n] of the last of `count` kernels. Absent scales are ones. */
  update(q: Tensor, parameter: { kernels: Tensor; sOut?: Tensor; sIn?: Tensor; count: number }): void {
    booleanUpdate(q, object('parameter', parameter), this.#bind(graphOf('q', q)));
  }

  /** β after the last step: 1 − fraction of weights moved. 0 before the first step. */
  get beta(): number {
    return this.#state.toFloat32()[BETA] as number;
  }

  /** Number of weights moved in the last step. */
  get moved(): number {
    return this.#state.toFloat32()[MOVED] as number;
  }

  /** Frees the state. The parameter stays. */
  dispose(): void {
    for (const matrix of this.matrices.values()) matrix.dispose();
  }

  #bind(graph: Graph): BooleanOptimizerState {
    expectGraph('graph', graph);
    const bound = (name: string) => graph.bind(this.matrices.get(name) as Matrix, 'state');
    const { rule, normalizer, decay, retainedEvidence } = this.settings;
    return {
      kind: 'optimizer',
      accumulator: bound('accumulator'),
      rowStatistics: bound('row_statistics'),
      columnStatistics: bound('column_statistics'),
      state: bound('state'),
      settings: [BOOLEAN_RULES.indexOf(rule), NORMALIZERS.indexOf(normalizer), decay, retainedEvidence, this.rate],
    };
  }
}

/** Checks the settings and fills in defaults. Throws MBOK_INVALID_ARGUMENT. */
export function booleanSettings(given: Partial<BooleanOptimizerSettings>): BooleanOptimizerSettings {
  options('options', given, ['rule', 'normalizer', 'decay', 'accumulator', 'retainedEvidence']);
  const { rule, normalizer, decay, accumulator, retainedEvidence } = BOOLEAN_DEFAULTS;
  return {
    rule: oneOf('rule', given.rule ?? rule, BOOLEAN_RULES),
    normalizer: oneOf('normalizer', given.normalizer ?? normalizer, NORMALIZERS),
    decay: finiteNumber('decay', given.decay ?? decay, 0, 0.9999),
    accumulator: oneOf('accumulator', given.accumulator ?? accumulator, ACCUMULATOR_TYPES),
    retainedEvidence: finiteNumber('retainedEvidence', given.retainedEvidence ?? retainedEvidence, 0, 0.9999),
  };
}
