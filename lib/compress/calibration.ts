/** Calibration text and settings: what a caller may give, and the windows that the text becomes. */

import { MbokError } from '../base/errors';
import { finiteNumber, integerInRange, oneOf, options, string } from '../base/validate';
import { Dataset } from '../data/dataset';
import { type TextData, toDataset } from '../data/load_dataset';
import { type StartTokenOptions, startIdFor, type TextWindow, type TokenizedModel } from '../data/windows';
import { TRAINING_PRECISIONS, type TrainingPrecision } from '../graph/arithmetic';
import type { DecoderConfig } from '../models/family';

/** Text and settings of the calibrated method. */
export interface CalibrationOptions extends StartTokenOptions {
  /** Text, whose documents are separated by `<|endoftext|>`, a dataset, or token ids. */
  readonly data: TextData;
  /** Windows to take, spread over the data; a shorter text gives fewer. Default 112. */
  readonly windows?: number;
  /** Tokens of a window, the start token included. Default 1024, or the model's limit where that is less. */
  readonly length?: number;
  /** How far each layer aims at its original outputs in spite of the errors before it, from 0 (not at all) to 1. Default ½. */
  readonly targetMix?: number;
  /**
   * How far layers whose outputs are added to the hidden states aim at the original hidden states, from 0 (not at all) to
   * 1. Default ½.
   */
  readonly residualMix?: number;
  /** Rounds of signs and scales. Default 3. */
  readonly rounds?: number;
  /** Of the products that see tokens. Default 'bf16', which falls back to 'f32' where the CPU has no bf16 products. */
  readonly precision?: TrainingPrecision;
}

/** Options with their defaults. */
export interface CheckedCalibration extends Required<Omit<CalibrationOptions, 'startToken'>> {
  /** What every window begins with; undefined: whatever the text has there. */
  readonly startId: number | undefined;
}

/** The model whose text is cut. */
interface CalibratedModel extends TokenizedModel {
  readonly config: DecoderConfig;
}

const KEYS = ['data', 'windows', 'length', 'startToken', 'targetMix', 'residualMix', 'rounds', 'precision'] as const;
// ten minutes for a model of 135 M parameters on two cores
const WINDOWS = 112;
const LENGTH = 1024;
// measured on SmolLM2-135M: within a twentieth of the best perplexity of every K, and never far from it elsewhere
const MIX = 0.5;
const ROUNDS = 3;
/** Windows lie at most this many of their lengths apart: enough for few of them to come from one document. */
const WINDOW_DISTANCE = 3;

/** Paths that a conversion reads. Throws MBOK_INVALID_ARGUMENT where the source is no path. */
export function inputsOf(
  source: string,
  { calibration }: { readonly calibration?: { readonly data: TextData } | undefined },
): readonly string[] {
  return [string('source', source), ...(calibration?.data instanceof Dataset ? calibration.data.files : [])];
}

/** Checks the options. Throws MBOK_INVALID_ARGUMENT. */
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

/** The windows of the data. Throws MBOK_INVALID_ARGUMENT where not even one fits, MBOK_NO_TOKENIZER, MBOK_ABORTED. */
export async function packCalibration(
  model: CalibratedModel,
  { data, windows, length, startId }: CheckedCalibration,
  signal: AbortSignal | undefined,
): Promise<Int32Array[]> {
  const most = (windows - 1) * WINDOW_DISTANCE + 1;
  const dataset = await toDataset('calibration.data', data, model, { maxTokens: most * length, signal });
  try {
    const shape = { window: length, startId };
    const fitting = await dataset.windows(shape, { most, signal });
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
