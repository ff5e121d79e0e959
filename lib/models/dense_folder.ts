/** The dense Hugging Face folder that transformers and everything else loads, whatever its numbers come from. */

import { MbokError } from '../base/errors';
import { writeSafetensors } from '../io/safetensors';
import { WEIGHTS_FILE } from '../io/safetensors_shards';
import type { Matrix } from '../native/matrix';
import { ALL_DENSE } from '../structures/dense';
import type { ParameterSpecification } from './family';
import { CONFIG_FILE, type FileContent, type OutputOptions, writeModelFolder } from './model_folder';
import { type ModelPart, modelParts } from './parts';
import { type ProgressOptions, partTensor, WEIGHTS_METADATA, watched } from './stored_matrix';

/** What transformers calls the types; recent versions read `dtype`, earlier ones `torch_dtype`. */
const NAMES = { F32: 'float32', F16: 'float16' } as const;

/** What the folder is to hold beside its weights. */
export interface DenseDescription {
  /** Element type of all tensors. */
  readonly type: keyof typeof NAMES;
  /** config.json but for the element type. */
  readonly json: Readonly<Record<string, unknown>>;
  /** Contents of the other small files by name. */
  readonly companions: ReadonlyMap<string, Buffer>;
}

/** What the folder is to hold. */
export interface DenseContents extends DenseDescription {
  readonly specifications: readonly ParameterSpecification[];
  /** A tensor in f32 [rows, cols], freed when it is written. */
  readonly read: (specification: ParameterSpecification) => Promise<Matrix>;
}

/** The tensors of the folder. */
export function denseParts(specifications: readonly ParameterSpecification[]): readonly ModelPart[] {
  return modelParts(specifications, ALL_DENSE);
}

/**
 * Writes the folder. One tensor is in memory at a time. Throws as {@link writeModelFolder}, MBOK_NON_FINITE and as `read`.
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

/** Writes the folder, its weights as `writeWeights` does at a path. Throws as both. */
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

/** Positive numbers up to this become 0 in F16. */
const VANISHING = 2 ** -25;

/** Throws MBOK_NON_FINITE for weights so small that most of them would be 0. */
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
