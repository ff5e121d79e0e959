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

/** Where a matrix of a loaded model comes from: the first rows of one in its file. */
export interface ModelSlice {
  readonly part: ModelPart;
  readonly from: ModelPart;
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

/** Whether a weight is a table, of the embedding or of the head. */
export function isTable(owner: ParameterSpecification): boolean {
  return isWeight(owner) && owner.role !== 'linear';
}

/** Everything that the file of a model must hold. */
export function modelParts(specifications: readonly ParameterSpecification[], formats: Formats): readonly ModelPart[] {
  return specifications.flatMap((owner) => partsOf(owner, formats.get(moduleOf(owner.name))));
}

/** The parts of one tensor of the architecture, dense unless a format is given. */
export function partsOf(owner: ParameterSpecification, format: LayerFormat | undefined): readonly ModelPart[] {
  const { name, rows, cols, transposed } = owner;
  if (!isWeight(owner)) return [{ name, rows, cols, role: 'real', transposed, owner }];
  const parts = structureOf(format).parts(owner, format as LayerFormat);
  return parts.map((part) => placed(part, owner));
}

function placed(part: Part, owner: ParameterSpecification): ModelPart {
  return { ...part, name: `${moduleOf(owner.name)}.${part.name}`, owner };
}

/** What a part of a weight is called in its structure. */
export function nameInModule({ name, owner }: ModelPart): string {
  return name.slice(moduleOf(owner.name).length + 1);
}

/** What there is to load of a model, and the formats that its weights have then. */
export interface LoadedParts {
  readonly formats: Formats;
  readonly slices: readonly ModelSlice[];
}

/** The whole model, or of every weight that has prefixes one of at most `most`; {@link mostOf} says what there is. */
export function loadedParts(
  specifications: readonly ParameterSpecification[],
  formats: Formats,
  most = Infinity,
): LoadedParts {
  const loaded = new Map<string, LayerFormat>();
  const slices = specifications.flatMap((owner): readonly ModelSlice[] => {
    const module = moduleOf(owner.name);
    const format = isWeight(owner) ? formats.get(module) : undefined;
    const prefixes = format && structureOf(format).prefixes;
    if (format === undefined || prefixes === undefined) {
      if (format !== undefined) loaded.set(module, format);
      return partsOf(owner, format).map((part) => ({ part, from: part }));
    }
    const taken = prefixes.take(owner, format, Math.min(most, prefixes.most(format)));
    loaded.set(module, taken.format);
    return taken.slices.map(({ part, from }) => ({ part: placed(part, owner), from: placed(from, owner) }));
  });
  return { formats: loaded, slices };
}

/** The largest prefix that a weight of the model has; undefined where none has any. */
export function mostOf(formats: Formats): number | undefined {
  const sizes = [...formats.values()].flatMap((format) => structureOf(format).prefixes?.most(format) ?? []);
  return sizes.length === 0 ? undefined : Math.max(...sizes);
}

/** Whether some weights are of ±1. */
export function isBoolean(specifications: readonly ParameterSpecification[], formats: Formats): boolean {
  return modelParts(specifications, formats).some(({ role }) => role === 'bits');
}

/** How many ±1 matrices the weight that has most of them consists of. */
export function mostPlanes(parts: readonly ModelPart[]): number {
  const planes = new Map<ParameterSpecification, number>();
  for (const { role, owner, planes: count = 1 } of parts) {
    if (role === 'bits') planes.set(owner, (planes.get(owner) ?? 0) + count);
  }
  return Math.max(0, ...planes.values());
}
