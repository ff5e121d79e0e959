/**
 * The costs of the 'measured' allocation: the error that each format of a layer causes in the output of its block.
 *
 * For module l in format F the cost is the mean over tokens of ‖h' − h‖² / ‖h‖². h is the output of the original block.
 * h' is the output with only this module converted to F, calibrated. The sum over layers is the objective of the
 * allocation.
 *
 * On tiny-stories this sum ranks allocations better than the divergences of whole models with one converted layer each.
 * It is also cheaper: those need a pass through all later blocks.
 */

import { throwIfAborted } from '../../base/validate';
import { Graph, type Tensor } from '../../graph/graph';
import { hiddenLoss } from '../../graph/operations/losses';
import { Plan } from '../../graph/plan';
import { withWidened } from '../../models/widen';
import type { Matrix } from '../../native/matrix';
import { Builder, type Parameters } from '../../nn/builder';
import type { LayerFormat } from '../../structures/structure';
import { replacedIn } from '../block_conversion';
import { sharedInputs, traceBlock } from '../block_trace';
import { type ConvertedWeights, disposeConverted } from '../converted';
import type { CalibrationRounds, FitRounds, WeightConverter } from '../converter';
import { converterOf } from '../converters';
import { type BlockWeights, linearWeight } from '../dense_source';
import { hiddenInput, type Walk } from '../hidden_states';
import { disposeMoments, preparedMoments } from '../input_moments';

/** Correction weights: none, since layers are measured in the original model. */
const NO_AIMS = { targetMix: 0, residualMix: 0 };

/** Arguments of {@link measureBlockErrors}. */
export interface BlockErrorTask {
  readonly layer: number;
  /** Formats to try, by module. */
  readonly tried: ReadonlyMap<string, readonly LayerFormat[]>;
  readonly rounds: CalibrationRounds & FitRounds;
  /** Called with each module before it is measured. */
  readonly onModule: (module: string) => void;
}

/**
 * Measures, for every module, the relative error of the block's output with each of its formats. The calibration uses
 * all windows, the error the first chunk.
 */
export async function measureBlockErrors(
  walk: Walk,
  parameters: Parameters,
  { layer, tried, rounds, onModule }: BlockErrorTask,
): Promise<Map<string, ReadonlyMap<LayerFormat, number>>> {
  const { source, signal } = walk;
  const errors = new Map<string, ReadonlyMap<LayerFormat, number>>();
  const original: BlockWeights = { parameters, formats: source.formats };
  const sides = { student: original, teacher: original };
  const chunk = await firstChunk(walk, layer);
  const expected = await blockOutput(walk, layer, original, chunk);
  for (const group of sharedInputs(traceBlock(walk, layer, original, hiddenInput(new Graph(), walk, 'x')))) {
    const modules = group.filter((module) => tried.has(module));
    if (modules.length === 0) continue;
    const moments = await preparedMoments(walk, { layer, modules, sides, aims: NO_AIMS });
    try {
      for (const module of modules) {
        onModule(module);
        const owner = linearWeight(source, module);
        const costs = new Map<LayerFormat, number>();
        await withWidened(parameters.get(owner.name) as Matrix, signal, async (weight) => {
          for (const format of tried.get(module) as readonly LayerFormat[]) {
            throwIfAborted(signal);
            const converter = converterOf(format) as WeightConverter;
            const goal = { owner, format, calibration: { moments, rounds }, rounds, signal };
            const converted: ConvertedWeights = new Map([[module, await converter.fit(weight, goal)]]);
            try {
              costs.set(format, await relativeError(walk, layer, replacedIn(original, converted), chunk, expected));
            } finally {
              disposeConverted(converted);
            }
          }
        });
        errors.set(module, costs);
      }
    } finally {
      disposeMoments(moments);
    }
  }
  return errors;
}

/**
 * Reads the first chunk, which has enough tokens for a mean. Errors are computed in f32: with many kernels they are
 * below bf16's rounding.
 */
async function firstChunk(walk: Walk, layer: number) {
  const x = await walk.states.read('student', layer, 0);
  return { x, scalars: { rows: x.length / walk.source.config.hiddenSize, sequenceLength: walk.length } };
}

type Chunk = Awaited<ReturnType<typeof firstChunk>>;

function blockOf({ source, length }: Walk, layer: number, { parameters, formats }: BlockWeights, x: Tensor): Tensor {
  const builder = new Builder(x.graph, parameters, { formats });
  return source.family.block(builder, layer, x, source.config, source.constants(length));
}

async function blockOutput(
  walk: Walk,
  layer: number,
  weights: BlockWeights,
  { x, scalars }: Chunk,
): Promise<Float32Array> {
  const graph = new Graph();
  graph.output('output', blockOf(walk, layer, weights, hiddenInput(graph, walk, 'x')));
  await using plan = new Plan(graph, { maxRows: scalars.rows });
  const { output } = await plan.run({ inputs: { x }, scalars, signal: walk.signal });
  return (output as Float32Array).slice();
}

async function relativeError(
  walk: Walk,
  layer: number,
  weights: BlockWeights,
  { x, scalars }: Chunk,
  original: Float32Array,
): Promise<number> {
  const graph = new Graph();
  const output = blockOf(walk, layer, weights, hiddenInput(graph, walk, 'x'));
  graph.output('error', hiddenLoss(output, hiddenInput(graph, walk, 'original'), 'relative'));
  await using plan = new Plan(graph, { maxRows: scalars.rows });
  const { error } = await plan.run({ inputs: { x, original }, scalars, signal: walk.signal });
  return error?.[0] as number;
}
