/**
 * The folder next to an output from which its conversion resumes. It contains what was measured before, the chosen formats of the layers
 * and the output's weights. For each finished block it has a small file, and for the next block the hidden states. A
 * fingerprint identifies the source and the options.
 *
 * One process at a time works in it. Blocks and the weights file carry a random number (nonce) of their conversion. So
 * a model never mixes blocks of two conversions. A conversion that is killed resumes from this folder and gives the
 * same bits. A block is finished when its file exists; that file is written last, after the block's weights and hidden
 * states are on the disk.
 */

import { createHash, randomUUID } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import { makeFolder, writeFile } from '../io/atomic';
import { type Claim, claimFolder, removeWork, type WorkKind } from '../io/claim';
import { ioFailure } from '../io/failure';
import { exists, ifPresent } from '../io/files';
import { isJsonObject, type JsonObject, readJson } from '../io/json';
import { PlacedSafetensors } from '../io/placed_safetensors';
import { SafetensorsFile, type TensorHead, type TensorSource, writeSafetensors } from '../io/safetensors';
import { partsOnDisk } from '../models/gguf/split';
import type { ModelPart } from '../models/parts';
import type { ModelSource } from '../models/source';
import { partTensor, WEIGHTS_METADATA } from '../models/stored_matrix';
import type { Formats } from '../structures/structure';
import { type AllocationProblem, solutionOf } from './allocation/budget';
import { formatsJson } from './allocation/choices';
import type { ConversionTask } from './convert_model';
import { type ConvertedWeights, disposeConverted, residualsOf } from './converted';
import type { DenseSource } from './dense_source';
import { windowsPerChunk } from './hidden_states';
import type { OutputImportances } from './output_importances';
import { FileStateStore, type Side } from './state_store';
import type { TableSensitivity } from './table_budget';

const MANIFEST = 'conversion.json';
const VERSION = 5;
const ALLOCATION = 'allocation.json';
const SENSITIVITY = 'sensitivity.json';
const IMPORTANCES = 'importances.safetensors';
const blockFile = (number: number) => `block-${number}.json`;
/** Also matches files of older format versions (blocks as safetensors), so that they can be removed. */
const OWN_NAME =
  /^(conversion\.json|allocation\.json|sensitivity\.json|importances\.safetensors|block-\d+\.(json|safetensors)|weights-[\da-f-]+\.safetensors|(student|teacher)-\d+\.f32|prefix-\d+)$/;
const KIND: WorkKind = {
  what: 'a conversion',
  marker: MANIFEST,
  isMarker: ({ version, fingerprint }) => Number.isInteger(version) && typeof fingerprint === 'string',
  owns: (name) => OWN_NAME.test(name),
};

/** Place of a part in the output: the first bytes of a tensor. */
export interface PartTarget {
  /** The part, with the name and the layout of that tensor. */
  readonly part: ModelPart;
  /** Number of first bytes that are there already. */
  readonly skip: number;
}

/** Destination of a block's matrices. */
export interface BlockDestination {
  readonly weights: PlacedSafetensors;
  /** Maps a part to its place; by default the tensor of its name. */
  readonly targetOf?: (part: ModelPart) => PartTarget;
  /** Tensors to write with the block unchanged. */
  readonly unchanged?: readonly TensorSource[];
}

/** Returns the path of the work folder of `output`. */
export function workFolderOf(output: string): string {
  return `${resolve(output)}.partial`;
}

/** Removes an unfinished conversion to `output`, if there is one. Throws MBOK_BUSY while it runs, and MBOK_IO. */
export async function removeUnfinished(output: string): Promise<void> {
  await removeWork(workFolderOf(output), KIND);
}

/** Hashes the source, the conversion's settings, and the calibration's settings and windows (SHA-256). */
export async function fingerprint(
  source: ModelSource,
  conversion: object,
  calibration: ConversionTask['calibration'],
): Promise<string> {
  const hash = createHash('sha256');
  const tensors = [...source.weights.tensors.values()].map(({ name, dtype, shape }) => [name, dtype, shape]);
  const { data: _, ...settings } = calibration?.settings ?? { data: undefined };
  const files = await filesOf(source.weights.path);
  hash.update(JSON.stringify([VERSION, source.json, tensors, files, conversion, settings]));
  for (const window of calibration?.windows ?? []) hash.update(window);
  return hash.digest('hex');
}

/** Lists name, size and modification time of the weight files. Hashing their contents would take minutes at 100 GB. */
async function filesOf(path: string): Promise<readonly (readonly [string, number, number])[]> {
  try {
    const isFolder = (await stat(path)).isDirectory();
    const names = isFolder ? (await readdir(path)).filter((name) => name.endsWith('.safetensors')).sort() : [];
    const files = isFolder
      ? names.map((name) => [name, join(path, name)])
      : partsOnDisk(path).map((part) => ['', part]);
    return await Promise.all(
      files.map(async ([name = '', file = '']) => {
        const { size, mtimeMs } = await stat(file);
        return [name, size, mtimeMs] as const;
      }),
    );
  } catch (error) {
    throw ioFailure('read', path, error);
  }
}

