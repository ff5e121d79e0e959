/** Options of the baselines: their meanings, defaults and limits. */

import { MbokError } from '../base/errors';
import { integerInRange, invalid, oneOf, options } from '../base/validate';
import { convertible } from '../compress/binarize_folder';
import { type CalibrationOptions, checkCalibration, packCalibration } from '../compress/calibration';
import type { ConversionTask } from '../compress/convert_model';
import type { OutputOptions } from '../models/model_folder';
import { isBoolean } from '../models/parts';
import type { ModelSource } from '../models/source';
import type { ProgressOptions } from '../models/stored_matrix';
import type { GridSettings } from './grid';
import { COLUMN_ORDERS, type ColumnOrder } from './input_factor';

export const BASELINE_METHODS: readonly BaselineMethod[] = ['rtn', 'gptq'];
/** 'rtn': round to nearest; 'gptq': rounding with error compensation, calibrated on text. */
export type BaselineMethod = 'rtn' | 'gptq';

/** Limits on the bits of a code, in the range in which the methods are compared. */
export const BITS = { least: 2, most: 4 } as const;

/** Options of {@link quantizeFolder}. */
export interface QuantizeOptions extends ProgressOptions, OutputOptions {
  /** 'rtn': round to nearest, without data; 'gptq': GPTQ. */
  readonly method: BaselineMethod;
  /** Bits of a weight's code, 2 to 4. */
  readonly bits: number;
  /**
   * Inputs that share a scale and a zero point in every row. A value above the layer's inputs means all of them.
   * Default 128.
   */
  readonly group?: number;
  /** Column order of GPTQ: 'natural', or by descending H_jj (`--act-order` of its authors). Default 'descending'. */
  readonly order?: ColumnOrder;
  /** Text and settings of GPTQ, which requires them. Defaults as for `binarize`. */
  readonly calibration?: Pick<CalibrationOptions, 'data' | 'windows' | 'length' | 'startToken' | 'precision'>;
  /** Whether to discard an unfinished call for the same output instead of continuing it. Default false. */
  readonly restart?: boolean;
}

export const QUANTIZE_KEYS = [
  'method',
  'bits',
  'group',
  'order',
  'calibration',
  'overwrite',
  'restart',
  'signal',
  'onProgress',
] as const;
const CALIBRATION_KEYS = ['data', 'windows', 'length', 'startToken', 'precision'] as const;
/** Group size of the paper's section 4 ("additional tricks") and of most published files. */
const GROUP = 128;

/** Settings with which every linear layer is quantized. */
export interface BaselineSettings extends GridSettings {
  readonly method: BaselineMethod;
  /** 'natural' for round to nearest, which does not depend on the order. */
  readonly order: ColumnOrder;
}

/** Settings, and the encoded calibration text. */
export interface BaselineTask {
  readonly settings: BaselineSettings;
  readonly calibration: ConversionTask['calibration'];
}

/** Checks the options and encodes the text. Throws as {@link quantizeFolder}. */
export async function prepareBaseline(model: ModelSource, given: QuantizeOptions): Promise<BaselineTask> {
  const method = oneOf('method', given.method, BASELINE_METHODS);
  const bits = integerInRange('bits', given.bits, BITS.least, BITS.most);
  const group = integerInRange('group', given.group ?? GROUP, 1);
  if (isBoolean(model.specifications, model.formats)) {
    throw new MbokError('MBOK_INVALID_ARGUMENT', "'source' is Boolean already; quantize the dense original instead");
  }
  if (method === 'rtn') {
    if (given.order !== undefined) invalid('order', "given with method 'gptq' only", given.order);
    if (given.calibration !== undefined) invalid('calibration', "given with method 'gptq' only", given.calibration);
    return { settings: { method, bits, group, order: 'natural' }, calibration: undefined };
  }
  const order = oneOf('order', given.order ?? 'descending', COLUMN_ORDERS);
  if (given.calibration === undefined) invalid('calibration', "given with method 'gptq'", undefined);
  const calibrated = convertible(model);
  const settings = checkCalibration(calibrated, options('calibration', given.calibration, CALIBRATION_KEYS));
  const windows = await packCalibration(calibrated, settings, given.signal);
  return { settings: { method, bits, group, order }, calibration: { settings, windows } };
}
