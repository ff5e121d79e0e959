/** Options that determine the format of each linear layer. */

import { finiteNumber, integerInRange, invalid, oneOf } from '../../base/validate';
import type { ParameterSpecification } from '../../models/family';
import { MAX_KERNELS } from '../../structures/kernels';
import type { LayerFormat } from '../../structures/structure';
import { checkFixedFormats, type FixedFormat } from './keep';

export const ALLOCATION_METHODS: readonly AllocationMethod[] = ['measured', 'uniform', 'paper'];
/** Method that distributes a budget over layers; see {@link AllocationOptions.allocation}. */
export type AllocationMethod = 'measured' | 'uniform' | 'paper';

/** Size of the linear layers. Exactly one of `kernels`, `factors`, `bits` and `size` is required. */
export interface AllocationOptions {
  /** Number of ±1 kernels of every linear layer, 1 to 8: bits per weight without scales. */
  readonly kernels?: number;
  /**
   * Strict bits per weight, scales included, of a Boolean factor pair in every linear layer: 0.05 to 8. The rank is the
   * largest that they allow, at least 8.
   */
  readonly factors?: number;
  /**
   * Maximum strict bits per weight, averaged over all linear layers. Counts kernels with rows padded to bytes, scales,
   * biases, and the weights named in `keep`. Each layer gets 1 to 8 kernels.
   */
  readonly bits?: number;
  /**
   * Maximum bytes of model.safetensors, header included. By default it stores embeddings in 8 bits; see `embeddings`.
   */
  readonly size?: number;
  /**
   * Method that distributes `bits` or `size` over layers. Default 'measured' with calibration, otherwise 'uniform'.
   *
   * - 'measured': minimizes the sum over layers of the error that the calibrated layer causes in its block's output,
   *   relative to the hidden states. Needs calibration.
   * - 'uniform': equal numbers of kernels; the remaining bytes are spread over the model.
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

/** Constraint on the size: kernels or the bits of a factor pair for every layer, or a budget. */
export type Goal = { readonly kernels: number } | { readonly factors: number } | Budget;
/** Budget in bits per weight, or in bytes of the file. */
export type Budget = { readonly bits: number } | { readonly size: number };

/** Checked allocation options. */
export interface AllocationTask {
  readonly goal: Goal;
  readonly method: AllocationMethod;
  /** Formats from `keep`, by module. */
  readonly fixedFormats: ReadonlyMap<string, LayerFormat>;
}

/** Checks the options for a model with these linear weights. Throws MBOK_INVALID_ARGUMENT. */
export function checkAllocation(
  given: AllocationOptions,
  linears: readonly ParameterSpecification[],
  { calibrated }: { readonly calibrated: boolean },
): AllocationTask {
  const goal = checkGoal(given);
  const { allocation } = given;
  if (allocation !== undefined && !isBudget(goal)) invalid('allocation', "given with 'bits' or 'size'", allocation);
  const method = oneOf('allocation', allocation ?? (calibrated ? 'measured' : 'uniform'), ALLOCATION_METHODS);
  if (method !== 'uniform' && !calibrated) {
    invalid('allocation', "'uniform' without calibration, which the other methods judge layers by", method);
  }
  return { goal, method, fixedFormats: checkFixedFormats(given.keep, linears) };
}

/** Tells whether a goal leaves the formats of the layers open. */
export function isBudget(goal: Goal): goal is Budget {
  return 'bits' in goal || 'size' in goal;
}

function checkGoal({ kernels, factors, bits, size }: AllocationOptions): Goal {
  const specified = Object.entries({ kernels, factors, bits, size }).filter(([, value]) => value !== undefined);
  if (specified.length !== 1) {
    const names = specified.length === 0 ? undefined : specified.map(([name]) => name).join(' and ');
    invalid('options', "given with exactly one of 'kernels', 'factors', 'bits' and 'size'", names);
  }
  if (factors !== undefined) return { factors: finiteNumber('factors', factors, 0.05, 8) };
  if (bits !== undefined) return { bits: finiteNumber('bits', bits, Number.MIN_VALUE) };
  if (size !== undefined) return { size: integerInRange('size', size, 1) };
  return { kernels: integerInRange('kernels', kernels, 1, MAX_KERNELS) };
}