/** A work folder that this process holds. */
export class WorkFolder implements AsyncDisposable {
  #finished = 0;
  readonly #residuals = new Map<string, number>();

  private constructor(
    readonly path: string,
    /** Random identifier that every block of the conversion carries. */
    private readonly nonce: string,
    private readonly claim: Claim | undefined,
  ) {}

  /**
   * Number of finished blocks. The number after the model's blocks stands for all other tensors, converted or
   * unchanged.
   */
  get finished(): number {
    return this.#finished;
  }

  /** Residuals by module, of the finished blocks. */
  get residuals(): ReadonlyMap<string, number> {
    return this.#residuals;
  }

  /**
   * Opens the folder of an unfinished conversion, or begins a new one. Holds it until disposed.
   *
   * @param expectedFingerprint - {@link fingerprint} of the conversion
   * @param options - `restart`: discard an unfinished conversion
   * @throws MbokError MBOK_INVALID_ARGUMENT if the folder belongs to another conversion. MBOK_BUSY if another call
   * holds it. MBOK_IO if it is not a work folder. MBOK_FORMAT if it contains blocks of another conversion
   */
  static async open(
    path: string,
    expectedFingerprint: string,
    { restart }: { readonly restart: boolean },
  ): Promise<WorkFolder> {
    const claim = await claimFolder(path, KIND);
    try {
      if (claim.marker !== undefined && !restart) {
        const manifest = manifestOf(claim.marker);
        if (manifest.fingerprint === expectedFingerprint) return await WorkFolder.#resume(path, manifest.nonce, claim);
        throw new MbokError(
          'MBOK_INVALID_ARGUMENT',
          `'${path}' holds an unfinished conversion of another source or with other options; go on with those, restart, or remove it`,
        );
      }
      if (restart) await claim.clear();
      return await WorkFolder.#begin(path, { fingerprint: expectedFingerprint, nonce: randomUUID() }, claim);
    } catch (error) {
      await claim[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Opens a subfolder for one step of this conversion; it is removed with this folder. Throws as `open` does. */
  async part(name: string): Promise<WorkFolder> {
    const path = join(this.path, name);
    await makeFolder(path);
    const { nonce } = this;
    const json = await ifPresent(readJson(join(path, MANIFEST)));
    if (json === undefined) return await WorkFolder.#begin(path, { fingerprint: '', nonce }, undefined);
    if (manifestOf(json).nonce === nonce) return await WorkFolder.#resume(path, nonce, undefined);
    throw new MbokError('MBOK_FORMAT', `'${path}' is of another conversion than '${this.path}'; restart`);
  }

  static async #begin(path: string, manifest: Manifest, claim: Claim | undefined): Promise<WorkFolder> {
    await writeFile(join(path, MANIFEST), JSON.stringify({ version: VERSION, ...manifest }));
    return new WorkFolder(path, manifest.nonce, claim);
  }

  static async #resume(path: string, nonce: string, claim: Claim | undefined): Promise<WorkFolder> {
    const folder = new WorkFolder(path, nonce, claim);
    while (await folder.#find(folder.finished));
    return folder;
  }

  /**
   * Opens the calibration's hidden states. When resuming, those of `sides` before the next block are read from earlier
   * files.
   */
  async states(
    source: DenseSource,
    calibration: ConversionTask['calibration'],
    sides: readonly Side[],
  ): Promise<FileStateStore> {
    const files = this.freshStates(source, calibration?.settings.length ?? 0, calibration?.windows ?? []);
    if (calibration === undefined || this.finished === 0 || this.finished > source.config.layers) return files;
    try {
      for (const side of sides) await files.reopen(side, this.finished);
      return files;
    } catch (error) {
      await files[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Creates storage for the hidden states of `windows` of `length` tokens each. */
  freshStates(source: DenseSource, length: number, windows: readonly Int32Array[]): FileStateStore {
    const windowBytes = length * source.config.hiddenSize * 4;
    const chunkBytes = windowsPerChunk({ source, length }) * windowBytes;
    return new FileStateStore(this.path, chunkBytes, windows.length * windowBytes);
  }

  /**
   * Reads the formats that an earlier process chose; undefined if there are none. Throws MBOK_FORMAT if they do not
   * solve the problem.
   */
  async allocation(problem: AllocationProblem): Promise<Formats | undefined> {
    const file = join(this.path, ALLOCATION);
    const json = await ifPresent(readJson(file));
    if (json === undefined) return undefined;
    const formats = solutionOf(problem, json);
    if (formats !== undefined) return formats;
    throw new MbokError('MBOK_FORMAT', `'${file}' does not say which format each layer has; restart`);
  }

  async storeAllocation(formats: Formats): Promise<void> {
    await writeFile(join(this.path, ALLOCATION), JSON.stringify(formatsJson(formats)));
  }

  /** Reads the sensitivity that an earlier process stored; undefined if there is none. Throws MBOK_FORMAT. */
  async sensitivity(): Promise<TableSensitivity | undefined> {
    const file = join(this.path, SENSITIVITY);
    const json = await ifPresent(readJson(file));
    if (json === undefined) return undefined;
    const { rise, alike } = json;
    const isNumber = (value: unknown): value is number => Number.isFinite(value) && (value as number) >= 0;
    if (Array.isArray(rise) && rise.length === 2 && rise.every(isNumber) && isNumber(alike)) {
      return { rise: rise as [number, number], alike };
    }
    throw new MbokError('MBOK_FORMAT', `'${file}' does not say how sensitive the model is to its tables; restart`);
  }

  async storeSensitivity(sensitivity: TableSensitivity): Promise<void> {
    await writeFile(join(this.path, SENSITIVITY), JSON.stringify(sensitivity));
  }

  /** Reads the importances that an earlier process stored; undefined if there are none. Throws MBOK_FORMAT, MBOK_IO. */
  async importances(): Promise<OutputImportances | undefined> {
    const file = join(this.path, IMPORTANCES);
    if (!(await exists(file))) return undefined;
    await using stored = await SafetensorsFile.open(file);
    const importances = new Map<string, Float32Array>();
    for (const module of stored.tensors.keys()) importances.set(module, await stored.readF32(module));
    return importances;
  }

  async storeImportances(importances: OutputImportances): Promise<void> {
    const tensors = [...importances].map(([name, values]): TensorSource => {
      const bytes = () => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      return { name, dtype: 'F32', shape: [values.length], bytes };
    });
    await writeSafetensors(join(this.path, IMPORTANCES), tensors);
  }

  /**
   * Opens the output's weights file; with `isBegun` false, creates it. Throws MBOK_IO, and MBOK_FORMAT if the existing
   * file has another header.
   */
  async weights(heads: readonly TensorHead[], isBegun: boolean): Promise<PlacedSafetensors> {
    // the nonce in the name distinguishes files with equal headers
    const path = join(this.path, `weights-${this.nonce}.safetensors`);
    return isBegun
      ? await PlacedSafetensors.open(path, heads)
      : await PlacedSafetensors.create(path, heads, WEIGHTS_METADATA);
  }

  /** Writes block `number` to the output's weights, then records that it is finished. Frees the block's matrices. */
  async storeBlock(
    number: number,
    block: ConvertedWeights,
    { weights, targetOf, unchanged = [] }: BlockDestination,
  ): Promise<void> {
    try {
      for (const tensor of unchanged) await weights.write(tensor);
      for (const { part, matrix, storage } of [...block.values()].flatMap(({ matrices }) => matrices)) {
        const { part: stored, skip } = targetOf?.(part) ?? { part, skip: 0 };
        await weights.write(partTensor(stored, storage, matrix), skip);
      }
      await weights.sync();
      const residuals = residualsOf(block);
      const json = { conversion: this.nonce, residuals: Object.fromEntries(residuals) };
      await writeFile(join(this.path, blockFile(number)), JSON.stringify(json));
      this.#add(residuals);
    } finally {
      disposeConverted(block);
    }
  }

  /**
   * Reads the record of block `number`; returns whether it exists. Throws MBOK_FORMAT if it belongs to another
   * conversion.
   */
  async #find(number: number): Promise<boolean> {
    const file = join(this.path, blockFile(number));
    const json = await ifPresent(readJson(file));
    if (json === undefined) return false;
    if (json.conversion !== this.nonce) {
      throw new MbokError('MBOK_FORMAT', `'${file}' is of another conversion than '${this.path}'; restart`);
    }
    this.#add(readResiduals(json.residuals, file));
    return true;
  }

  #add(residuals: ReadonlyMap<string, number>): void {
    for (const [module, residual] of residuals) this.#residuals.set(module, residual);
    this.#finished++;
  }

  /** Removes the files of the conversion. */
  async clear(): Promise<void> {
    await this.claim?.clear();
  }

  /** Releases the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.claim?.[Symbol.asyncDispose]();
  }
}

interface Manifest {
  readonly fingerprint: string;
  readonly nonce: string;
}

/** Reads a manifest. One of an older version has no nonce, and a fingerprint that never matches. */
function manifestOf({ fingerprint, nonce }: JsonObject): Manifest {
  const ifText = (value: unknown) => (typeof value === 'string' ? value : '');
  return { fingerprint: ifText(fingerprint), nonce: ifText(nonce) };
}

/** Reads residuals by module. Throws MBOK_FORMAT. */
function readResiduals(json: unknown, file: string): ReadonlyMap<string, number> {
  const residuals = isJsonObject(json) ? Object.entries(json) : undefined;
  const isResidual = (value: unknown) => Number.isFinite(value) && (value as number) >= 0;
  if (residuals?.every(([, residual]) => isResidual(residual))) return new Map(residuals as [string, number][]);
  throw new MbokError('MBOK_FORMAT', `'${file}' does not list the residuals of a block, but ${show(json)}; restart`);
}
