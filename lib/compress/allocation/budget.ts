/** A budget as an allocation problem: the bytes of a model in given formats, and the bytes left to distribute. */

import { isDeepStrictEqual } from 'node:util';
import { MbokError } from '../../base/errors';
import type { JsonObject } from '../../io/json';
import { safetensorsBytes } from '../../io/safetensors';
import type { ParameterSpecification } from '../../models/family';
import { type ModelPart, modelParts, moduleOf } from '../../models/parts';
import { formatJson } from '../../models/quantization';
import { WEIGHTS_METADATA } from '../../models/stored_matrix';
import { DENSE, dense } from '../../structures/dense';
import { type FactorsFormat, factorsFormat, rankForBits } from '../../structures/factors';
import { kernelsFormat } from '../../structures/kernels';
import type { Formats, LayerFormat } from '../../structures/structure';
import { outputFormats } from '../converted';
import { bytesOfParts, type DenseSource, headOf, linearWeight } from '../dense_source';
import { type AllocationTask, type Budget, isBudget } from './allocation_options';
import { choicesOf, formatsJson } from './choices';
import {
  type AllocatableLayer,
  addGreedily,
  type Choice,
  type Chosen,
  choicesAt,
  smallest,
  totalBytes,
} from './layers';

/** The choice of a format for each layer within a budget. */
export interface AllocationProblem {
  /** Layers to choose a format for, in the order of the model. */
  readonly layers: readonly AllocatableLayer[];
  /** Bytes for all choices together, if the file's header has the size that it has with the smallest choices. */
  readonly budget: number;
  /** Returns the bytes by which a choice for every layer exceeds the budget; 0 or less if they fit. */
  excess(choices: readonly Choice[]): number;
  /** Combines the choices with the formats from `keep`; lists the linear layers that are not dense. */
  formats(choices: readonly Choice[]): Formats;
}

/** A method to solve an allocation problem. */
export interface Strategy {
  /** The layers of the problem, with the choices that the method considers. */
  readonly layers: readonly AllocatableLayer[];
  /** Chooses within `budget` bytes, which suffice for the smallest choice of every layer. */
  allocate(budget: number): Chosen;
  /** Returns the gain of layer i from the choice after `index`, used to spend leftover bytes. */
  gain(layer: number, index: number): number;
}

/**
 * Builds the problem that a goal poses; it has no layers to choose for unless the goal is a budget. `tableFormats` are
 * formats of weights outside linear layers. Throws MBOK_INVALID_ARGUMENT if the budget is below the smallest choices, or
 * above the dense model.
 */
export function allocationProblem(
  source: DenseSource,
  { goal, choices, fixedFormats }: AllocationTask,
  tableFormats: Formats,
): AllocationProblem {
  if (isBudget(goal)) return budgetProblem(source, goal, { choices, fixedFormats }, tableFormats);
  const formatOf = (module: string) =>
    'kernels' in goal ? kernelsFormat(goal.kernels) : pairFormat(linearWeight(source, module), goal.factors);
  const formats = linearFormats(source, (module) => fixedFormats.get(module) ?? formatOf(module));
  return { layers: [], budget: 0, excess: () => 0, formats: () => formats };
}

/** Returns the format of a pair for these bits per weight. Throws MBOK_INVALID_ARGUMENT if two give the same rank. */
function pairFormat(weight: ParameterSpecification, sizes: readonly number[]): FactorsFormat {
  const ranks = sizes.map((bits) => rankForBits(weight, bits));
  const equal = ranks.findIndex((rank, i) => rank === ranks[i - 1]);
  if (equal > 0) {
    const [size, other] = [sizes[equal - 1], sizes[equal]];
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      `'factors' must have sizes of different ranks; ${size} and ${other} bits are rank ${ranks[equal]} in '${moduleOf(weight.name)}'`,
    );
  }
  return factorsFormat(ranks.at(-1) as number, ranks.slice(0, -1));
}

const linearsOf = ({ specifications }: DenseSource) => specifications.filter(({ role }) => role === 'linear');

/** Lists the formats of the linear layers that are not dense, in the order of the model. */
function linearFormats(source: DenseSource, formatOf: (module: string) => LayerFormat): Formats {
  const modules = linearsOf(source).map(({ name }) => moduleOf(name));
  const formats = modules.map((module) => [module, formatOf(module)] as const);
  return new Map(formats.filter(([, { kind }]) => kind !== dense.kind));
}

