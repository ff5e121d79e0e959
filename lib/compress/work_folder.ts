/**
 * The folder beside an output that lets its conversion resume. It holds the formats of layers once they are chosen, one
 * safetensors file for each finished block, and the hidden states before the next one. A fingerprint says what is
 * converted, and with which options.
 *
 * One process at a time works in it. Blocks carry a number that no other conversion has: a model is never put together of
 * two. A conversion that is killed resumes from this folder and gives the same bits: files of blocks appear whole or not at
 * all, and hidden states are written before the file of the block that they follow from.
 */

import { createHash, randomUUID } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MbokError } from '../errors';
import { makeFolder, writeFile } from '../io/atomic';
import { type Claim, claimFolder, removeWork, type WorkKind } from '../io/claim';
import { ioFailure } from '../io/failure';
import { ifPresent } from '../io/files';
import { type JsonObject, parseJsonObject, readJson } from '../io/json';
import { SafetensorsFile, writeSafetensors } from '../io/safetensors';
import { partTensor, readPart } from '../models/checkpoint';
import type { ParameterSpecification } from '../models/family';
import { partsOf } from '../models/parts';
import type { ModelSource } from '../models/source';
import type { Matrix } from '../native/matrix';
import type { Formats, LayerFormat } from '../structures/structure';
import { show } from '../validate';
import { type AllocationProblem, solutionOf } from './allocation/budget';
import { formatsJson } from './allocation/choices';
import type { ConversionTask } from './convert_model';
import { type ConvertedWeights, disposeConverted, residualsOf } from './converted';
import type { DenseSource } from './dense_source';
import { windowsPerChunk } from './hidden_states';
import { FileStateStore, type Side } from './state_store';

const MANIFEST = 'conversion.json';
const VERSION = 3;
const ALLOCATION = 'allocation.json';
const blockFile = (layer: number) => `block-${layer}.safetensors`;
const OWN_NAME = /^(conversion\.json|allocation\.json|block-\d+\.safetensors|(student|teacher)-\d+\.f32|prefix-\d+)$/;
const KIND: WorkKind = {
  what: 'a conversion',
  marker: MANIFEST,
  isMarker: ({ version, fingerprint }) => Number.isInteger(version) && typeof fingerprint === 'string',
  owns: (name) => OWN_NAME.test(name),
};

/** The files of all blocks, in order, and the residuals of their modules. */
export interface FinishedBlocks extends AsyncDisposable {
  readonly files: readonly SafetensorsFile[];
  readonly residuals: ReadonlyMap<string, number>;
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
  private constructor(
    readonly path: string,
    /** Blocks finished by earlier processes. */
    readonly finished: number,
    /** What every block of the conversion carries. */
    private readonly nonce: string,
    private readonly claim: Claim | undefined,
  ) {}

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
    return new WorkFolder(path, 0, manifest.nonce, claim);
  }

  static async #resume(path: string, nonce: string, claim: Claim | undefined): Promise<WorkFolder> {
    const names = new Set(await readdir(path));
    let finished = 0;
    while (names.has(blockFile(finished))) finished++;
    const folder = new WorkFolder(path, finished, nonce, claim);
    // a block that does not belong here is better found now than when the others are done
    for (let layer = 0; layer < finished; layer++) await (await folder.block(layer)).file.close();
    return folder;
  }

  /** Where the calibration's hidden states wait, those of `sides` before the next block being there already. */
  async states(
    source: DenseSource,
    calibration: ConversionTask['calibration'],
    sides: readonly Side[],
  ): Promise<FileStateStore> {
    const files = this.freshStates(source, calibration?.settings.length ?? 0, calibration?.windows ?? []);
    if (calibration === undefined || this.finished === 0 || this.finished === source.config.layers) return files;
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

  /** Writes a finished block and frees its matrices. */
  async keep(layer: number, block: ConvertedWeights): Promise<void> {
    const placed = [...block.values()].flatMap(({ matrices }) => matrices);
    const tensors = placed.map(({ part, matrix, storage }) => partTensor(part, storage, matrix));
    const residuals = JSON.stringify(Object.fromEntries(residualsOf(block)));
    await writeSafetensors(join(this.path, blockFile(layer)), tensors, { residuals, conversion: this.nonce });
    disposeConverted(block);
  }

  /** Opens a finished block. Throws MBOK_FORMAT where it is another conversion's. */
  async block(layer: number): Promise<{ file: SafetensorsFile; residuals: ReadonlyMap<string, number> }> {
    const file = await SafetensorsFile.open(join(this.path, blockFile(layer)));
    try {
      if (file.metadata.get('conversion') !== this.nonce) {
        throw new MbokError('MBOK_FORMAT', `'${file.path}' is of another conversion than '${this.path}'; restart`);
      }
      return { file, residuals: readResiduals(file) };
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Opens the blocks of a finished conversion; `residuals` by module. Dispose what it returns. */
  async blocks(layers: number): Promise<FinishedBlocks> {
    const files: SafetensorsFile[] = [];
    const residuals = new Map<string, number>();
    const close = async () => {
      for (const file of files) await file.close();
    };
    try {
      for (let layer = 0; layer < layers; layer++) {
        const { file, residuals: own } = await this.block(layer);
        files.push(file);
        for (const [module, residual] of own) residuals.set(module, residual);
      }
    } catch (error) {
      await close();
      throw error;
    }
    return { files, residuals, [Symbol.asyncDispose]: close };
  }

  /** The parts of a weight in a finished block, in the order of its structure. Dispose them. */
  async weight(layer: number, owner: ParameterSpecification, format: LayerFormat): Promise<readonly Matrix[]> {
    const { file } = await this.block(layer);
    await using _ = file;
    const matrices: Matrix[] = [];
    for (const part of partsOf(owner, format)) {
      matrices.push((await readPart(file, { part, from: part }, 'training')).matrix);
    }
    return matrices;
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
function readResiduals({ path, metadata }: SafetensorsFile): ReadonlyMap<string, number> {
  const what = `'${path}': the list of residuals`;
  const residuals = Object.entries(parseJsonObject(metadata.get('residuals') ?? '', what));
  const wrong = residuals.find(([, residual]) => !(Number.isFinite(residual) && (residual as number) >= 0));
  if (wrong === undefined) return new Map(residuals as [string, number][]);
  throw new MbokError('MBOK_FORMAT', `${what} says ${show(wrong[1])} of ${show(wrong[0])}`);
}
