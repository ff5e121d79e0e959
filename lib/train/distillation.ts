/** What finetuning minimises, as a graph. */

import type { Graph } from '../graph/graph';
import { crossEntropy, hiddenLoss, klDivergence } from '../graph/operations/losses';
import { weightedSum } from '../graph/operations/weighted_sum';
import type { Tensor } from '../graph/tensor';
import type { ModelCore } from '../models/model_core';

export type HiddenLoss = 'relative' | 'plain';

export interface TrainingLoss {
  /** [1, 1]. */
  readonly loss: Tensor;
  /** What the loss consists of, by the names that logs use; each [1, 1]. */
  readonly parts: Readonly<Record<string, Tensor>>;
}

/** The inputs of a loss graph, i32 [tokens, 1] each. */
export const IDS = 'ids';
export const TARGETS = 'targets';

/**
 * Distillation (paper §4.3.2): KL(teacher ‖ student) on logits, mean over tokens, + γ · mean over layers of the distance
 * of hidden states, every block's output counted, the last one after the final norm. Only the student is reached by
 * gradients.
 */
export function distillationLoss(
  graph: Graph,
  student: ModelCore,
  teacher: ModelCore,
  { gamma, hidden }: { readonly gamma: number; readonly hidden: HiddenLoss },
): TrainingLoss {
  const ids = graph.input(IDS, { rows: 'tokens', cols: 1, type: 'i32' });
  const wanted = forward(graph, teacher, ids, 'teacher');
  const got = forward(graph, student, ids, 'weights');
  const kl = klDivergence(got.logits, wanted.logits);
  if (gamma === 0) return { loss: kl, parts: { kl } };
  const distances = got.blocks.map((state, layer) => hiddenLoss(state, wanted.blocks[layer] as Tensor, hidden));
  const mean = weightedSum(distances.map((value) => ({ value, weight: 1 / distances.length })));
  const loss = weightedSum([
    { value: kl, weight: 1 },
    { value: mean, weight: gamma },
  ]);
  return { loss, parts: { kl, hidden: mean } };
}

/** Next-token cross-entropy on text, mean over the tokens that have a successor in their window. */
export function languageModelLoss(graph: Graph, student: ModelCore): TrainingLoss {
  const ids = graph.input(IDS, { rows: 'tokens', cols: 1, type: 'i32' });
  const targets = graph.input(TARGETS, { rows: 'tokens', cols: 1, type: 'i32' });
  const loss = crossEntropy(forward(graph, student, ids, 'weights').logits, targets);
  return { loss, parts: { crossEntropy: loss } };
}

function forward(graph: Graph, model: ModelCore, ids: Tensor, role: 'weights' | 'teacher') {
  const builder = model.builder(graph, { role });
  const { hiddenStates, finished } = model.build(builder, ids);
  return { blocks: hiddenStates.slice(1), logits: model.family.head(builder, finished, model.config) };
}
