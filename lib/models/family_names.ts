/** Names of tensors in checkpoints that have another prefix than transformers writes. */

import type { ReadType, WeightEntry, WeightReader } from '../io/weight_reader';
import type { Matrix } from '../native/matrix';
import type { Family, ParameterSpecification } from './family';

/** Maps a tensor's name in the family to its name in a file. */
export type FileName = (name: string) => string;

/**
 * Determines the names in a checkpoint by the name of its embedding. By default they are the family's. Models saved
 * without their head lack the prefix (`layers.0…`). Language models within a larger model have a longer prefix
 * (`language_model.model.layers.0…`, `model.language_model.layers.0…`).
 */
export function fileNames(
  { tensors }: WeightReader,
  { prefix }: Pick<Family, 'prefix'>,
  [embedding]: readonly ParameterSpecification[],
): FileName {
  const unchanged: FileName = (name) => name;
  const behind = (base: string, outside = ''): FileName => {
    return (name) => (name.startsWith(prefix) ? base + name.slice(prefix.length) : outside + name);
  };
  const namings = [
    unchanged,
    behind(''),
    behind(`language_model.${prefix}`, 'language_model.'),
    behind('model.language_model.'),
    behind('language_model.'),
    behind(`model.language_model.${prefix}`, 'model.language_model.'),
  ];
  return namings.find((nameOf) => embedding !== undefined && tensors.has(nameOf(embedding.name))) ?? unchanged;
}

/** Wraps a reader so that it uses the family's names. Takes ownership of the reader. */
export function byFamilyNames(weights: WeightReader, names: readonly string[], nameOf: FileName): WeightReader {
  return names.every((name) => nameOf(name) === name) ? weights : new RenamedWeights(weights, names, nameOf);
}

class RenamedWeights implements WeightReader {
  readonly tensors: ReadonlyMap<string, WeightEntry>;

  constructor(
    private readonly weights: WeightReader,
    names: readonly string[],
    private readonly nameOf: FileName,
  ) {
    const entries = names.map((name) => [name, weights.tensors.get(nameOf(name))] as const);
    this.tensors = new Map(entries.filter((entry): entry is [string, WeightEntry] => entry[1] !== undefined));
  }

  get path(): string {
    return this.weights.path;
  }

  get byteLength(): number {
    return this.weights.byteLength;
  }

  async read(name: string, length?: number): Promise<Uint8Array> {
    return await this.weights.read(this.nameOf(name), length);
  }

  async readMatrix(name: string, type: ReadType): Promise<Matrix> {
    return await this.weights.readMatrix(this.nameOf(name), type);
  }

  async readF32(name: string): Promise<Float32Array> {
    return await this.weights.readF32(this.nameOf(name));
  }

  async close(): Promise<void> {
    await this.weights.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
