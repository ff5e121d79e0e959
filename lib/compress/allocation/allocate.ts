/**
 * Allocation: chooses the format of each linear layer for a budget (arXiv 2505.22811, §5).
 *
 * For layers l with formats F_l it minimizes the total cost within the bytes of the budget:
 *
 *   min Σ_l cost(l, F_l)  subject to  Σ_l bytes(l, F_l) ≤ budget
 *
 * Three methods differ in the cost:
 *
 * - 'measured' (costs.ts): the error that the calibrated layer causes in its block's output. Solved by dynamic
 *   programming (knapsack.ts). It extends the paper.
 * - 'paper' (paper.ts): importance × residual × size factor. Solved greedily.
 * - 'uniform' (uniform.ts): no cost. All layers get the same format; the remaining bytes raise evenly spread layers.
 *
 * Bytes that remain after the choice go greedily to single layers (layers.ts). 'measured' and 'paper' analyze the
 * original model block by block on part of the calibration text.
 */

import type { ProgressOptions } from '../../models/stored_matrix';
import { withWidened } from '../../models/widen';
import type { Matrix } from '../../native/matrix';
import type { Parameters } from '../../nn/builder';
import type { Formats, LayerFormat } from '../../structures/structure';
import type { ConversionTask } from '../convert_model';
import { converterOf } from '../converters';
import { blockSpecifications, type DenseSource, linearWeight } from '../dense_source';
import { advance, calibrationWalk, embedWindows, type Walk, windowsOfTokens } from '../hidden_states';
import { COLUMN_POWER } from '../kernels/calibrated_matrix';
import { REFIT_ROUNDS, SVID_ITERATIONS } from '../kernels/decompose';
import type { StateStore } from '../state_store';
import { measureBlockErrors } from './block_errors';
import { type AllocationProblem, type Strategy, sharesOf, solveAllocation } from './budget';
import { measuredAt, nearShares, withCosts } from './costs';
import { blockImportance } from './importance';
import { leastCostStrategy } from './knapsack';
import { type AllocatableLayer, addedBytes, type CostedChoice } from './layers';
import { allocateByPaper, type PaperLayer, paperGain } from './paper';
import { allocateUniformly } from './uniform';

/** Calibration tokens for an analysis: enough for second moments, and a fraction of what a conversion uses. */
const ANALYSIS_TOKENS = 2 ** 14;
/** Rounds of the conversions that 'measured' tries. One round of signs and scales ranks layers as well as several. */
const ROUNDS = {
  iterations: SVID_ITERATIONS,
  refitRounds: REFIT_ROUNDS,
  rounds: 1,
  columnPower: COLUMN_POWER,
  pairIterations: 20,
};

/** The original model and the calibration windows of an analysis. */
interface Analysis {
  readonly walk: Walk;
  readonly windows: readonly Int32Array[];
}

/** Tells whether the model is analyzed before formats are chosen. */
export function analyses({ layers }: AllocationProblem, { allocation }: ConversionTask): boolean {
  return layers.length > 0 && allocation.method !== 'uniform';
}

/** Selects the windows for an analysis, spread evenly over those of the calibration. */
export function analysisWindows(windows: readonly Int32Array[], length: number): readonly Int32Array[] {
  return windowsOfTokens(windows, length, ANALYSIS_TOKENS);
}

/**
 * Chooses formats by module. An analysis uses `states` for the hidden states of {@link analysisWindows}. Throws
 * MBOK_ABORTED, and as running a model does.
 */
export async function chooseFormats(
  source: DenseSource,
  problem: AllocationProblem,
  { allocation, calibration }: ConversionTask,
  states: StateStore,
  { signal, onProgress }: ProgressOptions,
): Promise<Formats> {
  const { layers } = problem;
  if (layers.length === 0 || calibration === undefined || allocation.method === 'uniform') {
    return uniformAllocation(problem);
  }
  const { settings, windows } = calibration;
  const walk = calibrationWalk(source, settings, states, signal);
  const analysis = { walk, windows: analysisWindows(windows, settings.length) };
  const analyze = allocation.method === 'paper' ? analyzeImportance : measureCosts;
  return solveAllocation(problem, await analyze(problem, analysis, onProgress));
}

