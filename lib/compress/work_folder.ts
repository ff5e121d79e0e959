/**
 * The folder beside an output that lets its conversion resume. It holds the formats of layers once they are chosen, the
 * weights of the output, a small file for each finished block, and the hidden states before the next one. A fingerprint
 * says what is converted, and with which options.
 *
 * One process at a time works in it. Blocks carry a number that no other conversion has: a model is never put together of
 * two. A conversion that is killed resumes from this folder and gives the same bits. A block is finished once its file says
 * so. That file is written when the block's weights and the hidden states that follow from it are on the disk.
 */

import { createHash, randomUUID } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import { makeFolder, writeFile } from '../io/atomic';
import { type Claim, claimFolder, removeWork, type WorkKind } from '../io/claim';
import { ioFailure } from '../io/failure';
import { ifPresent } from '../io/files';
import { isJsonObject, type JsonObject, readJson } from '../io/json';
import { PlacedSafetensors, type TensorPlace } from '../io/placed_safetensors';
import type { TensorHead, TensorSource } from '../io/safetensors';
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
import { FileStateStore, type Side } from './state_store';

const MANIFEST = 'conversion.json';
const VERSION = 4;
const ALLOCATION = 'allocation.json';
const blockFile = (number: number) => `block-${number}.json`;
/** Blocks of earlier versions were safetensors files. */
const OWN_NAME =
  /^(conversion\.json|allocation\.json|block-\d+\.(json|safetensors)|weights-[\da-f-]+\.safetensors|(student|teacher)-\d+\.f32|prefix-\d+)$/;
const KIND: WorkKind = {
  what: 'a conversion',
  marker: MANIFEST,
  isMarker: ({ version, fingerprint }) => Number.isInteger(version) && typeof fingerprint === 'string',
  owns: (name) => OWN_NAME.test(name),
};

/** Where the matrices of a block go. */
export interface KeptIn {
  readonly weights: PlacedSafetensors;
  /** By default a part is the tensor of its name. */
  readonly placeOf?: (part: ModelPart) => TensorPlace;
  /** Tensors that are finished with the block. */
  readonly others?: readonly TensorSource[];
}

/** Where the blocks of an unfinished conversion to `output` are kept. */
export function workFolderOf(output: string): string {
  return `${resolve(output)}.partial`;
}

/** Removes an unfinished conversion to `output`, if there is one. Throws MBOK_BUSY while it runs, MBOK_IO. */
export async function removeUnfinished(output: string): Promise<void> {
  await removeWork(workFolderOf(output), KIND);
}

/** A hash of the source, what it is converted to, and the calibration's settings and windows. */
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

/** Sizes and times of the files that weights are read from: a hash of a hundred gigabytes would take minutes. */
async function filesOf(path: string): Promise<readonly (readonly [string, number, number])[]> {
  try {
    const folder = (await stat(path)).isDirectory();
    const names = folder ? (await readdir(path)).filter((name) => name.endsWith('.safetensors')).sort() : [''];
    return await Promise.all(
      names.map(async (name) => {
        const { size, mtimeMs } = await stat(join(path, name));
        return [name, size, mtimeMs] as const;
      }),
    );
  } catch (error) {
    throw ioFailure('read', path, error);
  }
}

export class WorkFolder implements AsyncDisposable {
  #finished = 0;
  readonly #residuals = new Map<string, number>();

  private constructor(
    readonly path: string,
    /** What every block of the conversion carries. */
    private readonly nonce: string,
    private readonly claim: Claim | undefined,
  ) {}

  /** Blocks that are finished; behind those of the model comes what is converted last, with all that stays as it was. */
  get finished(): number {
    return this.#finished;
  }

  /** Of the modules of finished blocks. */
  get residuals(): ReadonlyMap<string, number> {
    return this.#residuals;
  }

