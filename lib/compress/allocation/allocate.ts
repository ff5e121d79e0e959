/** From a budget to kernels by layer: an analysis of the model block by block, where the method needs one, and the choice. */

import type { ProgressOptions } from '../../models/checkpoint';
import { withWidened } from '../../models/widen';
import type { Matrix } from '../../native/matrix';
import type { Parameters } from '../../nn/builder';
import { MAX_KERNELS } from '../../structures/kernels';
import { COLUMN_POWER } from '../calibrated_matrix';
import type { ConversionTask } from '../convert_model';
import { REFIT_ROUNDS, SVID_ITERATIONS } from '../decompose';
import { blockSpecifications, type DenseSource, layerOf } from '../dense_source';
import { advance, calibrationWalk, embedWindows, type Walk } from '../hidden_states';
import type { StateStore } from '../state_store';
import { measureBlockErrors } from './block_errors';
import { type AllocationProblem, averageKernels, type KernelCounts, type Strategy, solveAllocation } from './budget';
import { blockImportance, residualCurve } from './importance';
import { solveKnapsack } from './knapsack';
import type { AllocatableLayer } from './layers';
import { allocateByPaper, type PaperLayer, paperGain } from './paper';
import { allocateUniformly } from './uniform';

/** Calibration tokens that an analysis looks at: enough for moments, a fraction of what a conversion takes. */
const ANALYSIS_TOKENS = 2 ** 14;
/** Kernels above the average that are tried in every layer; allocations seldom go further. */
const MOST_ABOVE_AVERAGE = 2;
/** One round of signs and scales tells layers apart as well as several. */
const ROUNDS = { iterations: SVID_ITERATIONS, refitRounds: REFIT_ROUNDS, rounds: 1, columnPower: COLUMN_POWER };

/** What an analysis walks over: the original model and some of the calibration's windows. */
interface Analysis {
  readonly walk: Walk;
  readonly windows: readonly Int32Array[];
}

/** Whether the model is looked at before kernels are chosen. */
export function analyses({ layers }: AllocationProblem, { allocation }: ConversionTask): boolean {
  return layers.length > 0 && allocation.method !== 'uniform';
}

/** Windows for an analysis, spread over those of the calibration. */
export function analysisWindows(windows: readonly Int32Array[], length: number): readonly Int32Array[] {
  const count = Math.min(windows.length, Math.max(1, Math.floor(ANALYSIS_TOKENS / length)));
  return Array.from({ length: count }, (_, i) => windows[Math.floor((i * windows.length) / count)] as Int32Array);
}

/**
 * Kernels by module. An analysis leaves its hidden states in `states` as it goes, those of {@link analysisWindows}. Throws
 * MBOK_ABORTED and as running a model does.
 */
export async function chooseKernels(
  source: DenseSource,
  problem: AllocationProblem,
  { allocation, calibration }: ConversionTask,
  states: StateStore,
  { signal, onProgress }: ProgressOptions,
): Promise<KernelCounts> {
  const { layers } = problem;
  if (layers.length === 0 || calibration === undefined || allocation.method === 'uniform') {
    return uniformAllocation(problem);
  }
  const { settings, windows } = calibration;
  const walk = calibrationWalk(source, settings, states, signal);
  const analysis = { walk, windows: analysisWindows(windows, settings.length) };
  const analyse = allocation.method === 'paper' ? byPaper : measured;
  return solveAllocation(problem, await analyse(problem, analysis, onProgress));
}

/** Kernels by module, of equal number but for the remainder. */
export function uniformAllocation(problem: AllocationProblem): KernelCounts {
  const { layers } = problem;
  return solveAllocation(problem, {
    allocate: (budget) => allocateUniformly(layers, budget),
    // whoever has least is first
    gain: (i, count) => (layers[i] as AllocatableLayer).kernelBytes * (MAX_KERNELS - count),
  });
}

async function measured(
  problem: AllocationProblem,
  analysis: Analysis,
  onProgress: ProgressOptions['onProgress'],
): Promise<Strategy> {
  const { layers } = problem;
  const modules = new Set(layers.map(({ module }) => module));
  const most = Math.min(MAX_KERNELS, Math.ceil(averageKernels(problem)) + MOST_ABOVE_AVERAGE);
  const curves = new Map<string, readonly number[]>();
  await forEachBlock(analysis, async (layer, parameters) => {
    const onModule = (what: string) => onProgress?.({ done: curves.size / layers.length, what });
    const task = { layer, modules, most, rounds: ROUNDS, onModule };
    for (const [module, curve] of await measureBlockErrors(analysis.walk, parameters, task)) curves.set(module, curve);
  });
  const error = (i: number, count: number) => curves.get(layers[i]?.module as string)?.[count - 1] as number;
  return {
    allocate: (budget) => solveKnapsack(layers, budget, error),
    gain: (i, count) => (count < MAX_KERNELS ? error(i, count) - error(i, count + 1) : 0),
  };
}

async function byPaper(
  { layers }: AllocationProblem,
  analysis: Analysis,
  onProgress: ProgressOptions['onProgress'],
): Promise<Strategy> {
  const judged: PaperLayer[] = [];
  await forEachBlock(analysis, async (layer, parameters) => {
    const importance = await blockImportance(analysis.walk, layer);
    for (const own of layers.filter(({ module }) => layerOf(`${module}.`) === layer)) {
      onProgress?.({ done: judged.length / layers.length, what: own.module });
      const weight = parameters.get(`${own.module}.weight`) as Matrix;
      const { signal } = analysis.walk;
      await withWidened(weight, signal, async (wide) => {
        judged.push({ ...own, importance, residuals: await residualCurve(wide, signal) });
      });
    }
  });
  return { allocate: (budget) => allocateByPaper(judged, budget), gain: paperGain(judged) };
}

/** Visits the blocks of the original in order, with the hidden states before and after each at hand. */
async function forEachBlock(
  { walk, windows }: Analysis,
  visit: (layer: number, parameters: Parameters) => Promise<void>,
): Promise<void> {
  const { source, states } = walk;
  const sides = ['student', 'teacher'] as const;
  await embedWindows(walk, windows, sides);
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
