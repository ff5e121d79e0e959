/** The importance h_l of the paper's allocation (arXiv 2505.22811, §5): how much a block changes its hidden states. */

import { Graph } from '../../graph/graph';
import { accumulateGram } from '../../graph/operations/kernel_fit';
import { Plan } from '../../graph/plan';
import { Matrix } from '../../native/matrix';
import { hiddenInput, type Walk } from '../hidden_states';
import { pwcca } from './pwcca';

/**
 * Computes 1 − PWCCA of the hidden states before and after block `layer`, over all chunks. The paper does not state how
 * it maps the score to importance; 1 − score is this project's reading. The value is per block, because for a single
 * linear layer all correlations are 1: its outputs are a linear map of its inputs.
 */
export async function blockImportance(walk: Walk, layer: number): Promise<number> {
  const { states, source, signal } = walk;
  const n = source.config.hiddenSize;
  const sums = {
    xx: new Matrix({ rows: n, cols: n }),
    yy: new Matrix({ rows: n, cols: n }),
    xy: new Matrix({ rows: n, cols: n }),
  };
  const [meanX, meanY] = [new Float64Array(n), new Float64Array(n)];
  try {
    const graph = new Graph();
    const [x, y] = [hiddenInput(graph, walk, 'x'), hiddenInput(graph, walk, 'y')];
    accumulateGram(x, x, graph.bind(sums.xx, 'state'));
    accumulateGram(y, y, graph.bind(sums.yy, 'state'));
    accumulateGram(x, y, graph.bind(sums.xy, 'state'));
    const chunks = states.chunks('student', layer);
    const first = await states.read('student', layer, 0);
    await using plan = new Plan(graph, { maxRows: first.length / n });
    let rows = 0;
    for (let chunk = 0; chunk < chunks; chunk++) {
      const inputs = {
        x: await states.read('student', layer, chunk),
        y: await states.read('student', layer + 1, chunk),
      };
      await plan.run({ inputs, scalars: { rows: inputs.x.length / n }, signal });
      addRows(meanX, inputs.x);
      addRows(meanY, inputs.y);
      rows += inputs.x.length / n;
    }
    return (
      1 -
      pwcca({
        xx: centered(sums.xx, meanX, meanX, rows),
        yy: centered(sums.yy, meanY, meanY, rows),
        xy: centered(sums.xy, meanX, meanY, rows),
      })
    );
  } finally {
    for (const sum of Object.values(sums)) sum.dispose();
  }
}

function addRows(sum: Float64Array, rows: Float32Array): void {
  for (let i = 0; i < rows.length; i++) sum[i % sum.length] = (sum[i % sum.length] as number) + (rows[i] as number);
}

/** Computes Σ x yᵀ − (Σ x)(Σ y)ᵀ / rows from the Gram matrix and the sums of x and y. */
function centered(gram: Matrix, x: Float64Array, y: Float64Array, rows: number): Float64Array {
  return Float64Array.from(gram.toFloat32(), (value, at) => {
    const [i, j] = [Math.floor(at / gram.cols), at % gram.cols];
    return value - ((x[i] as number) * (y[j] as number)) / rows;
  });
}
