/** Conversion of a dense model to a Boolean one, in memory. */

import { MbokError } from '../base/errors';
import { integerInRange, invalid, oneOf, options, throwIfAborted } from '../base/validate';
import type { TokenizedModel } from '../data/windows';
import { expectModel, type Model, modelOf } from '../model';
import type { DecoderConfig, Family } from '../models/family';
import type { ModelCore } from '../models/model_core';
import { isBoolean } from '../models/parts';
import type { ProgressOptions } from '../models/stored_matrix';
import type { Formats } from '../structures/structure';
import {
  ALLOCATION_KEYS,
  type AllocationOptions,
  checkAllocation,
  expectOneSize,
} from './allocation/allocation_options';
import { allocationProblem } from './allocation/budget';
import { type CalibrationOptions, checkCalibration, packCalibration } from './calibration';
import { type ConversionSink, convert } from './convert';
import type { ConversionTask } from './convert_model';
import { type ConvertedWeights, disposeConverted, residualsOf } from './converted';
import { type DenseSource, loadedSource } from './dense_source';
import { type EmbeddingChoice, embeddingFormats, isTableBudget, type TableGoal } from './embeddings';
import { PAIR_ITERATIONS } from './factors/fit_pair';
import { REFIT_ROUNDS, SVID_ITERATIONS } from './kernels/decompose';
import { MemoryStateStore } from './state_store';
import { type TableSensitivity, USUAL_SENSITIVITY } from './table_budget';
import { countTokens } from './table_calibration';
import { tableSensitivity } from './table_sensitivity';

const METHODS: readonly ConversionMethod[] = ['svid', 'refit', 'calibrated'];
/** Method that turns weights into kernels; see {@link BinarizeOptions.method}. */
export type ConversionMethod = 'svid' | 'refit' | 'calibrated';

/** Options of {@link binarize}. */
export interface BinarizeOptions extends ProgressOptions, AllocationOptions {
  /**
   * Conversion method. Default 'refit'.
   *
   * - 'svid': successive extraction; needs no data.
   * - 'refit': successive extraction, then a joint refit of all kernels; closer from two kernels on; needs no data.
   * - 'calibrated': minimizes the error of the layers' outputs on calibration text; much better if little or no
   *   finetuning follows.
   */
  readonly method?: ConversionMethod;
  /** Rounds of the joint refit, 1 to 1000. Default 10. */
  readonly rounds?: number;
  /** Iterations of the fit of factor pairs, 1 to 1000. Default 100; 50 gain four fifths of what 400 do. */
  readonly iterations?: number;
  /** Text and settings of the 'calibrated' method; required with it and refused without it. */
  readonly calibration?: CalibrationOptions;
  /**
   * Structure of embeddings and head: that of the source ('unchanged'), 8 bits with one scale per row ('int8'), a number
   * of ±1 kernels, or `{ kernels, frequent }`: kernels, but 8 bits for the `frequent` most frequent tokens. `{ bits }`
   * and `{ size }` take the best of these with at most as many bits per number, or bytes. Numbers in 8 bits cannot be
   * trained. Default 'unchanged'. With `size` the default is 'int8', or with calibration the form with which tables and
   * linear layers together raise the loss least, by a measurement on the original model.
   */
  readonly embeddings?: EmbeddingChoice;
}

export const BINARIZE_KEYS = [
  ...ALLOCATION_KEYS,
  'method',
  'rounds',
  'iterations',
  'calibration',
  'embeddings',
  'signal',
  'onProgress',
] as const;

/** Properties of a model that are needed to check and prepare conversion options. */
export interface ConvertibleModel extends TokenizedModel {
  readonly family: Family;
  readonly config: DecoderConfig;
  readonly formats: Formats;
}

/**
 * Converts every linear layer of a dense model to ±1 kernels or factor pairs with scales. Norms and biases do not
 * change; embeddings and head change only if `embeddings` says so. Scales are rounded to F16, the type in which they
 * are saved.
 *
 * `model` is not changed and shares no memory with the result. Blocks are converted one at a time. The result's
 * `conversion` reports the residuals and is saved with the model. For models that do not fit in memory see
 * {@link binarizeFolder}.
 *
 * @param model - a dense model
 * @returns a Boolean model; dispose it after use
 * @throws MbokError MBOK_INVALID_ARGUMENT (also if the model is already Boolean), MBOK_NO_TOKENIZER for calibration by
 * text, MBOK_NON_FINITE if scales do not fit F16, MBOK_BUSY if the model is being finetuned, MBOK_DISPOSED,
 * MBOK_ABORTED, MBOK_OUT_OF_MEMORY
 *
 * @example
 * const small = await binarize(model, { kernels: 2, method: 'calibrated', calibration: { data: text } });
 * console.log(small.conversion.residual);
 */
