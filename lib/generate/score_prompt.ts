/** Scores the tokens of a text that is already there. */

import type { Arithmetic } from '../graph/arithmetic';
import { Graph } from '../graph/graph';
import { headLogits } from '../graph/operations/head';
import { Plan } from '../graph/plan';
import type { ModelCore } from '../models/model_core';
import { type ScoredToken, TokenScorer } from './logprobs';

/** Rows of which logits exist at a time: those of a whole text would take a gigabyte. */
const HEAD_ROWS = 64;

export interface ScoreOptions {
  /** How many of the likeliest tokens to tell in each place. */
  readonly count: number;
  readonly arithmetic: Arithmetic;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Computes the probability of every token but the first, which nothing precedes.
 *
 * @param ids - at least one token, at most the model's context
 * @throws MbokError MBOK_ABORTED, MBOK_BUSY, MBOK_DISPOSED, MBOK_OUT_OF_MEMORY, MBOK_NON_FINITE
 */
export async function scorePrompt(
  model: ModelCore,
  ids: Int32Array,
  { count, arithmetic, signal }: ScoreOptions,
): Promise<ScoredToken[]> {
  const rows = ids.length - 1;
  if (rows === 0) return [];
  using _ = model.holdToRead();
  const { states, cols } = await statesOf(model, ids.subarray(0, rows), arithmetic, signal);
  const graph = new Graph(arithmetic);
  const input = graph.input('states', { rows: 'tokens', cols });
  graph.output('logits', headLogits(model.family.head(model.builder(graph), input, model.config)));
  await using plan = new Plan(graph, { maxRows: Math.min(rows, HEAD_ROWS) });
  const scorer = new TokenScorer();
  const scored: ScoredToken[] = [];
  const { vocabularySize } = model.config;
  for (let first = 0; first < rows; first += HEAD_ROWS) {
    const some = Math.min(HEAD_ROWS, rows - first);
    const inputs = { states: states.subarray(first * cols, (first + some) * cols) };
    const { logits } = await plan.run({ inputs, scalars: { rows: some, pathRows: 1 }, signal });
    for (let i = 0; i < some; i++) {
      const row = (logits as Float32Array).subarray(i * vocabularySize, (i + 1) * vocabularySize);
      scored.push(scorer.score(row, ids[first + i + 1] as number, count));
    }
  }
  return scored;
}

/** Computes the finished hidden states of a text. */
async function statesOf(
  model: ModelCore,
  ids: Int32Array,
  arithmetic: Arithmetic,
  signal: AbortSignal | undefined,
): Promise<{ readonly states: Float32Array; readonly cols: number }> {
  const graph = new Graph(arithmetic);
  const input = graph.input('ids', { rows: 'tokens', cols: 1, type: 'i32' });
  const { finished } = model.build(model.builder(graph), input, ids.length);
  graph.output('states', finished);
  await using plan = new Plan(graph, { maxRows: ids.length });
  const { states } = await plan.run({ inputs: { ids }, scalars: { rows: ids.length }, signal });
  return { states: states as Float32Array, cols: finished.cols };
}
