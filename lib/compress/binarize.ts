/** Conversion of a dense model to a Boolean one. */

import { MbokError } from '../errors';
import type { ProgressOptions } from '../models/checkpoint';
import type { ConversionReport } from '../models/conversion';
import { linearModules, ModelCore } from '../models/model_core';
import { MAX_KERNELS } from '../models/quantization';
import type { Matrix } from '../native/matrix';
import { integerInRange, invalid, oneOf, options, throwIfAborted } from '../validate';
import { calibrate } from './calibrate';
import { type ConvertedModules, disposeConverted } from './calibrated_conversion';
import { type CalibrationOptions, type CheckedCalibration, checkCalibration } from './calibration';
import { type DecompositionSettings, decompose, REFIT_ROUNDS, SVID_ITERATIONS } from './decompose';
import { storedKernels } from './kernel_matrices';

const METHODS = ['svid', 'refit', 'calibrated'] as const;
/** How weights become kernels; see {@link BinarizeOptions.method}. */
export type ConversionMethod = (typeof METHODS)[number];

/** Options of {@link binarize}. */
export interface BinarizeOptions extends ProgressOptions {
  /** ±1 kernels of every linear layer: bits a weight, scales apart. 1 to 8. */
  readonly kernels: number;
  /**
   * 'svid': successive extraction, needs no data; 'refit': then all kernels jointly, closer from two kernels on, needs
   * no data; 'calibrated': keeps the layers' outputs on some text, much better where little or no finetuning follows.
   * Default 'refit'.
   */
  readonly method?: ConversionMethod;
  /** Rounds of the joint refit. Default 10. */
  readonly rounds?: number;
  /** Text and settings of the calibrated method, which needs them. */
  readonly calibration?: CalibrationOptions;
}

const KEYS = ['kernels', 'method', 'rounds', 'calibration', 'signal', 'onProgress'] as const;

interface Task {
  readonly method: ConversionMethod;
  readonly decomposition: DecompositionSettings;
  readonly calibration: CheckedCalibration | undefined;
  readonly signal: AbortSignal | undefined;
  /** Told each module before its turn, and how many conversions of the whole model there will be. */
  readonly onModule: (module: string, conversions: number) => void;
}

/**
 * Converts every linear layer of a dense model to ±1 kernels with scales; embeddings, head, norms and biases stay. The
 * model itself is not changed and shares nothing with the result; one layer is worked on at a time. How it went is the
 * result's `conversion`, saved with it. Scales are rounded to the F16 that they are saved in.
 *
 * @param model - a dense model
 * @returns a Boolean model of the same class; dispose it after use
 * @throws MbokError MBOK_INVALID_ARGUMENT (also for a model that is Boolean already), MBOK_NO_TOKENIZER for calibration
 * by text, MBOK_DISPOSED, MBOK_ABORTED, MBOK_OUT_OF_MEMORY
 *
 * @example
 * const small = await binarize(model, { kernels: 2, method: 'calibrated', calibration: { data: text } });
 * console.log(small.conversion.residual);
 */
export async function binarize<T extends ModelCore>(model: T, given: BinarizeOptions): Promise<T> {
  const checked = options('options', given, KEYS);
  const task = checkTask(model, checked);
  throwIfAborted(checked.signal);
  const modules = linearModules(model);
  let turn = 0;
  const onModule = (module: string, conversions: number) =>
    checked.onProgress?.({ done: turn++ / (modules.length * conversions), what: module });
  const { converted, calibration } = await convert(model, { ...task, onModule });
  try {
    throwIfAborted(checked.signal);
    const residuals = Object.fromEntries(converted.residuals);
    const sum = Object.values(residuals).reduce((total, residual) => total + residual, 0);
    const report: ConversionReport = {
      method: task.method,
      residual: sum / modules.length,
      residuals,
      ...(calibration && { calibration }),
    };
    const kernels = new Map(modules.map(({ module }) => [module, task.decomposition.kernels]));
    const result = model.derive(converted.replaced, kernels, report);
    result.roundToStorage();
    checked.onProgress?.({ done: 1, what: 'converted' });
    return result;
  } catch (error) {
    disposeConverted(converted);
    throw error;
  }
}

function checkTask(model: ModelCore, given: BinarizeOptions): Omit<Task, 'onModule'> {
  if (!(model instanceof ModelCore)) invalid('model', 'a model', model);
  const kernels = integerInRange('kernels', given.kernels, 1, MAX_KERNELS);
  const method = oneOf('method', given.method ?? 'refit', METHODS);
  const rounds = integerInRange('rounds', given.rounds ?? REFIT_ROUNDS, 1, 1000);
  if ((method === 'calibrated') !== (given.calibration !== undefined)) {
    invalid('calibration', "given with method 'calibrated' and with no other", given.calibration);
  }
  if (model.disposed) throw new MbokError('MBOK_DISPOSED', 'this model has been disposed');
  if (model.kernels.size > 0) {
    throw new MbokError('MBOK_INVALID_ARGUMENT', "'model' is Boolean already; convert the dense original instead");
  }
  return {
    method,
    decomposition: { kernels, iterations: SVID_ITERATIONS, refitRounds: method === 'svid' ? 0 : rounds },
    calibration: method === 'calibrated' ? checkCalibration(model, given.calibration) : undefined,
    signal: given.signal,
  };
}

async function convert(
  model: ModelCore,
  { calibration, decomposition, signal, onModule }: Task,
): Promise<{ converted: ConvertedModules; calibration: ConversionReport['calibration'] }> {
  if (calibration === undefined) {
    return { converted: await convertDataFree(model, decomposition, signal, onModule), calibration };
  }
  const { modules, report } = await calibrate({ model, calibration, decomposition, signal, onModule });
  return { converted: modules, calibration: report };
}

async function convertDataFree(
  model: ModelCore,
  settings: DecompositionSettings,
  signal: AbortSignal | undefined,
  onModule: Task['onModule'],
): Promise<ConvertedModules> {
  const converted: ConvertedModules = { replaced: new Map(), residuals: new Map() };
  try {
    for (const { module } of linearModules(model)) {
      onModule(module, 1);
      const weight = model.parameters.get(`${module}.weight`) as Matrix;
      const decomposition = await decompose(weight, settings, signal);
      for (const [name, stored] of storedKernels(module, decomposition)) converted.replaced.set(name, stored);
      converted.residuals.set(module, decomposition.residual);
    }
    return converted;
  } catch (error) {
    disposeConverted(converted);
    throw error;
  }
}
