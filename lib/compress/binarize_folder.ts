/** Conversion from disk to disk: one block of the dense model in memory at a time, and resumable. */

import { MbokError } from '../errors';
import { type SafetensorsFile, type TensorSource, writeSafetensors } from '../io/safetensors';
import { WEIGHTS_FILE } from '../io/safetensors_shards';
import { type ProgressOptions, partTensor, WEIGHTS_METADATA } from '../models/checkpoint';
import type { ConversionReport } from '../models/conversion';
import {
  CONFIG_FILE,
  expectOutput,
  type FileContent,
  type OutputOptions,
  writeModelFolder,
} from '../models/model_folder';
import { type ModelPart, modelParts } from '../models/parts';
import { writeQuantization } from '../models/quantization';
import { ModelSource } from '../models/source';
import { nestedFormats } from '../structures/kernels';
import type { Formats, LayerFormat } from '../structures/structure';
import { boolean, invalid, options, throwIfAborted } from '../validate';
import { analyses, analysisWindows, chooseFormats } from './allocation/allocate';
import { type AllocationProblem, allocationProblem } from './allocation/budget';
import { BINARIZE_KEYS, type BinarizeOptions, conversionReport, inHalves, portion, prepareTask } from './binarize';
import { convertRest } from './block_conversion';
import { inputsOf } from './calibration';
import { type ConversionTask, convertModel } from './convert_model';
import { type ConvertedWeights, disposeConverted, outputFormats, residualsOf } from './converted';
import { type DenseSource, linearWeight } from './dense_source';
import { diskSource } from './disk_source';
import { type ConversionStep, nestedSteps, prefixTensors } from './nested_steps';
import { fingerprint, WorkFolder, workFolderOf } from './work_folder';

/** Options of {@link binarizeFolder}. */
export interface BinarizeFolderOptions extends BinarizeOptions, OutputOptions {
  /** Forget an unfinished conversion to the same output, instead of going on with it. Default false. */
  readonly restart?: boolean;
  /**
   * Make the first kernels of every layer, however many, a model of their own: `Model.load(output, { kernels })` then reads
   * so many, with scales fitted to just them. Bits are shared; the scales of all prefixes together take K (K − 1) (m + n)
   * bytes for a layer [m, n]. It takes K conversions; with `kernels` and the calibrated method only. Default false.
   */
  readonly nested?: boolean;
}

/**
 * Converts the dense model at `source` (a Hugging Face folder or a GGUF file) into a Boolean one at `output`. Weights are
 * read block by block, converted and freed, so memory holds one block in dense form. Finished blocks wait in a folder
 * `<output>.partial`: a conversion that was interrupted or killed goes on from the last of them when it is called again
 * with the same source and options, to the same bits. The output appears whole or not at all; then the folder goes.
 *
 * @returns how it went, as the output's config.json says it
 * @throws MbokError as {@link binarize} and ModelSource.open do. MBOK_INVALID_ARGUMENT where the output is the source, or
 * holds it or a text that is read. The same where an unfinished conversion of another source or with other options is in
 * the way. MBOK_BUSY where another call converts to the same output. MBOK_IO where the output holds files that are not
 * mbok's
 */
export async function binarizeFolder(
  source: string,
  output: string,
  given: BinarizeFolderOptions,
): Promise<ConversionReport> {
  const checked = options('options', given, [...BINARIZE_KEYS, 'nested', 'overwrite', 'restart']);
  const { signal, onProgress } = checked;
  const restart = boolean('restart', checked.restart ?? false);
  const nested = checkNested(checked);
  await expectOutput(output, { inputs: inputsOf(source, checked), overwrite: checked.overwrite });
  await using model = await ModelSource.open(source);
  model.warn();
  const task = await prepareTask(convertible(model), checked);
  using dense = diskSource(model);
  const problem = allocationProblem(dense, task.allocation, task.tables);
  const { calibration, decomposition, allocation } = task;
  const conversion = { decomposition, nested, allocation: { ...allocation, kept: [...allocation.kept] } };
  const own = await fingerprint(model, conversion, calibration);
  await using work = await WorkFolder.open(workFolderOf(output), own, { restart });
  const [first, second] = analyses(problem, task) ? inHalves(checked) : [checked, checked];
  const linears = (await work.allocation(problem)) ?? (await chosenFormats({ dense, work }, problem, task, first));
  const formats = new Map([...linears, ...task.tables]);
  const steps = nested ? await nestedSteps(work, dense.specifications, formats) : [{ work, formats }];
  for (const [i, step] of steps.entries()) await convertStep(dense, task, step, portion(second, i, steps.length));
  throwIfAborted(signal);
  const rest = await convertRest(dense, formats, decomposition, signal);
  const report = await assemble({ model, dense, work, steps }, output, { ...checked, task, formats, nested, rest });
  await work.clear();
  onProgress?.({ done: 1, what: 'converted' });
  return report;
}

