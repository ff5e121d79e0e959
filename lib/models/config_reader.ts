/** A reader for the values of config.json. Its errors name file and key. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import { layersWithin } from './layer_count';

/** A JSON object, and its file for messages. The methods throw MBOK_FORMAT if a value has another type. */
export class ConfigReader {
  /** Keys that were read. */
  readonly #read = new Set<string>();

  constructor(
    readonly json: Readonly<Record<string, unknown>>,
    readonly place: string,
    /** Number of tensors in the checkpoint of the configuration. */
    private readonly tensors = Infinity,
  ) {}

  /** Tells whether a key is present and not null. */
  has(key: string): boolean {
    return this.json[key] !== undefined && this.json[key] !== null;
  }

  /** Returns the value of a key. */
  value(key: string): unknown {
    this.#read.add(key);
    return this.json[key];
  }

  /**
   * Throws MBOK_UNSUPPORTED if a key was not read although it changes the numbers of a model.
   *
   * @param isNeutral - tells whether the value of a key changes nothing; it is not called for null
   */
  expectUnderstood(isNeutral: (key: string, value: unknown, json: ConfigReader['json']) => boolean): void {
    for (const [key, value] of Object.entries(this.json)) {
      if (value === null || this.#read.has(key) || isNeutral(key, value, this.json)) continue;
      throw new MbokError(
        'MBOK_UNSUPPORTED',
        `${this.place}: '${key}' is ${show(value)}, which is not read here although it changes a model's numbers`,
      );
    }
  }

  /** Returns a positive integer; `fallback` if the key is absent. */
  count(key: string, fallback?: number): number {
    const value = this.value(key) ?? fallback;
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1 || value > 2 ** 31) {
      this.#fail(key, 'a positive integer', value);
    }
    return value;
  }

  /**
   * Returns the number of blocks, checked against the number of tensors, because lists of this length follow. Also
   * throws MBOK_SHAPE.
   */
  layers(key: string): number {
    return layersWithin(this.count(key), this.tensors, `${this.place}: '${key}'`);
  }

  /** Returns a positive finite number; `fallback` if the key is absent. */
  number(key: string, fallback?: number): number {
    const value = this.value(key) ?? fallback;
    if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) this.#fail(key, 'a positive number', value);
    return value;
  }

  /** Returns a finite number of at least 0. */
  amount(key: string): number {
    const value = this.value(key);
    if (typeof value !== 'number' || !Number.isFinite(value) || value < 0) {
      this.#fail(key, 'a number of at least 0', value);
    }
    return value;
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.value(key) ?? fallback;
    if (typeof value !== 'boolean') this.#fail(key, 'true or false', value);
    return value;
  }

  string(key: string, fallback?: string): string {
    const value = this.value(key) ?? fallback;
    if (typeof value !== 'string') this.#fail(key, 'a string', value);
    return value;
  }

  /** Returns a list of strings; undefined if absent or null. */
  strings(key: string): readonly string[] | undefined {
    return this.#list(key, 'a list of strings', (value): value is string => typeof value === 'string');
  }

  /** Returns a list of finite numbers; undefined if absent or null. */
  numbers(key: string): readonly number[] | undefined {
    return this.#list(key, 'a list of numbers', (value): value is number => Number.isFinite(value));
  }

  /** Returns a nested object; undefined if absent or null. */
  object(key: string): ConfigReader | undefined {
    if (!this.has(key)) return undefined;
    const value = this.value(key);
    if (typeof value !== 'object' || Array.isArray(value)) this.#fail(key, 'an object', value);
    return new ConfigReader(value as Record<string, unknown>, `${this.place}: ${key}`);
  }

  /** Returns a list of objects; empty if absent or null. */
  objects(key: string): ConfigReader[] {
    const list = this.value(key) ?? [];
    if (!Array.isArray(list)) this.#fail(key, 'a list of objects', list);
    return list.map((value: unknown, i) => {
      if (typeof value !== 'object' || value === null) this.#fail(key, 'a list of objects', list);
      return new ConfigReader(value as Record<string, unknown>, `${this.place}: ${key}[${i}]`);
    });
  }

  #list<T>(key: string, wanted: string, is: (value: unknown) => value is T): readonly T[] | undefined {
    if (!this.has(key)) return undefined;
    const list = this.value(key);
    if (!Array.isArray(list) || !list.every(is)) this.#fail(key, wanted, list);
    return list;
  }

  #fail(key: string, wanted: string, value: unknown): never {
    throw new MbokError('MBOK_FORMAT', `${this.place}: '${key}' must be ${wanted}, got ${show(value)}`);
  }
}
