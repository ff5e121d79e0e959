/**
 * Named matrices in one safetensors file, for networks that are built from the pieces.
 *
 * Real numbers and integers are stored as they are in memory. ±1 are packed as in model files, U8 [rows, ⌈cols / 8⌉]; the
 * metadata tell their columns.
 */

import { MbokError } from '../base/errors';
import { invalid, object, options, show, string, throwIfAborted } from '../base/validate';
import { parseJsonObject } from '../io/json';
import { expectOwnFile } from '../io/output_path';
import { allFinite, SafetensorsFile, type TensorSource, writeSafetensors } from '../io/safetensors';
import type { Dtype, TensorEntry } from '../io/safetensors_header';
import { BitMatrix } from '../native/bit_matrix';
import { Matrix } from '../native/matrix';
import { type ProgressOptions, watched } from './stored_matrix';

/** Metadata by which a file is recognized: the columns of matrices of ±1 by name, as JSON. */
const COLUMNS = 'mbok_columns';

/** Element types of numbers in memory and in files. */
const TYPES = { f32: 'F32', f16: 'F16', bf16: 'BF16', i8: 'I8' } as const;
type NumberType = keyof typeof TYPES;
const TYPE_NAMES = Object.keys(TYPES) as readonly NumberType[];

/** Options of {@link saveTensors}. */
export interface SaveTensorsOptions extends ProgressOptions {
  /** Strings to save with the matrices, such as a network's sizes. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
}

/** Content of a file of {@link saveTensors}. */
export interface LoadedTensors {
  /** The matrices by name, in the order of the file; dispose them. */
  readonly tensors: Map<string, Matrix | BitMatrix>;
  /** The strings saved with them. */
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Saves matrices in one safetensors file that {@link loadTensors} reads to identical numbers. The file appears whole or not
 * at all. An older one of this function's is replaced; any other file is refused.
 *
 * @param path - the file; its folder must exist
 * @param tensors - matrices by name: ±1, f32, f16, bf16 or i8
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_IO, MBOK_NON_FINITE naming a matrix with NaN or infinite values,
 *   MBOK_UNSUPPORTED for other element types, MBOK_DISPOSED, MBOK_ABORTED
 *
 * @example
 * await saveTensors('network.safetensors', new Map([['w', w], ['kernels', kernels]]), { metadata: { width: '64' } });
 */
export async function saveTensors(
  path: string,
  tensors: ReadonlyMap<string, Matrix>,
  given: SaveTensorsOptions = {},
): Promise<void> {
  const { metadata = {}, signal, onProgress } = options('options', given, ['metadata', 'signal', 'onProgress']);
  string('path', path);
  if (!(tensors instanceof Map)) invalid('tensors', 'a Map of matrices by name', tensors);
  for (const [name, matrix] of tensors) {
    string('a name in tensors', name);
    if (!Matrix.isMatrix(matrix)) invalid(`tensors.${name}`, 'a Matrix', matrix);
  }
  for (const [key, text] of Object.entries(object('metadata', metadata))) {
    if (key === COLUMNS) invalid('metadata', `without '${COLUMNS}'`, metadata);
    string(`metadata.${key}`, text, { allowEmpty: true });
  }
  const sources = [...tensors].map(([name, matrix]) => sourceOf(name, matrix));
  throwIfAborted(signal);
  await expectOwnFile(path, 'tensors', (beginning) => beginning.includes(`"${COLUMNS}":"{`));
  const bits = [...tensors].filter(([, matrix]) => matrix instanceof BitMatrix).map(([name, { cols }]) => [name, cols]);
  const strings = { [COLUMNS]: JSON.stringify(Object.fromEntries(bits)), ...metadata };
  await writeSafetensors(path, watched(sources, { signal, onProgress }), strings);
  onProgress?.({ done: 1, what: 'saved' });
}

function sourceOf(name: string, matrix: Matrix): TensorSource {
  const { rows, cols } = matrix;
  if (matrix instanceof BitMatrix) {
    return { name, dtype: 'U8', shape: [rows, Math.ceil(cols / 8)], bytes: () => matrix.toPacked() };
  }
  const type = TYPE_NAMES.find((known) => known === matrix.type);
  if (type === undefined) {
    const known = TYPE_NAMES.join(', ');
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `'${name}' is a ${matrix.type} matrix; a BitMatrix or ${known} can be saved`,
    );
  }
  const dtype = TYPES[type];
  return { name, dtype, shape: [rows, cols], bytes: () => finitePieces(name, matrix, dtype) };
}

function* finitePieces(name: string, matrix: Matrix, dtype: Dtype): Generator<Uint8Array> {
  for (const piece of matrix.pieces()) {
    const { buffer, byteOffset, byteLength } = piece;
    const values =
      dtype === 'I8'
        ? new Int8Array(buffer, byteOffset, byteLength)
        : dtype === 'F32'
          ? new Float32Array(buffer, byteOffset, byteLength / 4)
          : new Uint16Array(buffer, byteOffset, byteLength / 2);
    if (!allFinite(values, dtype)) {
      throw new MbokError('MBOK_NON_FINITE', `'${name}' has NaN or infinite values, which are not saved`);
    }
    yield piece;
  }
}

/**
 * Loads the matrices of a safetensors file: those of {@link saveTensors}, or any other in F32, F16, BF16 and I8. Vectors
 * become one row; tensors of more dimensions become matrices of their last one.
 *
 * @param path - the file
 * @returns the matrices and the metadata
 * @throws MbokError MBOK_INVALID_ARGUMENT, MBOK_IO, MBOK_FORMAT, MBOK_UNSUPPORTED for other element types,
 *   MBOK_NON_FINITE, MBOK_OUT_OF_MEMORY, MBOK_ABORTED
 *
 * @example
 * const { tensors, metadata } = await loadTensors('network.safetensors');
 */
export async function loadTensors(path: string, given: ProgressOptions = {}): Promise<LoadedTensors> {
  const { signal, onProgress } = options('options', given, ['signal', 'onProgress']);
  string('path', path);
  throwIfAborted(signal);
  await using file = await SafetensorsFile.open(path);
  const columns = readColumns(file);
  const tensors = new Map<string, Matrix | BitMatrix>();
  try {
    for (const entry of file.tensors.values()) {
      throwIfAborted(signal);
      onProgress?.({ done: tensors.size / file.tensors.size, what: entry.name });
      tensors.set(entry.name, await readTensor(file, entry, columns.get(entry.name)));
    }
  } catch (error) {
    for (const matrix of tensors.values()) matrix.dispose();
    throw error;
  }
  onProgress?.({ done: 1, what: 'loaded' });
  const { [COLUMNS]: _, ...metadata } = Object.fromEntries(file.metadata);
  return { tensors, metadata };
}

async function readTensor(
  file: SafetensorsFile,
  { name, dtype, shape }: TensorEntry,
  cols: number | undefined,
): Promise<Matrix | BitMatrix> {
  if (cols === undefined) {
    const type = TYPE_NAMES.find((known) => TYPES[known] === dtype);
    if (type !== undefined) return await file.readMatrix(name, type);
    const known = Object.values(TYPES).join(', ');
    throw new MbokError('MBOK_UNSUPPORTED', `tensor '${name}' of '${file.path}' is ${dtype}; ${known} can be loaded`);
  }
  const [rows = 0, width] = shape;
  if (dtype !== 'U8' || shape.length !== 2 || width !== Math.ceil(cols / 8)) {
    throw new MbokError(
      'MBOK_FORMAT',
      `tensor '${name}' of '${file.path}' cannot have ${cols} columns of ±1: it is ${dtype} [${shape.join(', ')}]`,
    );
  }
  return BitMatrix.fromPacked(await file.read(name), { rows, cols });
}

/** Returns the columns of the matrices of ±1. Throws MBOK_FORMAT. */
function readColumns({ path, metadata, tensors }: SafetensorsFile): ReadonlyMap<string, number> {
  const text = metadata.get(COLUMNS);
  if (text === undefined) return new Map();
  const what = `'${COLUMNS}' of '${path}'`;
  const entries = Object.entries(parseJsonObject(text, what)).map(([name, cols]) => {
    if (tensors.has(name) && Number.isSafeInteger(cols) && (cols as number) > 0) return [name, cols as number] as const;
    throw new MbokError('MBOK_FORMAT', `${what} must have columns of its tensors, got ${show(name)}: ${show(cols)}`);
  });
  return new Map(entries);
}
