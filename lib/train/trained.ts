/** Matrices of a model that finetuning changes. */

import { MbokError } from '../base/errors';
import type { ModelCore } from '../models/model_core';
import { isTable, type ModelPart, moduleOf } from '../models/parts';
import type { BitMatrix } from '../native/bit_matrix';
import type { Matrix } from '../native/matrix';
import { type FlipForm, flipForms } from './flip_forms';

export const TRAINABLE: readonly Trainable[] = ['scales', 'norms', 'embeddings', 'biases'];
/**
 * Groups of f32 parameters. 'embeddings' includes an untied head, learned positions and projections, and the bits and
 * scales of Boolean tables.
 */
export type Trainable = 'scales' | 'norms' | 'embeddings' | 'biases';

const GROUPS = {
  norm: 'norms',
  embedding: 'embeddings',
  position: 'embeddings',
  projection: 'embeddings',
  head: 'embeddings',
  bias: 'biases',
} as const;

/** Returns the f32 parameters of these groups, by checkpoint name. */
export function trainedParameters(model: ModelCore, groups: readonly Trainable[]): Map<string, Matrix> {
  const trained = new Map<string, Matrix>();
  const { parameters } = model;
  for (const part of model.parts) {
    const group = groupOf(part);
    if (group !== undefined && groups.includes(group)) trained.set(part.name, parameters.get(part.name) as Matrix);
  }
  return trained;
}

/** Returns the group in which AdamW trains a matrix; undefined if it does not. */
function groupOf({ role, frozen, owner }: ModelPart): Trainable | undefined {
  if (frozen || role === 'bits' || role === 'marks') return undefined;
  if (role === 'scale' && owner.role === 'linear') return 'scales';
  return owner.role === 'linear' ? undefined : GROUPS[owner.role];
}

/** Widens the parameters of these groups to f32 in memory. Throws MBOK_INVALID_ARGUMENT for 8-bit embeddings. */
export async function widenTrained(
  model: ModelCore,
  groups: readonly Trainable[],
  signal: AbortSignal | undefined,
): Promise<void> {
  await model.widen(trainedParameters(model, groups).keys(), signal);
}

/** ±1 matrices of a module: `count` of them, rows × cols each, stacked vertically. */
export interface BooleanPart {
  readonly module: string;
  /** Whether the module is an embedding or a head; else it is a linear layer. */
  readonly isTable: boolean;
  /** Name of the matrix in checkpoints. */
  readonly name: string;
  /** Name of its optimizer: the module's name if it is the module's only ±1 part. */
  readonly label: string;
  /** Form of the weight that it belongs to. */
  readonly form: FlipForm;
  readonly bits: BitMatrix;
  readonly count: number;
  readonly rows: number;
  readonly cols: number;
}

/**
 * Returns every ±1 part that is trained with these groups. Throws MBOK_INVALID_ARGUMENT for a model without one.
 */
export function booleanParts(model: ModelCore, groups: readonly Trainable[]): readonly BooleanPart[] {
  const withTables = groups.includes('embeddings');
  const parts = model.parts.filter(({ role, owner }) => role === 'bits' && (withTables || !isTable(owner)));
  if (parts.length === 0) {
    throw new MbokError('MBOK_INVALID_ARGUMENT', "'student' has no Boolean modules; convert it with binarize() first");
  }
  const forms = flipForms(model);
  return parts.map(({ name, rows, cols, planes = 1, owner }) => {
    const module = moduleOf(owner.name);
    const isOnly = parts.filter((other) => other.owner === owner).length === 1;
    const label = isOnly ? module : name;
    const bits = model.parameters.get(name) as BitMatrix;
    const form = forms.get(module) as FlipForm;
    return { module, isTable: isTable(owner), name, label, form, bits, count: planes, rows: rows / planes, cols };
  });
}
