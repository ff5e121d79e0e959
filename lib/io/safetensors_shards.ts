/** Checkpoints in one safetensors file, or in several with an index, as in Hugging Face folders. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import type { Matrix } from '../native/matrix';
import { isJsonObject, type JsonObject, readJson } from './json';
import type { OpenFile } from './positioned';
import { SafetensorsFile } from './safetensors';
import type { ReadType, WeightEntry, WeightReader } from './weight_reader';

/** Name of the only weight file. For a checkpoint in several files, the index's name starts with it. */
export const WEIGHTS_FILE = 'model.safetensors';
/** Names the file of each tensor, for a checkpoint in several files. */
export const INDEX_FILE = `${WEIGHTS_FILE}.index.json`;
/** A plain file name on every system, but not `.` or `..`. */
const FILE_NAME = /^(?!\.{1,2}$)[^/\\\0]+$/;

/**
 * Opens the weights of a folder: model.safetensors or, if that is missing, the files that model.safetensors.index.json
 * names.
 *
 * @throws MbokError MBOK_IO if a file is missing or cannot be read, MBOK_FORMAT, MBOK_UNSUPPORTED for an unknown data
 * type
 */
export async function openSafetensors(folder: string): Promise<WeightReader> {
  const single = join(folder, WEIGHTS_FILE);
  const index = join(folder, INDEX_FILE);
  return existsSync(index) && !existsSync(single)
    ? await openShards(index, await readIndex(index))
    : await SafetensorsFile.open(single);
}

/** Opens the files of an index beside it. Throws as {@link openSafetensors}. */
export async function openShards(
  index: string,
  shardOf: ReadonlyMap<string, string>,
  open?: OpenFile,
): Promise<WeightReader> {
  return await SafetensorsShards.open(index, shardOf, open);
}

/** A checkpoint in several files. */
class SafetensorsShards implements WeightReader {
  private constructor(
    readonly path: string,
    /** File of each tensor. */
    private readonly files: ReadonlyMap<string, SafetensorsFile>,
    readonly tensors: ReadonlyMap<string, WeightEntry>,
  ) {}

  static async open(index: string, shardOf: ReadonlyMap<string, string>, open?: OpenFile): Promise<SafetensorsShards> {
    const opened = new Map<string, SafetensorsFile>();
    try {
      for (const shard of new Set(shardOf.values())) {
        opened.set(shard, await SafetensorsFile.open(join(index, '..', shard), open));
      }
      expectUnique(index, opened);
      // skip entries of tensors that their file lacks: leftovers of other versions of the model
      const files = new Map(
        [...shardOf]
          .map(([name, shard]) => [name, opened.get(shard) as SafetensorsFile] as const)
          .filter(([name, file]) => file.tensors.has(name)),
      );
      const tensors = new Map([...files].map(([name, file]) => [name, file.entry(name)]));
      return new SafetensorsShards(index, files, tensors);
    } catch (error) {
      for (const file of opened.values()) await file.close();
      throw error;
    }
  }

  get byteLength(): number {
    return [...new Set(this.files.values())].reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  async read(name: string, length?: number): Promise<Uint8Array> {
    return await this.#file(name).read(name, length);
  }

  async readMatrix(name: string, type: ReadType): Promise<Matrix> {
    return await this.#file(name).readMatrix(name, type);
  }

  async readF32(name: string): Promise<Float32Array> {
    return await this.#file(name).readF32(name);
  }

  async close(): Promise<void> {
    for (const file of new Set(this.files.values())) await file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #file(name: string): SafetensorsFile {
    const file = this.files.get(name);
    if (file === undefined) throw new MbokError('MBOK_FORMAT', `'${this.path}' has no tensor '${name}'`);
    return file;
  }
}

/** Reads the index: the file name of each tensor. Throws as {@link openSafetensors}. */
export async function readIndex(path: string): Promise<Map<string, string>> {
  return parseIndex(await readJson(path), path);
}

/** Returns the file name of each tensor. Throws MBOK_FORMAT. */
export function parseIndex({ weight_map: shardOf }: JsonObject, path: string): Map<string, string> {
  if (!isJsonObject(shardOf)) throw new MbokError('MBOK_FORMAT', `'${path}' has no 'weight_map'`);
  return new Map(
    Object.entries(shardOf).map(([name, shard]) => {
      // a path could lead out of the folder
      if (typeof shard === 'string' && FILE_NAME.test(shard)) return [name, shard];
      throw new MbokError('MBOK_FORMAT', `'${path}' places tensor '${name}' in ${show(shard)}, not a file name`);
    }),
  );
}

/** Throws MBOK_FORMAT if two files hold a tensor of the same name, since either could be meant. */
function expectUnique(index: string, opened: ReadonlyMap<string, SafetensorsFile>): void {
  const shardOf = new Map<string, string>();
  for (const [shard, { tensors }] of opened) {
    for (const name of tensors.keys()) {
      const other = shardOf.get(name);
      if (other !== undefined) {
        throw new MbokError('MBOK_FORMAT', `'${index}': tensor '${name}' is in both '${other}' and '${shard}'`);
      }
      shardOf.set(name, shard);
    }
  }
}
