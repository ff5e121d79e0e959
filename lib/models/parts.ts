/** The matrices in a model's files, by the structures of its weights. */

import { structureOf } from '../structures/registry';
import type { Formats, LayerFormat, Part } from '../structures/structure';
import type { ParameterRole, ParameterSpecification } from './family';

/** A matrix of a model. */
export interface ModelPart extends Part {
  /** Full name, as in the checkpoint. */
  readonly name: string;
  /** The tensor of the dense architecture that it belongs to. */
  readonly owner: ParameterSpecification;
}

/** The source of a loaded matrix: the first rows of a matrix in a file, or columns of transposed bits. */
export interface ModelSlice {
  readonly part: ModelPart;
  readonly from: ModelPart;
}

/** Returns the part of a slice as its file stores it, in place of the whole `from`. */
export function inFile({ part, from }: ModelSlice): ModelPart {
  return { ...part, name: from.name, transposed: from.transposed };
}

/** Returns the module of a weight's tensor name. */
export function moduleOf(weight: string): string {
  return weight.replace(/\.weight$/, '');
}

/** Returns the module of a tensor of any kind. */
export function moduleOfTensor(name: string): string {
  return name.slice(0, name.lastIndexOf('.'));
}

/** Roles of tensors that operations read in their stored structure; all others are f32 in memory. */
const WEIGHTS: readonly ParameterRole[] = ['linear', 'embedding', 'head'];

/** Tells whether a tensor is a weight, that is, has a structure. */
export function isWeight({ role }: ParameterSpecification): boolean {
  return WEIGHTS.includes(role);
}

/** Tells whether a weight is the table of the embedding or the head. */
export function isTable(owner: ParameterSpecification): boolean {
  return isWeight(owner) && owner.role !== 'linear';
}

/** Lists all matrices in a model's file. */
export function modelParts(specifications: readonly ParameterSpecification[], formats: Formats): readonly ModelPart[] {
  return specifications.flatMap((owner) => partsOf(owner, formats.get(moduleOf(owner.name))));
}

/** Lists the parts of a tensor; without a format it is dense. */
export function partsOf(owner: ParameterSpecification, format: LayerFormat | undefined): readonly ModelPart[] {
  const { name, rows, cols, transposed } = owner;
  if (!isWeight(owner)) return [{ name, rows, cols, role: 'real', transposed, owner }];
  const parts = structureOf(format).parts(owner, format as LayerFormat);
  return parts.map((part) => inModule(part, owner));
}

function inModule(part: Part, owner: ParameterSpecification): ModelPart {
  return { ...part, name: `${moduleOf(owner.name)}.${part.name}`, owner };
}

/** Returns the name of a part in its structure. */
export function nameInModule({ name, owner }: ModelPart): string {
  return name.slice(moduleOf(owner.name).length + 1);
}

/**
 * Returns the bytes of every linear layer by module: of the matrices that its weight consists of, and of its bias.
 *
 * @param parts - all parts of the model
 */
export function layerBytes(
  parts: readonly ModelPart[],
  bytesOf: (part: ModelPart) => number,
): ReadonlyMap<string, number> {
  const linears = parts.filter(({ owner }) => owner.role === 'linear');
  const bytes = new Map(linears.map(({ owner }) => [moduleOf(owner.name), 0]));
  for (const part of parts) {
    const module = moduleOfTensor(part.name);
    const known = bytes.get(module);
    if (known !== undefined) bytes.set(module, known + bytesOf(part));
  }
  return bytes;
}

/** The matrices to load of a model, and the resulting formats of its weights. */
export interface LoadedParts {
  readonly formats: Formats;
  readonly slices: readonly ModelSlice[];
}

/**
 * Lists the matrices to load: the whole model, or prefixes of at most `maxSize` for weights that have prefixes.
 * {@link maxPrefix} returns the maximum.
 */
export function loadedParts(
  specifications: readonly ParameterSpecification[],
  formats: Formats,
  maxSize = Infinity,
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
    const prefix = prefixes.take(owner, format, Math.min(maxSize, prefixes.largest(format)));
    loaded.set(module, prefix.format);
    return prefix.slices.map(({ part, from }) => ({ part: inModule(part, owner), from: inModule(from, owner) }));
  });
  return { formats: loaded, slices };
}

/** Returns the largest prefix size in the model; undefined if no weight has prefixes. */
export function maxPrefix(formats: Formats): number | undefined {
  const sizes = [...formats.values()].flatMap((format) => structureOf(format).prefixes?.largest(format) ?? []);
  return sizes.length === 0 ? undefined : Math.max(...sizes);
}

/** Tells whether a weight has ±1 parts. */
export function isBoolean(specifications: readonly ParameterSpecification[], formats: Formats): boolean {
  return modelParts(specifications, formats).some(({ role }) => role === 'bits');
}
