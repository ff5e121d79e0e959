/** The dense Hugging Face folder that transformers and everything else loads, whatever its numbers come from. */

import { MbokError } from '../errors';
import { encodeHalf } from '../io/half';
import { type TensorSource, writeSafetensors } from '../io/safetensors';
import { WEIGHTS_FILE } from '../io/safetensors_shards';
import type { Matrix } from '../native/matrix';
import { throwIfAborted } from '../validate';
import type { ProgressOptions } from './checkpoint';
import type { ParameterSpecification } from './family';
import { CONFIG_FILE, type FileContent, type OutputOptions, writeModelFolder } from './model_folder';
import { replacedBy, transposed } from './transposed';

/** What transformers calls the types; recent versions read `dtype`, earlier ones `torch_dtype`. */
const NAMES = { F32: 'float32', F16: 'float16' } as const;

/** What the folder is to hold. */
export interface DenseContents {
  /** Element type of all tensors. */
  readonly type: keyof typeof NAMES;
  /** config.json but for the element type. */
  readonly json: Readonly<Record<string, unknown>>;
  /** Contents of the other small files by name. */
  readonly companions: ReadonlyMap<string, Buffer>;
  readonly specifications: readonly ParameterSpecification[];
  /** A tensor in f32 [rows, cols], freed when it is written. */
  readonly read: (specification: ParameterSpecification) => Promise<Matrix>;
}

/**
 * Writes the folder. One tensor is in memory at a time. Throws as {@link writeModelFolder}, MBOK_NON_FINITE and as `read`.
 */
export async function writeDenseFolder(
  folder: string,
  { type, json, companions, specifications, read }: DenseContents,
  { signal, onProgress, overwrite }: ProgressOptions & OutputOptions,
): Promise<void> {
  const tensors = specifications.map((specification, index): TensorSource => {
    const { name, rows, cols, transposed: turned } = specification;
    const bytes = async () => {
      throwIfAborted(signal);
      onProgress?.({ done: index / specifications.length, what: name });
      const data = await numbers(await read(specification), turned ?? false);
      const stored = type === 'F32' ? data : encodeF16(specification, data);
      return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
    };
    const shape = turned ? [cols, rows] : [rows, cols];
    return { name, dtype: type, shape: rows === 1 ? [cols] : shape, bytes };
  });
  const { dtype: _, torch_dtype: __, ...rest } = json;
  const config = { ...rest, dtype: NAMES[type], torch_dtype: NAMES[type] };
  const files = new Map<string, FileContent>([
    [CONFIG_FILE, `${JSON.stringify(config, null, 2)}\n`],
    ...companions,
    [WEIGHTS_FILE, (path) => writeSafetensors(path, tensors, { format: 'pt' })],
  ]);
  await writeModelFolder(folder, { signal, overwrite }, files);
}

/** Throws MBOK_NON_FINITE where numbers are too large for F16, or weights so small that most of them would be 0. */
function encodeF16({ name, role }: ParameterSpecification, data: Float32Array): Uint16Array {
  const bits = encodeHalf(name, data, 'F16');
  if (role !== 'linear') return bits;
  let [present, vanished] = [0, 0];
  for (let i = 0; i < bits.length; i++) {
    if (data[i] === 0) continue;
    present++;
    if (((bits[i] as number) & 0x7fff) === 0) vanished++;
  }
  if (vanished > present / 2) throw new MbokError('MBOK_NON_FINITE', `'${name}' is too small for F16`);
  return bits;
}

/** The numbers of a matrix, perhaps column by column, which is then freed. */
async function numbers(matrix: Matrix, byColumns: boolean): Promise<Float32Array> {
  const ordered = byColumns ? await replacedBy(matrix, transposed) : matrix;
  try {
    return ordered.toFloat32();
  } finally {
    ordered.dispose();
  }
}
