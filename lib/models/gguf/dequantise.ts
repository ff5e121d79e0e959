import { Graph } from '../../graph/graph';
import { dequantise } from '../../graph/operations/dequantise';
import { Plan } from '../../graph/plan';
import type { GgmlType } from '../../io/ggml_types';
import { Matrix } from '../../native/matrix';

/** Element types that values can have in memory. */
export type ValueType = 'f32' | 'f16' | 'bf16';

/** Rows of a tensor as they lie in a file, and the type that their values are wanted in. */
export interface StoredRows {
  readonly bytes: Uint8Array;
  readonly rows: number;
  readonly cols: number;
  readonly dtype: GgmlType;
  readonly type: ValueType;
}

/** The bytes of the rows' values, rounded once to `type`. Throws MBOK_NON_FINITE, MBOK_OUT_OF_MEMORY. */
export async function dequantiseRows({ bytes, rows, cols, dtype, type }: StoredRows): Promise<Uint8Array> {
  const blocks = new Matrix({ rows, cols: bytes.length / rows, type: 'u8' });
  const values = new Matrix({ rows, cols, type });
  try {
    blocks.write(bytes);
    const graph = new Graph();
    dequantise(graph.bind(blocks), dtype, graph.bind(values));
    await using plan = new Plan(graph);
    await plan.run();
    const { buffer, byteOffset, byteLength } = values.raw();
    return new Uint8Array(buffer, byteOffset, byteLength);
  } finally {
    blocks.dispose();
    values.dispose();
  }
}
