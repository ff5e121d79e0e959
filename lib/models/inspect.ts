/** Storage of a model's files, read from their headers only. */

import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ioFailure } from '../io/failure';
import { ifPresent } from '../io/files';
import { MARKER_FILE } from '../io/model_files';
import type { WeightEntry } from '../io/weight_reader';
import { DENSE } from '../structures/dense';
import { INT8 } from '../structures/int8';
import { isKernels } from '../structures/kernels';
import type { LayerFormat } from '../structures/structure';
import type { ConversionReport } from './conversion_report';
import { layerBytes, type ModelPart, moduleOf, moduleOfTensor } from './parts';
import { ModelSource } from './source';
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
  /** Bytes of the scales that belong only to prefixes of the kernels; undefined without nesting. */
  readonly prefixBytes: number | undefined;
  /** The linear layers, in the order of the checkpoint. */
  readonly layers: readonly LayerInspection[];
  /** Modules in the file that the model does not use. */
  readonly unread: readonly UnreadModule[];
  /** Notes about the files for the user. */
  readonly notes: readonly string[];
  /** Report of the conversion; undefined for a dense model. */
  readonly conversion: ConversionReport | undefined;
}

/**
 * Describes a Hugging Face folder or a GGUF file: layers, formats, bytes and bits per weight. Reads headers and
 * configuration only, so it takes no time whatever the size.
 *
 * @param path - a model, dense or Boolean, as {@link Model.load} takes it
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_IO, MBOK_FORMAT, MBOK_UNSUPPORTED, and MBOK_SHAPE if a tensor is missing or
 *   differs from the configuration
 *
 * @example
 * const { bitsPerWeight, layers } = await inspect('small');
 */
export async function inspect(path: string): Promise<ModelInspection> {
  await using source = await ModelSource.open(path);
  const { family, specifications: dense, formats, conversion, weights } = source;
  const modules = new Map(
    dense.filter(({ role }) => role === 'linear').map((specification) => [moduleOf(specification.name), specification]),
  );
  const parts = Object.fromEntries(PARTS.map((part) => [part, 0])) as Record<PartOfFile, number>;
  for (const part of source.parts) parts[partOf(part, modules.has(moduleOfTensor(part.name)))] += bytesOf(source, part);
  const prefixes = source.parts.filter(({ ofPrefix }) => ofPrefix);
  const used = sum(Object.values(parts));
  if (source.place !== weights.path) parts.tokenizer = sum([...source.companions.values()].map(({ length }) => length));
  parts.other = weights.byteLength - used;
  if (source.place !== weights.path) {
    const marker = join(dirname(source.place), MARKER_FILE);
    parts.other += (await fileBytes(source.place)) + ((await ifPresent(fileBytes(marker))) ?? 0);
  }
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
  };
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
