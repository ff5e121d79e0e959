/** The steps of every conversion, from a source of dense weights to a sink that builds the result. */

import { throwIfAborted } from '../base/validate';
import type { ConversionReport } from '../models/conversion_report';
import { isTable, moduleOf } from '../models/parts';
import type { ProgressOptions } from '../models/stored_matrix';
import { nestedFormats } from '../structures/kernels';
import type { Formats } from '../structures/structure';
import { analyses, chooseFormats } from './allocation/allocate';
import { isBudget } from './allocation/allocation_options';
import type { AllocationProblem } from './allocation/budget';
import { convertLastWeights } from './block_conversion';
import { type BlockKeeper, type ConversionTask, calibrationReport, convertModel } from './convert_model';
import { type ConvertedWeights, outputFormats } from './converted';
import { converterOf } from './converters';
import type { DenseSource } from './dense_source';
import { calibrationWalk } from './hidden_states';
import { type ConversionStep, nestedSteps } from './nested_steps';
import { importanceWindows, type OutputImportances, outputImportances } from './output_importances';
import { residualReport } from './relative_residual';
import type { StateStore } from './state_store';
import { withTableCalibration } from './table_calibration';

/** Destination of a conversion: memory, or disk where an earlier process may have begun it. */
export interface ConversionSink<Result> {
  /**
   * Returns the formats of the linear layers. It reuses those that an earlier process chose for the problem; otherwise
   * it calls `choose` and stores the result. `choose` writes hidden states of its windows to `states`.
   */
  linearFormats(problem: AllocationProblem, choose: (states: StateStore) => Promise<Formats>): Promise<Formats>;
  /**
   * Returns the importances of the outputs that an earlier process stored; otherwise it calls `compute` and stores the
   * result. `compute` writes hidden states of its windows to `states`.
   */
  importances(compute: (states: StateStore) => Promise<OutputImportances>): Promise<OutputImportances>;
  /** Begins a model of these formats that is converted in these steps, or resumes it. */
  begin(formats: Formats, steps: readonly ConversionStep[]): Promise<ConversionOutput<Result>>;
}

/** A model under construction. Dispose it. */
export interface ConversionOutput<Result> extends AsyncDisposable {
  /** Returns the keeper for the blocks of a step. The caller disposes its states. */
  keeper(step: ConversionStep): Promise<BlockKeeper>;
  /** Stores what `convert` returns after all blocks. Does not call `convert` if it is stored already. */
  storeLastWeights(convert: () => Promise<ConvertedWeights>): Promise<void>;
  /** Completes the result. `report` maps the residuals by module to the report to save. */
  finish(report: (residuals: ReadonlyMap<string, number>) => ConversionReport): Promise<Result>;
}

/**
 * Converts a model. Throws MBOK_ABORTED, and as the source, the sink and the converters do.
 *
 * @param problem - the task's allocation problem; built before the sink, since it may have no solution
 */
export async function convert<Result>(
  source: DenseSource,
  { task, problem }: { readonly task: ConversionTask; readonly problem: AllocationProblem },
  sink: ConversionSink<Result>,
  options: ProgressOptions,
): Promise<Result> {
  const { signal, onProgress } = options;
  const phases = analyses(problem, task) ? 2 : 1;
  const [first, second] = [phaseProgress(options, 0, phases), phaseProgress(options, phases - 1, phases)];
  const linears = await sink.linearFormats(problem, (states) => chooseFormats(source, problem, task, states, first));
  const importances = await importancesFor(source, linears, task, sink, signal);
  const formats = new Map([...linears, ...task.tables]);
  const whole = task.nested ? nestedFormats(formats) : formats;
  const steps = task.nested ? nestedSteps(source.specifications, whole) : [{ formats }];
  await using output = await sink.begin(outputFormats(source, whole), steps);
  for (const [i, step] of steps.entries()) {
    const keeper = await output.keeper(step);
    await using _ = keeper.states;
    await convertModel(source, { ...task, importances }, step.formats, keeper, phaseProgress(second, i, steps.length));
    throwIfAborted(signal);
    if (i < steps.length - 1) continue;
    await output.storeLastWeights(() =>
      withTableCalibration(source, task, keeper.states, signal, (tables) =>
        convertLastWeights(source, formats, task.decomposition, signal, tables),
      ),
    );
  }
  throwIfAborted(signal);
  const result = await output.finish((residuals) => conversionReport(source, residuals, task));
  onProgress?.({ done: 1, what: 'converted' });
  return result;
}

/** Returns the importances of the outputs if a format's converter weighs them and there is text. */
async function importancesFor<Result>(
  source: DenseSource,
  formats: Formats,
  { calibration }: ConversionTask,
  sink: ConversionSink<Result>,
  signal: AbortSignal | undefined,
): Promise<OutputImportances | undefined> {
  const weighs = [...formats.values()].some((format) => converterOf(format)?.weighsOutputs);
  if (calibration === undefined || !weighs) return undefined;
  const { settings, windows } = calibration;
  return await sink.importances(async (states) => {
    const walk = calibrationWalk(source, settings, states, signal);
    return await outputImportances(walk, importanceWindows(windows, settings.length));
  });
}

/** Maps progress from 0 to 1 to phase `index` of `count` equal phases of work. */
function phaseProgress({ signal, onProgress }: ProgressOptions, index: number, count: number): ProgressOptions {
  return { signal, onProgress: onProgress && (({ done, what }) => onProgress({ done: (index + done) / count, what })) };
}

/** Builds the report of a conversion; `residuals` are by module, in any order. */
function conversionReport(
  { specifications }: DenseSource,
  residuals: ReadonlyMap<string, number>,
  task: ConversionTask,
): ConversionReport {
  const modules = specifications.filter(({ role }) => role === 'linear').map(({ name }) => moduleOf(name));
  const inTables = specifications.filter(isTable).flatMap(({ name }) => {
    const residual = residuals.get(moduleOf(name));
    return residual === undefined ? [] : [[name, residual] as const];
  });
  const calibration = calibrationReport(task);
  const { goal, method: allocation } = task.allocation;
  return {
    method: task.method,
    ...residualReport(modules, residuals),
    ...(isBudget(goal) && { allocation: { method: allocation, ...goal } }),
    ...(calibration && { calibration }),
    ...(inTables.length > 0 && { embeddingErrors: Object.fromEntries(inTables) }),
  };
}
