import { MbokError } from '../errors';
import { type Appender, writeFile } from './atomic';
import { bf16ToF32, f16ToF32 } from './half';
import { CHUNK_BYTES, PositionedFile } from './positioned';
import {
  DTYPE_BYTES,
  type Dtype,
  headerLength,
  LENGTH_BYTES,
  parseHeader,
  type TensorEntry,
} from './safetensors_header';
import type { WeightReader } from './weights';

/**
 * A safetensors file, opened for reading. Tensors are read by position, never mapped: a file that is truncated while it
 * is open gives an error, not a dead process.
 */
export class SafetensorsFile implements WeightReader {
  private constructor(
    /** As given to `open`. */
    readonly path: string,
    private readonly file: PositionedFile,
    /** By name, in the order of their bytes. */
    readonly tensors: ReadonlyMap<string, TensorEntry>,
    /** The strings under `__metadata__`. */
    readonly metadata: ReadonlyMap<string, string>,
  ) {}

  /**
   * Opens a file and checks its header.
   *
   * @throws MbokError MBOK_IO (cannot be read), MBOK_FORMAT (not a whole, consistent safetensors file), MBOK_UNSUPPORTED
   *   (a data type that mbok does not know)
   */
  static async open(path: string): Promise<SafetensorsFile> {
    const file = await PositionedFile.open(path);
    try {
      const { size } = file;
      const length = headerLength(await file.upTo(0, Math.min(size, LENGTH_BYTES)), size, path);
      const { tensors, metadata } = parseHeader(await file.upTo(LENGTH_BYTES, length), size, path);
      return new SafetensorsFile(path, file, tensors, metadata);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /**
   * Describes a tensor.
   *
   * @throws MbokError MBOK_FORMAT when the file has none of this name
   */
  entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (!entry) throw new MbokError('MBOK_FORMAT', `'${this.path}' has no tensor '${name}'`);
    return entry;
  }

  /**
   * Reads the bytes of a tensor as they are in the file (little endian).
   *
   * @throws MbokError MBOK_FORMAT (no such tensor, or the file was truncated since), MBOK_IO
   */
  async read(name: string): Promise<Uint8Array> {
    const bytes = new Uint8Array(this.entry(name).byteLength);
    await this.fill(name, 0, bytes);
    return bytes;
  }

  /**
   * Reads a part of a tensor, from byte `from` on.
   *
   * @throws MbokError MBOK_FORMAT where it reaches beyond the tensor; else as `read`
   */
  async fill(name: string, from: number, target: Uint8Array): Promise<void> {
    const { byteOffset, byteLength } = this.entry(name);
    if (from + target.length > byteLength) {
      throw new MbokError('MBOK_FORMAT', `tensor '${name}' of '${this.path}' ends at byte ${byteLength}`);
    }
    await this.file.fill(name, byteOffset + from, target);
  }

  /**
   * Reads a tensor of floating-point numbers as f32, converting F16, BF16 and F64.
   *
   * @throws MbokError MBOK_UNSUPPORTED for a tensor of another data type; else as `read`
   */
  async readF32(name: string): Promise<Float32Array> {
    const entry = this.entry(name);
    const convert = TO_F32[entry.dtype];
    if (!convert) {
      throw new MbokError(
        'MBOK_UNSUPPORTED',
        `tensor '${name}' of '${this.path}' has dtype ${entry.dtype}; one of ${Object.keys(TO_F32).join(', ')} is needed`,
      );
    }
    const elementBytes = DTYPE_BYTES[entry.dtype];
    const result = new Float32Array(entry.byteLength / elementBytes);
    const chunk = new ArrayBuffer(Math.min(CHUNK_BYTES, entry.byteLength));
    for (let done = 0; done < entry.byteLength; done += CHUNK_BYTES) {
      const length = Math.min(CHUNK_BYTES, entry.byteLength - done);
      await this.fill(name, done, new Uint8Array(chunk, 0, length));
      const first = done / elementBytes;
      convert(chunk, length / elementBytes, result.subarray(first, first + length / elementBytes));
    }
    return result;
  }

  /** Closes the file; further reads fail. Closing twice is allowed. */
  async close(): Promise<void> {
    await this.file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

type Convert = (source: ArrayBuffer, count: number, target: Float32Array) => void;

const TO_F32: Partial<Record<Dtype, Convert>> = {
  F32: (source, count, target) => target.set(new Float32Array(source, 0, count)),
  F16: (source, count, target) => f16ToF32(new Uint16Array(source, 0, count), target),
  BF16: (source, count, target) => bf16ToF32(new Uint16Array(source, 0, count), target),
  F64: (source, count, target) => target.set(new Float64Array(source, 0, count)),
};

/** A tensor to be written. */
export interface TensorSource {
  name: string;
  dtype: Dtype;
  /** Row-major; empty for a scalar. */
  shape: readonly number[];
  /** Gives the bytes (little endian, as many as dtype and shape say) when their turn comes, so that one tensor at a time is in memory. */
  bytes: () => Uint8Array | Promise<Uint8Array>;
}

/**
 * Writes a safetensors file atomically. Tensors are asked for one after the other, those of wide elements first so that
 * every tensor is aligned to its element size, else in the order given.
 *
 * @param metadata - strings under `__metadata__`; transformers wants `format: 'pt'`
 * @throws MbokError MBOK_IO (the old file, if any, stays whole), MBOK_INVALID_ARGUMENT (a name given twice), MBOK_SHAPE
 *   (bytes that do not fit dtype and shape)
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorSource[],
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const ordered = [...tensors].sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype]);
  const header = buildHeader(ordered, metadata);
  await writeFile(path, async (file) => {
    await file.append(header);
    for (const tensor of ordered) await appendTensor(file, tensor, path);
  });
}

async function appendTensor(file: Appender, tensor: TensorSource, path: string): Promise<void> {
  const bytes = await tensor.bytes();
  if (bytes.byteLength !== byteLengthOf(tensor)) {
    throw new MbokError(
      'MBOK_SHAPE',
      `tensor '${tensor.name}' for '${path}' has ${bytes.byteLength} bytes, ` +
        `but ${tensor.dtype} of shape [${tensor.shape.join(', ')}] has ${byteLengthOf(tensor)}`,
    );
  }
  await file.append(bytes);
}

function byteLengthOf(tensor: TensorSource): number {
  return tensor.shape.reduce((product, size) => product * size, DTYPE_BYTES[tensor.dtype]);
}

function buildHeader(tensors: readonly TensorSource[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const entries: [string, unknown][] = Object.keys(metadata).length > 0 ? [['__metadata__', metadata]] : [];
  const names = new Set(['__metadata__']);
  let offset = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape } = tensor;
    if (names.has(name))
      throw new MbokError('MBOK_INVALID_ARGUMENT', `'tensors' must have different names, got '${name}' twice`);
    names.add(name);
    const end = offset + byteLengthOf(tensor);
    entries.push([name, { dtype, shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  // spaces at the end align the data to eight bytes
  const length = Math.ceil(json.length / 8) * 8;
  const header = Buffer.alloc(LENGTH_BYTES + length, ' ');
  header.writeBigUInt64LE(BigInt(length));
  json.copy(header, LENGTH_BYTES);
  return header;
}
