/** Conversion of a dense model block by block. One block is in memory at a time. */

import { isDeepStrictEqual } from 'node:util';
import { throwIfAborted } from '../base/validate';
import { Graph } from '../graph/graph';
import type { ParameterSpecification } from '../models/family';
import { isWeight, moduleOf } from '../models/parts';
import { withWidened } from '../models/widen';
import type { Matrix } from '../native/matrix';
import type { Formats } from '../structures/structure';
import { sharedInputs, traceBlock } from './block_trace';
import { type ConvertedWeights, collected, formatsWith } from './converted';
import type { CalibrationRounds, FitRounds } from './converter';
import { converterOf } from './converters';
import { type BlockWeights, blockSpecifications, type DenseSource } from './dense_source';
import { advance, hiddenInput, type Walk } from './hidden_states';
import { type Aims, disposeMoments, type PreparedMoments, preparedMoments, type Sides } from './input_moments';
import type { OutputImportances } from './output_importances';

/** Options for the conversion of a block. */
export interface BlockOptions {
  readonly signal: AbortSignal | undefined;
  /** Called with each module before it is converted. */
  readonly onModule: (module: string) => void;
  /** Called with the state of a long fit of the module. */
  readonly onDetail?: ((what: string) => void) | undefined;
}

/** Reads the parts of a module from an earlier conversion; the caller disposes them. */
export type EarlierWeight = (module: string) => Promise<readonly Matrix[]>;

/** Lists the linear weights of block `layer`. */
function linearsOf(source: DenseSource, layer: number): readonly ParameterSpecification[] {
  return blockSpecifications(source, layer).filter(({ role }) => role === 'linear');
}

/** Calls `convert` for each linear weight of block `layer`. One weight is in memory at a time. */
export async function convertLinears(
  source: DenseSource,
  layer: number,
  { signal, onModule }: BlockOptions,
  convert: (owner: ParameterSpecification, weight: Matrix, converted: ConvertedWeights) => Promise<void>,
): Promise<ConvertedWeights> {
  return await collected(async (converted) => {
    for (const owner of linearsOf(source, layer)) {
      onModule(moduleOf(owner.name));
      throwIfAborted(signal);
      const borrowed = await source.borrow([owner]);
      try {
        await convert(owner, borrowed.parameters.get(owner.name) as Matrix, converted);
      } finally {
        borrowed.release();
      }
    }
  });
}

/** Converts block `layer` without data. Modules stay dense if `formats` has no in-order format for them. */
export async function convertDataFree(
  source: DenseSource,
  layer: number,
  rounds: FitRounds,
  formats: Formats,
  options: BlockOptions,
): Promise<ConvertedWeights> {
  return await convertLinears(source, layer, options, async (owner, weight, converted) => {
    const choice = inOrderConverter(owner, formats);
    if (choice === undefined) return;
    const { signal, onDetail } = options;
    const goal = { owner, format: choice.format, rounds, signal, onDetail };
    converted.set(moduleOf(owner.name), await choice.converter.fit(weight, goal));
  });
}

/** Returns converter and format if the weight is converted in order; otherwise undefined. */
function inOrderConverter(owner: ParameterSpecification, formats: Formats) {
  const format = formats.get(moduleOf(owner.name));
  const converter = converterOf(format);
  return format && converter?.inOrder ? { converter, format } : undefined;
}

/** What a calibration text says about the tables. */
export interface TableCalibration {
  /** Occurrences of every token in the text. */
  readonly tokenCounts: Float64Array;
  /** Moments of the head's inputs. */
  readonly moments: PreparedMoments;
  readonly rounds: CalibrationRounds;
}

/**
 * Converts the weights whose converters do not work in order. The head is calibrated, also if it is the embedding; an
 * embedding of its own is not. Throws as the converters and the source do.
 */
export async function convertLastWeights(
  source: DenseSource,
  formats: Formats,
  rounds: FitRounds,
  signal: AbortSignal | undefined,
  tables?: TableCalibration,
): Promise<ConvertedWeights> {
  return await collected(async (converted) => {
    for (const owner of source.specifications.filter(isWeight)) {
      const module = moduleOf(owner.name);
      const format = formats.get(module);
      const converter = converterOf(format);
      const isAlready = isDeepStrictEqual(format, source.formats.get(module));
      if (format === undefined || converter === undefined || converter.inOrder || isAlready) continue;
      const { parameters, release } = await source.borrow([owner]);
      try {
        const weight = parameters.get(owner.name) as Matrix;
        const isHead = owner.role === 'head' || (owner.role === 'embedding' && source.config.tied);
        const calibration = isHead ? tables : undefined;
        const { tokenCounts } = tables ?? {};
        converted.set(module, await converter.fit(weight, { owner, format, calibration, rounds, tokenCounts, signal }));
      } finally {
        release();
      }
    }
  });
}

