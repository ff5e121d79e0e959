/** Losses of finetuning, as graphs. */

import type { Graph, MemoryRole, Node, Tensor } from '../graph/graph';
import type { Head } from '../graph/operations/head';
import {
  type HeadLossOptions,
  headCrossEntropy,
  headDivergence,
  headStoredDivergence,
} from '../graph/operations/head_loss';
import { type HiddenLoss, hiddenLoss } from '../graph/operations/losses';
import { weightedSum } from '../graph/operations/weighted_sum';
import type { ModelCore } from '../models/model_core';

export interface TrainingLoss {
  /** Shape [1, 1]. */
  readonly loss: Tensor;
  /** Terms of the loss by the names used in logs; each [1, 1]. */
  readonly parts: Readonly<Record<string, Tensor>>;
}

/** A model's forward pass in a graph. */
export interface ForwardPass {
  /** Output of every block; that of the last after the final norm. */
  readonly blocks: readonly Tensor[];
  /** Operations of every block; the last includes the final norm. */
  readonly parts: readonly (readonly Node[])[];
  readonly head: Head;
}

/**
 * Inputs of a training graph. Ids and targets are i32 [tokens, 1]. Stored predictions of a teacher are [tokens, k + 1]
 * and their ids [tokens, k].
 */
export const IDS = 'ids';
export const TARGETS = 'targets';
export const KEPT = 'kept';
export const KEPT_IDS = 'kept ids';

/**
 * Emits a model's forward pass over sequences of `window` tokens. Its matrices count under `role` in memory reports.
 */
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
 * Emits the distillation loss (paper §4.3.2): KL(teacher ‖ student) of the logits, mean over tokens, plus γ times the
 * distance of hidden states, mean over blocks. The hidden state of the last block is taken after the final norm.
 * Gradients reach only the student. `options.seed` must be the gradient of the whole loss.
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

/** Emits the KL from a teacher's stored predictions, mean over tokens. `options.seed` must be the loss's gradient. */
export function storedLoss(
  student: ForwardPass,
  predictions: { readonly stored: Tensor; readonly ids: Tensor },
  options: HeadLossOptions,
): TrainingLoss {
  const kl = headStoredDivergence(student.head, predictions, options);
  return { loss: kl, parts: { kl } };
}

/**
 * Emits the cross-entropy of the targets, mean over those that count (not −1). `options.seed` must be the loss's
 * gradient.
 */
export function languageModelLoss(student: ForwardPass, targets: Tensor, options: HeadLossOptions): TrainingLoss {
  const loss = headCrossEntropy(student.head, targets, options);
  return { loss, parts: { crossEntropy: loss } };
}