/** Chooses the same format for every layer; the remaining bytes raise single layers evenly. */
export function uniformAllocation(problem: AllocationProblem): Formats {
  const { layers } = problem;
  const rung = (i: number, index: number) => layers[i]?.choices[index]?.rung as number;
  return solveAllocation(problem, {
    layers,
    allocate: (budget) => allocateUniformly(layers, budget),
    // the layer on the lowest rung gains most, regardless of the bytes of its next choice
    gain: (i, index) => -rung(i, index) * addedBytes(layers[i] as AllocatableLayer, index),
  });
}

async function measureCosts(
  problem: AllocationProblem,
  analysis: Analysis,
  onProgress: ProgressOptions['onProgress'],
): Promise<Strategy> {
  const shares = sharesOf(problem);
  const layers = nearShares(problem.layers, shares);
  const tried = new Map(
    layers.map(({ module, choices }, i) => {
      return [module, measuredAt(shares[i] as number, choices).map(({ format }) => format)] as const;
    }),
  );
  const errors = new Map<string, ReadonlyMap<LayerFormat, number>>();
  let begun = 0;
  await forEachBlock(analysis, async (layer, parameters) => {
    const onModule = (what: string) => onProgress?.({ done: begun++ / layers.length, what });
    const task = { layer, tried, rounds: ROUNDS, onModule };
    for (const [module, costs] of await measureBlockErrors(analysis.walk, parameters, task)) errors.set(module, costs);
  });
  const costedLayers = layers.map((layer): AllocatableLayer<CostedChoice> => {
    return {
      ...layer,
      choices: withCosts(layer.choices, errors.get(layer.module) as ReadonlyMap<LayerFormat, number>),
    };
  });
  return leastCostStrategy(costedLayers);
}

async function analyzeImportance(
  { layers }: AllocationProblem,
  analysis: Analysis,
  onProgress: ProgressOptions['onProgress'],
): Promise<Strategy> {
  const analyzed: PaperLayer[] = [];
  const { source, signal } = analysis.walk;
  await forEachBlock(analysis, async (layer, parameters) => {
    const importance = await blockImportance(analysis.walk, layer);
    for (const linear of layers.filter(({ module }) => linearWeight(source, module).layer === layer)) {
      onProgress?.({ done: analyzed.length / layers.length, what: linear.module });
      const weight = parameters.get(`${linear.module}.weight`) as Matrix;
      await withWidened(weight, signal, async (wide) => {
        analyzed.push({ ...linear, importance, residuals: await residualsOf(linear, wide, signal) });
      });
    }
  });
  return { layers, allocate: (budget) => allocateByPaper(analyzed, budget), gain: paperGain(analyzed) };
}

/** Computes ‖W − Ŵ‖ for every choice of a layer. */
async function residualsOf(
  { choices }: AllocatableLayer,
  weight: Matrix,
  signal: AbortSignal | undefined,
): Promise<readonly number[]> {
  const residualByFormat = new Map<LayerFormat, number>();
  const formats = choices.map(({ format }) => format);
  for (const kind of new Set(formats.map((format) => format.kind))) {
    const sameKind = formats.filter((format) => format.kind === kind);
    const residuals = (await converterOf(sameKind[0])?.budget?.residuals?.(
      weight,
      sameKind,
      signal,
    )) as readonly number[];
    for (const [i, format] of sameKind.entries()) residualByFormat.set(format, residuals[i] as number);
  }
  return formats.map((format) => residualByFormat.get(format) as number);
}

/**
 * Calls `visit` for the blocks of the original in order. The hidden states before and after the block are in the store.
 */
async function forEachBlock(
  { walk, windows }: Analysis,
  visit: (layer: number, parameters: Parameters) => Promise<void>,
): Promise<void> {
  const { source, states } = walk;
  const sides = ['student', 'teacher'] as const;
  await embedWindows(walk, { windows }, sides);
  for (let layer = 0; layer < source.config.layers; layer++) {
    const { parameters, release } = await source.borrow(blockSpecifications(source, layer));
    try {
      await advance(walk, layer, { parameters, formats: source.formats }, sides);
      await visit(layer, parameters);
    } finally {
      release();
    }
    await states.drop(layer + 1);
  }
  await states.drop(source.config.layers + 1);
}