function budgetProblem(
  source: DenseSource,
  budget: Budget,
  { choices: set, fixedFormats }: Pick<AllocationTask, 'choices' | 'fixedFormats'>,
  tableFormats: Formats,
): AllocationProblem {
  const linears = linearsOf(source);
  const layers = linears
    .filter(({ name }) => !fixedFormats.has(moduleOf(name)))
    .map((linear): AllocatableLayer => {
      const { name, rows, cols } = linear;
      return { module: moduleOf(name), weights: rows * cols, choices: choicesOf(linear, source, set) };
    });
  const weights = linears.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const formats = (choices: readonly Choice[]) => {
    const chosen = layers.map(({ module }, i) => [module, (choices[i] as Choice).format] as const);
    const byModule = new Map([...chosen, ...fixedFormats]);
    return linearFormats(source, (module) => byModule.get(module) as LayerFormat);
  };
  const stored = 'bits' in budget ? linearBytes : fileBytes;
  const limit = 'bits' in budget ? Math.floor((budget.bits * weights) / 8) : budget.size;
  const excess = (choices: readonly Choice[]) =>
    stored(source, outputFormats(source, new Map([...tableFormats, ...formats(choices)]))) - limit;
  const smallestExcess = excess(choicesAt(layers, smallest(layers)));
  expectFeasible(budget, {
    minBytes: limit + smallestExcess,
    maxBytes: stored(source, source.formats),
    perBit: weights / 8,
  });
  return { layers, budget: totalBytes(layers, smallest(layers)) - smallestExcess, excess, formats };
}

function expectFeasible(
  budget: Budget,
  { minBytes, maxBytes, perBit }: { readonly minBytes: number; readonly maxBytes: number; readonly perBit: number },
): void {
  const [name, value, unit] = 'bits' in budget ? ['bits', budget.bits, perBit] : ['size', budget.size, 1];
  if (value * unit >= minBytes && value * unit <= maxBytes) return;
  const shown = (bytes: number, round: (x: number) => number) =>
    name === 'bits' ? `${round((bytes / unit) * 1000) / 1000} bits a weight` : `${bytes} bytes`;
  const [low, high] = [shown(minBytes, Math.ceil), shown(maxBytes, Math.floor)];
  throw new MbokError(
    'MBOK_INVALID_ARGUMENT',
    `'${name}' must be from ${low} (the smallest format of every layer, and what is kept) to ${high} (dense), got ${value}`,
  );
}

/** Computes the bytes of the output's weights file, header included. */
function fileBytes(source: DenseSource, formats: Formats): number {
  const parts = modelParts(source.specifications, formats);
  return safetensorsBytes(
    parts.map((part) => headOf(part, source)),
    WEIGHTS_METADATA,
  );
}

/** Computes the bytes of all tensors of linear layers, biases included. */
function linearBytes(source: DenseSource, formats: Formats): number {
  const modules = new Set(linearsOf(source).map(({ name }) => moduleOf(name)));
  const isOfLinear = ({ owner: { name } }: ModelPart) => modules.has(name.slice(0, name.lastIndexOf('.')));
  const linearParts = modelParts(source.specifications, formats).filter(isOfLinear);
  return bytesOfParts(linearParts, source);
}

/**
 * Solves the problem. The result is within the budget to the byte, and no layer's next choice that the strategy considers
 * fits into the remainder.
 */
export function solveAllocation({ budget, excess, formats }: AllocationProblem, strategy: Strategy): Formats {
  const { layers } = strategy;
  if (layers.length === 0) return formats([]);
  const over = (chosen: Chosen) => excess(choicesAt(layers, chosen));
  const minBytes = totalBytes(layers, smallest(layers));
  let chosen = strategy.allocate(budget);
  // the header's size depends on the choices, if only through the digits of offsets
  for (let [reduced, beyond] = [budget, over(chosen)]; beyond > 0; beyond = over(chosen)) {
    reduced = Math.max(minBytes, reduced - beyond);
    chosen = strategy.allocate(reduced);
  }
  return formats(
    choicesAt(
      layers,
      addGreedily(layers, chosen, strategy.gain, (candidate) => over(candidate) <= 0),
    ),
  );
}

/** Reads the JSON of an earlier solution; returns undefined if it does not solve this problem. */
export function solutionOf({ layers, excess, formats }: AllocationProblem, json: JsonObject): Formats | undefined {
  const chosen = layers.flatMap(({ module, choices }) => {
    // dense layers are not listed
    const layerJson = json[module] ?? formatJson(DENSE);
    return choices.find(({ format }) => isDeepStrictEqual(formatJson(format), layerJson)) ?? [];
  });
  if (chosen.length < layers.length) return undefined;
  const solution = formats(chosen);
  return isDeepStrictEqual(json, formatsJson(solution)) && excess(chosen) <= 0 ? solution : undefined;
}

/** Returns the bytes of each layer if all have equally many per weight, together the budget. */
export function sharesOf({ layers, budget }: AllocationProblem): readonly number[] {
  const total = layers.reduce((sum, { weights }) => sum + weights, 0);
  return layers.map(({ weights }) => (budget * weights) / total);
}
