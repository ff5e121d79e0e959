/**
 * Conversion from disk to disk, one block of the dense model in memory at a time. An interrupted conversion can be
 * resumed.
 */

import { MbokError } from '../base/errors';
import { boolean, invalid, options } from '../base/validate';
import { linkOrCopy } from '../io/atomic';
import { CONFIG_FILE } from '../io/model_files';
import type { PlacedSafetensors } from '../io/placed_safetensors';
import { type TensorSource, tensorBytes } from '../io/safetensors';
import { WEIGHTS_FILE } from '../io/safetensors_shards';
import type { ConversionReport } from '../models/conversion_report';
import type { ParameterSpecification } from '../models/family';
import { expectOutput, type FileContent, type OutputOptions, writeModelFolder } from '../models/model_folder';
import { inFile, loadedParts, type ModelPart, type ModelSlice, modelParts, moduleOf } from '../models/parts';
import { writeQuantization } from '../models/quantization';
import { ModelSource } from '../models/source';
import { type ProgressOptions, partTensor, readPart, watched } from '../models/stored_matrix';
import type { Matrix } from '../native/matrix';
import type { Formats } from '../structures/structure';
import { analysisWindows } from './allocation/allocate';
import { expectOneSize } from './allocation/allocation_options';
import { allocationProblem } from './allocation/budget';
import { BINARIZE_KEYS, type BinarizeOptions, measuredSensitivity, prepareTask, withTables } from './binarize';
import { inputsOf } from './calibration';
import { type ConversionOutput, type ConversionSink, convert } from './convert';
import type { BlockKeeper, ConversionTask } from './convert_model';
import type { ConvertedWeights } from './converted';
import { type DenseSource, headOf, linearWeight, storageOf } from './dense_source';
import { diskSource } from './disk_source';
import type { ConversionStep } from './nested_steps';
import { importanceWindows } from './output_importances';
import { USUAL_SENSITIVITY } from './table_budget';
import { fingerprint, type PartTarget, WorkFolder, workFolderOf } from './work_folder';

/** Options of {@link binarizeFolder}. */
export interface BinarizeFolderOptions extends BinarizeOptions, OutputOptions {
  /** Discard an unfinished conversion to the same output instead of resuming it. Default false. */
  readonly restart?: boolean;
  /**
   * Fit scales for every prefix of the kernels as well. Then `Model.load(output, { kernels: k })` reads the first k
   * kernels with scales fitted to them alone. All prefixes share the bits. The scales of the prefixes shorter than K
   * take K (K − 1) (m + n) bytes per layer [m, n]. The conversion takes K passes over the model. Requires method
   * 'calibrated' and `kernels`, or a list as `factors`: then `{ kernels: k }` reads factor pairs of the k-th smallest
   * size, and the scales of a smaller pair of rank r take 2 (m + n + r) bytes. Default false.
   */
  readonly nested?: boolean;
}

/**
 * Converts the dense model at `source` (a Hugging Face folder or a GGUF file) to a Boolean model at `output`. Weights
 * are read, converted and freed block by block, so memory holds one dense block.
 *
 * Finished blocks are written to `<output>.partial`, into the file that becomes the output's. After an interruption, a
 * call with the same source and options resumes after the last finished block. The result is the same to the bit. The
 * output appears only when it is complete; then `<output>.partial` is removed.
 *
 * @returns the report that the output's config.json contains
 * @throws MbokError as {@link binarize} and ModelSource.open do. MBOK_INVALID_ARGUMENT if the output is the source, or
 * contains it or a text that is read. MBOK_INVALID_ARGUMENT if `<output>.partial` belongs to another source or other
 * options. MBOK_BUSY if another call converts to the same output. MBOK_IO if the output contains files that mbok did
 * not write, unless `overwrite` is set
 */
export async function binarizeFolder(
  source: string,
  output: string,
  given: BinarizeFolderOptions = {},
): Promise<ConversionReport> {
  const checked = options('options', given, [...BINARIZE_KEYS, 'nested', 'overwrite', 'restart']);
  const restart = boolean('restart', checked.restart ?? false);
  const nested = checkNested(checked);
  await expectOutput(output, { inputs: inputsOf(source, checked), overwrite: checked.overwrite });
  await using model = await ModelSource.open(source, checked);
  model.warn();
  const prepared = { ...(await prepareTask(convertible(model), checked)), nested };
  using dense = diskSource(model);
  const { calibration, decomposition, allocation, embeddings } = prepared;
  // a budget that cannot be met is refused before anything is written or measured
  const usual = await withTables(dense, prepared, async () => USUAL_SENSITIVITY);
  allocationProblem(dense, allocation, usual.tables);
  const { goal, method, fixedFormats } = allocation;
  const kept = [...fixedFormats];
  const conversion = { decomposition, nested, allocation: { goal, method, kept }, embeddings };
  const expectedFingerprint = await fingerprint(model, conversion, calibration);
  await using work = await WorkFolder.open(workFolderOf(output), expectedFingerprint, { restart });
  const { overwrite, signal } = checked;
  const task = await withTables(dense, prepared, async () => {
    const earlier = await work.sensitivity();
    if (earlier !== undefined) return earlier;
    const sensitivity = await measuredSensitivity(dense, prepared, checked);
    await work.storeSensitivity(sensitivity);
    return sensitivity;
  });
  const problem = allocationProblem(dense, allocation, task.tables);
  const sink = folderSink({ model, dense, calibration, work, output, overwrite, signal });
  return await convert(dense, { task, problem }, sink, checked);
}

