/** What each layer's kernels cost: the error that they leave in the output of the block, everything else as it was. */

import { Graph } from '../../graph/graph';
import { hiddenLoss } from '../../graph/operations/losses';
import { Plan } from '../../graph/plan';
import type { Tensor } from '../../graph/tensor';
import { withWidened } from '../../models/widen';
import type { Matrix } from '../../native/matrix';
import { Builder, type Parameters } from '../../nn/builder';
import { kernelsFormat, MAX_KERNELS } from '../../structures/kernels';
import { throwIfAborted } from '../../validate';
import { sharedInputs, traceBlock } from '../block_trace';
import { type CalibrationRounds, calibrateMatrix } from '../calibrated_matrix';
import { type BlockWeights, linearWeight } from '../dense_source';
import { hiddenInput, type Walk } from '../hidden_states';
import { disposeMoments, preparedMoments } from '../input_moments';
import { disposeKernels, placedKernels, roundScales } from '../kernel_matrices';

/** Layers are judged in the original model. */
const NO_AIMS = { targetMix: 0, residualMix: 0 };

/** What is measured of a block. */
export interface BlockErrorTask {
  readonly layer: number;
  readonly modules: ReadonlySet<string>;
  /** Numbers of kernels that are tried: 1 to `most`. */
  readonly most: number;
  readonly rounds: CalibrationRounds;
  /** Told each module before its turn. */
  readonly onModule: (module: string) => void;
}

/**
 * For every module and number of kernels the mean over tokens of ‖h' − h‖² / ‖h‖², h the block's output and h' the same
 * with this module alone as calibrated kernels. Measured on tiny-stories, its sum over layers ranks allocations better
 * than the sum of the divergences of whole models with one converted layer each, which costs a pass over all later blocks.
 *
 * The errors beyond `most` kernels go on falling as between the last two, as they nearly do.
 */
export async function measureBlockErrors(
  walk: Walk,
  parameters: Parameters,
  { layer, modules, most, rounds, onModule }: BlockErrorTask,
): Promise<Map<string, readonly number[]>> {
  const { signal } = walk;
  const errors = new Map<string, readonly number[]>();
  const { formats } = walk.source;
  const weights = { parameters, formats };
  const sides = { student: weights, teacher: weights };
  const chunk = await firstChunk(walk, layer);
  const original = await blockOutput(walk, layer, weights, chunk);
  for (const group of sharedInputs(traceBlock(walk, layer, weights, hiddenInput(new Graph(), walk, 'x')))) {
    const own = group.filter((module) => modules.has(module));
    if (own.length === 0) continue;
    const moments = await preparedMoments(walk, { layer, modules: own, sides, aims: NO_AIMS });
    try {
      for (const module of own) {
        onModule(module);
        const curve: number[] = [];
        await withWidened(parameters.get(`${module}.weight`) as Matrix, signal, async (weight) => {
          for (let kernels = 1; kernels <= most; kernels++) {
            throwIfAborted(signal);
            const { matrices } = await calibrateMatrix(weight, { module, moments }, { ...rounds, kernels }, signal);
            try {
              roundScales(module, matrices);
              const own = placedKernels(linearWeight(walk.source, module), matrices);
              const converted = {
                parameters: new Map([...parameters, ...own.map(({ part, matrix }) => [part.name, matrix] as const)]),
                formats: new Map([...formats, [module, kernelsFormat(kernels)]]),
              };
              curve.push(await relativeError(walk, layer, converted, chunk, original));
            } finally {
              disposeKernels(matrices);
            }
          }
        });
        errors.set(module, extrapolated(curve));
      }
    } finally {
      disposeMoments(moments);
    }
  }
  return errors;
}

/** The first chunk is enough tokens for a mean; in f32, as errors of many kernels are below the rounding of bf16. */
async function firstChunk(walk: Walk, layer: number) {
  const x = await walk.states.read('student', layer, 0);
  return { x, scalars: { rows: x.length / walk.source.config.hiddenSize, sequenceLength: walk.length } };
}

type Chunk = Awaited<ReturnType<typeof firstChunk>>;

function blockOf({ source, length }: Walk, layer: number, { parameters, formats }: BlockWeights, x: Tensor) {
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

function extrapolated(curve: readonly number[]): readonly number[] {
  const [before, last] = [curve.at(-2) ?? 0, curve.at(-1) as number];
  const ratio = before > 0 ? Math.min(1, last / before) : 1;
  return Array.from({ length: MAX_KERNELS }, (_, i) => curve[i] ?? last * ratio ** (i + 1 - curve.length));
}
