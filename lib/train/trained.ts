/** Which of a model's matrices finetuning changes. */

import { MbokError } from '../errors';
import { moduleOf } from '../models/checkpoint';
import { linearModules, type ModelCore } from '../models/model_core';
import type { BitMatrix } from '../native/bit_matrix';
import type { Matrix } from '../native/matrix';
import { INPUT_SCALES, KERNELS, OUTPUT_SCALES } from '../nn/linear';

export const TRAINABLE = ['scales', 'norms', 'embeddings', 'biases'] as const;
/** Groups of f32 parameters; 'embeddings' holds an untied head, learned positions and projections too. */
export type Trainable = (typeof TRAINABLE)[number];

const GROUPS = {
  norm: 'norms',
  embedding: 'embeddings',
  position: 'embeddings',
  projection: 'embeddings',
  head: 'embeddings',
  bias: 'biases',
} as const;

/** The f32 parameters of the given groups, by checkpoint name. */
export function trainedParameters(model: ModelCore, groups: readonly Trainable[]): Map<string, Matrix> {
  const trained = new Map<string, Matrix>();
  const { parameters } = model;
  for (const { name, role } of model.family.parameters(model.config)) {
    if (role === 'linear') {
      if (!groups.includes('scales')) continue;
      for (const scale of [OUTPUT_SCALES, INPUT_SCALES]) {
        const full = `${moduleOf(name)}.${scale}`;
        const matrix = parameters.get(full);
        if (matrix !== undefined) trained.set(full, matrix);
      }
    } else if (groups.includes(GROUPS[role])) {
      trained.set(name, parameters.get(name) as Matrix);
    }
  }
  return trained;
}

/** Makes f32 in memory what training these groups changes. Throws MBOK_INVALID_ARGUMENT for embeddings in 8 bits. */
export async function widenTrained(
  model: ModelCore,
  groups: readonly Trainable[],
  signal: AbortSignal | undefined,
): Promise<void> {
  await model.widen(trainedParameters(model, groups).keys(), signal);
}

/** A linear module that has been converted to `count` kernels of rows × cols. */
export interface BooleanModule {
  readonly module: string;
  readonly kernels: BitMatrix;
  readonly count: number;
  readonly rows: number;
  readonly cols: number;
}

/** Every Boolean module. Throws MBOK_INVALID_ARGUMENT for a model without one. */
export function booleanModules(model: ModelCore): readonly BooleanModule[] {
  const modules = linearModules(model).flatMap(({ module, rows, cols }) => {
    const count = model.kernels.get(module);
    const kernels = model.parameters.get(`${module}.${KERNELS}`) as BitMatrix;
    return count === undefined ? [] : [{ module, kernels, count, rows, cols }];
  });
  if (modules.length === 0) {
    throw new MbokError('MBOK_INVALID_ARGUMENT', "'student' has no Boolean modules; convert it with binarize() first");
  }
  return modules;
}
