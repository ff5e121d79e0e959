/** What finetuning minimizes, as a graph. */

import type { Graph, MemoryRole, Node, Tensor } from '../graph/graph';
import type { Head } from '../graph/operations/head';
import {
  type HeadLossOptions,
  headCrossEntropy,
  headDivergence,
  headKeptDivergence,
} from '../graph/operations/head_loss';
import { type HiddenLoss, hiddenLoss } from '../graph/operations/losses';
import { weightedSum } from '../graph/operations/weighted_sum';
import type { ModelCore } from '../models/model_core';

export interface TrainingLoss {
  /** [1, 1]. */
  readonly loss: Tensor;
  /** What the loss consists of, by the names that logs use; each [1, 1]. */
  readonly parts: Readonly<Record<string, Tensor>>;
}

/** A model's forward pass in a graph. */
export interface ForwardPass {
  /** Every block's output, the last one after the final norm. */
  readonly blocks: readonly Tensor[];
  /** The operations of every block, the final norm counted to the last. */
  readonly parts: readonly (readonly Node[])[];
  readonly head: Head;
}

/** The inputs of a training graph: i32 [tokens, 1] each, what a teacher's cache keeps [tokens, k + 1] and [tokens, k]. */
export const IDS = 'ids';
export const TARGETS = 'targets';
export const KEPT = 'kept';
export const KEPT_IDS = 'kept ids';

/** Emits a model's forward pass over sequences of `window` tokens; its matrices are accounted under `role`. */
export function forwardPass(
  graph: Graph,
  model: ModelCore,
  ids: Tensor,
  { role, window }: { readonly role: MemoryRole; readonly window: number },
): ForwardPass {
  const builder = model.builder(graph, { role });
  const { hiddenStates, finished } = model.build(builder, ids, window);
  const ends = hiddenStates.map((state) => graph.nodes.findIndex(({ outputs }) => outputs.includes(state)) + 1);
  const parts = ends.slice(1).map((end, layer) => graph.nodes.slice(ends[layer], end));
  return { blocks: hiddenStates.slice(1), parts, head: model.family.head(builder, finished, model.config) };
}

/**
 * Distillation (paper §4.3.2): KL(teacher ‖ student) on logits, mean over tokens, + γ · mean over layers of the distance
 * of hidden states, every block's output counted, the last one after the final norm. Only the student is reached by
 * gradients. `options.seed` must be the gradient of the whole loss.
 */
export function distillationLoss(
  student: ForwardPass,
  teacher: ForwardPass,
  { gamma, hidden, ...options }: { readonly gamma: number; readonly hidden: HiddenLoss } & HeadLossOptions,
): TrainingLoss {
  const kl = headDivergence(student.head, teacher.head, options);
  if (gamma === 0) return { loss: kl, parts: { kl } };
  const distances = student.blocks.map((state, layer) => hiddenLoss(state, teacher.blocks[layer] as Tensor, hidden));
  const mean = weightedSum(distances.map((value) => ({ value, weight: 1 / distances.length })));
  const loss = weightedSum([
    { value: kl, weight: 1 },
    { value: mean, weight: gamma },
  ]);
  return { loss, parts: { kl, hidden: mean } };
}

/** KL from what was kept of a teacher's predictions, mean over tokens. `options.seed` must be the loss's gradient. */
export function keptLoss(
  student: ForwardPass,
  kept: { readonly kept: Tensor; readonly ids: Tensor },
  options: HeadLossOptions,
): TrainingLoss {
  const kl = headKeptDivergence(student.head, kept, options);
  return { loss: kl, parts: { kl } };
}

/**
 * Cross-entropy of the given targets, mean over those that count (not −1). `options.seed` must be the loss's gradient.
 */
export function languageModelLoss(student: ForwardPass, targets: Tensor, options: HeadLossOptions): TrainingLoss {
  const loss = headCrossEntropy(student.head, targets, options);
  return { loss, parts: { crossEntropy: loss } };
}
