/** Storage of a model's files, read from their headers only. */

import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { options, string } from '../base/validate';
import type { FileSize } from '../hub/pull';
import { isReference } from '../hub/reference';
import { hubSettings } from '../hub/settings';
import { ioFailure } from '../io/failure';
import { ifPresent } from '../io/files';
import { COMPANIONS, CONFIG_FILE, MARKER_FILE } from '../io/model_files';
import type { WeightEntry } from '../io/weight_reader';
import { DENSE } from '../structures/dense';
import { INT8 } from '../structures/int8';
import { isKernels } from '../structures/kernels';
import type { LayerFormat } from '../structures/structure';
import type { ConversionReport } from './conversion_report';
import { layerBytes, type ModelPart, moduleOf, moduleOfTensor } from './parts';
import { openRemote } from './remote_source';
import { ModelSource } from './source';
import { loadedBytes } from './stored_matrix';
import type { UnreadModule } from './unread';

/** One linear layer in the files of a model. */
export interface LayerInspection {
  /** Name of the module, such as 'model.layers.0.mlp.up_proj'. */
  readonly module: string;
  /** Outputs. */
  readonly rows: number;
  /** Inputs. */
  readonly cols: number;
  /** Format of the weight. */
  readonly format: LayerFormat;
  /** Number of ±1 kernels; 0 if there are none. */
  readonly kernels: number;
  /** Whether the weight has 8 bits with a scale per row. */
  readonly int8: boolean;
  /** ‖W − Ŵ‖ / ‖W‖ at conversion; undefined for a dense layer. */
  readonly residual: number | undefined;
  /** Bytes of all tensors of the layer: kernels and scales, or the weight, and the bias. */
  readonly bytes: number;
  /** bytes · 8 / (rows · cols). */
  readonly bitsPerWeight: number;
}

const PARTS: readonly PartOfFile[] = [
  'kernels',
  'scales',
  'dense',
  'biases',
  'embeddings',
  'head',
  'norms',
  'tokenizer',
  'other',
];
/**
 * Purpose of bytes. Linear layers have 'kernels' with their 'scales', 'dense' weights and 'biases'. 'embeddings'
 * includes learned positions and projections, and 'norms' includes other biases. 'tokenizer' counts files beside the
 * weights. A GGUF file has its tokenizer in its metadata, which counts as 'other', like headers and configuration.
 */
export type PartOfFile =
  | 'kernels'
  | 'scales'
  | 'dense'
  | 'biases'
  | 'embeddings'
  | 'head'
  | 'norms'
  | 'tokenizer'
  | 'other';

/** What {@link inspect} returns: sizes of a model and of its files. */
export interface ModelInspection {
  /** Name of the model family, such as 'llama'. */
  readonly family: string;
  /** Number of elements of the dense architecture's tensors. */
  readonly parameters: number;
  /** Number of weights of the linear layers. */
  readonly linearWeights: number;
  /** Strict: every stored byte of the linear layers · 8 / number of their weights. */
  readonly bitsPerWeight: number;
  /** Every byte of the model, tokenizer included, · 8 / number of its parameters. */
  readonly bitsPerParameter: number;
  /** Bytes of the weight files. */
  readonly bytes: number;
  /** Bytes of the linear layers. */
  readonly linearBytes: number;
  /** Bytes of all files by purpose. */
  readonly parts: Readonly<Record<PartOfFile, number>>;
  /** Structure of embeddings and head; undefined for real numbers. */
  readonly embeddings: string | undefined;
  /** Formats of embeddings and head that are not real numbers, by tensor name. */
  readonly tables: Readonly<Record<string, LayerFormat>>;
  /** Bytes of the scales that belong only to prefixes of kernels or pairs; undefined without nesting. */
  readonly prefixBytes: number | undefined;
  /** The linear layers, in the order of the checkpoint. */
  readonly layers: readonly LayerInspection[];
  /** Modules in the file that the model does not use. */
  readonly unread: readonly UnreadModule[];
  /** Notes about the files for the user. */
  readonly notes: readonly string[];
  /** Report of the conversion; undefined for a dense model. */
  readonly conversion: ConversionReport | undefined;
  /** Native memory in bytes of the loaded weights. */
  readonly loadedBytes: number;
  /** Bytes of weights that a token reads when it is decoded: the linear layers and the head. */
  readonly decodedBytes: number;
  /** Maximum tokens of a sequence. */
  readonly maxPositions: number;
  /** Bytes of keys and values per token of context, in 16 bits; f32 products double them. */
  readonly cacheBytesPerToken: number;
  /** What a download would fetch; undefined for a model on the disk. */
  readonly download: DownloadSize | undefined;
}

