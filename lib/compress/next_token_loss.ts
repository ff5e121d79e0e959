/** The next-token loss of hidden states after the last block, chunk by chunk. */

import { Graph, type Tensor } from '../graph/graph';
import { headCrossEntropy } from '../graph/operations/head_loss';
import { Builder } from '../nn/builder';
import { chunkPlan, chunkScalars, hiddenInput, type StoredWindows, type Walk, windowsPerChunk } from './hidden_states';

/** The result of a run. */
export interface HeadRun {
  readonly chunk: number;
  /** Tokens that were predicted. */
  readonly predicted: number;
  readonly results: Readonly<Record<string, Float32Array>>;
}

/**
 * Runs the final norm and the head of the walk's source on the hidden states of each chunk. `outputs` adds the graph's
 * outputs; it gets the hidden states and a function that adds the mean loss over predicted tokens.
 */
export async function runHead(
  walk: Walk,
  { windows, firstChunk = 0 }: StoredWindows,
  outputs: (states: Tensor, loss: (seed?: Tensor) => Tensor) => void,
  use: (run: HeadRun) => Promise<void>,
): Promise<void> {
  const { source, length, states, precision, signal } = walk;
  const { family, config, specifications } = source;
  const borrowed = await source.borrow(specifications.filter(({ layer }) => layer === undefined));
  try {
    const graph = new Graph({ precision });
    const x = hiddenInput(graph, walk, 'x');
    const targets = graph.input('targets', { rows: 'tokens', cols: 1, type: 'i32' });
    const builder = new Builder(graph, borrowed.parameters, { formats: source.formats });
    outputs(x, (seed) =>
      headCrossEntropy(family.head(builder, family.finish(builder, x, config), config), targets, seed && { seed }),
    );
    await using plan = chunkPlan(graph, walk);
    const perChunk = windowsPerChunk(walk);
    for (let i = 0; i * perChunk < windows.length; i++) {
      const chunk = firstChunk + i;
      const data = await states.read('student', config.layers, chunk);
      const scalars = chunkScalars(walk, data);
      const chunkWindows = windows.slice(i * perChunk, (i + 1) * perChunk);
      const next = (row: number) => {
        const place = row % length;
        return place + 1 < length ? (chunkWindows[Math.floor(row / length)]?.[place + 1] as number) : -1;
      };
      const inputs = { x: data, targets: Int32Array.from({ length: scalars.rows }, (_, row) => next(row)) };
      // the loss is a mean over the chunk; as a sum its gradients weigh all tokens alike
      const predicted = chunkWindows.length * (length - 1);
      const results = await plan.run({ inputs, scalars: { ...scalars, lossScale: predicted }, signal });
      await use({ chunk, predicted, results: results as Record<string, Float32Array> });
    }
  } finally {
    borrowed.release();
  }
}
