/** An estimate of the memory that a conversion from disk to disk needs, before it begins. */

import { options } from '../base/validate';
import { Graph } from '../graph/graph';
import { layOutArena } from '../graph/planner';
import type { ParameterSpecification } from '../models/family';
import { isTable, isWeight, modelParts, moduleOf, partsOf } from '../models/parts';
import { ModelSource } from '../models/source';
import type { DenseStorage } from '../models/stored_matrix';
import { Matrix, Q8_BLOCK, rowBytes } from '../native/matrix';
import { booleanTableFormat } from '../structures/boolean_table';
import { ALL_DENSE } from '../structures/dense';
import type { Formats, LayerFormat } from '../structures/structure';
import { analyses, uniformAllocation } from './allocation/allocate';
import { type AllocationProblem, allocationProblem, sharesOf } from './allocation/budget';
import { nearShares } from './allocation/costs';
import { BINARIZE_KEYS, type BinarizeOptions, prepareTask, withTables } from './binarize';
import { convertible } from './binarize_folder';
import { sharedInputs, traceBlock } from './block_trace';
import { outputFormats } from './converted';
import { converterOf } from './converters';
import { blockSpecifications, bytesOfParts, type DenseSource } from './dense_source';
import { diskSource } from './disk_source';
import { isTableBudget } from './embeddings';
import { hiddenInput, windowsPerChunk } from './hidden_states';
import { USUAL_SENSITIVITY } from './table_budget';

/** The result of {@link planConversion}. */
export interface ConversionPlan {
  /** Native memory in bytes at the peak; a Node process takes about 60 MB more. */
  readonly peakBytes: number;
  /** The module or step at which the peak occurs. */
  readonly largest: string;
  /** Bytes of the output's tensors. */
  readonly outputBytes: number;
}

/** A step of the conversion, and the bytes that it needs. */
interface Moment {
  readonly what: string;
  readonly bytes: number;
}

const F32 = 4;

/**
 * Estimates the memory of a conversion without reading weights. For a budget it assumes a uniform allocation, and for each
 * layer the largest fit that the allocation 'measured' may try. Throws as `binarizeFolder` does for the same arguments.
 *
 * @example
 * const { peakBytes } = await planConversion('models/llama-7b', { kernels: 2 });
 */
export async function planConversion(source: string, given: BinarizeOptions): Promise<ConversionPlan> {
  const checked = options('options', given, BINARIZE_KEYS);
  await using model = await ModelSource.open(source);
  const prepared = await prepareTask(convertible(model), checked);
  using dense = diskSource(model);
  const task = await withTables(dense, prepared, async () => USUAL_SENSITIVITY);
  const problem = allocationProblem(dense, task.allocation, task.tables);
  const chosen = new Map([...uniformAllocation(problem), ...task.tables]);
  const formats = outputFormats(dense, chosen);
  const fits = analyses(problem, task)
    ? triedFits(problem, formats)
    : (owner: ParameterSpecification) => fitOf(owner, formats.get(moduleOf(owner.name)));
  const moments =
    task.calibration === undefined
      ? dataFreeMoments(dense, formats, fits)
      : calibratedMoments(dense, formats, fits, task.calibration.settings.length);
  const trials = task.calibration && isTableBudget(prepared.embeddings) ? [trialMoment(dense)] : [];
  const largest = [...moments, ...trials, lastMoment(dense, chosen)].reduce((peak, moment) =>
    moment.bytes > peak.bytes ? moment : peak,
  );
  return { peakBytes: largest.bytes, largest: largest.what, outputBytes: outputBytes(dense, formats) };
}

/**
 * Estimates the conversion of the last weights. All results stay in memory until they are written, next to one
 * original and its fit.
 */
function lastMoment({ specifications }: DenseSource, chosen: Formats): Moment {
  const formatOf = ({ name }: ParameterSpecification) => chosen.get(moduleOf(name));
  const isLast = (owner: ParameterSpecification) => converterOf(formatOf(owner))?.inOrder === false;
  const weights = specifications.filter((owner) => isWeight(owner) && isLast(owner));
  return {
    what: 'weights that are converted last',
    bytes:
      weights.reduce((sum, owner) => sum + memoryBytes(owner, chosen), 0) +
      Math.max(0, ...weights.map((owner) => owner.rows * owner.cols * F32 + fitOf(owner, formatOf(owner), 0))),
  };
}

/** Estimates the trial of tables, of which the last has most bytes; the trials before it are a few bits per number. */
function trialMoment(dense: DenseSource): Moment {
  const tables = dense.specifications.filter(isTable);
  const formats = new Map(tables.map(({ name }) => [moduleOf(name), booleanTableFormat(2)] as const));
  return { ...lastMoment(dense, formats), what: 'trial of Boolean embeddings' };
}

/** Bytes of a converted weight in memory, with scales in f32. */
function memoryBytes(owner: ParameterSpecification, formats: Formats): number {
  const types = { bits: 'bits', int8: 'i8', scale: 'f32', real: 'f32', marks: 'bits' } as const;
  const parts = partsOf(owner, formats.get(moduleOf(owner.name)));
  return parts.reduce((sum, { rows, cols, role }) => sum + rows * rowBytes(types[role], cols), 0);
}

