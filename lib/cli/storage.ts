/** What a model's files hold, told from their headers alone. */

import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ioFailure } from '../io/failure';
import { ifPresent } from '../io/files';
import type { WeightEntry } from '../io/weight_reader';
import type { ConversionReport } from '../models/conversion_report';
import { MARKER_FILE } from '../models/model_folder';
import type { ModelPart } from '../models/parts';
import { ModelSource } from '../models/source';
import type { UnreadModule } from '../models/unread';
import { DENSE } from '../structures/dense';
import { INT8 } from '../structures/int8';
import { isKernels } from '../structures/kernels';
import type { LayerFormat } from '../structures/structure';

export interface LayerStorage {
  readonly module: string;
  readonly rows: number;
  readonly cols: number;
  /** What the weight is made up of. */
  readonly format: LayerFormat;
  /** ±1 kernels; 0 where it has none. */
  readonly kernels: number;
  /** Whether the weight is in 8 bits with a scale a row. */
  readonly int8: boolean;
  /** ‖W − Ŵ‖ / ‖W‖ at conversion; undefined for a dense layer. */
  readonly residual: number | undefined;
  /** All of the layer's tensors: kernels and scales, or the weight; and the bias. */
  readonly bytes: number;
  /** bytes · 8 / (rows · cols). */
  readonly bitsPerWeight: number;
}

const PARTS = ['kernels', 'scales', 'dense', 'biases', 'embeddings', 'head', 'norms', 'tokenizer', 'other'] as const;
/**
 * What bytes are for. Linear layers: 'kernels' with their 'scales', 'dense' weights and 'biases'. 'embeddings' has learned
 * positions and projections too; 'norms' other biases. 'tokenizer': files beside the weights; a GGUF file has its
 * tokenizer in its metadata, which are 'other' as headers and configuration are.
 */
export type PartOfFile = (typeof PARTS)[number];

export interface ModelStorage {
  readonly family: string;
  /** Elements of the tensors of the dense architecture. */
  readonly parameters: number;
  /** Weights of the linear layers. */
  readonly linearWeights: number;
  /** Strict: every byte of the stored linear layers · 8 / their weights. */
  readonly bitsPerWeight: number;
  /** Every byte of the model, tokenizer included, · 8 / its parameters. */
  readonly bitsPerParameter: number;
  /** Of the files that hold weights. */
  readonly bytes: number;
  readonly linearBytes: number;
  /** Bytes of every file by what they are for. */
  readonly parts: Readonly<Record<PartOfFile, number>>;
  /** The structure of embeddings and head; undefined for real numbers. */
  readonly embeddings: string | undefined;
  /** Bytes of the scales that prefixes of the kernels have of their own; undefined where these are not nested. */
  readonly prefixBytes: number | undefined;
  readonly layers: readonly LayerStorage[];
  /** Modules in the file that are no part of the model. */
  readonly unread: readonly UnreadModule[];
  /** What a user should know of the files. */
  readonly notes: readonly string[];
  readonly conversion: ConversionReport | undefined;
}

/**
 * Reads what a Hugging Face folder or a GGUF file says of itself; no weight is loaded. Throws MBOK_IO, MBOK_FORMAT,
 * MBOK_UNSUPPORTED, MBOK_SHAPE where a tensor is missing or not as the configuration says.
 */
export async function readStorage(path: string): Promise<ModelStorage> {
  await using source = await ModelSource.open(path);
  const { family, specifications: dense, formats, conversion, weights } = source;
  const modules = new Map(
    dense.filter(({ role }) => role === 'linear').map((specification) => [parentOf(specification.name), specification]),
  );
  const parts = Object.fromEntries(PARTS.map((part) => [part, 0])) as Record<PartOfFile, number>;
  const moduleBytes = new Map<string, number>();
  for (const part of source.parts) {
    const bytes = bytesOf(source, part);
    const module = parentOf(part.name);
    parts[partOf(part, modules.has(module))] += bytes;
    moduleBytes.set(module, (moduleBytes.get(module) ?? 0) + bytes);
  }
  const prefixes = source.parts.filter(({ ofPrefix }) => ofPrefix);
  const used = sum(Object.values(parts));
  if (source.place !== weights.path) parts.tokenizer = sum([...source.companions.values()].map(({ length }) => length));
  parts.other = weights.byteLength - used;
  if (source.place !== weights.path) {
    const marker = join(dirname(source.place), MARKER_FILE);
    parts.other += (await fileBytes(source.place)) + ((await ifPresent(fileBytes(marker))) ?? 0);
  }
  const layers = [...modules].map(([module, { rows, cols }]): LayerStorage => {
    const bytes = moduleBytes.get(module) as number;
    const residual = conversion?.residuals[module];
    const format = formats.get(module) ?? DENSE;
    const kernels = isKernels(format) ? format.count : 0;
    const own = { module, rows, cols, format, kernels, int8: format.kind === INT8.kind, residual };
    return { ...own, bytes, bitsPerWeight: (bytes * 8) / (rows * cols) };
  });
  const linearWeights = sum(layers.map(({ rows, cols }) => rows * cols));
  const linearBytes = sum(layers.map(({ bytes }) => bytes));
  const parameters = sum(dense.map(({ rows, cols }) => rows * cols));
  return {
    family: family.name,
    parameters,
    linearWeights,
    bitsPerWeight: (linearBytes * 8) / linearWeights,
    bitsPerParameter: (sum(Object.values(parts)) * 8) / parameters,
    bytes: weights.byteLength,
    linearBytes,
    parts,
    embeddings: [...formats].find(([module]) => !modules.has(module))?.[1].kind,
    prefixBytes: prefixes.length > 0 ? sum(prefixes.map((part) => bytesOf(source, part))) : undefined,
    layers,
    unread: source.unread,
    notes: source.notes,
    conversion,
  };
}

/** Of a part, as the file stores it. */
function bytesOf({ weights }: ModelSource, { name }: ModelPart): number {
  const entry = weights.tensors.get(name) as WeightEntry;
  return entry.storedBytes ?? entry.byteLength;
}

/** What the bytes of parts of linear layers are for. */
const LINEAR_PARTS = { bits: 'kernels', scale: 'scales', int8: 'dense', real: 'dense' } as const;

function partOf({ role, owner }: ModelPart, ofLinear: boolean): PartOfFile {
  if (owner.role === 'linear') return LINEAR_PARTS[role];
  if (owner.role === 'bias') return ofLinear ? 'biases' : 'norms';
  if (owner.role === 'norm') return 'norms';
  return owner.role === 'head' ? 'head' : 'embeddings';
}

function parentOf(name: string): string {
  return name.slice(0, name.lastIndexOf('.'));
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
