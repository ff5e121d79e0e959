/** Conversion from disk to disk: one block of the dense model in memory at a time, and resumable. */

import { MbokError } from '../base/errors';
import { boolean, invalid, options } from '../base/validate';
import { linkOrCopy } from '../io/atomic';
import type { PlacedSafetensors, TensorPlace } from '../io/placed_safetensors';
import { type TensorSource, tensorBytes } from '../io/safetensors';
import { WEIGHTS_FILE } from '../io/safetensors_shards';
import type { ConversionReport } from '../models/conversion_report';
import type { ParameterSpecification } from '../models/family';
import {
  CONFIG_FILE,
  expectOutput,
  type FileContent,
  type OutputOptions,
  writeModelFolder,
} from '../models/model_folder';
import { loadedParts, type ModelPart, type ModelSlice, modelParts, moduleOf } from '../models/parts';
import { writeQuantization } from '../models/quantization';
import { ModelSource } from '../models/source';
import { type ProgressOptions, partTensor, readPart, watched } from '../models/stored_matrix';
import type { Matrix } from '../native/matrix';
import type { Formats } from '../structures/structure';
import { analysisWindows } from './allocation/allocate';
import { allocationProblem } from './allocation/budget';
import { BINARIZE_KEYS, type BinarizeOptions, prepareTask } from './binarize';
import { inputsOf } from './calibration';
import { type ConversionOutput, type ConversionSink, convert } from './convert';
import type { BlockKeeper, ConversionTask } from './convert_model';
import type { ConvertedWeights } from './converted';
import { type DenseSource, headOf, linearWeight, storageOf } from './dense_source';
import { diskSource } from './disk_source';
import type { ConversionStep } from './nested_steps';
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
 * `<output>.partial`, in the file that the output will have. A conversion that was interrupted or killed goes on from the last
 * of them when it is called again with the same source and options, to the same bits. The output appears whole or not at all;
 * then the folder goes.
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
  const restart = boolean('restart', checked.restart ?? false);
  const nested = checkNested(checked);
  await expectOutput(output, { inputs: inputsOf(source, checked), overwrite: checked.overwrite });
  await using model = await ModelSource.open(source);
  model.warn();
  const task = { ...(await prepareTask(convertible(model), checked)), nested };
  using dense = diskSource(model);
  const { calibration, decomposition, allocation } = task;
  const problem = allocationProblem(dense, allocation, task.tables);
  const conversion = { decomposition, nested, allocation: { ...allocation, kept: [...allocation.kept] } };
  const own = await fingerprint(model, conversion, calibration);
  await using work = await WorkFolder.open(workFolderOf(output), own, { restart });
  const { overwrite, signal } = checked;
  const sink = folderSink({ model, dense, calibration, work, output, overwrite, signal });
  return await convert(dense, { task, problem }, sink, checked);
}

