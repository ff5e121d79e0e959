/** Which of a model's matrices finetuning changes. */

import { MbokError } from '../base/errors';
import type { ModelCore } from '../models/model_core';
import { type ModelPart, moduleOf } from '../models/parts';
import type { BitMatrix } from '../native/bit_matrix';
import type { Matrix } from '../native/matrix';

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
  for (const part of model.parts) {
    const group = groupOf(part);
    if (group !== undefined && groups.includes(group)) trained.set(part.name, parameters.get(part.name) as Matrix);
  }
  return trained;
}

/** The group that a matrix is trained in by AdamW; undefined where it is not. */
function groupOf({ role, frozen, owner }: ModelPart): Trainable | undefined {
  if (role === 'scale' && owner.role === 'linear') return frozen ? undefined : 'scales';
  return owner.role === 'linear' ? undefined : GROUPS[owner.role];
}

/** Makes f32 in memory what training these groups changes. Throws MBOK_INVALID_ARGUMENT for embeddings in 8 bits. */
export async function widenTrained(
  model: ModelCore,
  groups: readonly Trainable[],
  signal: AbortSignal | undefined,
): Promise<void> {
  await model.widen(trainedParameters(model, groups).keys(), signal);
}

/** ±1 matrices of a linear module: `count` of them, rows × cols each, one below the other. */
export interface BooleanPart {
  /** Of the matrix in checkpoints. */
  readonly name: string;
  /** What its optimizer is called: by its module where that has no others. */
  readonly label: string;
  readonly bits: BitMatrix;
  readonly count: number;
  readonly rows: number;
  readonly cols: number;
}

/** Every part of ±1. Throws MBOK_INVALID_ARGUMENT for a model without one. */
export function booleanParts(model: ModelCore): readonly BooleanPart[] {
  const parts = model.parts.filter(({ role }) => role === 'bits');
  if (parts.length === 0) {
    throw new MbokError('MBOK_INVALID_ARGUMENT', "'student' has no Boolean modules; convert it with binarize() first");
  }
  return parts.map(({ name, rows, cols, planes = 1, owner }) => {
    const isOnly = parts.filter((other) => other.owner === owner).length === 1;
    const bits = model.parameters.get(name) as BitMatrix;
    return { name, label: isOnly ? moduleOf(owner.name) : name, bits, count: planes, rows: rows / planes, cols };
  });
}
