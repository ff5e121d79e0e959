import { MbokError } from '../base/errors';
import { Matrix, Q8_BLOCK, rowBytes } from '../native/matrix';
import { writeFile } from './atomic';
import { bf16ToF32, f16ToF32 } from './half';
import { type OpenFile, type Positioned, PositionedFile } from './positioned';
import {
  DTYPE_BYTES,
  type Dtype,
  headerLength,
  LENGTH_BYTES,
  parseHeader,
  type TensorEntry,
} from './safetensors_header';
import { expectNoStandIn, STAND_IN_BYTES } from './stand_in';
import type { ReadType, WeightReader } from './weight_reader';

/**
 * Bytes read, checked and converted at a time, which takes a few milliseconds of the event loop. A multiple of every
 * element size.
 */
const PIECE_BYTES = 1 << 22;
/** Smaller tensors get new memory, which is collected soon enough. */
const SMALL_BYTES = 1 << 16;

/**
 * A safetensors file, open for reading. Tensors are read by position, never mapped. Truncating the file while it is
 * open gives an error and does not kill the process.
 */
export class SafetensorsFile implements WeightReader {
  /**
   * Piece buffers for reuse, one per concurrent read. Without reuse, hundreds of them would wait for the garbage
   * collector.
   */
  private readonly spares: ArrayBuffer[] = [];

  private constructor(
    /** As passed to `open`. */
    readonly path: string,
    private readonly file: Positioned,
    /** By name, in the order of their bytes. */
    readonly tensors: ReadonlyMap<string, TensorEntry>,
    /** The strings under `__metadata__`. */
    readonly metadata: ReadonlyMap<string, string>,
  ) {}