function checkNested({ nested = false, method, kernels, factors }: BinarizeFolderOptions): boolean {
  if (!boolean('nested', nested)) expectOneSize(factors);
  else if (method !== 'calibrated' || (kernels === undefined && !Array.isArray(factors))) {
    invalid('nested', "given with method 'calibrated', and with 'kernels' or a list of 'factors'", nested);
  }
  return nested;
}

/** Presents a model on disk as option checks expect it. */
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
  /** The weights of `model`. */
  readonly dense: DenseSource;
  readonly calibration: ConversionTask['calibration'];
  readonly work: WorkFolder;
  readonly output: string;
}

/** Writes the converted weights to a work folder, directly into the output's weights file. */
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
      await work.storeAllocation(formats);
      return formats;
    },
    async importances(compute) {
      const earlier = await work.importances();
      if (earlier !== undefined) return earlier;
      const { settings, windows } = calibration as NonNullable<typeof calibration>;
      await using states = work.freshStates(dense, settings.length, importanceWindows(windows, settings.length));
      const importances = await compute(states);
      await work.storeImportances(importances);
      return importances;
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
  /** The work folder that records the finished blocks of each step. */
  readonly folders: ReadonlyMap<ConversionStep, WorkFolder>;
  readonly weights: PlacedSafetensors;
}

/** An output folder under construction. */
class FolderOutput implements ConversionOutput<ConversionReport> {
  constructor(private readonly parts: OutputParts) {}

  async keeper(step: ConversionStep): Promise<BlockKeeper> {
    const { dense, calibration, folders, weights } = this.parts;
    const { from } = step;
    const folder = folders.get(step) as WorkFolder;
    const targetOf = this.#targets(step);
    return {
      finished: folder.finished,
      states: await folder.states(dense, calibration, ['student', 'teacher']),
      storeBlock: (layer, block) => folder.storeBlock(layer, block, { weights, targetOf }),
      earlier: from && ((_, module) => this.#weight(from, linearWeight(dense, module))),
    };
  }

  /** Lists what a step produces for these tensors, and the range of the output's tensors where each goes. */
  #slices({ prefix }: ConversionStep, specifications: readonly ParameterSpecification[]): readonly ModelSlice[] {
    return loadedParts(specifications, this.parts.formats, prefix).slices;
  }

  /** Maps each part of a step to its place in the output. Bytes that the preceding step already wrote are skipped. */
  #targets(step: ConversionStep): (part: ModelPart) => PartTarget {
    const { dense } = this.parts;
    const targets = new Map(this.#slices(step, dense.specifications).map((slice) => [slice.part.name, inFile(slice)]));
    const before = step.from ? this.#slices(step.from, dense.specifications).map(inFile) : [];
    const skips = new Map(before.map((part) => [part.name, tensorBytes(headOf(part, dense))]));
    return ({ name }) => {
      const part = targets.get(name) as ModelPart;
      return { part, skip: skips.get(part.name) ?? 0 };
    };
  }

  /** Reads the parts that a step produced for a weight, in the order of its structure. */
  async #weight(step: ConversionStep, owner: ParameterSpecification): Promise<readonly Matrix[]> {
    const matrices: Matrix[] = [];
    for (const slice of this.#slices(step, [owner])) {
      matrices.push((await readPart(this.parts.weights.reader, slice, 'training')).matrix);
    }
    return matrices;
  }

  async storeLastWeights(convertLast: () => Promise<ConvertedWeights>): Promise<void> {
    const { model, dense, work, weights, formats, signal } = this.parts;
    if (work.finished > model.config.layers) return;
    const lastWeights = await convertLast();
    const unchangedParts = modelParts(dense.specifications, formats).filter(({ owner }) => {
      const module = moduleOf(owner.name);
      return !work.residuals.has(module) && !lastWeights.has(module);
    });
    const unchanged = unchangedParts.map((part) => sourceTensor(part, model, dense));
    await work.storeBlock(model.config.layers, lastWeights, { weights, unchanged: watched(unchanged, { signal }) });
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

/** Copies a tensor of the source unchanged. */
function sourceTensor(part: ModelPart, source: ModelSource, dense: DenseSource): TensorSource {
  return partTensor(part, storageOf(part, dense), async () => (await source.read({ part, from: part })).matrix);
}
