/** Second moments of the inputs of a block's layers. */

import type { SharedInput } from '../compress/block_conversion';
import { prune, traceBlock } from '../compress/block_trace';
import { chunkPlan, chunkScalars, hiddenInput, type Walk } from '../compress/hidden_states';
import { Graph, type Tensor } from '../graph/graph';
import { accumulateGram } from '../graph/operations/kernel_fit';
import { moduleOf } from '../models/parts';
import { Matrix } from '../native/matrix';

/**
 * Accumulates H = X̃ᵀX̃ [n, n] of the layers' input X̃ in the model as converted so far, with equal weight for all
 * tokens. Throws MBOK_ABORTED, MBOK_IO, and errors of the block's operations. Dispose the result.
 */
export async function inputGram(walk: Walk, { layer, owners, sides }: SharedInput): Promise<Matrix> {
  const { states, signal } = walk;
  const graph = new Graph({ precision: walk.precision });
  const { linears } = traceBlock(walk, layer, sides.student, hiddenInput(graph, walk, 'states'));
  const [first] = owners;
  const x = linears.get(moduleOf(first?.name as string))?.input as Tensor;
  const h = new Matrix({ rows: x.cols, cols: x.cols });
  try {
    accumulateGram(x, x, graph.bind(h, 'state'));
    prune(graph);
    await using plan = chunkPlan(graph, walk);
    let data: Float32Array | undefined;
    for (let chunk = 0; chunk < states.chunks('student', layer); chunk++) {
      data = await states.read('student', layer, chunk, data);
      await plan.run({ inputs: { states: data }, scalars: chunkScalars(walk, data), signal });
    }
    return h;
  } catch (error) {
    h.dispose();
    throw error;
  }
}
