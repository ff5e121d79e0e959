/** Helpers that build the tensor lists of families. */

import type { ParameterRole, ParameterSpecification } from './family';

/** Describes a vector. */
export function vector(name: string, cols: number, role: ParameterRole): ParameterSpecification {
  return { name, rows: 1, cols, role };
}

/**
 * Describes the weights of linear modules and, with `bias`, their biases. `shapes` are [outputs, inputs] by name after
 * `prefix`.
 */
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

/** Describes the tensors of all blocks. */
export function blocks(
  layers: number,
  block: (layer: number) => readonly ParameterSpecification[],
): ParameterSpecification[] {
  return Array.from({ length: layers }, (_, layer) =>
    block(layer).map((specification) => ({ ...specification, layer })),
  ).flat();
}
