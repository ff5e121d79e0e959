/** Calibration options, and the windows into which calibration text is cut. */

import { MbokError } from '../base/errors';
import { finiteNumber, integerInRange, oneOf, options, string } from '../base/validate';
import { Dataset } from '../data/dataset';
import { type TextData, toDataset } from '../data/load_dataset';
import { type StartTokenOptions, startIdFor, type TextWindow, type TokenizedModel } from '../data/windows';
import { TRAINING_PRECISIONS, type TrainingPrecision } from '../graph/arithmetic';
import type { DecoderConfig } from '../models/family';

/** Text and settings of the calibrated method. */
export interface CalibrationOptions extends StartTokenOptions {
  /** Text with `<|endoftext|>` between documents, a dataset, or token ids. */
  readonly data: TextData;
  /** Number of windows, spread evenly over the data; a short text gives fewer. Default 112. */
  readonly windows?: number;
  /** Tokens per window, the start token included. Default 1024, or the model's limit if that is smaller. */
  readonly length?: number;
  /**
   * Weight with which each layer corrects the errors of its inputs to reach its original outputs: 0 (not at all) to 1.
   * Default 0.5.
   */
  readonly targetMix?: number;
  /**
   * Weight with which layers that write to the residual stream correct it towards the original hidden states: 0 (not at
   * all) to 1. Default 0.5.
   */
  readonly residualMix?: number;
  /** Rounds of signs and scales, 1 to 100. Default 3. */
  readonly rounds?: number;
  /** Precision of products with tokens. Default 'bf16', which is 'f32' on CPUs without bf16 products. */
  readonly precision?: TrainingPrecision;
}

/** Checked options with their defaults. */
export interface CheckedCalibration extends Required<Omit<CalibrationOptions, 'startToken'>> {
  /** Token with which every window starts; undefined if windows are plain text. */
  readonly startId: number | undefined;
}

/** The model that is calibrated. */
interface CalibratedModel extends TokenizedModel {
  readonly config: DecoderConfig;
}

const KEYS = ['data', 'windows', 'length', 'startToken', 'targetMix', 'residualMix', 'rounds', 'precision'] as const;
// ten minutes for a model of 135 M parameters on two cores
const WINDOWS = 112;
const LENGTH = 1024;
// measured on SmolLM2-135M: at most 5 % above the best perplexity for every K; near the best on other models
const MIX = 0.5;
const ROUNDS = 3;
/** Maximum distance of windows, in window lengths. It is large enough that few windows come from the same document. */
const WINDOW_DISTANCE = 3;

/** Lists the paths that a conversion reads. Throws MBOK_INVALID_ARGUMENT if `source` is not a path. */
export function inputsOf(
  source: string,
  { calibration }: { readonly calibration?: { readonly data: TextData } | undefined },
): readonly string[] {
  return [string('source', source), ...(calibration?.data instanceof Dataset ? calibration.data.files : [])];
}

/** Checks the options and adds defaults. Throws MBOK_INVALID_ARGUMENT. */
export function checkCalibration(model: CalibratedModel, given: CalibrationOptions | undefined): CheckedCalibration {
  const { maxPositions } = model.config;
  const checked = options('calibration', given, KEYS);
  const { data, windows = WINDOWS, length = Math.min(LENGTH, maxPositions), rounds = ROUNDS } = checked;
  const { targetMix = MIX, residualMix = MIX, precision = 'bf16' } = checked;
  return {
    data,
    windows: integerInRange('calibration.windows', windows, 1, 2 ** 20),
    length: integerInRange('calibration.length', length, 2, maxPositions),
    startId: startIdFor(model, checked.startToken, 'calibration.startToken'),
    targetMix: finiteNumber('calibration.targetMix', targetMix, 0, 1),
    residualMix: finiteNumber('calibration.residualMix', residualMix, 0, 1),
    rounds: integerInRange('calibration.rounds', rounds, 1, 100),
    precision: oneOf('calibration.precision', precision, TRAINING_PRECISIONS),
  };
}

/**
 * Reads the calibration windows from the data. Throws MBOK_INVALID_ARGUMENT if the data is shorter than one window,
 * MBOK_NO_TOKENIZER, MBOK_ABORTED.
 */
export async function packCalibration(
  model: CalibratedModel,
  { data, windows, length, startId }: CheckedCalibration,
  signal: AbortSignal | undefined,
): Promise<Int32Array[]> {
  const maxWindows = (windows - 1) * WINDOW_DISTANCE + 1;
  const dataset = await toDataset('calibration.data', data, model, { maxTokens: maxWindows * length, signal });
  try {
    const shape = { window: length, startId };
    const fitting = await dataset.windows(shape, { most: maxWindows, signal });
    if (fitting.length === 0) {
      throw new MbokError(
        'MBOK_INVALID_ARGUMENT',
        `'calibration.data' has ${dataset.length} tokens, fewer than one window of ${length}`,
      );
    }
    const count = Math.min(windows, fitting.length);
    const distance = count > 1 ? (fitting.length - 1) / (count - 1) : 1;
    const chosen = Array.from({ length: count }, (_, i) => fitting[Math.floor(i * distance)] as TextWindow);
    return await Promise.all(chosen.map(async ({ place }) => (await dataset.window(place, shape)).ids));
  } finally {
    if (dataset !== data) await dataset.close();
  }
}
