/** An estimate of a model's speed from its header, before it is loaded or even downloaded. */

import { Graph } from '../graph/graph';
import { linear } from '../graph/operations/linear';
import { Plan } from '../graph/plan';
import type { ModelInspection } from '../models/inspect';
import { Matrix } from '../native/matrix';

/** Estimated tokens per second. */
export interface SpeedEstimate {
  /** Of tokens one by one. Decode is bound by memory: each token reads the linear layers and the head once. */
  readonly decode: number;
  /** Of a prompt. Prefill is bound by arithmetic: each token multiplies with the linear layers once. */
  readonly prefill: number;
}

/** Shape of the layer that is timed: 64 MB in F16, more than the cache of most processors. */
const [ROWS, COLS] = [8192, 4096];
/** Rows of a prompt: enough for the rate of long prompts. */
const PROMPT = 64;
const REPEATS = 3;

/**
 * Estimates the speed of a model on this machine. It times the products of one dense layer in F16, which takes a fraction
 * of a second, and counts neither attention nor sampling.
 *
 * @throws MbokError MBOK_OUT_OF_MEMORY (64 MB), MBOK_ABORTED
 */
export async function estimateSpeed(
  { decodedBytes, linearWeights }: Pick<ModelInspection, 'decodedBytes' | 'linearWeights'>,
  signal?: AbortSignal,
): Promise<SpeedEstimate> {
  const weight = new Matrix({ rows: ROWS, cols: COLS, type: 'f16' });
  try {
    const graph = new Graph({ precision: 'bf16' });
    graph.output('y', linear(graph.input('x', { rows: 'tokens', cols: COLS }), graph.bind(weight)));
    await using plan = new Plan(graph, { maxRows: PROMPT });
    const seconds = async (rows: number) => {
      const inputs = { x: new Float32Array(rows * COLS).fill(1) };
      let least = Infinity;
      for (let i = 0; i <= REPEATS; i++) {
        const started = performance.now();
        await plan.run({ inputs, scalars: { rows, pathRows: rows }, signal });
        // the first run wakes the threads
        if (i > 0) least = Math.min(least, (performance.now() - started) / 1000);
      }
      return least;
    };
    return {
      decode: weight.byteLength / (await seconds(1)) / decodedBytes,
      prefill: (PROMPT * ROWS * COLS) / (await seconds(PROMPT)) / linearWeights,
    };
  } finally {
    weight.dispose();
  }
}
