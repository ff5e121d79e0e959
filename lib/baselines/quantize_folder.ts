/**
 * Published quantization methods on the same models, for comparison. They write dense folders that all of mbok can
 * read.
 */

import { boolean, options } from '../base/validate';
import { inputsOf } from '../compress/calibration';
import { type BlockConversion, type BlockKeeper, convertBlocks } from '../compress/convert_model';
import type { DenseSource } from '../compress/dense_source';
import { diskSource } from '../compress/disk_source';
import { elementBytes } from '../compress/memory_plan';
import { residualReport } from '../compress/relative_residual';
import { fingerprint, WorkFolder, workFolderOf } from '../compress/work_folder';
import { type StartToken, startTokenOf } from '../data/windows';
import { linkOrCopy } from '../io/atomic';
import { BASELINE_FILE } from '../io/model_files';
import type { TensorSource } from '../io/safetensors';
import { denseParts, putDenseFolder } from '../models/dense_folder';
import { expectOutput } from '../models/model_folder';
import { type ModelPart, moduleOf } from '../models/parts';
import { ModelSource } from '../models/source';
import { partHead, partTensor, watched } from '../models/stored_matrix';
import { multipliedOut } from '../models/widen';
import { type ColumnOrder, GPTQ_DAMPING } from './input_factor';
import { type PackedBytes, packedBytes } from './packed_bytes';
import { compensateBlock, roundBlock } from './quantize_block';
import {
  type BaselineMethod,
  type BaselineTask,
  prepareBaseline,
  QUANTIZE_KEYS,
  type QuantizeOptions,
} from './quantize_options';

/** Calibration of GPTQ, as reported. */
export interface BaselineCalibration {
  /** Number of text windows. */
  readonly windows: number;
  /** Tokens per window. */
  readonly length: number;
  /** Tokens of all windows. */
  readonly tokens: number;
  /**
   * 'auto': every window began with the tokenizer's start token; 'stream': windows were cut from the text as it is.
   */
  readonly startToken: StartToken;
  /** Precision of products with tokens. */
  readonly precision: string;
  /** Damping of H as a fraction of its mean diagonal. */
  readonly damping: number;
}

/** Report of a quantized folder: its baseline.json. */
export interface BaselineReport {
  /** Method of quantization. */
  readonly method: BaselineMethod;
  /** Bits of a weight's code. */
  readonly bits: number;
  /** Inputs that share a scale and a zero point. */
  readonly group: number;
  /** Column order of GPTQ. */
  readonly order?: ColumnOrder;
  /** Calibration of GPTQ. */
  readonly calibration?: BaselineCalibration;
  /** Mean of ‖W − Ŵ‖ / ‖W‖ over the linear modules. */
  readonly residual: number;
  /** ‖W − Ŵ‖ / ‖W‖ by module. */
  readonly residuals: Readonly<Record<string, number>>;
  /** Size of packed codes. The folder itself stores their values in f32. */
  readonly packed: PackedBytes;
}

/** GPTQ reads only the model as quantized so far. */
const SIDES = ['student'] as const;

/**
 * Quantizes the linear layers of the dense model at `source` (a Hugging Face folder or a GGUF file) by a published
 * method, for comparison. Methods are round to nearest and GPTQ (arXiv 2210.17323). Both use asymmetric min-max grids
 * of 2^bits values, one per row and group of inputs.
 *
 * `output` becomes a dense Hugging Face folder in f32 with the values of the codes, and the report in baseline.json.
 * Memory holds one block. An interrupted call continues after the last finished block, as {@link binarizeFolder} does.
 *
 * @returns the report, which includes the bytes of packed codes
 * @throws MbokError MBOK_INVALID_ARGUMENT (also for a Boolean source, GPTQ without calibration, calibration without
 * GPTQ, and an output that is or contains an input), MBOK_BUSY, MBOK_IO, MBOK_NO_TOKENIZER, MBOK_NON_FINITE for weights
 * whose scale exceeds F16, MBOK_ABORTED, MBOK_OUT_OF_MEMORY, and as ModelSource.open does
 *
 * @example
 * const calibration = { data: text };
 * const { packed } = await quantizeFolder('llama', 'llama-gptq', { method: 'gptq', bits: 3, calibration });
 */
