/** Writer of dense Hugging Face folders, which transformers and other programs load. */

import { MbokError } from '../base/errors';
import { CONFIG_FILE } from '../io/model_files';
import { writeSafetensors } from '../io/safetensors';
import { WEIGHTS_FILE } from '../io/safetensors_shards';
import type { Matrix } from '../native/matrix';
import { ALL_DENSE } from '../structures/dense';
import type { ParameterSpecification } from './family';
import { type FileContent, type OutputOptions, writeModelFolder } from './model_folder';
import { type ModelPart, modelParts } from './parts';
import { type ProgressOptions, partTensor, WEIGHTS_METADATA, watched } from './stored_matrix';

/** Element types as transformers names them. Recent versions read `dtype`, older ones `torch_dtype`. */
const NAMES = { F32: 'float32', F16: 'float16' } as const;

/** The contents of a dense folder except its weights. */
export interface DenseDescription {
  /** Element type of all tensors. */
  readonly type: keyof typeof NAMES;
  /** config.json without the element type. */
  readonly json: Readonly<Record<string, unknown>>;
  /** Contents of the other small files, by name. */
  readonly companions: ReadonlyMap<string, Buffer>;
}

/** The contents of a dense folder. */
export interface DenseContents extends DenseDescription {
  readonly specifications: readonly ParameterSpecification[];
  /** Reads a tensor in f32 [rows, cols]; it is freed after writing. */
  readonly read: (specification: ParameterSpecification) => Promise<Matrix>;
}

/** Lists the tensors of the folder. */
export function denseParts(specifications: readonly ParameterSpecification[]): readonly ModelPart[] {
  return modelParts(specifications, ALL_DENSE);
}

/**
 * Writes the folder with one tensor in memory at a time. Throws as {@link writeModelFolder} and `read` do, and
 * MBOK_NON_FINITE.
 */
export async function writeDenseFolder(
  folder: string,
  { specifications, read, ...description }: DenseContents,
  options: ProgressOptions & OutputOptions,
): Promise<void> {
  const { type } = description;
  const tensors = denseParts(specifications).map((part) =>
    partTensor(part, type, async () => {
      const matrix = await read(part.owner);
      if (type === 'F16') expectInF16(part, matrix);
      return matrix;
    }),
  );
  const write = (path: string) => writeSafetensors(path, watched(tensors, options), WEIGHTS_METADATA);
  await putDenseFolder(folder, description, write, options);
}

/**
 * Writes the folder; `writeWeights` writes the weights file at a path. Throws as it and {@link writeModelFolder} do.
 */
export async function putDenseFolder(
  folder: string,
  { type, json, companions }: DenseDescription,
  writeWeights: (path: string) => Promise<void>,
  { signal, overwrite }: ProgressOptions & OutputOptions,
): Promise<void> {
  const { dtype: _, torch_dtype: __, ...rest } = json;
  const config = { ...rest, dtype: NAMES[type], torch_dtype: NAMES[type] };
  const files = new Map<string, FileContent>([
    [CONFIG_FILE, `${JSON.stringify(config, null, 2)}\n`],
    ...companions,
    [WEIGHTS_FILE, writeWeights],
  ]);
  await writeModelFolder(folder, { signal, overwrite }, files);
}

/** Largest positive number that F16 rounds to 0. */
const VANISHING = 2 ** -25;

/** Throws MBOK_NON_FINITE if more than half of a linear weight's nonzero numbers would become 0 in F16. */
function expectInF16({ name, owner }: ModelPart, matrix: Matrix): void {
  if (owner.role !== 'linear') return;
  let [present, vanished] = [0, 0];
  for (const value of matrix.toFloat32()) {
    if (value === 0) continue;
    present++;
    if (Math.abs(value) <= VANISHING) vanished++;
  }
  if (vanished <= present / 2) return;
  matrix.dispose();
  throw new MbokError('MBOK_NON_FINITE', `'${name}' is too small for F16`);
}