/** Size of a download. */
export interface DownloadSize {
  /** Name of the model, as `pullModel` takes it. */
  readonly name: string;
  /** Hash of the commit. */
  readonly commit: string;
  /** Names and sizes of the files. */
  readonly files: readonly FileSize[];
  /** Bytes of all files. */
  readonly bytes: number;
  /** Bytes of the files that are in the cache already. */
  readonly cachedBytes: number;
}

/**
 * Describes a Hugging Face folder or a GGUF file: layers, formats, bytes and bits per weight. Reads headers and
 * configuration only, so it takes no time whatever the size. Of a model at the hub it reads these by ranges, without
 * downloading the files, unless HF_HUB_OFFLINE is set.
 *
 * @param path - a model, dense or Boolean, as {@link Model.load} takes it
 * @param given - `signal`: aborts the call, which then throws MBOK_ABORTED
 * @throws MbokError what {@link pullModel} throws for a name at the hub; MBOK_INVALID_ARGUMENT, MBOK_IO, MBOK_FORMAT,
 *   MBOK_UNSUPPORTED, and MBOK_SHAPE if a tensor is missing or differs from the configuration
 *
 * @example
 * const { bitsPerWeight, layers } = await inspect('small');
 */
export async function inspect(
  path: string,
  given: { readonly signal?: AbortSignal | undefined } = {},
): Promise<ModelInspection> {
  const { signal } = options('options', given, ['signal']);
  if (isReference(string('path', path)) && !hubSettings().offline) return await inspectRemote(path, signal);
  await using source = await ModelSource.open(path, { signal });
  if (source.place === source.weights.path) return measure(source, { tokenizer: 0, other: 0 });
  const marker = join(dirname(source.place), MARKER_FILE);
  return measure(source, {
    tokenizer: sum([...source.companions.values()].map(({ length }) => length)),
    other: (await fileBytes(source.place)) + ((await ifPresent(fileBytes(marker))) ?? 0),
  });
}

async function inspectRemote(name: string, signal: AbortSignal | undefined): Promise<ModelInspection> {
  const { source: opened, remote, files } = await openRemote(name, signal);
  await using source = opened;
  const bytesOfFiles = (isCounted: (name: string) => boolean) =>
    sum(files.filter((file) => isCounted(basename(file.name))).map(({ size }) => size));
  const isOther = (file: string) => [CONFIG_FILE, MARKER_FILE].includes(file);
  const small = { tokenizer: bytesOfFiles((file) => COMPANIONS.includes(file)), other: bytesOfFiles(isOther) };
  return measure(source, small, {
    name: remote.name,
    commit: remote.commit,
    files: files.map(({ name: file, size }) => ({ name: file, bytes: size })),
    bytes: sum(files.map(({ size }) => size)),
    cachedBytes: await remote.cachedBytes(files),
  });
}