  /**
   * Opens the folder of an unfinished conversion or begins a new one; no other call can while this one has it. Dispose it.
   *
   * @param own - {@link fingerprint} of the conversion
   * @param options - `restart`: forget what is there
   * @throws MbokError MBOK_INVALID_ARGUMENT where the folder belongs to another conversion. MBOK_BUSY where it is in use.
   *   MBOK_IO where it is not that of a conversion. MBOK_FORMAT where it holds blocks of another
   */
  static async open(path: string, own: string, { restart }: { readonly restart: boolean }): Promise<WorkFolder> {
    const claim = await claimFolder(path, KIND);
    try {
      if (claim.marker !== undefined && !restart) {
        const found = manifestOf(claim.marker);
        if (found.fingerprint === own) return await WorkFolder.#resume(path, found.nonce, claim);
        throw new MbokError(
          'MBOK_INVALID_ARGUMENT',
          `'${path}' holds an unfinished conversion of another source or with other options; go on with those, restart, or remove it`,
        );
      }
      if (restart) await claim.clear();
      return await WorkFolder.#begin(path, { fingerprint: own, nonce: randomUUID() }, claim);
    } catch (error) {
      await claim[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** A folder within this one for a part of the same conversion; it goes with this one. Throws as `open`. */
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

  /** Where the calibration's hidden states wait, those of `sides` before the next block being there already. */
  async states(
    source: DenseSource,
    calibration: ConversionTask['calibration'],
    sides: readonly Side[],
  ): Promise<FileStateStore> {
    const files = this.freshStates(source, calibration?.settings.length ?? 0, calibration?.windows ?? []);
    if (calibration === undefined || this.finished === 0 || this.finished >= source.config.layers) return files;
    try {
      for (const side of sides) await files.reopen(side, this.finished);
      return files;
    } catch (error) {
      await files[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Where hidden states of `windows` of `length` tokens wait, from the first block on. */
  freshStates(source: DenseSource, length: number, windows: readonly Int32Array[]): FileStateStore {
    const windowBytes = length * source.config.hiddenSize * 4;
    const chunkBytes = windowsPerChunk({ source, length }) * windowBytes;
    return new FileStateStore(this.path, chunkBytes, windows.length * windowBytes);
  }

  /**
   * Formats by module, where an earlier process has chosen them. Throws MBOK_FORMAT where what it has left does not solve
   * the problem.
   */
  async allocation(problem: AllocationProblem): Promise<Formats | undefined> {
    const place = join(this.path, ALLOCATION);
    const json = await ifPresent(readJson(place));
    if (json === undefined) return undefined;
    const formats = solutionOf(problem, json);
    if (formats !== undefined) return formats;
    throw new MbokError('MBOK_FORMAT', `'${place}' does not say which format each layer has; restart`);
  }

  async keepAllocation(formats: Formats): Promise<void> {
    await writeFile(join(this.path, ALLOCATION), JSON.stringify(formatsJson(formats)));
  }

  /**
   * The weights of the output, which blocks are kept in. `isBegun`: whether there are any of them; else the file is begun.
   * Throws MBOK_IO, and MBOK_FORMAT where the file that was begun is of another output.
   */
  async weights(heads: readonly TensorHead[], isBegun: boolean): Promise<PlacedSafetensors> {
    // another conversion's file has another name, though it may have the same header
    const path = join(this.path, `weights-${this.nonce}.safetensors`);
    return isBegun
      ? await PlacedSafetensors.open(path, heads)
      : await PlacedSafetensors.create(path, heads, WEIGHTS_METADATA);
  }

  /** Writes block `number` to its places in the weights of the output, then that it is finished; frees its matrices. */
  async keep(number: number, block: ConvertedWeights, { weights, placeOf, others = [] }: KeptIn): Promise<void> {
    try {
      for (const tensor of others) await weights.write(tensor);
      for (const { part, matrix, storage } of [...block.values()].flatMap(({ matrices }) => matrices)) {
        await weights.write(partTensor(part, storage, matrix), placeOf?.(part));
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

  /** Whether block `number` is finished. Throws MBOK_FORMAT where it is another conversion's. */
  async #find(number: number): Promise<boolean> {
    const place = join(this.path, blockFile(number));
    const json = await ifPresent(readJson(place));
    if (json === undefined) return false;
    if (json.conversion !== this.nonce) {
      throw new MbokError('MBOK_FORMAT', `'${place}' is of another conversion than '${this.path}'; restart`);
    }
    this.#add(readResiduals(json.residuals, place));
    return true;
  }

  #add(residuals: ReadonlyMap<string, number>): void {
    for (const [module, residual] of residuals) this.#residuals.set(module, residual);
    this.#finished++;
  }

  /** Removes what the conversion has kept. */
  async clear(): Promise<void> {
    await this.claim?.clear();
  }

  /** Lets other calls have the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.claim?.[Symbol.asyncDispose]();
  }
}

interface Manifest {
  readonly fingerprint: string;
  readonly nonce: string;
}

/** An earlier version's manifest has a fingerprint that no conversion of this one has, and no nonce. */
function manifestOf({ fingerprint: found, nonce }: JsonObject): Manifest {
  const ifText = (value: unknown) => (typeof value === 'string' ? value : '');
  return { fingerprint: ifText(found), nonce: ifText(nonce) };
}

/** By module. Throws MBOK_FORMAT. */
function readResiduals(json: unknown, place: string): ReadonlyMap<string, number> {
  const residuals = isJsonObject(json) ? Object.entries(json) : undefined;
  const isResidual = (value: unknown) => Number.isFinite(value) && (value as number) >= 0;
  if (residuals?.every(([, residual]) => isResidual(residual))) return new Map(residuals as [string, number][]);
  throw new MbokError('MBOK_FORMAT', `'${place}' does not list the residuals of a block, but ${show(json)}; restart`);
}
