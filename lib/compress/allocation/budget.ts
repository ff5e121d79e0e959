/** A budget in bytes: what a model stores for given numbers of kernels, and what is left for the choice. */

import { isDeepStrictEqual } from 'node:util';
import { MbokError } from '../../errors';
import type { JsonObject } from '../../io/json';
import { safetensorsBytes, type TensorHead, tensorBytes } from '../../io/safetensors';
import { partHead, WEIGHTS_METADATA } from '../../models/checkpoint';
import { modelParts, moduleOf } from '../../models/parts';
import { MAX_KERNELS } from '../../structures/kernels';
import { outputFormats } from '../converted';
import type { DenseSource } from '../dense_source';
import { type AllocatableLayer, addGreedily, bytesOnce, type Counts } from './layers';
import type { AllocationTask, Budget, KeptAt } from './options';

/** Kernels by module. */
export type KernelCounts = ReadonlyMap<string, number>;

/** Numbers of kernels to choose. */
export interface AllocationProblem {
  /** Those to choose for, in the order of the model. */
  readonly layers: readonly AllocatableLayer[];
  /** Bytes for the kernels of all of them, as long as the file's header does not grow. */
  readonly budget: number;
  /** Bytes by which these counts exceed the budget; 0 or less where they keep to it. */
  excess(counts: Counts): number;
  /** The counts with what is kept otherwise, by module. */
  kernels(counts: Counts): KernelCounts;
}

/** A way to solve a problem. */
export interface Strategy {
  /** Counts within `budget` bytes, which hold one kernel everywhere at least. */
  allocate(budget: number): Counts;
  /** What layer i gains from its kernel after `count`, for bytes that are left. */
  gain(layer: number, count: number): number;
}

/** Kernels of the modules that have some, in their order. */
export function kernelCounts(modules: readonly string[], chosen: ReadonlyMap<string, KeptAt>): KernelCounts {
  const counts = new Map<string, number>();
  for (const module of modules) {
    const count = chosen.get(module);
    if (typeof count === 'number') counts.set(module, count);
  }
  return counts;
}

/**
 * The problem that a budget poses, one without a choice where there is none. `int8`: names of weights that will be
 * in 8 bits. Throws MBOK_INVALID_ARGUMENT for a budget below one kernel everywhere, or above the dense model.
 */
export function allocationProblem(
  source: DenseSource,
  { goal, kept }: AllocationTask,
  int8: ReadonlySet<string>,
): AllocationProblem {
  const modules = linearsOf(source).map(({ name }) => moduleOf(name));
  if ('kernels' in goal) {
    const everywhere = new Map<string, KeptAt>(modules.map((module) => [module, goal.kernels]));
    const counts = kernelCounts(modules, new Map([...everywhere, ...kept]));
    return { layers: [], budget: 0, excess: () => 0, kernels: () => counts };
  }
  return budgetProblem(source, goal, kept, int8);
}

const linearsOf = ({ specifications }: DenseSource) => specifications.filter(({ role }) => role === 'linear');

function budgetProblem(
  source: DenseSource,
  budget: Budget,
  kept: AllocationTask['kept'],
  int8: ReadonlySet<string>,
): AllocationProblem {
  const linears = linearsOf(source);
  const modules = linears.map(({ name }) => moduleOf(name));
  const layers = linears
    .map(({ name, rows, cols }) => {
      const kernelBytes = rows * Math.ceil(cols / 8) + 2 * (rows + cols);
      return { module: moduleOf(name), weights: rows * cols, kernelBytes };
    })
    .filter(({ module }) => !kept.has(module));
  const weights = linears.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const kernels = (counts: Counts): KernelCounts => {
    const chosen = new Map<string, KeptAt>(layers.map(({ module }, i) => [module, counts[i] as number]));
    return kernelCounts(modules, new Map([...chosen, ...kept]));
  };
  const stored = 'bits' in budget ? linearBytes : fileBytes;
  const limit = 'bits' in budget ? Math.floor((budget.bits * weights) / 8) : budget.size;
  const excess = (counts: Counts) => stored(source, kernels(counts), int8) - limit;
  const ones = layers.map(() => 1);
  expectFeasible(budget, {
    least: limit + excess(ones),
    most: stored(source, new Map(), new Set()),
    perBit: weights / 8,
  });
  return { layers, budget: bytesOnce(layers) - excess(ones), excess, kernels };
}

