/** What the calibration text says about embedding and head: which tokens are frequent, and which inputs the head has. */

import { Graph } from '../graph/graph';
import { accumulateGram } from '../graph/operations/kernel_fit';
import { Matrix } from '../native/matrix';
import { Builder } from '../nn/builder';
import type { TableCalibration } from './block_conversion';
import { type ConversionTask, calibratedSettings } from './convert_model';
import { type DenseSource, finalSpecifications } from './dense_source';
import { calibrationWalk, chunkPlan, chunkScalars, hiddenInput, type Walk } from './hidden_states';
import { disposeMoments, divide, type PreparedMoments, prepareMoments } from './input_moments';
import type { StateStore } from './state_store';

/**
 * Calls `use` with the calibration of the tables; with undefined if there is no text or no table to convert. `states`
 * contains the hidden states after the last block of the converted model.
 */
export async function withTableCalibration<T>(
  source: DenseSource,
  { calibration, decomposition, tables }: ConversionTask,
  states: StateStore,
  signal: AbortSignal | undefined,
  use: (tables: TableCalibration | undefined) => Promise<T>,
): Promise<T> {
  if (calibration === undefined || tables.size === 0) return await use(undefined);
  const { settings, windows } = calibration;
  const moments = await headMoments(calibrationWalk(source, settings, states, signal));
  try {
    const tokenCounts = countTokens(windows, source.config.vocabularySize);
    return await use({ tokenCounts, moments, rounds: calibratedSettings(decomposition, settings) });
  } finally {
    disposeMoments(moments);
  }
}

/** Counts the occurrences of every token id. */
export function countTokens(windows: readonly Int32Array[], vocabulary: number): Float64Array {
  const counts = new Float64Array(vocabulary);
  for (const window of windows) for (const id of window) (counts[id] as number)++;
  return counts;
}

/** Sums the second moments of the head's inputs: the converted model's hidden states after the final norm. */
async function headMoments(walk: Walk): Promise<PreparedMoments> {
  const { source, states, signal } = walk;
  const { layers } = source.config;
  const borrowed = await source.borrow(finalSpecifications(source));
  try {
    const graph = new Graph({ precision: walk.precision });
    const builder = new Builder(graph, borrowed.parameters, { formats: source.formats });
    const finished = source.family.finish(builder, hiddenInput(graph, walk, 'student'), source.config);
    const h = new Matrix({ rows: finished.cols, cols: finished.cols });
    const moments = { h, corrections: new Map() };
    try {
      accumulateGram(finished, finished, graph.bind(h, 'state'));
      await using plan = chunkPlan(graph, walk);
      let rows = 0;
      let student: Float32Array | undefined;
      for (let chunk = 0; chunk < states.chunks('student', layers); chunk++) {
        student = await states.read('student', layers, chunk, student);
        const scalars = chunkScalars(walk, student);
        await plan.run({ inputs: { student }, scalars, signal });
        rows += scalars.rows;
      }
      await divide(moments, rows, signal);
      return await prepareMoments(moments, signal);
    } catch (error) {
      disposeMoments(moments);
      throw error;
    }
  } finally {
    borrowed.release();
  }
}
