/** What a model's files hold, told from their headers alone. */

import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ioFailure } from '../io/failure';
import { ifPresent } from '../io/files';
import type { WeightEntry } from '../io/weights';
import type { StoredSpecification } from '../models/checkpoint';
import type { ConversionReport } from '../models/conversion';
import { MARKER_FILE } from '../models/model_folder';
import type { EmbeddingStorage } from '../models/quantization';
import { ModelSource } from '../models/source';
import type { UnreadModule } from '../models/unread';

export interface LayerStorage {
  readonly module: string;
  readonly rows: number;
  readonly cols: number;
  /** 0: dense, or in 8 bits. */
  readonly kernels: number;
  /** Whether the weight is in 8 bits. */
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
export type Part = (typeof PARTS)[number];

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
  readonly parts: Readonly<Record<Part, number>>;
  /** How embeddings and head are stored; undefined for real numbers. */
  readonly embeddings: EmbeddingStorage | undefined;
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
  const { family, config, kernels, conversion, embeddings, weights } = source;
  const dense = family.parameters(config);
  const modules = new Map(
    dense.filter(({ role }) => role === 'linear').map((specification) => [parentOf(specification.name), specification]),
  );
  const parts = Object.fromEntries(PARTS.map((part) => [part, 0])) as Record<Part, number>;
  const moduleBytes = new Map<string, number>();
  for (const specification of [...source.specifications, ...source.prefixScales]) {
    const bytes = bytesOf(source, specification.name);
    const module = parentOf(specification.name);
    parts[partOf(specification, modules.has(module))] += bytes;
    moduleBytes.set(module, (moduleBytes.get(module) ?? 0) + bytes);
  }
  const int8 = new Set(source.specifications.filter(({ as }) => as === 'int8').map(({ name }) => parentOf(name)));
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
    const own = { module, rows, cols, kernels: kernels.get(module) ?? 0, int8: int8.has(module), residual };
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
    embeddings,
    prefixBytes: source.nested ? sum(source.prefixScales.map(({ name }) => bytesOf(source, name))) : undefined,
    layers,
    unread: source.unread,
    notes: source.notes,
    conversion,
  };
}

/** Of a tensor, as the file stores it. */
function bytesOf({ weights }: ModelSource, name: string): number {
  const entry = weights.tensors.get(name) as WeightEntry;
  return entry.storedBytes ?? entry.byteLength;
}

function partOf({ role, as }: StoredSpecification, ofLinear: boolean): Part {
  if (role === 'linear') return as === 'kernels' || as === 'scales' ? as : 'dense';
  if (role === 'bias') return ofLinear ? 'biases' : 'norms';
  if (role === 'norm') return 'norms';
  return role === 'head' ? 'head' : 'embeddings';
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
