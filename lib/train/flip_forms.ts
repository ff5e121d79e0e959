/** Defaults of the Boolean optimizer by the form of a weight. */

import type { ParameterSpecification } from '../models/family';
import type { ModelCore } from '../models/model_core';
import { type ModelPart, moduleOf } from '../models/parts';
import { isFactors } from '../structures/factors';

/** Form of a Boolean weight: its number of kernels, or a pair of factors of about one or of two bits. */
export type FlipForm = 'K = 1' | 'K = 2' | 'K > 2' | 'pair' | 'pair of 2 bits';

/** How the bits of a weight flip. */
export interface FlipSettings {
  /** Peak η of the Boolean optimizer; in {@link FLIP_DEFAULTS} that of a run of 400 steps. */
  readonly flipRate: number;
  /** κ, the evidence that remains after a move. */
  readonly retainedEvidence: number;
}

/**
 * Defaults by form, the best by perplexity of SmolLM2-135M on the WikiText-2 test (windows of 2048) after 400 steps of 8 ×
 * 1024 tokens from the calibrated start:
 *
 * | K | η     | κ   | perplexity |
 * | - | ----- | --- | ---------- |
 * | 1 | 0.06  | 0   | 58.3       |
 * | 1 | 0.03  | 0   | 53.9       |
 * | 1 | 0.03  | 0.7 | 51.7       |
 * | 2 | 0.03  | 0   | 32.2       |
 * | 2 | 0.02  | 0   | 31.2       |
 * | 3 | 0.03  | 0   | 25.0       |
 * | 3 | 0.015 | 0   | 24.4       |
 *
 * κ = 0.7 gains 1 to 4 % in pairs of every size and nothing at K = 2; with κ = 1 bits flip back and forth.
 */
export const FLIP_DEFAULTS: Readonly<Record<FlipForm, FlipSettings>> = {
  'K = 1': { flipRate: 0.03, retainedEvidence: 0.7 },
  'K = 2': { flipRate: 0.02, retainedEvidence: 0 },
  'K > 2': { flipRate: 0.015, retainedEvidence: 0 },
  pair: { flipRate: 0.03, retainedEvidence: 0.7 },
  'pair of 2 bits': { flipRate: 0.02, retainedEvidence: 0.7 },
};

/** All forms, in a fixed order. */
export const FLIP_FORMS = Object.keys(FLIP_DEFAULTS) as readonly FlipForm[];

/** Steps of the runs by which {@link FLIP_DEFAULTS} were chosen. */
const MEASURED_STEPS = 400;

/**
 * Returns the factor of {@link FLIP_DEFAULTS} for a run of `steps` steps: √(400 / steps), between 1 and 2. A bit flips when
 * its evidence reaches 1, which takes about 1 / η steps of agreement, so that few bits flip in a short run at a small rate.
 */
export function shortRunFactor(steps: number): number {
  return Math.min(2, Math.max(1, Math.sqrt(MEASURED_STEPS / steps)));
}

/** Least bits per weight of a pair of 2 bits: its rank is rounded down, so that it has a little less than 2. */
const TWO_BITS = 1.95;

/** Returns the form of every weight that has ±1 parts, by module. */
export function flipForms({ parts, formats }: Pick<ModelCore, 'parts' | 'formats'>): ReadonlyMap<string, FlipForm> {
  const trained = parts.filter(({ role }) => role === 'bits');
  const owners = new Set(trained.map(({ owner }) => owner));
  return new Map(
    [...owners].map((owner) => {
      const ofWeight = parts.filter((part) => part.owner === owner);
      const module = moduleOf(owner.name);
      if (!isFactors(formats.get(module))) return [module, kernelsForm(ofWeight)];
      return [module, bitsPerWeight(owner, ofWeight) >= TWO_BITS ? 'pair of 2 bits' : 'pair'];
    }),
  );
}

function kernelsForm(parts: readonly ModelPart[]): FlipForm {
  const planes = parts.reduce((sum, { role, planes: count = 1 }) => sum + (role === 'bits' ? count : 0), 0);
  return planes === 1 ? 'K = 1' : planes === 2 ? 'K = 2' : 'K > 2';
}

/** Counts bits and scales (in F16) of a weight's parts. */
function bitsPerWeight({ rows, cols }: ParameterSpecification, parts: readonly ModelPart[]): number {
  const bits = parts.map((part) => part.rows * part.cols * (part.role === 'bits' ? 1 : 16));
  return bits.reduce((sum, count) => sum + count, 0) / (rows * cols);
}
