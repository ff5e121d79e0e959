/** Conversion of a dense model block by block: what is known of one block is forgotten before the next. */

import { Graph } from '../graph/graph';
import { moduleOf, type StoredMatrix } from '../models/checkpoint';
import type { ParameterSpecification } from '../models/family';
import type { KernelCounts } from '../models/quantization';
import { withWidened } from '../models/widen';
import type { Matrix } from '../native/matrix';
import { throwIfAborted } from '../validate';
import { sharedInputs, traceBlock } from './block_trace';
import { type CalibrationRounds, calibrateMatrix } from './calibrated_matrix';
import { type DecompositionRounds, decompose } from './decompose';
import { blockSpecifications, type DenseSource } from './dense_source';
import { advance, hiddenInput, type Walk } from './hidden_states';
import { type Aims, disposeMoments, preparedMoments, type Sides } from './input_moments';
import { disposeKernels, type KernelMatrices, roundScales, storedKernels } from './kernel_matrices';
import { calibrateFrom } from './nested_matrix';
import { relativeResidual } from './residual';

/** Converted modules; whoever receives them owns the matrices. */
export interface ConvertedModules {
  /** Matrices by name, as a model stores them. */
  readonly replaced: Map<string, StoredMatrix>;
  /** ‖W − Ŵ‖ / ‖W‖ by module. */
  readonly residuals: Map<string, number>;
}

export function disposeConverted({ replaced }: ConvertedModules): void {
  for (const { matrix } of replaced.values()) matrix.dispose();
}

/** What the conversion of any block needs. */
export interface BlockOptions {
  readonly signal: AbortSignal | undefined;
  /** Told each module before its turn. */
  readonly onModule: (module: string) => void;
}

/** What a module was converted to before; the caller disposes it. */
export type EarlierKernels = (module: string) => Promise<KernelMatrices>;

/** The linear weights of block `layer`. */
function linearsOf(source: DenseSource, layer: number): readonly ParameterSpecification[] {
  return blockSpecifications(source, layer).filter(({ role }) => role === 'linear');
}

/** Converts the linear weights of block `layer` in turn; one is in memory at a time. */
export async function convertLinears(
  source: DenseSource,
  layer: number,
  { signal, onModule }: BlockOptions,
  convert: (module: string, weight: Matrix, converted: ConvertedModules) => Promise<void>,
): Promise<ConvertedModules> {
  return await collectModules(async (converted) => {
    for (const specification of linearsOf(source, layer)) {
      const module = moduleOf(specification.name);
      onModule(module);
      throwIfAborted(signal);
      const borrowed = await source.borrow([specification]);
      try {
        await convert(module, borrowed.parameters.get(specification.name) as Matrix, converted);
      } finally {
        borrowed.release();
      }
    }
  });
}

/** Converts block `layer` without data. Modules that have no number of kernels stay dense. */
export async function convertDataFree(
  source: DenseSource,
  layer: number,
  settings: DecompositionRounds,
  kernels: KernelCounts,
  options: BlockOptions,
): Promise<ConvertedModules> {
  return await convertLinears(source, layer, options, async (module, weight, converted) => {
    const count = kernels.get(module);
    if (count === undefined) return;
    const decomposition = await decompose(weight, { ...settings, kernels: count }, options.signal);
    await keep(converted, module, weight, decomposition, options.signal);
  });
}

/** Layers of a block that share an input. */
export interface SharedInput {
  readonly layer: number;
  readonly modules: readonly string[];
  readonly sides: Sides;
  /** Whether no layers of the block follow. */
  readonly last: boolean;
}

/**
 * Converts the linear layers of block `layer` in the order in which tokens meet them, those with one input together, each
 * on the inputs that what is converted before it gives, also within the block; and takes the student's hidden states to
 * the next block. `convert` adds to `converted`, whose matrices take the place of the weights.
 */
export async function convertInOrder(
  walk: Walk,
  layer: number,
  convert: (shared: SharedInput, converted: ConvertedModules) => Promise<void>,
): Promise<ConvertedModules> {
  const borrowed = await walk.source.borrow(blockSpecifications(walk.source, layer));
  try {
    const teacher = borrowed.parameters;
    const student = new Map(teacher);
    return await collectModules(async (converted) => {
      const graph = new Graph();
      const groups = sharedInputs(traceBlock(walk, layer, teacher, hiddenInput(graph, walk, 'x')));
      for (const [index, modules] of groups.entries()) {
        await convert({ layer, modules, sides: { student, teacher }, last: index === groups.length - 1 }, converted);
        for (const module of converted.residuals.keys()) student.delete(`${module}.weight`);
        for (const [name, { matrix }] of converted.replaced) student.set(name, matrix);
      }
      await advance(walk, layer, student);
    });
  } finally {
    borrowed.release();
  }
}

/**
 * Converts block `layer` by its calibration inputs (method §1; error compensation after GPTQ, arXiv 2210.17323) and takes
 * the hidden states of both sides to the next block. Modules that have no number of kernels stay dense. With `earlier` the
 * signs that modules have from an earlier conversion are kept.
 */
export async function convertCalibrated(
  walk: Walk,
  layer: number,
  settings: CalibrationRounds & Aims,
  kernels: KernelCounts,
  { signal, onModule, earlier }: BlockOptions & { readonly earlier?: EarlierKernels | undefined },
): Promise<ConvertedModules> {
  return await convertInOrder(walk, layer, async ({ modules, sides, last }, converted) => {
    const moments = await preparedMoments(walk, { layer, modules, sides, aims: settings, advanceTeacher: last });
    try {
      for (const module of modules) {
        onModule(module);
        throwIfAborted(signal);
        const count = kernels.get(module);
        if (count === undefined) continue;
        const own = { ...settings, kernels: count };
        await withWidened(sides.teacher.get(`${module}.weight`) as Matrix, signal, async (weight) => {
          const given = await earlier?.(module);
          const { matrices } =
            given === undefined
              ? await calibrateMatrix(weight, { module, moments }, own, signal)
              : await calibrateFrom(given, weight, { module, moments }, own, signal).finally(() =>
                  disposeKernels(given),
                );
          await keep(converted, module, weight, matrices, signal);
        });
      }
    } finally {
      disposeMoments(moments);
    }
  });
}

async function collectModules(convert: (converted: ConvertedModules) => Promise<void>): Promise<ConvertedModules> {
  const converted: ConvertedModules = { replaced: new Map(), residuals: new Map() };
  try {
    await convert(converted);
    return converted;
  } catch (error) {
    disposeConverted(converted);
    throw error;
  }
}

/** Adds a module's kernels to `converted`, with scales as they are saved and the residual that these leave of `weight`. */
async function keep(
  converted: ConvertedModules,
  module: string,
  weight: Matrix,
  matrices: KernelMatrices,
  signal: AbortSignal | undefined,
): Promise<void> {
  // first of all, so that they are freed where what follows fails
  for (const [name, stored] of storedKernels(module, matrices)) converted.replaced.set(name, stored);
  roundScales(module, matrices);
  converted.residuals.set(module, await relativeResidual(weight, matrices, signal));
}