export async function quantizeFolder(source: string, output: string, given: QuantizeOptions): Promise<BaselineReport> {
  const checked = options('options', given, QUANTIZE_KEYS);
  const restart = boolean('restart', checked.restart ?? false);
  await expectOutput(output, { inputs: inputsOf(source, checked), overwrite: checked.overwrite });
  await using model = await ModelSource.open(source, checked);
  model.warn();
  const task = await prepareBaseline(model, checked);
  const { settings, calibration } = task;
  using dense = diskSource(model);
  const expectedFingerprint = await fingerprint(model, settings, calibration);
  await using work = await WorkFolder.open(workFolderOf(output), expectedFingerprint, { restart });
  const { layers } = model.config;
  const parts = denseParts(dense.specifications);
  const heads = parts.map((part) => partHead(part, 'F32'));
  await using weights = await work.weights(heads, work.finished > 0);
  await using states = await work.states(dense, calibration, SIDES);
  const storeBlock: BlockKeeper['storeBlock'] = (layer, block) => work.storeBlock(layer, block, { weights });
  const convert: BlockConversion['convert'] = (layer, walk, blockOptions) =>
    walk === undefined
      ? roundBlock(dense, layer, settings, blockOptions)
      : compensateBlock(walk, layer, settings, blockOptions);
  const conversion = { calibration, sides: SIDES, convert };
  await convertBlocks(dense, conversion, { finished: work.finished, states, storeBlock }, checked);
  if (work.finished === layers) {
    const staying = parts.filter(({ owner }) => owner.role !== 'linear').map((part) => widenedTensor(part, dense));
    await work.storeBlock(layers, new Map(), { weights, unchanged: watched(staying, { signal: checked.signal }) });
  }
  const report = baselineReport(dense, work.residuals, task);
  await weights.close();
  const json = Buffer.from(`${JSON.stringify(report, null, 2)}\n`);
  const companions = new Map(model.companions).set(BASELINE_FILE, json);
  const contents = { type: 'F32', json: model.json, companions } as const;
  await putDenseFolder(output, contents, (path) => linkOrCopy(weights.path, path), checked);
  await work.clear();
  checked.onProgress?.({ done: 1, what: 'quantized' });
  return report;
}

/** Widens a tensor that is not quantized to f32. */
function widenedTensor(part: ModelPart, dense: DenseSource): TensorSource {
  const { owner } = part;
  return partTensor(part, 'F32', async () => {
    const { parameters, release } = await dense.borrow([owner]);
    return await multipliedOut(owner, dense.formats.get(moduleOf(owner.name)), parameters).finally(release);
  });
}

function baselineReport(
  source: DenseSource,
  residuals: ReadonlyMap<string, number>,
  { settings, calibration }: BaselineTask,
): BaselineReport {
  const { method, bits, group, order } = settings;
  const specifications = source.family.parameters(source.config);
  const modules = specifications.filter(({ role }) => role === 'linear').map(({ name }) => moduleOf(name));
  return {
    ...{ method, bits, group },
    ...(calibration && { order, calibration: describeCalibration(calibration) }),
    ...residualReport(modules, residuals),
    packed: packedBytes(specifications, (name) => elementBytes(source, name), settings),
  };
}

function describeCalibration({
  settings: { length, startId, precision },
  windows: { length: windows },
}: NonNullable<BaselineTask['calibration']>): BaselineReport['calibration'] {
  const text = { windows, length, tokens: windows * length, startToken: startTokenOf(startId) };
  return { ...text, precision, damping: GPTQ_DAMPING };
}
