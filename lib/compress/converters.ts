/** The table of converters by structure. To add one, write a folder next to this file and add a row here. */

import { addStructure, structureOf } from '../structures/registry';
import type { LayerFormat, Structure, WeightShape } from '../structures/structure';
import { booleanTableConverter } from './boolean_table/converter';
import type { BudgetFormats, WeightConverter } from './converter';
import { factorsConverter } from './factors/converter';
import { int8Converter } from './int8/converter';
import { kernelsConverter } from './kernels/converter';

const CONVERTERS = new Map<string, WeightConverter>([
  ['kernels', kernelsConverter as unknown as WeightConverter],
  ['factors', factorsConverter as unknown as WeightConverter],
  ['int8', int8Converter as unknown as WeightConverter],
  ['boolean_table', booleanTableConverter as unknown as WeightConverter],
]);

/** Registers a structure that the library does not include, with its converter. */
export function addConvertible<Format extends LayerFormat, Name extends string>(
  structure: Structure<Format, Name>,
  converter: WeightConverter<Format>,
): void {
  addStructure(structure);
  CONVERTERS.set(structure.kind, converter as unknown as WeightConverter);
}

/** Returns the converter to a format; undefined for weights that are not converted. */
export function converterOf(format: LayerFormat | undefined): WeightConverter | undefined {
  return format && CONVERTERS.get(format.kind);
}

/** Lists every format that a conversion can give a weight of this shape. */
export function formatsFor(shape: WeightShape): readonly LayerFormat[] {
  const formats = [...CONVERTERS.values()].flatMap((converter) => converter.formats(shape));
  return formats.filter((format) => fits(shape, format));
}

/** Tells whether a weight of this shape can have the format. */
export function fits(shape: WeightShape, format: LayerFormat): boolean {
  return structureOf(format).fits?.(shape, format) ?? true;
}

/** Lists what a budget knows about each structure that it can choose. */
export function budgetedStructures(): readonly BudgetFormats[] {
  return [...CONVERTERS.values()].flatMap(({ budget }) => budget ?? []);
}