function checkNested({ nested = false, method, kernels }: BinarizeFolderOptions): boolean {
  const possible = method === 'calibrated' && kernels !== undefined;
  if (boolean('nested', nested) && !possible) invalid('nested', "given with 'kernels' and method 'calibrated'", nested);
  return nested;
}

/** One conversion of the whole model. */
async function convertStep(
  dense: DenseSource,
  task: ConversionTask,
  { work, formats, from }: ConversionStep,
  options: ProgressOptions,
): Promise<void> {
  await using states = await work.states(dense, task.calibration, ['student', 'teacher']);
  const keep: WorkFolder['keep'] = (layer, block) => work.keep(layer, block);
  const earlier =
    from &&
    (async (layer: number, module: string) => {
      const format = from.formats.get(module) as LayerFormat;
      return await from.work.weight(layer, linearWeight(dense, module), format);
    });
  await convertModel(dense, task, formats, { finished: work.finished, states, keep, earlier }, options);
}

/** Chooses formats, for good. */
async function chosenFormats(
  { dense, work }: { readonly dense: DenseSource; readonly work: WorkFolder },
  problem: AllocationProblem,
  task: ConversionTask,
  options: ProgressOptions,
): Promise<Formats> {
  const { settings, windows } = task.calibration ?? { settings: { length: 0 }, windows: [] };
  await using states = work.freshStates(dense, settings.length, analysisWindows(windows, settings.length));
  const formats = await chooseFormats(dense, problem, task, states, options);
  await work.keepAllocation(formats);
  return formats;
}

/** A model on disk as options are checked against it. */
export function convertible({ family, config, formats, tokenizer, place }: ModelSource) {
  return {
    family,
    config,
    formats,
    hasTokenizer: tokenizer !== undefined,
    get tokenizer() {
      if (tokenizer !== undefined) return tokenizer;
      throw new MbokError(
        'MBOK_NO_TOKENIZER',
        `${place}: this model has no tokenizer, which calibration by text needs`,
      );
    },
  };
}

interface Assembly extends Pick<BinarizeFolderOptions, 'method' | 'signal' | 'overwrite'> {
  readonly task: ConversionTask;
  readonly formats: Formats;
  readonly nested: boolean;
  /** What was converted after all blocks. */
  readonly rest: ConvertedWeights;
}

interface ConvertedSource {
  readonly model: ModelSource;
  readonly dense: DenseSource;
  /** Holds the finished blocks. */
  readonly work: WorkFolder;
  /** The conversions that led there. */
  readonly steps: readonly ConversionStep[];
}

/** Writes the output from the finished blocks and, for everything else, the source: one tensor in memory at a time. */
async function assemble(
  { model, dense, work, steps }: ConvertedSource,
  output: string,
  { task, formats, nested, rest, signal, method, overwrite }: Assembly,
): Promise<ConversionReport> {
  try {
    await using blocks = await work.blocks(model.config.layers);
    const { files, residuals } = blocks;
    const report = conversionReport(dense, new Map([...residuals, ...residualsOf(rest)]), { method }, task);
    const { specifications } = dense;
    const stored = outputFormats(dense, nested ? nestedFormats(formats) : formats);
    const tensors = new Map(nested ? prefixTensors(specifications, stored, steps) : []);
    for (const { part, matrix, storage } of [...rest.values()].flatMap(({ matrices }) => matrices)) {
      tensors.set(part.name, partTensor(part, storage, matrix));
    }
    for (const file of files) for (const name of file.tensors.keys()) tensors.set(name, copiedTensor(file, name));
    const json = { ...model.json, quantization_config: writeQuantization(stored, report) };
    const all = modelParts(specifications, stored).map(
      (part) => tensors.get(part.name) ?? sourceTensor(part, model, dense),
    );
    const contents = new Map<string, FileContent>([
      [CONFIG_FILE, `${JSON.stringify(json, null, 2)}\n`],
      ...model.companions,
      [WEIGHTS_FILE, (path) => writeSafetensors(path, all, WEIGHTS_METADATA)],
    ]);
    await writeModelFolder(output, { signal, overwrite }, contents);
    return report;
  } finally {
    disposeConverted(rest);
  }
}

/** A tensor of a finished block. */
function copiedTensor(file: SafetensorsFile, name: string): TensorSource {
  return { ...file.entry(name), bytes: () => file.read(name) };
}

/** A tensor that stays as it was. */
function sourceTensor(part: ModelPart, source: ModelSource, dense: DenseSource): TensorSource {
  const storage = part.type ?? dense.storage(part.name);
  return partTensor(part, storage, async () => (await source.read({ part, from: part })).matrix);
}
