import { Graph } from '../../graph/graph';
import { dequantize } from '../../graph/operations/dequantize';
import { Plan } from '../../graph/plan';
import { GGML_TYPES, type GgmlType } from '../../native/ggml_types';
import { Matrix } from '../../native/matrix';

/** Element types of dequantized tensors in memory. */
export type ValueType = 'f32' | 'f16' | 'bf16' | 'q8';

/** Shape and type of a tensor in memory. */
export interface ValueShape {
  readonly rows: number;
  readonly cols: number;
  readonly type: ValueType;
}

/** A tensor as stored in a file. */
export interface StoredBlocks {
  readonly dtype: GgmlType;
  /** The bytes of all rows, in pieces of at most `pieceRows` whole rows. */
  readonly pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  readonly pieceRows: number;
}

/**
 * Dequantizes a tensor, rounding once to the type of `shape`; q8 stores its source types exactly. Memory holds the
 * result and one piece.
 *
 * @throws MbokError MBOK_NON_FINITE, MBOK_OUT_OF_MEMORY, and the errors of `pieces`
 */
export async function dequantized(shape: ValueShape, { dtype, pieces, pieceRows }: StoredBlocks): Promise<Matrix> {
  const values = new Matrix(shape);
  const { elements, bytes } = GGML_TYPES[dtype];
  const rowBytes = (shape.cols / elements) * bytes;
  const blocks = new Matrix({ rows: Math.min(pieceRows, shape.rows), cols: rowBytes, type: 'u8' });
  try {
    const graph = new Graph();
    dequantize(graph.bind(blocks), dtype, graph.bind(values));
    await using plan = new Plan(graph);
    let position = 0;
    for await (const piece of pieces) {
      blocks.writeAt(0, piece);
      await plan.run({ scalars: { position } });
      position += piece.length / rowBytes;
    }
    return values;
  } catch (error) {
    values.dispose();
    throw error;
  } finally {
    blocks.dispose();
  }
}