  /**
   * Opens a file and checks its header.
   *
   * @throws MbokError MBOK_IO if it cannot be read, MBOK_FORMAT if it is not a complete and consistent safetensors
   * file, MBOK_UNSUPPORTED for an unknown data type
   */
  static async open(path: string, open: OpenFile = PositionedFile.open): Promise<SafetensorsFile> {
    const file = await open(path);
    try {
      const { size } = file;
      const start = await file.upTo(0, Math.min(size, STAND_IN_BYTES));
      expectNoStandIn(start, path);
      const length = headerLength(start.subarray(0, LENGTH_BYTES), size, path);
      const { tensors, metadata } = parseHeader(await file.upTo(LENGTH_BYTES, length), size, path);
      return new SafetensorsFile(path, file, tensors, metadata);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get byteLength(): number {
    return this.file.size;
  }

  /**
   * Returns the entry of a tensor.
   *
   * @throws MbokError MBOK_FORMAT if the file has no tensor of this name
   */
  entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (!entry) throw new MbokError('MBOK_FORMAT', `'${this.path}' has no tensor '${name}'`);
    return entry;
  }

  /**
   * Reads the bytes of a tensor as stored (little endian), or only the first `length` of them.
   *
   * @throws MbokError MBOK_FORMAT if there is no such tensor or the file was truncated meanwhile; MBOK_IO
   */
  async read(name: string, length?: number): Promise<Uint8Array> {
    const { byteOffset, byteLength } = this.entry(name);
    const bytes = new Uint8Array(Math.min(length ?? byteLength, byteLength));
    await this.file.fill(name, byteOffset, bytes);
    return bytes;
  }

  /**
   * Reads a tensor of floating-point numbers as f32, converting F16, BF16 and F64.
   *
   * @throws MbokError MBOK_UNSUPPORTED for a tensor of another data type; else as `read`
   */
  async readF32(name: string): Promise<Float32Array> {
    const { dtype, byteLength } = this.entry(name);
    const convert = this.converter(name);
    const result = new Float32Array(byteLength / DTYPE_BYTES[dtype]);
    for await (const { first, source, count } of this.pieces(name)) result.set(convert(source, count), first);
    return result;
  }

  /**
   * Reads a tensor into a matrix of its stored element type, or of f32 if it holds real numbers.
   *
   * @throws MbokError as {@link WeightReader.readMatrix}
   */
  async readMatrix(name: string, type: ReadType): Promise<Matrix> {
    const { dtype, shape } = this.entry(name);
    if (type === 'q8') return await this.readQ8(name);
    const ownType = OWN_TYPES[dtype];
    if (ownType?.type !== type && type !== 'f32') {
      throw new MbokError(
        'MBOK_UNSUPPORTED',
        `tensor '${name}' of '${this.path}' is ${dtype} and cannot be read as ${type}`,
      );
    }
    const convert = ownType?.type === type ? ownType.view : this.converter(name);
    const rows = shape.slice(0, -1).reduce((product, size) => product * size, 1);
    return await Matrix.ofPieces({ rows, cols: shape.at(-1) ?? 1, type }, this.finite(name, convert));
  }

  /** Closes the file; later reads fail. A second call does nothing. */
  async close(): Promise<void> {
    await this.file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  private async *finite(name: string, convert: Convert): AsyncGenerator<Values> {
    for await (const { source, count } of this.pieces(name)) {
      const values = convert(source, count);
      if (!allFinite(values, this.entry(name).dtype)) throw notFinite(this.path, name);
      yield values;
    }
  }

  /** Reads U8 [rows, bytes per row of q8]. */
  private async readQ8(name: string): Promise<Matrix> {
    const { dtype, shape } = this.entry(name);
    const [rows = 0, bytes = 0] = shape;
    const cols = (bytes / rowBytes('q8', Q8_BLOCK)) * Q8_BLOCK;
    if (dtype !== 'U8' || shape.length !== 2 || !Number.isInteger(cols)) {
      throw new MbokError(
        'MBOK_UNSUPPORTED',
        `tensor '${name}' of '${this.path}' is ${dtype} [${shape.join(', ')}] and cannot be read as q8`,
      );
    }
    const scaleBytes = (cols / Q8_BLOCK) * 2;
    const checked = async function* (file: SafetensorsFile): AsyncGenerator<Uint16Array> {
      for await (const { first, source, count } of file.pieces(name)) {
        const halves = new Uint16Array(source, 0, count / 2);
        // rows and pieces have an even number of bytes
        for (let row = Math.floor(first / bytes); row * bytes < first + count; row++) {
          const start = row * bytes - first;
          const scales = halves.subarray(Math.max(0, start) / 2, Math.max(0, start + scaleBytes) / 2);
          if (!allFinite(scales, 'F16')) throw notFinite(file.path, name);
        }
        yield halves;
      }
    };
    return await Matrix.ofPieces({ rows, cols, type: 'q8' }, checked(this));
  }

  private converter(name: string): (source: ArrayBuffer, count: number) => Float32Array {
    const { dtype } = this.entry(name);
    const convert = TO_F32[dtype];
    if (convert !== undefined) return convert;
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `tensor '${name}' of '${this.path}' has dtype ${dtype}; one of ${Object.keys(TO_F32).join(', ')} is needed`,
    );
  }

  /**
   * Yields the tensor piece by piece: `count` elements at the start of `source`, which the next piece overwrites.
   * `first` is the index of the first element.
   */
  private async *pieces(name: string): AsyncGenerator<{ first: number; source: ArrayBuffer; count: number }> {
    const { dtype, byteOffset, byteLength } = this.entry(name);
    const isSmall = byteLength < SMALL_BYTES;
    const source = isSmall ? new ArrayBuffer(byteLength) : (this.spares.pop() ?? new ArrayBuffer(PIECE_BYTES));
    for (let done = 0; done < byteLength; done += PIECE_BYTES) {
      const length = Math.min(PIECE_BYTES, byteLength - done);
      await this.file.fill(name, byteOffset + done, new Uint8Array(source, 0, length));
      yield { first: done / DTYPE_BYTES[dtype], source, count: length / DTYPE_BYTES[dtype] };
    }
    if (!isSmall) this.spares.push(source);
  }
}

function notFinite(path: string, name: string): MbokError {
  return new MbokError('MBOK_NON_FINITE', `${path}: tensor '${name}' holds NaN or infinite values`);
}

type Values = Float32Array | Uint16Array | Int8Array;
type Convert = (source: ArrayBuffer, count: number) => Values;

const TO_F32: Partial<Record<Dtype, (source: ArrayBuffer, count: number) => Float32Array>> = {
  F32: (source, count) => new Float32Array(source, 0, count),
  F16: (source, count) => f16ToF32(new Uint16Array(source, 0, count)),
  BF16: (source, count) => bf16ToF32(new Uint16Array(source, 0, count)),
  F64: (source, count) => Float32Array.from(new Float64Array(source, 0, count)),
};

const halves: Convert = (source, count) => new Uint16Array(source, 0, count);

/** Data types that a matrix can hold as stored. */
const OWN_TYPES: Partial<Record<Dtype, { readonly type: ReadType; readonly view: Convert }>> = {
  F32: { type: 'f32', view: (source, count) => new Float32Array(source, 0, count) },
  F16: { type: 'f16', view: halves },
  BF16: { type: 'bf16', view: halves },
  I8: { type: 'i8', view: (source, count) => new Int8Array(source, 0, count) },
};

/** Tells whether all values are finite. Plain loops take an eighth of the time of `every`. */
export function allFinite(values: Values, dtype: Dtype): boolean {
  if (values instanceof Int8Array) return true;
  if (values instanceof Float32Array) {
    for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return false;
    return true;
  }
  // NaN and infinity have all exponent bits set
  const exponent = dtype === 'F16' ? 0x7c00 : 0x7f80;
  for (let i = 0; i < values.length; i++) if (((values[i] as number) & exponent) === exponent) return false;
  return true;
}

/** Bytes of a tensor, whole or in pieces. */
export type TensorBytes = Uint8Array | Iterable<Uint8Array>;

/** Header entry of a tensor, without its position. */
export interface TensorHead {
  name: string;
  dtype: Dtype;
  /** Row-major; empty for a scalar. */
  shape: readonly number[];
}

/** A tensor to be written. */
export interface TensorSource extends TensorHead {
  /**
   * Returns the bytes (little endian, as many as dtype and shape say). It is called when the tensor is written, so only
   * one tensor at a time is in memory. Pieces need less still: each may overwrite the one before.
   */
  bytes: () => TensorBytes | Promise<TensorBytes>;
}

/**
 * Writes a safetensors file atomically. It asks for one tensor after the other, wide elements first so that every
 * tensor is aligned to its element size. Tensors of equal element size stay in the order of `tensors`.
 *
 * @param metadata - strings under `__metadata__`; transformers wants `format: 'pt'`
 * @throws MbokError MBOK_IO (an old file stays untouched), MBOK_INVALID_ARGUMENT if two tensors share a name,
 * MBOK_SHAPE if bytes do not fit dtype and shape
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const ordered = inOrder(tensors);
  const header = buildHeader(ordered, metadata);
  await writeFile(path, async (file) => {
    await file.append(header);
    for (const tensor of ordered) await writePieces(tensor, path, (piece) => file.append(piece));
  });
}

/** Returns the size in bytes of the file that {@link writeSafetensors} writes. */
export function safetensorsBytes(
  tensors: readonly TensorHead[],
  metadata: Readonly<Record<string, string>> = {},
): number {
  return tensors.reduce((sum, tensor) => sum + tensorBytes(tensor), buildHeader(inOrder(tensors), metadata).length);
}

/** Sorts tensors into the order of their bytes in the file. */
export function inOrder<T extends TensorHead>(tensors: readonly T[]): readonly T[] {
  return [...tensors].sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype]);
}

