/** Hidden states of the calibration windows, computed block by block. */

import type { Precision } from '../graph/arithmetic';
import { Graph, type Tensor } from '../graph/graph';
import { Plan } from '../graph/plan';
import { Builder } from '../nn/builder';
import { type BlockWeights, blockSpecifications, type DenseSource, embeddingSpecifications } from './dense_source';
import type { Side, StateStore } from './state_store';

/**
 * Maximum numbers in the hidden states of one run: enough rows for efficient products, few enough activations to store.
 */
const CHUNK_ELEMENTS = 2 ** 22;
/** Maximum rows (tokens) of one run. */
const CHUNK_ROWS = 2048;

/** A model, and the hidden states of calibration windows that pass through it. */
export interface Walk {
  readonly source: DenseSource;
  /** Tokens per window. */
  readonly length: number;
  /** Precision of products with tokens. */
  readonly precision: Precision;
  /** Storage for hidden states between blocks. */
  readonly states: StateStore;
  readonly signal: AbortSignal | undefined;
}

/** Creates the walk of a calibration's windows through a model. */
export function calibrationWalk(
  source: DenseSource,
  { length, precision }: Pick<Walk, 'length' | 'precision'>,
  states: StateStore,
  signal: AbortSignal | undefined,
): Walk {
  return { source, length, precision, states, signal };
}

/** Returns the number of windows in one run (a chunk). */
export function windowsPerChunk({ length, source }: Pick<Walk, 'length' | 'source'>): number {
  const rows = Math.min(CHUNK_ROWS, CHUNK_ELEMENTS / source.config.hiddenSize);
  return Math.max(1, Math.floor(rows / length));
}

/** Selects windows of `length` tokens that have at most `tokens` together, at least one, spread evenly over all. */
export function windowsOfTokens(windows: readonly Int32Array[], length: number, tokens: number): readonly Int32Array[] {
  const count = Math.min(windows.length, Math.max(1, Math.floor(tokens / length)));
  return Array.from({ length: count }, (_, i) => windows[Math.floor((i * windows.length) / count)] as Int32Array);
}

/** Creates a plan for runs of one chunk. */
export function chunkPlan(graph: Graph, walk: Walk): Plan {
  return new Plan(graph, { maxRows: windowsPerChunk(walk) * walk.length });
}

export function hiddenInput(graph: Graph, { source }: Pick<Walk, 'source'>, name: string): Tensor {
  return graph.input(name, { rows: 'tokens', cols: source.config.hiddenSize });
}

export function chunkScalars({ source, length }: Walk, chunk: Float32Array): { rows: number; sequenceLength: number } {
  return { rows: chunk.length / source.config.hiddenSize, sequenceLength: length };
}

/** Windows, and where their hidden states are in the store. */
export interface StoredWindows {
  readonly windows: readonly Int32Array[];
  /** Chunk of the first window. Default 0. */
  readonly firstChunk?: number;
}

/** Writes the embeddings of all windows: the hidden states before block 0, for every side. */
export async function embedWindows(
  walk: Walk,
  { windows, firstChunk = 0 }: StoredWindows,
  sides: readonly Side[],
): Promise<void> {
  const { source, length, states, signal } = walk;
  const borrowed = await source.borrow(embeddingSpecifications(source));
  try {
    const graph = new Graph();
    const ids = graph.input('ids', { rows: 'tokens', cols: 1, type: 'i32' });
    graph.output(
      'states',
      source.family.embed(new Builder(graph, borrowed.parameters, { formats: source.formats }), ids, source.config),
    );
    await using plan = chunkPlan(graph, walk);
    const perChunk = windowsPerChunk(walk);
    for (let chunk = 0; chunk * perChunk < windows.length; chunk++) {
      const chunkWindows = windows.slice(chunk * perChunk, (chunk + 1) * perChunk);
      const rows = chunkWindows.length * length;
      const inputs = {
        ids: Int32Array.from({ length: rows }, (_, i) => chunkWindows[Math.floor(i / length)]?.[i % length] ?? 0),
      };
      const { states: data } = await plan.run({ inputs, scalars: { rows, sequenceLength: length }, signal });
      for (const side of sides) await states.write(side, 0, firstChunk + chunk, data as Float32Array);
    }
  } finally {
    borrowed.release();
  }
}

/** Runs the student's hidden states through block `layer` with these weights. Writes the result for each of `sides`. */
export async function advance(
  walk: Walk,
  layer: number,
  { parameters, formats }: BlockWeights,
  sides: readonly Side[] = ['student'],
): Promise<void> {
  const { source, length, states, signal } = walk;
  const graph = new Graph({ precision: walk.precision });
  const x = hiddenInput(graph, walk, 'states');
  const builder = new Builder(graph, parameters, { formats });
  graph.output('next', source.family.block(builder, layer, x, source.config, source.constants(length)));
  await using plan = chunkPlan(graph, walk);
  let [data, next]: Float32Array[] = [];
  for (let chunk = 0; chunk < states.chunks('student', layer); chunk++) {
    data = await states.read('student', layer, chunk, data);
    const inputs = { states: data };
    ({ next } = await plan.run({ inputs, scalars: chunkScalars(walk, data), into: { next }, signal }));
    for (const side of sides) await states.write(side, layer + 1, chunk, next as Float32Array);
  }
}

/** Runs the hidden states through block `layer` of the source. */
export async function advanceOriginal(walk: Walk, layer: number): Promise<void> {
  const { source } = walk;
  const { parameters, release } = await source.borrow(blockSpecifications(source, layer));
  try {
    await advance(walk, layer, { parameters, formats: source.formats });
  } finally {
    release();
  }
}