function checkNested({ nested = false, method, kernels }: BinarizeFolderOptions): boolean {
  const possible = method === 'calibrated' && kernels !== undefined;
  if (boolean('nested', nested) && !possible) invalid('nested', "given with 'kernels' and method 'calibrated'", nested);
  return nested;
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

interface FolderConversion extends OutputOptions, Pick<ProgressOptions, 'signal'> {
  readonly model: ModelSource;
  /** Of the same model. */
  readonly dense: DenseSource;
  readonly calibration: ConversionTask['calibration'];
  readonly work: WorkFolder;
  readonly output: string;
}

/** Keeps what is converted in a work folder, in the weights of the output from the beginning. */
function folderSink(conversion: FolderConversion): ConversionSink<ConversionReport> {
  const { dense, calibration, work } = conversion;
  return {
    async linearFormats(problem, choose) {
      const earlier = await work.allocation(problem);
      if (earlier !== undefined) return earlier;
      const { settings, windows } = calibration ?? { settings: { length: 0 }, windows: [] };
      const { length } = settings;
      await using states = work.freshStates(dense, length, analysisWindows(windows, length));
      const formats = await choose(states);
      await work.keepAllocation(formats);
      return formats;
    },
    async begin(formats, steps) {
      const folders = new Map<ConversionStep, WorkFolder>();
      for (const step of steps) {
        folders.set(step, step.prefix === undefined ? work : await work.part(`prefix-${step.prefix}`));
      }
      const isBegun = [...folders.values()].some(({ finished }) => finished > 0);
      const heads = modelParts(dense.specifications, formats).map((part) => headOf(part, dense));
      return new FolderOutput({ ...conversion, formats, folders, weights: await work.weights(heads, isBegun) });
    },
  };
}

interface OutputParts extends FolderConversion {
  readonly formats: Formats;
  /** Where it is kept which blocks of each step are finished. */
  readonly folders: ReadonlyMap<ConversionStep, WorkFolder>;
  readonly weights: PlacedSafetensors;
}

/** A folder in the making. */
class FolderOutput implements ConversionOutput<ConversionReport> {
  constructor(private readonly parts: OutputParts) {}

  async keeper(step: ConversionStep): Promise<BlockKeeper> {
    const { dense, calibration, folders, weights } = this.parts;
    const { from } = step;
    const folder = folders.get(step) as WorkFolder;
    const placeOf = this.#places(step);
    return {
      finished: folder.finished,
      states: await folder.states(dense, calibration, ['student', 'teacher']),
      keep: (layer, block) => folder.keep(layer, block, { weights, placeOf }),
      earlier: from && ((_, module) => this.#weight(from, linearWeight(dense, module))),
    };
  }

  /** What a step makes of these tensors, and where the output has it. */
  #slices({ prefix }: ConversionStep, specifications: readonly ParameterSpecification[]): readonly ModelSlice[] {
    return loadedParts(specifications, this.parts.formats, prefix).slices;
  }

  /** Where a step's parts go. What the step that it begins with has made of the same tensors stays as it is. */
  #places(step: ConversionStep): (part: ModelPart) => TensorPlace {
    const { dense } = this.parts;
    const names = new Map(this.#slices(step, dense.specifications).map(({ part, from }) => [part.name, from.name]));
    const before = step.from ? this.#slices(step.from, dense.specifications) : [];
    const skips = new Map(before.map(({ part, from }) => [from.name, tensorBytes(headOf(part, dense))]));
    return (part) => {
      const name = names.get(part.name) as string;
      return { name, skip: skips.get(name) ?? 0 };
    };
  }

  /** The parts that a step has made of a weight, in the order of its structure. */
  async #weight(step: ConversionStep, owner: ParameterSpecification): Promise<readonly Matrix[]> {
    const matrices: Matrix[] = [];
    for (const slice of this.#slices(step, [owner])) {
      matrices.push((await readPart(this.parts.weights.reader, slice, 'training')).matrix);
    }
    return matrices;
  }

  async keepRest(convertLast: () => Promise<ConvertedWeights>): Promise<void> {
    const { model, dense, work, weights, formats, signal } = this.parts;
    if (work.finished > model.config.layers) return;
    const rest = await convertLast();
    const staying = modelParts(dense.specifications, formats).filter(({ owner }) => {
      const module = moduleOf(owner.name);
      return !work.residuals.has(module) && !rest.has(module);
    });
    const others = staying.map((part) => sourceTensor(part, model, dense));
    await work.keep(model.config.layers, rest, { weights, others: watched(others, { signal }) });
  }

  async finish(report: (residuals: ReadonlyMap<string, number>) => ConversionReport): Promise<ConversionReport> {
    const { model, work, weights, formats, output, overwrite, signal } = this.parts;
    const conversion = report(work.residuals);
    const json = { ...model.json, quantization_config: writeQuantization(formats, conversion) };
    await weights.close();
    const contents = new Map<string, FileContent>([
      [CONFIG_FILE, `${JSON.stringify(json, null, 2)}\n`],
      ...model.companions,
      [WEIGHTS_FILE, (path) => linkOrCopy(weights.path, path)],
    ]);
    await writeModelFolder(output, { overwrite, signal }, contents);
    await work.clear();
    return conversion;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.parts.weights.close();
  }
}

/** A tensor that stays as it was. */
function sourceTensor(part: ModelPart, source: ModelSource, dense: DenseSource): TensorSource {
  return partTensor(part, storageOf(part, dense), async () => (await source.read({ part, from: part })).matrix);
}
