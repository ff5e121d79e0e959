import { MbokError } from '../../base/errors';
import { show } from '../../base/validate';
import { layersWithin } from '../layer_count';
import type { GgufFile } from './file';
import { isNeutral } from './neutral_metadata';

/** A reader for the metadata of a GGUF file's architecture (keys `ARCHITECTURE.…`). Its errors name file and key. */
export class ArchitectureReader {
  /** Keys that were read. */
  readonly #read = new Set<string>();

  constructor(
    private readonly file: GgufFile,
    readonly architecture: string,
  ) {}

  /** Tells whether the file has a tensor. */
  hasTensor(name: string): boolean {
    return this.file.tensors.has(name);
  }

  /** Returns the dimensions of a tensor. Throws MBOK_FORMAT if it is missing. */
  shape(name: string): readonly number[] {
    const tensor = this.file.tensors.get(name);
    if (tensor === undefined) throw new MbokError('MBOK_FORMAT', `'${this.file.path}' has no tensor '${name}'`);
    return tensor.shape;
  }

  has(key: string): boolean {
    return this.file.metadata.has(`${this.architecture}.${key}`);
  }

  /**
   * Returns an integer of at least `least`. A list with one value per layer must have equal values. Throws MBOK_FORMAT,
   * MBOK_UNSUPPORTED.
   */
  integer(key: string, least = 1): number {
    const value = this.#get(key);
    const number = isList(value) && value.length <= this.#tensors && isUniform(value) ? value[0] : value;
    if (isList(number) && number.length > 0) {
      throw new MbokError(
        'MBOK_UNSUPPORTED',
        `'${this.file.path}': metadata '${this.architecture}.${key}' differs from layer to layer, got ${show(number)}`,
      );
    }
    if (Number.isSafeInteger(number) && (number as number) >= least) return number as number;
    return this.#fail(key, `an integer of at least ${least}`, number);
  }

  /** Returns the number of blocks, bounded as in {@link layersWithin}. */
  layers(key: string): number {
    return layersWithin(
      this.integer(key),
      this.#tensors,
      `'${this.file.path}': metadata '${this.architecture}.${key}'`,
    );
  }

  /** Returns a finite number, {@link asWritten}. */
  number(key: string): number {
    const value = this.#get(key);
    if (typeof value !== 'number' || !Number.isFinite(value)) return this.#fail(key, 'a finite number', value);
    return asWritten(value);
  }

  /** Dimension of each head. */
  get headDimension(): number {
    if (this.has('attention.key_length')) return this.integer('attention.key_length');
    return Math.floor(this.integer('embedding_length') / this.integer('attention.head_count'));
  }

  /** Throws MBOK_UNSUPPORTED for metadata that was not read although it changes the numbers of a model. */
  expectUnderstood(): void {
    const read = new Set(this.#read);
    for (const [name, value] of this.file.metadata) {
      if (!name.startsWith(`${this.architecture}.`)) continue;
      const key = name.slice(this.architecture.length + 1);
      if (read.has(key) || isNeutral(key, value, this)) continue;
      throw new MbokError(
        'MBOK_UNSUPPORTED',
        `'${this.file.path}': metadata '${name}' is ${show(value)}, which is not read here although it changes a model's numbers`,
      );
    }
  }

  string(key: string): string {
    const value = this.#get(key);
    return typeof value === 'string' ? value : this.#fail(key, 'a string', value);
  }

  get #tensors(): number {
    return this.file.tensors.size;
  }

  #get(key: string): unknown {
    this.#read.add(key);
    return this.file.metadata.get(`${this.architecture}.${key}`);
  }

  #fail(key: string, wanted: string, value: unknown): never {
    const got = value === undefined ? 'nothing' : show(value);
    throw new MbokError(
      'MBOK_FORMAT',
      `'${this.file.path}': metadata '${this.architecture}.${key}' must be ${wanted}, got ${got}`,
    );
  }
}

/** Returns the shortest decimal that rounds to an f32. Files have 9.99999997e-7 where the author wrote 1e-6. */
export function asWritten(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return value;
}

/** Tells whether all values of a list are equal and there is one. */
function isUniform(list: ArrayLike<unknown>): boolean {
  for (let i = 1; i < list.length; i++) if (list[i] !== list[0]) return false;
  return list.length > 0;
}

function isList(value: unknown): value is ArrayLike<unknown> {
  return Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
}
