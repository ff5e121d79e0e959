/** Options that determine the format of each linear layer. */

import { finiteNumber, integerInRange, invalid, oneOf } from '../../base/validate';
import type { ParameterSpecification } from '../../models/family';
import { MAX_KERNELS } from '../../structures/kernels';
import type { LayerFormat } from '../../structures/structure';
import type { ChoiceSet } from './choices';
import { checkFixedFormats, type FixedFormat } from './keep';

export const ALLOCATION_METHODS: readonly AllocationMethod[] = ['measured', 'uniform', 'paper'];
/** Method that distributes a budget over layers; see {@link AllocationOptions.allocation}. */
export type AllocationMethod = 'measured' | 'uniform' | 'paper';

/**
 * Size of the linear layers: at most one of `kernels`, `factors`, `bits` and `size`. Default: 2 `bits`, or 2 `kernels`
 * with method 'svid'.
 */
export interface AllocationOptions {
  /** Number of ±1 kernels of every linear layer, 1 to 8: bits per weight without scales. */
  readonly kernels?: number;
  /**
   * Strict bits per weight, scales included, of a Boolean factor pair in every linear layer: 0.05 to 8. The rank is the
   * largest that they allow, at least 8. With `nested` of `binarizeFolder` the sizes in one file: an ascending list of 2
   * to 8, each counted without the scales of the others.
   */
  readonly factors?: number | readonly number[];
  /**
   * Maximum strict bits per weight, averaged over all linear layers. Counts bits with rows padded to bytes, scales,
   * biases, and the weights named in `keep`. Each layer becomes a factor pair, kernels or numbers in 8 bits, or stays
   * dense. From about 0.3 bits on; method 'svid' and allocation 'paper' choose only kernels, from one per layer on.
   */
  readonly bits?: number;
  /**
   * Maximum bytes of model.safetensors, header included. By default embeddings get their share of it; see `embeddings`.
   */
  readonly size?: number;
  /**
   * Method that distributes `bits` or `size` over layers. Default 'measured' with calibration, otherwise 'uniform'.
   *
   * - 'measured': minimizes the sum over layers of the error that the calibrated layer causes in its block's output,
   *   relative to the hidden states. Needs calibration.
   * - 'uniform': equal formats, factor pairs up to 2.15 bits per weight and kernels above; the remaining bytes are spread
   *   over the model.
   * - 'paper': greedy by importance (PWCCA) × residual × size factor (arXiv 2505.22811, §5). Needs calibration.
   */
  readonly allocation?: AllocationMethod;
  /**
   * Formats of single layers, by module name or a pattern in which * matches any characters. 'dense' leaves the weight
   * unchanged, 'int8' uses 8 bits with one scale per output, and a number sets the kernels. A format such as
   * `{ kind: 'kernels', count: 2 }` is the explicit form. If several patterns match a layer, the last one applies.
   */
  readonly keep?: Readonly<Record<string, FixedFormat>>;
}

export const ALLOCATION_KEYS = ['kernels', 'factors', 'bits', 'size', 'allocation', 'keep'] as const;

/** Constraint on the size: kernels or the sizes of a factor pair for every layer, or a budget. */
export type Goal = { readonly kernels: number } | { readonly factors: readonly number[] } | Budget;
/** Budget in bits per weight, or in bytes of the file. */
export type Budget = { readonly bits: number } | { readonly size: number };

/** Goals without a size. */
const [DEFAULT_BITS, DEFAULT_KERNELS] = [2, 2];

/** Checked allocation options. */
export interface AllocationTask {
  readonly goal: Goal;
  readonly method: AllocationMethod;
  /** Formats that a budget considers. */
  readonly choices: ChoiceSet;
  /** Formats from `keep`, by module. */
  readonly fixedFormats: ReadonlyMap<string, LayerFormat>;
}

/** Checks the options for a model with these linear weights. Throws MBOK_INVALID_ARGUMENT. */
export function checkAllocation(
  given: AllocationOptions,
  linears: readonly ParameterSpecification[],
  { calibrated, extracted }: { readonly calibrated: boolean; readonly extracted: boolean },
): AllocationTask {
  const goal = checkGoal(given) ?? (extracted ? { kernels: DEFAULT_KERNELS } : { bits: DEFAULT_BITS });
  const { allocation } = given;
  if (allocation !== undefined && !isBudget(goal)) invalid('allocation', "given with 'bits' or 'size'", allocation);
  const method = oneOf('allocation', allocation ?? (calibrated ? 'measured' : 'uniform'), ALLOCATION_METHODS);
  if (method !== 'uniform' && !calibrated) {
    invalid('allocation', "'uniform' without calibration, which the other methods judge layers by", method);
  }
  const choices = extracted || method === 'paper' ? 'extracted' : method === 'measured' ? 'all' : 'usual';
  return { goal, method, choices, fixedFormats: checkFixedFormats(given.keep, linears) };
}

/** Tells whether a goal leaves the formats of the layers open. */
export function isBudget(goal: Goal): goal is Budget {
  return 'bits' in goal || 'size' in goal;
}

function checkGoal({ kernels, factors, bits, size }: AllocationOptions): Goal | undefined {
  const specified = Object.entries({ kernels, factors, bits, size }).filter(([, value]) => value !== undefined);
  if (specified.length > 1) {
    const names = specified.map(([name]) => name).join(' and ');
    invalid('options', "given with at most one of 'kernels', 'factors', 'bits' and 'size'", names);
  }
  if (factors !== undefined) return { factors: checkFactors(factors) };
  if (bits !== undefined) return { bits: finiteNumber('bits', bits, Number.MIN_VALUE) };
  if (size !== undefined) return { size: integerInRange('size', size, 1) };
  return kernels === undefined ? undefined : { kernels: integerInRange('kernels', kernels, 1, MAX_KERNELS) };
}

function checkFactors(given: number | readonly number[]): readonly number[] {
  if (!Array.isArray(given)) return [finiteNumber('factors', given, 0.05, 8)];
  const sizes = given.map((bits, i) => finiteNumber(`factors[${i}]`, bits, 0.05, 8));
  const ascends = sizes.every((bits, i) => i === 0 || bits > (sizes[i - 1] as number));
  if (ascends && sizes.length >= 2 && sizes.length <= MAX_KERNELS) return sizes;
  return invalid('factors', `a number, or an ascending list of 2 to ${MAX_KERNELS}`, given);
}

/** Throws MBOK_INVALID_ARGUMENT for a list of sizes, which only a nested conversion to a folder produces. */
export function expectOneSize(factors: AllocationOptions['factors']): void {
  if (Array.isArray(factors)) invalid('factors', "one number, except with 'nested' of binarizeFolder", factors);
}
