/** A whole model, block by block, into wherever its blocks are kept. */

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
import type { DecompositionRounds } from './converter';
import type { DenseSource } from './dense_source';
import { calibrationWalk, embedWindows, type Walk } from './hidden_states';
import { DAMPING } from './input_moments';
import { COLUMN_POWER } from './kernels/calibrated_matrix';
import type { Side, StateStore } from './state_store';

/** What is to be done with every block. */
export interface ConversionTask {
  /** For the report. */
  readonly method: string;
  readonly decomposition: DecompositionRounds;
  readonly allocation: AllocationTask;
  /** Formats of embeddings and head that are converted. */
  readonly tables: Formats;
  /** Set where the first kernels, however many, are to be a model too. */
  readonly nested?: boolean | undefined;
  /** Present for the calibrated method. */
  readonly calibration: { readonly settings: CheckedCalibration; readonly windows: readonly Int32Array[] } | undefined;
}

/** Where finished blocks go. */
export interface BlockKeeper {
  /** Blocks that an earlier process has finished. */
  readonly finished: number;
  /** Where the hidden states of calibration wait until the caller disposes them; those before block `finished` are there already unless it is 0. */
  readonly states: StateStore;
  /** Parts that a module of block `layer` has from an earlier conversion, and goes on from; its caller disposes them. */
  readonly earlier?: ((layer: number, module: string) => Promise<readonly Matrix[]>) | undefined;
  /** Takes over the block's matrices. */
  keep(layer: number, block: ConvertedWeights): Promise<void>;
}

/** How the blocks of a model become others. */
export interface BlockConversion {
  /** Text that goes through the blocks as they are converted; undefined for conversions without data. */
  readonly calibration: ConversionTask['calibration'];
  /** Whose hidden states go with it. */
  readonly sides: readonly Side[];
  /** Converts block `layer` and takes the hidden states of `walk`, which calibration has, to the next. */
  convert(layer: number, walk: Walk | undefined, options: BlockOptions): Promise<ConvertedWeights>;
}

/** Converts the blocks that are not finished yet, every module that gets kernels to these. */
export async function convertModel(
  source: DenseSource,
  { decomposition, calibration }: Pick<ConversionTask, 'decomposition' | 'calibration'>,
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
        });
  await convertBlocks(source, { calibration, sides: ['student', 'teacher'], convert }, keeper, options);
}

/** Converts the blocks that are not finished yet, one after the other. */
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
  const onModule = (module: string) => {
    onProgress?.({ done: done / weights, what: module });
    done += sizes.get(module) ?? 0;
  };
  const walk = calibration && calibrationWalk(source, calibration.settings, keeper.states, signal);
  if (walk !== undefined && keeper.finished === 0) {
    await embedWindows(walk, (calibration as NonNullable<typeof calibration>).windows, sides);
  }
  for (let layer = keeper.finished; layer < layers; layer++) {
    const block = await convert(layer, walk, { signal, onModule });
    await keeper.states.sync(layer + 1);
    await keeper.keep(layer, block);
    await keeper.states.drop(layer + 1);
  }
}

function calibratedSettings(decomposition: DecompositionRounds, settings: CheckedCalibration) {
  const { targetMix, residualMix, rounds } = settings;
  return { ...decomposition, targetMix, residualMix, rounds, columnPower: COLUMN_POWER };
}

/** What a model's configuration says of its calibration. */
export function calibrationReport({ calibration }: Pick<ConversionTask, 'calibration'>): CalibrationReport | undefined {
  if (calibration === undefined) return undefined;
  const { length, startId, targetMix, residualMix, rounds, precision } = calibration.settings;
  const windows = calibration.windows.length;
  const text = { windows, length, tokens: windows * length, startToken: startTokenOf(startId) };
  return { ...text, targetMix, residualMix, rounds, damping: DAMPING, precision };
}
