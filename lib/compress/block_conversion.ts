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
import { type Aims, disposeMoments, preparedMoments } from './input_moments';
import { type KernelMatrices, roundScales, storedKernels } from './kernel_matrices';
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
  /** Of every module; those without an entry stay dense. */
  readonly kernels: KernelCounts;
  readonly signal: AbortSignal | undefined;
  /** Told each module before its turn. */
  readonly onModule: (module: string) => void;
}

/** The linear weights of block `layer`. */
function linearsOf(source: DenseSource, layer: number): readonly ParameterSpecification[] {
  return blockSpecifications(source, layer).filter(({ role }) => role === 'linear');
}

/** Converts block `layer` without data; one weight is in memory at a time. */
export async function convertDataFree(
  source: DenseSource,
  layer: number,
  settings: DecompositionRounds,
  { kernels, signal, onModule }: BlockOptions,
): Promise<ConvertedModules> {
  return await collectModules(async (converted) => {
    for (const specification of linearsOf(source, layer)) {
      const module = moduleOf(specification.name);
      onModule(module);
      const count = kernels.get(module);
      if (count === undefined) continue;
      throwIfAborted(signal);
      const borrowed = await source.borrow([specification]);
      try {
        const weight = borrowed.parameters.get(specification.name) as Matrix;
        const decomposition = await decompose(weight, { ...settings, kernels: count }, signal);
        keep(converted, module, decomposition, decomposition.residual);
      } finally {
        borrowed.release();
      }
    }
  });
}

/**
 * Converts block `layer` by its calibration inputs (method §1; error compensation after GPTQ, arXiv 2210.17323) and takes
 * the hidden states of both sides to the next block. Layers are converted in the order in which tokens meet them, those
 * with one input together, each on the inputs that what is converted before it gives, also within the block.
 */
export async function convertCalibrated(
  walk: Walk,
  layer: number,
  settings: CalibrationRounds & Aims,
  { kernels, signal, onModule }: BlockOptions,
): Promise<ConvertedModules> {
  const borrowed = await walk.source.borrow(blockSpecifications(walk.source, layer));
  try {
    const teacher = borrowed.parameters;
    const student = new Map(teacher);
    return await collectModules(async (converted) => {
      const graph = new Graph();
      const groups = sharedInputs(traceBlock(walk.source, layer, teacher, hiddenInput(graph, walk, 'x')));
      for (const [index, modules] of groups.entries()) {
        const advanceTeacher = index === groups.length - 1;
        const sides = { student, teacher };
        const moments = await preparedMoments(walk, { layer, modules, sides, aims: settings, advanceTeacher });
        try {
          for (const module of modules) {
            onModule(module);
            throwIfAborted(signal);
            const count = kernels.get(module);
            if (count === undefined) continue;
            const own = { ...settings, kernels: count };
            await withWidened(teacher.get(`${module}.weight`) as Matrix, signal, async (weight) => {
              const { matrices } = await calibrateMatrix(weight, { module, moments }, own, signal);
              keep(converted, module, matrices, undefined);
              converted.residuals.set(module, await relativeResidual(weight, matrices, signal));
            });
            student.delete(`${module}.weight`);
          }
        } finally {
          disposeMoments(moments);
        }
        for (const [name, { matrix }] of converted.replaced) student.set(name, matrix);
      }
      await advance(walk, layer, student);
    });
  } finally {
    borrowed.release();
  }
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

function keep(
  converted: ConvertedModules,
  module: string,
  matrices: KernelMatrices,
  residual: number | undefined,
): void {
  roundScales(matrices);
  for (const [name, stored] of storedKernels(module, matrices)) converted.replaced.set(name, stored);
  if (residual !== undefined) converted.residuals.set(module, residual);
}