/** Describes an open model; `small`: bytes of the files beside the weights. */
function measure(
  source: ModelSource,
  small: { readonly tokenizer: number; readonly other: number },
  download?: DownloadSize,
): ModelInspection {
  const { family, config, specifications: dense, formats, conversion, weights } = source;
  const modules = new Map(
    dense.filter(({ role }) => role === 'linear').map((specification) => [moduleOf(specification.name), specification]),
  );
  const parts = Object.fromEntries(PARTS.map((part) => [part, 0])) as Record<PartOfFile, number>;
  for (const part of source.parts) parts[partOf(part, modules.has(moduleOfTensor(part.name)))] += bytesOf(source, part);
  const prefixes = source.parts.filter(({ ofPrefix }) => ofPrefix);
  const used = sum(Object.values(parts));
  parts.tokenizer = small.tokenizer;
  parts.other = weights.byteLength - used + small.other;
  const bytesByModule = layerBytes(source.parts, (part) => bytesOf(source, part));
  const layers = [...modules].map(([module, { rows, cols }]): LayerInspection => {
    const bytes = bytesByModule.get(module) as number;
    const residual = conversion?.residuals[module];
    const format = formats.get(module) ?? DENSE;
    const kernels = isKernels(format) ? format.count : 0;
    const own = { module, rows, cols, format, kernels, int8: format.kind === INT8.kind, residual };
    return { ...own, bytes, bitsPerWeight: (bytes * 8) / (rows * cols) };
  });
  const linearWeights = sum(layers.map(({ rows, cols }) => rows * cols));
  const linearBytes = sum(layers.map(({ bytes }) => bytes));
  const parameters = sum(dense.map(({ rows, cols }) => rows * cols));
  const loaded = source.loaded().slices.map(({ from: part }) => ({ part, bytes: loadedBytes(weights, part) }));
  const tables = [...formats].filter(([module]) => !modules.has(module));
  return {
    family: family.name,
    parameters,
    linearWeights,
    bitsPerWeight: (linearBytes * 8) / linearWeights,
    bitsPerParameter: (sum(Object.values(parts)) * 8) / parameters,
    bytes: weights.byteLength,
    linearBytes,
    parts,
    embeddings: tables[0]?.[1].kind,
    tables: Object.fromEntries(tables.map(([module, format]) => [`${module}.weight`, format])),
    prefixBytes: prefixes.length > 0 ? sum(prefixes.map((part) => bytesOf(source, part))) : undefined,
    layers,
    unread: source.unread,
    notes: source.notes,
    conversion,
    loadedBytes: sum(loaded.map(({ bytes }) => bytes)),
    decodedBytes: sum(loaded.filter(({ part }) => isDecoded(part, source.config.tied)).map(({ bytes }) => bytes)),
    maxPositions: config.maxPositions,
    cacheBytesPerToken: 2 * F16 * family.attentionModules(config).length * config.keyValueHeads * config.headDimension,
    download,
  };
}

/** Bytes of a number in F16. */
const F16 = 2;

/** Tells whether every decoded token reads the part: linear layers, and the head, which may be the embedding. */
function isDecoded({ owner }: ModelPart, tied: boolean): boolean {
  return owner.role === 'linear' || owner.role === (tied ? 'embedding' : 'head');
}

/** Returns the stored bytes of a part. */
function bytesOf({ weights }: ModelSource, { name }: ModelPart): number {
  const entry = weights.tensors.get(name) as WeightEntry;
  return entry.storedBytes ?? entry.byteLength;
}

/** Purpose of the parts of linear layers. */
const LINEAR_PARTS = { bits: 'kernels', scale: 'scales', int8: 'dense', real: 'dense', marks: 'other' } as const;

function partOf({ role, owner }: ModelPart, ofLinear: boolean): PartOfFile {
  if (owner.role === 'linear') return LINEAR_PARTS[role];
  if (owner.role === 'bias') return ofLinear ? 'biases' : 'norms';
  if (owner.role === 'norm') return 'norms';
  return owner.role === 'head' ? 'head' : 'embeddings';
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

async function fileBytes(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    throw ioFailure('read', path, error);
  }
}
