/** Conversion of a dense model block by block: what is known of one block is forgotten before the next. */

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
import type { CalibrationRounds, DecompositionRounds } from './converter';
import { converterOf } from './converters';
import { type BlockWeights, blockSpecifications, type DenseSource } from './dense_source';
import { advance, hiddenInput, type Walk } from './hidden_states';
import { type Aims, disposeMoments, preparedMoments, type Sides } from './input_moments';

/** What the conversion of any block needs. */
export interface BlockOptions {
  readonly signal: AbortSignal | undefined;
  /** Told each module before its turn. */
  readonly onModule: (module: string) => void;
}

/** The parts that a module was converted to before; the caller disposes them. */
export type EarlierWeight = (module: string) => Promise<readonly Matrix[]>;

/** The linear weights of block `layer`. */
function linearsOf(source: DenseSource, layer: number): readonly ParameterSpecification[] {
  return blockSpecifications(source, layer).filter(({ role }) => role === 'linear');
}

/** Converts the linear weights of block `layer` in turn; one is in memory at a time. */
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

/** Converts block `layer` without data. Modules that get no format that is converted to in order stay dense. */
export async function convertDataFree(
  source: DenseSource,
  layer: number,
  rounds: DecompositionRounds,
  formats: Formats,
  options: BlockOptions,
): Promise<ConvertedWeights> {
  return await convertLinears(source, layer, options, async (owner, weight, converted) => {
    const way = wayInOrder(owner, formats);
    if (way === undefined) return;
    const goal = { owner, format: way.format, rounds, signal: options.signal };
    converted.set(moduleOf(owner.name), await way.converter.fit(weight, goal));
  });
}

/** How a weight is converted as tokens meet it; undefined where it is not. */
function wayInOrder(owner: ParameterSpecification, formats: Formats) {
  const format = formats.get(moduleOf(owner.name));
  const converter = converterOf(format);
  return format && converter?.inOrder ? { converter, format } : undefined;
}

/** Converts the weights that wait until all others have been. Throws as the converters do, and as the source. */
export async function convertRest(
  source: DenseSource,
  formats: Formats,
  rounds: DecompositionRounds,
  signal: AbortSignal | undefined,
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
        converted.set(module, await converter.fit(weight, { owner, format, rounds, signal }));
      } finally {
        release();
      }
    }
  });
}

/** Layers of a block that share an input. */
export interface SharedInput {
  readonly layer: number;
  /** Their weights. */
  readonly owners: readonly ParameterSpecification[];
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

/** The weights of a block with what has been converted in its place. */
export function replacedIn({ parameters, formats }: BlockWeights, converted: ConvertedWeights): BlockWeights {
  const own = new Map(parameters);
  for (const [module, { matrices }] of converted) {
    own.delete(`${module}.weight`);
    for (const { part, matrix } of matrices) own.set(part.name, matrix);
  }
  return { parameters: own, formats: formatsWith(formats, converted) };
}

/**
 * Converts block `layer` by its calibration inputs (method §1; error compensation after GPTQ, arXiv 2210.17323) and takes
 * the hidden states of both sides to the next block. Modules that get no format that is converted to in order stay dense.
 * With `earlier` the signs that modules have from an earlier conversion are kept.
 */
export async function convertCalibrated(
  walk: Walk,
  layer: number,
  settings: CalibrationRounds & Aims,
  formats: Formats,
  { signal, onModule, earlier }: BlockOptions & { readonly earlier?: EarlierWeight | undefined },
): Promise<ConvertedWeights> {
  return await convertInOrder(walk, layer, async ({ owners, sides, last }, converted) => {
    const modules = owners.map(({ name }) => moduleOf(name));
    const moments = await preparedMoments(walk, { layer, modules, sides, aims: settings, advanceTeacher: last });
    try {
      for (const owner of owners) {
        const module = moduleOf(owner.name);
        onModule(module);
        throwIfAborted(signal);
        const way = wayInOrder(owner, formats);
        if (way === undefined) continue;
        await withWidened(sides.teacher.parameters.get(owner.name) as Matrix, signal, async (weight) => {
          const before = await earlier?.(module);
          try {
            const calibration = { moments, rounds: settings, earlier: before };
            const goal = { owner, format: way.format, calibration, rounds: settings, signal };
            converted.set(module, await way.converter.fit(weight, goal));
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
