/** Conversion of a dense model to a Boolean one. */

import { MbokError } from '../errors';
import type { ProgressOptions } from '../models/checkpoint';
import type { ConversionReport } from '../models/conversion';
import type { DecoderConfig } from '../models/family';
import { linearModules, ModelCore } from '../models/model_core';
import { type KernelCounts, MAX_KERNELS } from '../models/quantization';
import type { Tokenizer } from '../text/tokenizer';
import { integerInRange, invalid, oneOf, options, throwIfAborted } from '../validate';
import { type ConvertedModules, disposeConverted } from './block_conversion';
import { type CalibrationOptions, checkCalibration, packCalibration } from './calibration';
import { type ConversionTask, calibrationReport, convertModel } from './convert_model';
import { REFIT_ROUNDS, SVID_ITERATIONS } from './decompose';
import { loadedSource } from './dense_source';
import { quantiseTables } from './embeddings';
import { MemoryStateStore } from './state_store';

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
  /** Embeddings and head as they are, or in 8 bits with one scale a row; they cannot be trained then. Default 'kept'. */
  readonly embeddings?: EmbeddingChoice;
}

export const EMBEDDING_CHOICES = ['kept', 'int8'] as const;
/** What becomes of embeddings and head; see {@link BinarizeOptions.embeddings}. */
export type EmbeddingChoice = (typeof EMBEDDING_CHOICES)[number];

export const BINARIZE_KEYS = [
  'kernels',
  'method',
  'rounds',
  'calibration',
  'embeddings',
  'signal',
  'onProgress',
] as const;

/** What a conversion needs to know of a model to check and prepare its options. */
export interface ConvertibleModel {
  readonly config: DecoderConfig;
  readonly kernels: KernelCounts;
  readonly tokenizer: Tokenizer;
}

/**
 * Converts every linear layer of a dense model to ±1 kernels with scales; norms and biases stay, embeddings and head too
 * unless they are asked for in 8 bits. The
 * model itself is not changed and shares nothing with the result; one block is worked on at a time. How it went is the
 * result's `conversion`, saved with it. Scales are rounded to the F16 that they are saved in. For models that do not fit
 * in memory see {@link binarizeFolder}.
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
  const checked = options('options', given, BINARIZE_KEYS);
  if (!(model instanceof ModelCore)) invalid('model', 'a model', model);
  if (model.disposed) throw new MbokError('MBOK_DISPOSED', 'this model has been disposed');
  const { signal, onProgress } = checked;
  const task = await prepareTask(model, checked);
  const converted: ConvertedModules = { replaced: new Map(), residuals: new Map() };
  const keep = async (_: number, block: ConvertedModules) => {
    for (const [name, stored] of block.replaced) converted.replaced.set(name, stored);
    for (const [module, residual] of block.residuals) converted.residuals.set(module, residual);
  };
  let result: T | undefined;
  try {
    const source = loadedSource(model);
    await convertModel(source, task, { finished: 0, states: new MemoryStateStore(), keep }, checked);
    const tables = checked.embeddings === 'int8' ? await quantiseTables(source, signal) : undefined;
    for (const [name, stored] of tables?.replaced ?? []) converted.replaced.set(name, stored);
    throwIfAborted(signal);
    const modules = linearModules(model).map(({ module }) => module);
    const kernels = new Map(modules.map((module) => [module, task.decomposition.kernels]));
    const report = conversionReport(modules, converted.residuals, checked, task, tables?.errors);
    result = model.derive(converted.replaced, kernels, report);
    await result.arrange('tiles', signal);
    onProgress?.({ done: 1, what: 'converted' });
    return result;
  } catch (error) {
    disposeConverted(converted);
    result?.dispose();
    throw error;
  }
}

/** Checks options that name a conversion and encodes its text. Throws as {@link binarize}. */
export async function prepareTask(model: ConvertibleModel, given: BinarizeOptions): Promise<ConversionTask> {
  const kernels = integerInRange('kernels', given.kernels, 1, MAX_KERNELS);
  const method = oneOf('method', given.method ?? 'refit', METHODS);
  const rounds = integerInRange('rounds', given.rounds ?? REFIT_ROUNDS, 1, 1000);
  oneOf('embeddings', given.embeddings ?? 'kept', EMBEDDING_CHOICES);
  if ((method === 'calibrated') !== (given.calibration !== undefined)) {
    invalid('calibration', "given with method 'calibrated' and with no other", given.calibration);
  }
  if (model.kernels.size > 0) {
    throw new MbokError('MBOK_INVALID_ARGUMENT', "'model' is Boolean already; convert the dense original instead");
  }
  const decomposition = { kernels, iterations: SVID_ITERATIONS, refitRounds: method === 'svid' ? 0 : rounds };
  if (method !== 'calibrated') {
    throwIfAborted(given.signal);
    return { decomposition, calibration: undefined };
  }
  const settings = checkCalibration(model.config, given.calibration);
  const windows = await packCalibration(model, settings, given.signal);
  throwIfAborted(given.signal);
  return { decomposition, calibration: { settings, windows } };
}

/** What the result says of its conversion; `residuals` by module, in any order. */
export function conversionReport(
  modules: readonly string[],
  residuals: ReadonlyMap<string, number>,
  { method = 'refit' }: BinarizeOptions,
  task: ConversionTask,
  embeddingErrors: ReadonlyMap<string, number> | undefined,
): ConversionReport {
  const ordered = modules.map((module) => [module, residuals.get(module) as number] as const);
  const sum = ordered.reduce((total, [, residual]) => total + residual, 0);
  const calibration = calibrationReport(task);
  return {
    method,
    residual: sum / modules.length,
    residuals: Object.fromEntries(ordered),
    ...(calibration && { calibration }),
    ...(embeddingErrors && { embeddingErrors: Object.fromEntries(embeddingErrors) }),
  };
}
