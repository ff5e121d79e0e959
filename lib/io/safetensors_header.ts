import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import { decodeUtf8, isJsonObject, parseJsonObject, repeatedKey } from './json';

/**
 * Bytes per element of every data type of the format (safetensors 0.8). mbok reads only some of them, but a file may
 * hold other tensors beside those of its model.
 */
export const DTYPE_BYTES = {
  F4: 0.5,
  F6_E2M3: 0.75,
  F6_E3M2: 0.75,
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  F8_E4M3FNUZ: 1,
  F8_E5M2FNUZ: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
  C64: 8,
} as const;

/** Data type of a tensor in a safetensors file. */
export type Dtype = keyof typeof DTYPE_BYTES;

/** Position and type of a tensor in its file. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: Dtype;
  /** Row-major; empty for a scalar. */
  readonly shape: readonly number[];
  /** From the start of the file. */
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** Content of a safetensors header. */
export interface SafetensorsHeader {
  /** In the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Header size limit in bytes. 30 thousand tensors take 5 MB; the reference implementation reads up to 100 MB. */
export const MOST_HEADER_BYTES = 1 << 25;
/** Limit on the values of a header, eight per tensor. Nested models have the most tensors: 17 thousand. */
const MOST_VALUES = 2 ** 18;
export const LENGTH_BYTES = 8;

/**
 * Reads the header length from the first eight bytes of a file.
 *
 * @throws MbokError MBOK_FORMAT if it does not fit the file
 */
export function headerLength(start: Uint8Array, fileBytes: number, path: string): number {
  const refuse = (reason: string) => new MbokError('MBOK_FORMAT', `'${path}' is not a safetensors file: ${reason}`);
  if (start.length < LENGTH_BYTES) throw refuse(`it has ${fileBytes} bytes, too few for a header length`);
  const length = new DataView(start.buffer, start.byteOffset).getBigUint64(0, true);
  if (length > BigInt(MOST_HEADER_BYTES)) throw refuse(`header length ${length} is over ${MOST_HEADER_BYTES} bytes`);
  if (LENGTH_BYTES + Number(length) > fileBytes) {
    throw refuse(`header length ${length} reaches past the end of the file (${fileBytes} bytes)`);
  }
  return Number(length);
}

/**
 * Parses and checks a header. Data types must be known, shapes must give the stated lengths, and the tensors must cover
 * the remaining file without gaps or overlaps.
 *
 * @param bytes - the header without its length
 * @param fileBytes - size of the whole file
 * @throws MbokError MBOK_FORMAT, or MBOK_UNSUPPORTED for an unknown data type
 */
export function parseHeader(bytes: Uint8Array, fileBytes: number, path: string): SafetensorsHeader {
  const what = `the header of '${path}'`;
  const text = decodeUtf8(bytes, what);
  const json = parseJsonObject(text, what, MOST_VALUES);
  const twice = repeatedKey(text);
  if (twice !== undefined) throw new MbokError('MBOK_FORMAT', `${what} names '${twice}' twice`);

  let metadata = new Map<string, string>();
  const entries: TensorEntry[] = [];
  const dataStart = LENGTH_BYTES + bytes.length;
  for (const [name, value] of Object.entries(json)) {
    // serde writes absent metadata as null
    if (name === '__metadata__') metadata = parseMetadata(value ?? {}, what);
    else entries.push(parseEntry(name, value, dataStart, path));
  }

  entries.sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  let end = dataStart;
  for (const entry of entries) {
    if (entry.byteOffset !== end) {
      const fault = entry.byteOffset < end ? 'overlaps the tensor before it' : 'leaves a gap before it';
      throw new MbokError('MBOK_FORMAT', `tensor '${entry.name}' of '${path}' ${fault}`);
    }
    end += entry.byteLength;
    if (end > fileBytes) {
      throw new MbokError(
        'MBOK_FORMAT',
        `'${path}' is truncated: tensor '${entry.name}' ends at byte ${end} of a file of ${fileBytes}`,
      );
    }
  }
  if (end !== fileBytes) {
    throw new MbokError('MBOK_FORMAT', `'${path}' has ${fileBytes - end} bytes that belong to no tensor`);
  }
  return { tensors: new Map(entries.map((entry) => [entry.name, entry])), metadata };
}

function parseMetadata(value: unknown, what: string): Map<string, string> {
  if (!isJsonObject(value)) throw new MbokError('MBOK_FORMAT', `'__metadata__' in ${what} is not an object`);
  return new Map(
    Object.entries(value).map(([key, item]) => {
      if (typeof item === 'string') return [key, item];
      throw new MbokError('MBOK_FORMAT', `'__metadata__' in ${what} holds a value that is not a string: '${key}'`);
    }),
  );
}

function parseEntry(name: string, value: unknown, dataStart: number, path: string): TensorEntry {
  const refuse = (reason: string) => new MbokError('MBOK_FORMAT', `tensor '${name}' of '${path}' ${reason}`);
  if (!isJsonObject(value)) throw refuse('is not described by an object');
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string') throw refuse('has no dtype');
  if (!isDtype(dtype)) {
    throw new MbokError('MBOK_UNSUPPORTED', `tensor '${name}' of '${path}' has the unknown dtype '${dtype}'`);
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    throw refuse(`has a shape that is not a list of sizes: ${show(shape)}`);
  }
  if (!isRange(offsets)) throw refuse(`has data_offsets that are not [begin, end]: ${show(offsets)}`);
  const [begin, end] = offsets;
  const wanted = shape.reduce((product: number, size: number) => product * size, 1) * DTYPE_BYTES[dtype];
  if (wanted !== end - begin) {
    throw refuse(`has ${end - begin} bytes, but ${dtype} of shape [${shape.join(', ')}] has ${wanted}`);
  }
  return {
    name,
    dtype,
    shape: Object.freeze([...(shape as number[])]),
    byteOffset: dataStart + begin,
    byteLength: wanted,
  };
}

function isDtype(value: string): value is Dtype {
  return Object.hasOwn(DTYPE_BYTES, value);
}

function isRange(value: unknown): value is [number, number] {
  if (!Array.isArray(value) || value.length !== 2) return false;
  const [begin, end]: unknown[] = value;
  return isSize(begin) && isSize(end) && begin <= end;
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
