/** The matrices that a model's files hold, by the structures of its weights. */

import { structureOf } from '../structures/registry';
import type { Formats, LayerFormat, Part } from '../structures/structure';
import type { ParameterRole, ParameterSpecification } from './family';

/** A matrix of a model. */
export interface ModelPart extends Part {
  /** In full, as the checkpoint has it. */
  readonly name: string;
  /** The tensor of the dense architecture that it is of. */
  readonly owner: ParameterSpecification;
}

/** Module name of a weight's tensor name. */
export function moduleOf(weight: string): string {
  return weight.replace(/\.weight$/, '');
}

/** Tensors that layers read in the structure that they have; everything else is f32 in memory. */
const WEIGHTS: readonly ParameterRole[] = ['linear', 'embedding', 'head'];

/** Whether a tensor of the architecture is a weight, which structures are for. */
export function isWeight({ role }: ParameterSpecification): boolean {
  return WEIGHTS.includes(role);
}

/** Everything that the file of a model must hold. */
export function modelParts(specifications: readonly ParameterSpecification[], formats: Formats): readonly ModelPart[] {
  return specifications.flatMap((owner) => partsOf(owner, formats.get(moduleOf(owner.name))));
}

/** The parts of one tensor of the architecture, dense unless a format is given. */
export function partsOf(owner: ParameterSpecification, format: LayerFormat | undefined): readonly ModelPart[] {
  const { name, rows, cols, transposed } = owner;
  if (!isWeight(owner)) return [{ name, rows, cols, role: 'real', transposed, owner }];
  return structureOf(format)
    .parts(owner, format as LayerFormat)
    .map((part) => ({ ...part, name: `${moduleOf(name)}.${part.name}`, owner }));
}