/** Linear layers of a block that have the same input. */
export interface SharedInput {
  readonly layer: number;
  /** Their weights. */
  readonly owners: readonly ParameterSpecification[];
  readonly sides: Sides;
  /** Whether these are the last linear layers of the block. */
  readonly last: boolean;
}

/**
 * Converts the linear layers of block `layer` in the order in which tokens meet them; layers with one input are
 * converted together. Their calibration inputs come from the layers converted before them, also within the block.
 * `convert` adds to `converted`, whose matrices then replace the dense weights. Finally computes the student's hidden
 * states before the next block.
 */
export async function convertInOrder(
  walk: Walk,
  layer: number,
  convert: (shared: SharedInput, converted: ConvertedWeights) => Promise<void>,
): Promise<ConvertedWeights> {
  const borrowed = await walk.source.borrow(blockSpecifications(walk.source, layer));
  try {
    const teacher: BlockWeights = { parameters: borrowed.parameters, formats: walk.source.formats };
    const linears = new Map(linearsOf(walk.source, layer).map((owner) => [moduleOf(owner.name), owner]));
    return await collected(async (converted) => {
      const graph = new Graph();
      const groups = sharedInputs(traceBlock(walk, layer, teacher, hiddenInput(graph, walk, 'x')));
      let student = teacher;
      for (const [index, modules] of groups.entries()) {
        const owners = modules.map((module) => linears.get(module) as ParameterSpecification);
        await convert({ layer, owners, sides: { student, teacher }, last: index === groups.length - 1 }, converted);
        student = replacedIn(teacher, converted);
      }
      await advance(walk, layer, student);
    });
  } finally {
    borrowed.release();
  }
}

/** Replaces the weights of a block that have been converted. */
export function replacedIn({ parameters, formats }: BlockWeights, converted: ConvertedWeights): BlockWeights {
  const replaced = new Map(parameters);
  for (const [module, { matrices }] of converted) {
    replaced.delete(`${module}.weight`);
    for (const { part, matrix } of matrices) replaced.set(part.name, matrix);
  }
  return { parameters: replaced, formats: formatsWith(formats, converted) };
}

/** What a calibrated conversion of a block may use besides its inputs. */
export interface CalibratedBlock {
  readonly earlier?: EarlierWeight | undefined;
  readonly importances?: OutputImportances | undefined;
}

/**
 * Converts block `layer` on its calibration inputs (input_moments.ts, kernels/calibrated_matrix.ts). Also computes the
 * hidden states of both sides before the next block. Modules stay dense if `formats` has no in-order format for them.
 * With `earlier`, modules keep the signs of that earlier conversion.
 */
export async function convertCalibrated(
  walk: Walk,
  layer: number,
  settings: CalibrationRounds & FitRounds & Aims,
  formats: Formats,
  { signal, onModule, onDetail, earlier, importances }: BlockOptions & CalibratedBlock,
): Promise<ConvertedWeights> {
  return await convertInOrder(walk, layer, async ({ owners, sides, last }, converted) => {
    const modules = owners.map(({ name }) => moduleOf(name));
    const moments = await preparedMoments(walk, { layer, modules, sides, aims: settings, advanceTeacher: last });
    try {
      for (const owner of owners) {
        const module = moduleOf(owner.name);
        onModule(module);
        throwIfAborted(signal);
        const choice = inOrderConverter(owner, formats);
        if (choice === undefined) continue;
        await withWidened(sides.teacher.parameters.get(owner.name) as Matrix, signal, async (weight) => {
          const before = await earlier?.(module);
          try {
            const calibration = { moments, rounds: settings, earlier: before, importances: importances?.get(module) };
            const goal = { owner, format: choice.format, calibration, rounds: settings, signal, onDetail };
            converted.set(module, await choice.converter.fit(weight, goal));
          } finally {
            for (const matrix of before ?? []) matrix.dispose();
          }
        });
      }
    } finally {
      disposeMoments(moments);
    }
  });
}
