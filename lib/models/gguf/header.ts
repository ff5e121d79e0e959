/**
 * Parser for headers of GGUF files, versions 2 and 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
 *
 * Existing parsers trust the file. `@huggingface/gguf` 0.4 pads its input with zeros, so a truncated header parses as
 * empty strings and tensors. It also cuts strings that exceed the file, and lets the later of two equal names win. A
 * separate check would need the same work as a parser.
 *
 * Every length is checked against the remaining bytes before anything is allocated. So memory and time are bounded by
 * the size of the header.
 */

import { isUtf8 } from 'node:buffer';
import { MbokError } from '../../base/errors';
import { show } from '../../base/validate';
import { expectNoStandIn } from '../../io/stand_in';
import { GGML_TYPES, type GgmlType, ggmlType, ggmlTypeName } from '../../native/ggml_types';

/** A metadata value. 64-bit integers beyond 2⁵³ are bigints; lists of numbers are typed arrays if possible. */
export type MetadataValue =
  | string
  | number
  | bigint
  | boolean
  | ArrayLike<number>
  | readonly (string | number | bigint | boolean)[];

/** The header entry of a tensor. */
export interface GgufTensor {
  readonly name: string;
  readonly dtype: GgmlType;
  /** Dimensions, row-major: the last one counts consecutive elements. */
  readonly shape: readonly number[];
  /** Offset from the start of the file. */
  readonly byteOffset: number;
  readonly byteLength: number;
}

/** A parsed header. */
export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  /** Tensors by name, in the order of their offsets. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

const MAGIC = 'GGUF';
const DEFAULT_ALIGNMENT = 32;
const MOST_DIMENSIONS = 4;
/**
 * Maximum number of tensors, and of metadata entries: far more than any model has. An entry takes several times as much
 * memory as space in the file.
 */
const MOST_ENTRIES = 1 << 16;
/**
 * Maximum number of strings, booleans and 64-bit integers in lists; each is a separate value in memory. Vocabularies
 * have up to 800 thousand.
 */
const MOST_LISTED = 2 ** 21;
/** Bytes of the shortest entries: an empty key with a bool, and an empty name with no dimension. */
const LEAST_METADATA_BYTES = 8 + 4 + 1;
const LEAST_TENSOR_BYTES = 8 + 4 + 4 + 8;

/**
 * Parses the beginning of a file.
 *
 * @param start - the first bytes of the file
 * @param fileBytes - size of the whole file
 * @returns the header; undefined if it continues beyond `start`, so that more bytes are needed
 * @throws MbokError MBOK_FORMAT if it is not a complete, consistent GGUF file; MBOK_UNSUPPORTED for its version, byte
 * order or an element type
 */
export function parseGgufHeader(start: Uint8Array, fileBytes: number, path: string): GgufHeader | undefined {
  try {
    return new HeaderParser(start, fileBytes, path).parse();
  } catch (error) {
    if (error === MORE) return undefined;
    throw error;
  }
}

/** Thrown if the header continues beyond the bytes in memory. */
const MORE = Symbol('more');

/** Sizes and readers of the number types, by their codes in files. */
const NUMBERS: Readonly<
  Record<number, { bytes: number; read: (view: DataView, at: number) => number | bigint; list?: TypedArray }>
> = {
  0: { bytes: 1, read: (view, at) => view.getUint8(at), list: Uint8Array },
  1: { bytes: 1, read: (view, at) => view.getInt8(at), list: Int8Array },
  2: { bytes: 2, read: (view, at) => view.getUint16(at, true), list: Uint16Array },
  3: { bytes: 2, read: (view, at) => view.getInt16(at, true), list: Int16Array },
  4: { bytes: 4, read: (view, at) => view.getUint32(at, true), list: Uint32Array },
  5: { bytes: 4, read: (view, at) => view.getInt32(at, true), list: Int32Array },
  6: { bytes: 4, read: (view, at) => view.getFloat32(at, true), list: Float32Array },
  10: { bytes: 8, read: (view, at) => exact(view.getBigUint64(at, true)) },
  11: { bytes: 8, read: (view, at) => exact(view.getBigInt64(at, true)) },
  12: { bytes: 8, read: (view, at) => view.getFloat64(at, true), list: Float64Array },
};
type TypedArray = new (bytes: ArrayBuffer) => ArrayLike<number>;
const BOOLEAN = 7;
const STRING = 8;
const LIST = 9;

