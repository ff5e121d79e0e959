/** What a caller may say of the format that each linear layer gets. */

import { finiteNumber, integerInRange, invalid, oneOf } from '../../base/validate';
import type { ParameterSpecification } from '../../models/family';
import { MAX_KERNELS } from '../../structures/kernels';
import type { LayerFormat } from '../../structures/structure';
import { checkKept, type KeptAt } from './keep';

export const ALLOCATION_METHODS = ['measured', 'uniform', 'paper'] as const;
/** How a budget becomes kernels; see {@link AllocationOptions.allocation}. */
export type AllocationMethod = (typeof ALLOCATION_METHODS)[number];

/** How many kernels layers get: exactly one of `kernels`, `bits` and `size`. */
export interface AllocationOptions {
  /** ±1 kernels of every linear layer: bits a weight, scales apart. 1 to 8. */
  readonly kernels?: number;
  /**
   * At most so many bits a weight on average over all linear layers, counted strictly: kernels with their rows padded to
   * bytes, scales, biases, and weights that are kept otherwise. Layers get 1 to 8 kernels each.
   */
  readonly bits?: number;
  /** At most so many bytes of model.safetensors, its header included. Embeddings are stored in 8 bits unless asked for. */
  readonly size?: number;
  /**
   * How `bits` or `size` become kernels. 'measured': the least sum of the errors that each layer's kernels, calibrated,
   * leave in its block's output, relative to the hidden states; needs calibration. 'uniform': equal but for the remainder,
   * which is spread over the model. 'paper': greedily by importance (PWCCA) × residual × a factor of size (arXiv
   * 2505.22811, §5); needs calibration. Default 'measured' with calibration, else 'uniform'.
   */
  readonly allocation?: AllocationMethod;
  /**
   * Layers that the rest does not apply to, by module name or a pattern with * for any characters: 'dense' keeps the
   * weight as it is, 'int8' in 8 bits with a scale for every output, a number gives so many kernels; a format such as
   * `{ kind: 'kernels', count: 2 }` says it in full. Of several that match a layer the last holds.
   */
  readonly keep?: Readonly<Record<string, KeptAt>>;
}

export const ALLOCATION_KEYS = ['kernels', 'bits', 'size', 'allocation', 'keep'] as const;

/** What is to be kept to: the same number everywhere, bits a weight, or bytes of the file. */
export type Goal = { readonly kernels: number } | Budget;
export type Budget = { readonly bits: number } | { readonly size: number };

/** Options of an allocation, checked. */
export interface AllocationTask {
  readonly goal: Goal;
  readonly method: AllocationMethod;
  /** By module. */
  readonly kept: ReadonlyMap<string, LayerFormat>;
}

/** Checks the options for a model of these linear weights. Throws MBOK_INVALID_ARGUMENT. */
export function checkAllocation(
  given: AllocationOptions,
  linears: readonly ParameterSpecification[],
  { calibrated }: { readonly calibrated: boolean },
): AllocationTask {
  const goal = checkGoal(given);
  const { allocation } = given;
  if (allocation !== undefined && 'kernels' in goal) invalid('allocation', "given with 'bits' or 'size'", allocation);
  const method = oneOf('allocation', allocation ?? (calibrated ? 'measured' : 'uniform'), ALLOCATION_METHODS);
  if (method !== 'uniform' && !calibrated) {
    invalid('allocation', "'uniform' without calibration, which the other methods judge layers by", method);
  }
  return { goal, method, kept: checkKept(given.keep, linears) };
}

function checkGoal({ kernels, bits, size }: AllocationOptions): Goal {
  const named = Object.entries({ kernels, bits, size }).filter(([, value]) => value !== undefined);
  if (named.length !== 1) {
    const which = named.length === 0 ? undefined : named.map(([name]) => name).join(' and ');
    invalid('options', "given with exactly one of 'kernels', 'bits' and 'size'", which);
  }
  if (bits !== undefined) return { bits: finiteNumber('bits', bits, Number.MIN_VALUE) };
  if (size !== undefined) return { size: integerInRange('size', size, 1) };
  return { kernels: integerInRange('kernels', kernels, 1, MAX_KERNELS) };
}