/** Mean bytes per number of an unconverted tensor, by storage type. */
const ELEMENT_BYTES = { F32, F16: 2, BF16: 2, Q8: rowBytes('q8', Q8_BLOCK) / Q8_BLOCK } as const;

/** Returns the mean bytes per number of an unconverted tensor. */
export function elementBytes(dense: DenseSource, name: string): number {
  return ELEMENT_BYTES[dense.storage(name) as DenseStorage];
}

function outputBytes(dense: DenseSource, formats: Formats): number {
  return bytesOfParts(modelParts(dense.specifications, formats), dense);
}

/** Bytes of an in-order weight's result, which stays in memory until the end of its block; 0 for other weights. */
function bitBytes(owner: ParameterSpecification, formats: Formats): number {
  return converterOf(formats.get(moduleOf(owner.name)))?.inOrder ? memoryBytes(owner, formats) : 0;
}

/** Returns the bytes of the largest fit of a weight, besides the stored weight and second moments. */
type FitBytes = (owner: ParameterSpecification) => number;

/** Returns the bytes of a fit; by default those of the weight in f32, its target and its residual. */
function fitOf(
  owner: ParameterSpecification,
  format: LayerFormat | undefined,
  byDefault = 3 * owner.rows * owner.cols * F32,
): number {
  return (format && converterOf(format)?.fitBytes?.(owner, format)) ?? byDefault;
}

/** Considers every format that an analysis may try. */
function triedFits(problem: AllocationProblem, formats: Formats): FitBytes {
  const tried = new Map(
    nearShares(problem.layers, sharesOf(problem)).map(({ module, choices }) => [module, choices] as const),
  );
  return (owner) => {
    const module = moduleOf(owner.name);
    const ofChoices = (tried.get(module) ?? []).map(({ format }) => fitOf(owner, format));
    return Math.max(fitOf(owner, formats.get(module)), ...ofChoices);
  };
}

function dataFreeMoments(dense: DenseSource, formats: Formats, fitBytes: FitBytes): readonly Moment[] {
  return Array.from({ length: dense.config.layers }, (_, layer) => {
    const linears = blockSpecifications(dense, layer).filter(({ role }) => role === 'linear');
    const block = linears.reduce((sum, linear) => sum + bitBytes(linear, formats), 0);
    return linears.map((linear): Moment => {
      // the weight as stored, its f32 copy if it is not f32, and the fit, whose own copy that is
      const stored = elementBytes(dense, linear.name);
      const fit = fitBytes(linear) - (stored === F32 ? 2 : 1) * linear.rows * linear.cols * F32;
      return { what: linear.name, bytes: linear.rows * linear.cols * stored + fit + block };
    });
  }).flat();
}

/**
 * Estimates each group of layers with one input at three points: collecting moments, factorizing H, converting a
 * matrix. All blocks count as the first one, since blocks have equal shapes.
 */
function calibratedMoments(
  dense: DenseSource,
  formats: Formats,
  fitBytes: FitBytes,
  length: number,
): readonly Moment[] {
  const specifications = blockSpecifications(dense, 0);
  const linears = new Map(
    specifications.filter(({ role }) => role === 'linear').map((linear) => [moduleOf(linear.name), linear]),
  );
  const block = specifications.reduce(
    (sum, { name, rows, cols }) => sum + rows * cols * (linears.has(moduleOf(name)) ? elementBytes(dense, name) : F32),
    0,
  );
  const bits = [...linears.values()].reduce((sum, linear) => sum + bitBytes(linear, formats), 0);
  // zeroed memory that is never touched takes no physical memory
  const matrices = specifications.map(({ name, rows, cols }) => [name, new Matrix({ rows, cols })] as const);
  try {
    const graph = new Graph();
    const walk = { source: dense, length };
    const trace = traceBlock(
      walk,
      0,
      { parameters: new Map(matrices), formats: ALL_DENSE },
      hiddenInput(graph, walk, 'x'),
    );
    const rows = windowsPerChunk(walk) * length;
    // student and teacher, each with a chunk of input and output
    const activations = 2 * (layOutArena(graph, rows).bytes + 2 * rows * dense.config.hiddenSize * F32);
    return sharedInputs(trace).flatMap((modules): Moment[] => {
      const owners = modules.map((module) => linears.get(module) as ParameterSpecification);
      const n = owners[0]?.cols as number;
      const square = n * n * F32;
      const corrections = owners.reduce((sum, linear) => sum + linear.rows * n * F32, 0);
      const base = block + bits + corrections;
      const what = modules.join(', ');
      return [
        { what: `${what}: tokens`, bytes: base + square + activations },
        { what: `${what}: factor`, bytes: base + 3 * square },
        {
          what: `${what}: signs and scales`,
          bytes: base + 2 * square + Math.max(...owners.map(fitBytes)),
        },
      ];
    });
  } finally {
    for (const [, matrix] of matrices) matrix.dispose();
  }
}