export async function binarize(model: Model, given: BinarizeOptions = {}): Promise<Model> {
  const checked = options('options', given, BINARIZE_KEYS);
  const core = expectModel('model', model);
  expectOneSize(checked.factors);
  using _ = core.holdToRead();
  const prepared = await prepareTask(core, checked);
  const source = loadedSource(core);
  const measure = () => measuredSensitivity(source, prepared, checked);
  const task = await withTables(source, prepared, measure);
  const problem = allocationProblem(source, task.allocation, task.tables);
  return modelOf(await convert(source, { task, problem }, memorySink(core, checked.signal), checked));
}

/** Collects the converted weights in memory and builds a model from them. */
function memorySink(model: ModelCore, signal: AbortSignal | undefined): ConversionSink<ModelCore> {
  return {
    linearFormats: (_, choose) => choose(new MemoryStateStore()),
    importances: (compute) => compute(new MemoryStateStore()),
    async begin(formats) {
      const converted: ConvertedWeights = new Map();
      const add = (weights: ConvertedWeights) => {
        for (const [module, weight] of weights) converted.set(module, weight);
      };
      return {
        keeper: async () => ({
          finished: 0,
          states: new MemoryStateStore(),
          storeBlock: async (_, block) => add(block),
        }),
        storeLastWeights: async (convertLast) => add(await convertLast()),
        async finish(report) {
          const partMatrices = [...converted.values()].flatMap(({ matrices }) => matrices);
          const replaced = new Map(partMatrices.map(({ part, matrix, storage }) => [part.name, { matrix, storage }]));
          const result = model.derive(replaced, formats, report(residualsOf(converted)));
          // the result now owns the matrices
          converted.clear();
          try {
            await result.arrangeFor('inference', signal);
            return result;
          } catch (error) {
            result.dispose();
            throw error;
          }
        },
        [Symbol.asyncDispose]: async () => disposeConverted(converted),
      };
    },
  };
}

/** A checked task before the formats of embedding and head are chosen. */
export interface PreparedTask extends Omit<ConversionTask, 'tables'> {
  readonly embeddings: TableGoal;
}

/** Chooses the formats of embedding and head. `measure` is called if they depend on the model's sensitivity. */
export async function withTables(
  { specifications, config }: Pick<DenseSource, 'specifications' | 'config'>,
  prepared: PreparedTask,
  measure: () => Promise<TableSensitivity>,
): Promise<ConversionTask> {
  const { embeddings, calibration } = prepared;
  const tokenCounts = calibration && countTokens(calibration.windows, config.vocabularySize);
  const isMeasured = calibration !== undefined && isTableBudget(embeddings);
  const sensitivity = isMeasured ? await measure() : USUAL_SENSITIVITY;
  return { ...prepared, tables: embeddingFormats(embeddings, { specifications, tokenCounts, sensitivity }) };
}

/** Measures how sensitive a model is to the errors of embedding and head; the task has a calibration. */
export async function measuredSensitivity(
  source: DenseSource,
  { calibration, decomposition }: PreparedTask,
  options: ProgressOptions,
): Promise<TableSensitivity> {
  return await tableSensitivity(source, calibration as NonNullable<typeof calibration>, decomposition, options);
}

/** Checks the conversion options and encodes the calibration text. Throws as {@link binarize} does. */
export async function prepareTask(model: ConvertibleModel, given: BinarizeOptions): Promise<PreparedTask> {
  const method = oneOf('method', given.method ?? 'refit', METHODS);
  const rounds = integerInRange('rounds', given.rounds ?? REFIT_ROUNDS, 1, 1000);
  const pairIterations = integerInRange('iterations', given.iterations ?? PAIR_ITERATIONS, 1, 1000);
  const specifications = model.family.parameters(model.config);
  const linears = specifications.filter(({ role }) => role === 'linear');
  const allocation = checkAllocation(given, linears, {
    calibrated: method === 'calibrated',
    extracted: method === 'svid',
  });
  if ((method === 'calibrated') !== (given.calibration !== undefined)) {
    invalid('calibration', "given with method 'calibrated' and with no other", given.calibration);
  }
  if (isBoolean(specifications, model.formats)) {
    throw new MbokError('MBOK_INVALID_ARGUMENT', "'model' is Boolean already; convert the dense original instead");
  }
  const decomposition = { iterations: SVID_ITERATIONS, refitRounds: method === 'svid' ? 0 : rounds, pairIterations };
  const calibration = method === 'calibrated' ? await encodedCalibration(model, given) : undefined;
  throwIfAborted(given.signal);
  return { method, decomposition, allocation, embeddings: tableGoal(given), calibration };
}

function tableGoal({ embeddings, size, calibration }: BinarizeOptions): TableGoal {
  if (embeddings !== undefined || size === undefined) return embeddings ?? 'unchanged';
  return calibration === undefined ? 'int8' : { together: size };
}

async function encodedCalibration(model: ConvertibleModel, { calibration, signal }: BinarizeOptions) {
  const settings = checkCalibration(model, calibration);
  return { settings, windows: await packCalibration(model, settings, signal) };
}
