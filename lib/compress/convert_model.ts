/** Conversion of all blocks of a model in order, into a keeper that stores them. */

import { startTokenOf } from '../data/windows';
import type { CalibrationReport } from '../models/conversion_report';
import { moduleOf } from '../models/parts';
import type { ProgressOptions } from '../models/stored_matrix';
import type { Matrix } from '../native/matrix';
import type { Formats } from '../structures/structure';
import type { AllocationTask } from './allocation/allocation_options';
import { type BlockOptions, convertCalibrated, convertDataFree } from './block_conversion';
import type { CheckedCalibration } from './calibration';
import type { ConvertedWeights } from './converted';
import type { FitRounds } from './converter';
import { DAMPING } from './damping';
import type { DenseSource } from './dense_source';
import { calibrationWalk, embedWindows, type Walk } from './hidden_states';
import { COLUMN_POWER } from './kernels/calibrated_matrix';
import type { OutputImportances } from './output_importances';
import type { Side, StateStore } from './state_store';

/** Settings of a conversion. */
export interface ConversionTask {
  /** Name of the method for the report. */
  readonly method: string;
  readonly decomposition: FitRounds;
  readonly allocation: AllocationTask;
  /** Formats of the embeddings and the head, if they are converted. */
  readonly tables: Formats;
  /** Whether every prefix of the kernels or the ranks is to be a model too. */
  readonly nested?: boolean | undefined;
  /** Present for the calibrated method. */
  readonly calibration: { readonly settings: CheckedCalibration; readonly windows: readonly Int32Array[] } | undefined;
}

/** The part of a task that blocks read, and the importances of their outputs. */
export interface BlocksTask extends Pick<ConversionTask, 'decomposition' | 'calibration'> {
  readonly importances?: OutputImportances | undefined;
}

/** Storage for finished blocks. */
export interface BlockKeeper {
  /** Number of blocks that an earlier process has finished. */
  readonly finished: number;
  /**
   * Hidden states of the calibration; the caller disposes them. If `finished` is not 0, those before block `finished`
   * are present.
   */
  readonly states: StateStore;
  /**
   * Reads the parts of a module of block `layer` from the earlier conversion that this one extends; the caller disposes
   * them.
   */
  readonly earlier?: ((layer: number, module: string) => Promise<readonly Matrix[]>) | undefined;
  /** Stores the matrices of a block and takes ownership of them. */
  storeBlock(layer: number, block: ConvertedWeights): Promise<void>;
}

/** A procedure that converts the blocks of a model. */
export interface BlockConversion {
  /** Calibration text that runs through the blocks as they are converted; undefined without data. */
  readonly calibration: ConversionTask['calibration'];
  /** Sides whose hidden states are computed. */
  readonly sides: readonly Side[];
  /**
   * Converts block `layer` and computes the hidden states before the next block. `walk` is defined if there is a
   * calibration.
   */
  convert(layer: number, walk: Walk | undefined, options: BlockOptions): Promise<ConvertedWeights>;
}

/**
 * Converts the blocks that are not finished yet. Each module gets its format in `formats`; modules without one stay
 * dense.
 */
export async function convertModel(
  source: DenseSource,
  { decomposition, calibration, importances }: BlocksTask,
  formats: Formats,
  keeper: BlockKeeper,
  options: ProgressOptions,
): Promise<void> {
  const { earlier } = keeper;
  const convert: BlockConversion['convert'] = (layer, walk, blockOptions) =>
    walk === undefined || calibration === undefined
      ? convertDataFree(source, layer, decomposition, formats, blockOptions)
      : convertCalibrated(walk, layer, calibratedSettings(decomposition, calibration.settings), formats, {
          ...blockOptions,
          earlier: earlier && ((module) => earlier(layer, module)),
          importances,
        });
  await convertBlocks(source, { calibration, sides: ['student', 'teacher'], convert }, keeper, options);
}

/** Converts the blocks that are not finished yet, in order. */
export async function convertBlocks(
  source: DenseSource,
  { calibration, sides, convert }: BlockConversion,
  keeper: BlockKeeper,
  { signal, onProgress }: ProgressOptions,
): Promise<void> {
  const modules = source.specifications.filter(({ role }) => role === 'linear');
  const weights = modules.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const sizes = new Map(modules.map(({ name, rows, cols }) => [moduleOf(name), rows * cols]));
  const { layers } = source.config;
  let done = (weights * keeper.finished) / layers;
  let current = done;
  const onDetail = (what: string) => onProgress?.({ done: current / weights, what });
  const onModule = (module: string) => {
    current = done;
    onDetail(module);
    done += sizes.get(module) ?? 0;
  };
  const walk = calibration && calibrationWalk(source, calibration.settings, keeper.states, signal);
  if (walk !== undefined && keeper.finished === 0) {
    await embedWindows(walk, calibration as NonNullable<typeof calibration>, sides);
  }
  for (let layer = keeper.finished; layer < layers; layer++) {
    const block = await convert(layer, walk, { signal, onModule, onDetail });
    await keeper.states.sync(layer + 1);
    await keeper.storeBlock(layer, block);
    await keeper.states.drop(layer + 1);
  }
}

/** Returns the rounds and corrections of a calibrated conversion. */
export function calibratedSettings(decomposition: FitRounds, settings: CheckedCalibration) {
  const { targetMix, residualMix, rounds } = settings;
  return { ...decomposition, targetMix, residualMix, rounds, columnPower: COLUMN_POWER };
}

/** Describes the calibration for the model's configuration. */
export function calibrationReport({ calibration }: Pick<ConversionTask, 'calibration'>): CalibrationReport | undefined {
  if (calibration === undefined) return undefined;
  const { length, startId, targetMix, residualMix, rounds, precision } = calibration.settings;
  const windows = calibration.windows.length;
  const text = { windows, length, tokens: windows * length, startToken: startTokenOf(startId) };
  return { ...text, targetMix, residualMix, rounds, damping: DAMPING, precision };
}