/**
 * Calls `write` for the bytes of a tensor, piece by piece. Throws MBOK_SHAPE if their number differs from that of the
 * head.
 */
export async function writePieces(
  tensor: TensorSource,
  path: string,
  write: (piece: Uint8Array, start: number) => Promise<void>,
): Promise<void> {
  const bytes = await tensor.bytes();
  let length = 0;
  for (const piece of ArrayBuffer.isView(bytes) ? [bytes] : bytes) {
    // excess bytes would overwrite the next tensor
    if (length + piece.byteLength <= tensorBytes(tensor)) await write(piece, length);
    length += piece.byteLength;
  }
  if (length !== tensorBytes(tensor)) {
    throw new MbokError(
      'MBOK_SHAPE',
      `tensor '${tensor.name}' for '${path}' has ${length} bytes, ` +
        `but ${tensor.dtype} of shape [${tensor.shape.join(', ')}] has ${tensorBytes(tensor)}`,
    );
  }
}

/** Returns the number of bytes of a tensor's elements. */
export function tensorBytes(tensor: TensorHead): number {
  return tensor.shape.reduce((product, size) => product * size, DTYPE_BYTES[tensor.dtype]);
}

/** Builds the start of a file: header length and header. `tensors` must be in the order of their bytes. */
export function buildHeader(tensors: readonly TensorHead[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const entries: [string, unknown][] = Object.keys(metadata).length > 0 ? [['__metadata__', metadata]] : [];
  const names = new Set(['__metadata__']);
  let offset = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape } = tensor;
    if (names.has(name))
      throw new MbokError('MBOK_INVALID_ARGUMENT', `'tensors' must have different names, got '${name}' twice`);
    names.add(name);
    const end = offset + tensorBytes(tensor);
    entries.push([name, { dtype, shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  // trailing spaces align the data to eight bytes
  const length = Math.ceil(json.length / 8) * 8;
  const header = Buffer.alloc(LENGTH_BYTES + length, ' ');
  header.writeBigUInt64LE(BigInt(length));
  json.copy(header, LENGTH_BYTES);
  return header;
}