function expectFeasible(
  budget: Budget,
  { least, most, perBit }: { readonly least: number; readonly most: number; readonly perBit: number },
): void {
  const [name, value, unit] = 'bits' in budget ? ['bits', budget.bits, perBit] : ['size', budget.size, 1];
  if (value * unit >= least && value * unit <= most) return;
  const shown = (bytes: number, round: (x: number) => number) =>
    name === 'bits' ? `${round((bytes / unit) * 1000) / 1000} bits a weight` : `${bytes} bytes`;
  const [low, high] = [shown(least, Math.ceil), shown(most, Math.floor)];
  throw new MbokError(
    'MBOK_INVALID_ARGUMENT',
    `'${name}' must be from ${low} (one kernel a layer, scales and what is kept counted) to ${high} (dense), got ${value}`,
  );
}

/** Everything that the output holds. */
function storedHeads(source: DenseSource, kernels: KernelCounts, int8: ReadonlySet<string>): readonly TensorHead[] {
  const parts = modelParts(source.specifications, outputFormats(source, kernels, int8));
  return parts.map((part) => partHead(part, part.type ?? source.storage(part.name)));
}

function fileBytes(source: DenseSource, kernels: KernelCounts, int8: ReadonlySet<string>): number {
  return safetensorsBytes(storedHeads(source, kernels, int8), WEIGHTS_METADATA);
}

/** What belongs to linear layers, biases included. */
function linearBytes(source: DenseSource, kernels: KernelCounts, int8: ReadonlySet<string>): number {
  const modules = new Set(linearsOf(source).map(({ name }) => moduleOf(name)));
  const own = storedHeads(source, kernels, int8).filter(({ name }) =>
    modules.has(name.slice(0, name.lastIndexOf('.'))),
  );
  return own.reduce((sum, head) => sum + tensorBytes(head), 0);
}

/** Solves the problem: within the budget to the byte, and with less left than any kernel that could still be added. */
export function solveAllocation(
  { layers, budget, excess, kernels }: AllocationProblem,
  strategy: Strategy,
): KernelCounts {
  if (layers.length === 0) return kernels([]);
  const ones = bytesOnce(layers);
  let counts = strategy.allocate(budget);
  // offsets in the file's header grow by digits as kernels are added
  for (let [left, over] = [budget, excess(counts)]; over > 0; over = excess(counts)) {
    left = Math.max(ones, left - over);
    counts = strategy.allocate(left);
  }
  return kernels(addGreedily(layers, counts, strategy.gain, (more) => excess(more) <= 0));
}

/** Kernels by module as JSON of an earlier solution has them; undefined where it does not solve this problem. */
export function solutionOf({ layers, excess, kernels }: AllocationProblem, json: JsonObject): KernelCounts | undefined {
  const counts = layers.map(({ module }) => (Object.hasOwn(json, module) ? Number(json[module]) : 0));
  if (!counts.every((count) => Number.isInteger(count) && count >= 1 && count <= MAX_KERNELS)) return undefined;
  const solution = kernels(counts);
  const same = isDeepStrictEqual(json, Object.fromEntries(solution));
  return same && excess(counts) <= 0 ? solution : undefined;
}

/** Kernels that a layer of this problem has on average, 1 to 8. */
export function averageKernels({ layers, budget }: AllocationProblem): number {
  return Math.min(MAX_KERNELS, budget / bytesOnce(layers));
}