function exact(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

class HeaderParser {
  #at = 0;
  /** Number of values in lists so far. */
  #listed = 0;
  readonly #view: DataView;
  readonly #bytes: Buffer;

  constructor(
    start: Uint8Array,
    private readonly fileBytes: number,
    private readonly path: string,
  ) {
    this.#view = new DataView(start.buffer, start.byteOffset, start.length);
    this.#bytes = Buffer.from(start.buffer, start.byteOffset, start.length);
  }

  parse(): GgufHeader {
    const magic = this.#take(4, 'its first four bytes');
    if (this.#bytes.toString('latin1', magic, magic + 4) !== MAGIC) {
      expectNoStandIn(this.#bytes, this.path);
      throw this.#refuse(`it does not begin with ${MAGIC}; a model of another format is a folder`);
    }
    this.#checkVersion(this.#number('the version'));
    const tensorCount = this.#count(LEAST_TENSOR_BYTES, 'tensors', MOST_ENTRIES);
    const metadataCount = this.#count(LEAST_METADATA_BYTES, 'metadata entries', MOST_ENTRIES);

    const metadata = new Map<string, MetadataValue>();
    for (let i = 0; i < metadataCount; i++) {
      const key = this.#name('a metadata key');
      if (metadata.has(key)) throw this.#refuse(`it has metadata '${key}' twice`);
      const type = this.#number(`'${key}'`);
      metadata.set(key, type === LIST ? this.#list(key) : this.#value(type, key));
    }
    const described = Array.from({ length: tensorCount }, () => this.#tensor());
    return { metadata, tensors: this.#assignOffsets(described, this.#alignment(metadata.get('general.alignment'))) };
  }

  #checkVersion(version: number): void {
    if (version === 2 || version === 3) return;
    const swapped = version >>> 24 === 2 || version >>> 24 === 3 ? ' (big endian)' : '';
    throw new MbokError(
      'MBOK_UNSUPPORTED',
      `'${this.path}' is GGUF of version ${version}${swapped}; 2 and 3, little endian, are read`,
    );
  }

  #alignment(value: MetadataValue | undefined): number {
    if (value === undefined) return DEFAULT_ALIGNMENT;
    const isPower = typeof value === 'number' && value >= 1 && value <= 1 << 20 && Number.isInteger(Math.log2(value));
    return isPower ? value : this.#wrong('general.alignment', 'a power of two of at most 2^20', value);
  }

  /** Computes the offsets of the tensors, which must follow each other at multiples of the alignment. */
  #assignOffsets(described: readonly GgufTensor[], alignment: number): Map<string, GgufTensor> {
    const start = Math.ceil(this.#at / alignment) * alignment;
    const byOffset = described
      .map((tensor) => ({ ...tensor, byteOffset: start + tensor.byteOffset }))
      .sort((a, b) => a.byteOffset - b.byteOffset);
    const tensors = new Map<string, GgufTensor>();
    let next = start;
    for (const tensor of byOffset) {
      const { name, dtype, shape, byteOffset, byteLength } = tensor;
      const what = `tensor '${name}' of '${this.path}'`;
      if (tensors.has(name)) throw new MbokError('MBOK_FORMAT', `${what} is there twice`);
      if (byteOffset !== next) {
        const fault = byteOffset < next ? 'overlaps the tensor before it' : 'leaves a gap before it';
        throw new MbokError('MBOK_FORMAT', `${what} ${fault}: it begins at byte ${byteOffset}, not ${next}`);
      }
      if (byteOffset + byteLength > this.fileBytes) {
        throw new MbokError(
          'MBOK_FORMAT',
          `${what}, ${dtype} of shape [${shape.join(', ')}], ends at byte ${byteOffset + byteLength} of a file of ` +
            `${this.fileBytes}: truncated`,
        );
      }
      next = Math.ceil((byteOffset + byteLength) / alignment) * alignment;
      tensors.set(name, tensor);
    }
    return tensors;
  }

  #tensor(): GgufTensor {
    const name = this.#name('the name of a tensor');
    const what = `tensor '${name}'`;
    const dimensions = this.#number(what);
    if (dimensions < 1 || dimensions > MOST_DIMENSIONS) throw this.#refuse(`${what} has ${dimensions} dimensions`);
    const shape = Array.from({ length: dimensions }, () => this.#size(what)).reverse();
    const id = this.#number(what);
    const dtype = ggmlType(id);
    if (dtype === undefined) {
      throw new MbokError(
        'MBOK_UNSUPPORTED',
        `tensor '${name}' of '${this.path}' has the element type ${ggmlTypeName(id)}; ` +
          `supported: ${Object.keys(GGML_TYPES).join(', ')}`,
      );
    }
    const { elements, bytes } = GGML_TYPES[dtype];
    if ((shape.at(-1) as number) % elements !== 0) {
      throw this.#refuse(`${what} of shape [${shape.join(', ')}] does not consist of ${dtype} blocks of ${elements}`);
    }
    const byteLength = (shape.reduce((product, size) => product * size, 1) / elements) * bytes;
    if (!(byteLength >= 1 && byteLength <= this.fileBytes)) {
      throw this.#refuse(`${what}, ${dtype} of shape [${shape.join(', ')}], does not fit ${this.fileBytes} bytes`);
    }
    return { name, dtype, shape: Object.freeze(shape), byteOffset: this.#size(what), byteLength };
  }

  #value(type: number, key: string): string | number | bigint | boolean {
    const number = NUMBERS[type];
    if (number !== undefined) return number.read(this.#view, this.#take(number.bytes, `'${key}'`));
    if (type === BOOLEAN) return this.#view.getUint8(this.#take(1, `'${key}'`)) !== 0;
    // strings may contain anything, even half a character
    if (type === STRING) return this.#text(`'${key}'`);
    throw this.#refuse(`metadata '${key}' has a value of the unknown type ${type}`);
  }

  /** Reads a list. Lists of lists are part of the format, but no model has them, and llama.cpp refuses them too. */
  #list(key: string): MetadataValue {
    const type = this.#number(`'${key}'`);
    const number = NUMBERS[type];
    const least = number?.bytes ?? (type === STRING ? 8 : 1);
    const length = this.#count(least, `values in '${key}'`);
    // check before anything of that length is allocated
    if (this.#at + length * least > this.#bytes.length) throw MORE;
    if (number?.list !== undefined) {
      const start = this.#take(length * number.bytes, `'${key}'`);
      // files, and all processors that mbok supports, are little endian
      return new number.list(new Uint8Array(this.#bytes.subarray(start, this.#at)).buffer);
    }
    this.#listed += length;
    if (this.#listed > MOST_LISTED) throw this.#refuse(`its lists have more than ${MOST_LISTED} values`);
    return Array.from({ length }, () => this.#value(type, key));
  }

  #name(what: string): string {
    const from = this.#at;
    const name = this.#text(what);
    if (!isUtf8(this.#bytes.subarray(from + 8, this.#at))) throw this.#refuse(`${what}, ${show(name)}, is not UTF-8`);
    return name;
  }

  #text(what: string): string {
    const length = this.#count(1, `bytes in ${what}`);
    const start = this.#take(length, what);
    return this.#bytes.toString('utf8', start, start + length);
  }

  /**
   * Reads the number of items that follow, each of at least `leastBytes` bytes. Throws MBOK_FORMAT if they exceed the
   * file.
   */
  #count(leastBytes: number, what: string, most = Infinity): number {
    const count = this.#size(what);
    if (count > most || count * leastBytes > this.fileBytes - this.#at) {
      throw this.#refuse(
        `it claims ${count} ${what}, more than ${count > most ? most : `fit its ${this.fileBytes} bytes`}`,
      );
    }
    return count;
  }

  /** Reads a 64-bit integer that is a size. Throws MBOK_FORMAT above 2⁵³ − 1. */
  #size(what: string): number {
    const value = this.#view.getBigUint64(this.#take(8, what), true);
    if (value > Number.MAX_SAFE_INTEGER) throw this.#refuse(`it claims a size of ${value} for ${what}`);
    return Number(value);
  }

  #number(what: string): number {
    return this.#view.getUint32(this.#take(4, what), true);
  }

  /** Returns the position of the next bytes and skips them. */
  #take(bytes: number, what: string): number {
    const start = this.#at;
    if (start + bytes > this.fileBytes) throw this.#refuse(`it ends within ${what}: truncated`);
    if (start + bytes > this.#bytes.length) throw MORE;
    this.#at += bytes;
    return start;
  }

  #wrong(key: string, wanted: string, value: MetadataValue): never {
    throw this.#refuse(`metadata '${key}' must be ${wanted}, got ${show(value)}`);
  }

  #refuse(reason: string): MbokError {
    return new MbokError('MBOK_FORMAT', `'${this.path}' is not a GGUF file that can be read: ${reason}`);
  }
}
