/** The table of converters by structure. To add one, write a folder next to this file and add a row here. */

import { addStructure, structureOf } from '../structures/registry';
import type { LayerFormat, Structure, WeightShape } from '../structures/structure';
import { booleanTableConverter } from './boolean_table/converter';
import type { WeightConverter } from './converter';
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

/**
 * Lists every format that a conversion can give a weight of this shape. With `budgeted` it lists only those that a
 * budget chooses among.
 */
export function formatsFor(shape: WeightShape, { budgeted = false } = {}): readonly LayerFormat[] {
  const converters = [...CONVERTERS.values()].filter(({ budget }) => budget !== undefined || !budgeted);
  const formats = converters.flatMap((converter) => converter.formats(shape));
  return formats.filter((format) => structureOf(format).fits?.(shape, format) ?? true);
}
