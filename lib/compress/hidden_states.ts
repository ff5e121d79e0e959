/** Hidden states of calibration windows on their way through a model, block by block. */

import { Graph } from '../graph/graph';
import { accumulateGram } from '../graph/operations/conversion';
import { klDivergence } from '../graph/operations/losses';
import { Plan } from '../graph/plan';
import type { Tensor } from '../graph/tensor';
import type { ModelCore } from '../models/model_core';
import { Builder, type Parameters } from '../nn/builder';
import { createMoments, disposeMoments, type InputMoments } from './input_moments';

/** Rows that one run takes: enough for efficient products, few enough for the activations of one block. */
const CHUNK_ROWS = 2048;
/** Elements of a logits matrix when two models are compared. */
const LOGITS_ELEMENTS = 2 ** 22;

/** What every step of the way needs. */
export interface Walk {
  /** The dense original. */
  readonly model: ModelCore;
  /** Tokens of a window. */
  readonly length: number;
  readonly signal: AbortSignal | undefined;
}

/** The hidden states of all windows at one place of the model, in chunks of whole windows: [rows, hidden] each. */
export type HiddenStates = readonly Float32Array[];

/** The linear modules of one block that read the same input, and the input's moments. */
export interface SharedInput {
  readonly names: readonly string[];
  readonly moments: InputMoments;
}

function windowsPerChunk({ length }: Walk): number {
  return Math.max(1, Math.floor(CHUNK_ROWS / length));
}

/** A plan for runs of one chunk. */
function chunkPlan(graph: Graph, walk: Walk): Plan {
  return new Plan(graph, { maxRows: windowsPerChunk(walk) * walk.length });
}

function hiddenInput(graph: Graph, { model }: Walk, name: string): Tensor {
  return graph.input(name, { rows: 'tokens', cols: model.config.hiddenSize });
}

function scalars({ model, length }: Walk, chunk: Float32Array): { rows: number; sequenceLength: number } {
  return { rows: chunk.length / model.config.hiddenSize, sequenceLength: length };
}

/** Embeddings, which converted and original models share. */
export async function embedWindows(walk: Walk, windows: readonly Int32Array[]): Promise<HiddenStates> {
  const { model, length, signal } = walk;
  const graph = new Graph();
  const ids = graph.input('ids', { rows: 'tokens', cols: 1, type: 'i32' });
  graph.output('states', model.family.embed(model.builder(graph), ids, model.config));
  await using plan = chunkPlan(graph, walk);
  const chunks: Float32Array[] = [];
  for (let first = 0; first < windows.length; first += windowsPerChunk(walk)) {
    const some = windows.slice(first, first + windowsPerChunk(walk));
    const rows = some.length * length;
    const inputs = {
      ids: Int32Array.from({ length: rows }, (_, i) => some[Math.floor(i / length)]?.[i % length] ?? 0),
    };
    const { states } = await plan.run({ inputs, scalars: { rows, sequenceLength: length }, signal });
    chunks.push(states as Float32Array);
  }
  return chunks;
}

/** Takes hidden states through block `layer` with the given parameters. */
export async function advance(
  walk: Walk,
  layer: number,
  parameters: Parameters,
  states: HiddenStates,
): Promise<HiddenStates> {
  const { family, config, constants } = walk.model;
  const graph = new Graph();
  const x = hiddenInput(graph, walk, 'states');
  graph.output('next', family.block(new Builder(graph, parameters), layer, x, config, constants));
  await using plan = chunkPlan(graph, walk);
  const chunks: Float32Array[] = [];
  for (const chunk of states) {
    const { next } = await plan.run({ inputs: { states: chunk }, scalars: scalars(walk, chunk), signal: walk.signal });
    chunks.push(next as Float32Array);
  }
  return chunks;
}

/**
 * Sums the input moments of every linear layer of block `layer`, none of them converted yet, over the student's hidden
 * states. With the teacher's hidden states also the cross moments, and the teacher's states are taken through the block.
 */
export async function collectMoments(
  walk: Walk,
  layer: number,
  student: HiddenStates,
  teacher: HiddenStates | undefined,
): Promise<{ shared: readonly SharedInput[]; teacher: HiddenStates | undefined }> {
  const graph = new Graph();
  const seen = blockInputs(walk, layer, hiddenInput(graph, walk, 'student'));
  const original = teacher && blockInputs(walk, layer, hiddenInput(graph, walk, 'teacher'));
  if (original !== undefined) graph.output('next', original.output);
  const shared = [...seen.modules].map(([input, names]): SharedInput => {
    const moments = createMoments(input.cols, { cross: original !== undefined });
    accumulateGram(input, input, graph.bind(moments.h, 'state'));
    const cross = original?.inputs.get(names[0] as string);
    if (cross !== undefined && moments.c !== undefined) accumulateGram(cross, input, graph.bind(moments.c, 'state'));
    return { names, moments };
  });
  try {
    await using plan = chunkPlan(graph, walk);
    const chunks: Float32Array[] = [];
    for (const [i, chunk] of student.entries()) {
      const inputs = { student: chunk, ...(teacher && { teacher: teacher[i] as Float32Array }) };
      const { next } = await plan.run({ inputs, scalars: scalars(walk, chunk), signal: walk.signal });
      if (next !== undefined) chunks.push(next);
    }
    return { shared, teacher: teacher && chunks };
  } catch (error) {
    for (const { moments } of shared) disposeMoments(moments);
    throw error;
  }
}

/** The original block on `x`: its output, each linear module's input, and the modules of each input. */
function blockInputs({ model }: Walk, layer: number, x: Tensor) {
  const inputs = new Map<string, Tensor>();
  const modules = new Map<Tensor, string[]>();
  const onLinear = (module: string, input: Tensor) => {
    inputs.set(module, input);
    modules.set(input, [...(modules.get(input) ?? []), module]);
  };
  const { family, config, constants } = model;
  const output = family.block(model.builder(x.graph, { onLinear }), layer, x, config, constants);
  return { inputs, modules, output };
}

/** Mean over all tokens of KL(teacher ‖ student) of the logits that follow from the last block's outputs. */
export async function divergence(
  walk: Walk,
  { student, teacher }: { student: HiddenStates; teacher: HiddenStates },
): Promise<number> {
  const { model, signal } = walk;
  const { family, config } = model;
  const graph = new Graph();
  const maxRows = Math.max(1, Math.floor(LOGITS_ELEMENTS / config.vocabularySize));
  const logits = (name: string) => {
    const builder = model.builder(graph);
    return family.head(builder, family.finish(builder, hiddenInput(graph, walk, name), config), config);
  };
  graph.output('loss', klDivergence(logits('student'), logits('teacher')));
  await using plan = new Plan(graph, { maxRows });
  let [sum, count] = [0, 0];
  const step = maxRows * config.hiddenSize;
  for (const [i, states] of student.entries()) {
    for (let first = 0; first < states.length; first += step) {
      const inputs = {
        student: states.subarray(first, first + step),
        teacher: (teacher[i] as Float32Array).subarray(first, first + step),
      };
      const rows = inputs.student.length / config.hiddenSize;
      const { loss } = await plan.run({ inputs, scalars: { rows }, signal });
      sum += rows * (loss?.[0] as number);
      count += rows;
    }
  }
  return sum / count;
}
