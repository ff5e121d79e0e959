/** Writes the tensor lists of families. */

import type { ParameterRole, ParameterSpecification } from './family';

/** One vector. */
export function vector(name: string, cols: number, role: ParameterRole): ParameterSpecification {
  return { name, rows: 1, cols, role };
}

/** Weights and, with `bias`, biases of linear modules: [outputs, inputs] by name, behind a common `prefix`. */
export function linears(
  prefix: string,
  shapes: Readonly<Record<string, readonly [rows: number, cols: number]>>,
  { bias, transposed }: { readonly bias: boolean; readonly transposed?: true },
): ParameterSpecification[] {
  return Object.entries(shapes).flatMap(([name, [rows, cols]]): ParameterSpecification[] => [
    { name: `${prefix}${name}.weight`, rows, cols, role: 'linear', ...(transposed && { transposed }) },
    ...(bias ? [vector(`${prefix}${name}.bias`, rows, 'bias')] : []),
  ]);
}

/** The tensors of all blocks. */
export function blocks(
  layers: number,
  block: (layer: number) => readonly ParameterSpecification[],
): ParameterSpecification[] {
  return Array.from({ length: layers }, (_, layer) => block(layer).map((own) => ({ ...own, layer }))).flat();
}
