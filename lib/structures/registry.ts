/** The table of structures. To add one, write a file next to this one and add a row here. */

import { booleanTable } from './boolean_table';
import { dense } from './dense';
import { factors } from './factors';
import { int8 } from './int8';
import { kernels } from './kernels';
import { q8 } from './q8';
import type { LayerFormat, Structure } from './structure';

const STRUCTURES = new Map<string, Structure>();

/** Adds a structure. Only the structure itself reads the settings of its formats. */
export function addStructure<Format extends LayerFormat, Name extends string>(
  structure: Structure<Format, Name>,
): void {
  STRUCTURES.set(structure.kind, structure as unknown as Structure);
}

addStructure(dense);
addStructure(q8);
addStructure(int8);
addStructure(kernels);
addStructure(booleanTable);
addStructure(factors);

/** Finds a structure by name; undefined if there is none. */
export function findStructure(kind: string): Structure | undefined {
  return STRUCTURES.get(kind);
}

/** Returns the structure of a format; dense if it is undefined. */
export function structureOf(format: LayerFormat | undefined): Structure {
  return STRUCTURES.get(format?.kind ?? dense.kind) as Structure;
}
