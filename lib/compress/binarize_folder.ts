/** Conversion from disk to disk: one block of the dense model in memory at a time, and resumable. */

import { join } from 'node:path';
import { MbokError } from '../errors';
import { writeFile, writeFolder } from '../io/atomic';
import { type SafetensorsFile, type TensorSource, writeSafetensors } from '../io/safetensors';
import { WEIGHTS_FILE } from '../io/safetensors_shards';
import { moduleOf, type StoredSpecification, storedSpecifications } from '../models/checkpoint';
import type { ConversionReport } from '../models/conversion';
import { writeQuantization } from '../models/quantization';
import { ModelSource } from '../models/source';
import { boolean, options, throwIfAborted } from '../validate';
import { BINARIZE_KEYS, type BinarizeOptions, conversionReport, prepareTask } from './binarize';
import { type ConversionTask, convertModel } from './convert_model';
import { layerOf } from './dense_source';
import { diskSource } from './disk_source';
import { type QuantisedTables, quantiseTables } from './embeddings';
import { isConverted, storedBytes, storedTensor } from './stored_tensor';
import { fingerprint, WorkFolder, workFolderOf } from './work_folder';

/** Options of {@link binarizeFolder}. */
export interface BinarizeFolderOptions extends BinarizeOptions {
  /** Forget an unfinished conversion to the same output, instead of going on with it. Default false. */
  readonly restart?: boolean;
}

/**
 * Converts the dense model at `source` (a Hugging Face folder or a GGUF file) into a Boolean one at `output`. Weights are
 * read block by block, converted and freed, so memory holds one block in dense form. Finished blocks wait in a folder
 * `<output>.partial`: a conversion that was interrupted or killed goes on from the last of them when it is called again
 * with the same source and options, to the same bits. The output appears whole or not at all; then the folder goes.
 *
 * @returns how it went, as the output's config.json says it
 * @throws MbokError as {@link binarize} and ModelSource.open do; MBOK_INVALID_ARGUMENT where an unfinished conversion of
 * another source or with other options is in the way; MBOK_IO
 */
export async function binarizeFolder(
  source: string,
  output: string,
  given: BinarizeFolderOptions,
): Promise<ConversionReport> {
  const checked = options('options', given, [...BINARIZE_KEYS, 'restart']);
  const { signal, onProgress } = checked;
  const restart = boolean('restart', checked.restart ?? false);
  await using model = await ModelSource.open(source);
  const task = await prepareTask(convertible(model), checked);
  using dense = diskSource(model);
  const { calibration, decomposition } = task;
  const own = await fingerprint(model, decomposition, calibration);
  const work = await WorkFolder.open(workFolderOf(output), own, { restart });
  await using states = await work.states(dense, calibration, ['student', 'teacher']);
  const keep: WorkFolder['keep'] = (layer, block) => work.keep(layer, block);
  await convertModel(dense, task, { finished: work.finished, states, keep }, checked);
  throwIfAborted(signal);
  const tables = checked.embeddings === 'int8' ? await quantiseTables(dense, signal) : undefined;
  const report = await assemble(model, work, output, { ...checked, task, tables });
  await work.remove();
  onProgress?.({ done: 1, what: 'converted' });
  return report;
}

/** A model on disk as options are checked against it. */
export function convertible({ config, kernels, tokenizer, place }: ModelSource) {
  return {
    config,
    kernels,
    get tokenizer() {
      if (tokenizer !== undefined) return tokenizer;
      throw new MbokError(
        'MBOK_NO_TOKENIZER',
        `${place}: this model has no tokenizer, which calibration by text needs`,
      );
    },
  };
}

/** Writes the output from the finished blocks and, for everything else, the source: one tensor in memory at a time. */
async function assemble(
  source: ModelSource,
  work: WorkFolder,
  output: string,
  {
    task,
    tables,
    signal,
    ...options
  }: BinarizeOptions & { readonly task: ConversionTask; readonly tables: QuantisedTables | undefined },
): Promise<ConversionReport> {
  const blocks: SafetensorsFile[] = [];
  const residuals = new Map<string, number>();
  try {
    for (let layer = 0; layer < source.config.layers; layer++) {
      const { file, residuals: own } = await work.block(layer);
      blocks.push(file);
      for (const [module, residual] of Object.entries(own)) residuals.set(module, residual);
    }
    const dense = source.family.parameters(source.config);
    const modules = dense.filter(({ role }) => role === 'linear').map(({ name }) => moduleOf(name));
    const report = conversionReport(modules, residuals, options, task, tables?.errors);
    const kernels = new Map(modules.map((module) => [module, task.decomposition.kernels]));
    const json = { ...source.json, quantization_config: writeQuantization(kernels, tables && 'int8', report) };
    const choice = { kernels, int8: () => tables !== undefined };
    const tensors = storedSpecifications(dense, choice).map((specification) => {
      const { name } = specification;
      if (isConverted(name)) return convertedTensor(specification, blocks[layerOf(name) as number] as SafetensorsFile);
      const table = tables?.replaced.get(name);
      return table === undefined ? copiedTensor(specification, source) : storedTensor(name, table);
    });
    await writeFolder(output, { signal }, async (directory) => {
      await writeFile(join(directory, 'config.json'), `${JSON.stringify(json, null, 2)}\n`);
      for (const [name, content] of source.companions) await writeFile(join(directory, name), content);
      await writeSafetensors(join(directory, WEIGHTS_FILE), tensors, { format: 'pt' });
    });
    return report;
  } finally {
    for (const file of blocks) await file.close();
    for (const { matrix } of tables?.replaced.values() ?? []) matrix.dispose();
  }
}

function convertedTensor({ name, rows, cols, kernels }: StoredSpecification, file: SafetensorsFile): TensorSource {
  const bytes = () => file.read(name);
  if (kernels === undefined) return { name, dtype: 'F16', shape: [rows, cols], bytes };
  return { name, dtype: 'U8', shape: [kernels, rows / kernels, Math.ceil(cols / 8)], bytes };
}

/** A tensor that stays as it was; one that GGUF stores in a block format becomes F16. */
function copiedTensor(specification: StoredSpecification, source: ModelSource): TensorSource {
  const { name, rows, cols } = specification;
  const stored = source.weights.tensors.get(name)?.dtype;
  const dtype = stored === 'F32' || stored === 'BF16' ? stored : 'F16';
  const bytes = async () => {
    const { matrix } = await source.read(specification);
    try {
      return storedBytes({ matrix, storage: dtype });
    } finally {
      matrix.dispose();
    }
  };
  return { name, dtype, shape: rows === 1 ? [cols] : [rows, cols], bytes };
}
