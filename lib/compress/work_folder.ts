/**
 * What a conversion keeps beside its output while it runs: the number of kernels of every layer once they are chosen, one
 * safetensors file a finished block, the hidden states before the next one, and a fingerprint of what is converted how. A
 * process that is killed at any moment leaves a folder that the next one goes on from, to the same bits: files of blocks
 * appear whole or not at all, and those of hidden states before the file of the block that they follow from.
 */

import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MbokError } from '../errors';
import { makeFolder, writeFile } from '../io/atomic';
import { ioFailure } from '../io/failure';
import { ifPresent, remove } from '../io/files';
import { readJson } from '../io/json';
import { SafetensorsFile, type TensorSource, writeSafetensors } from '../io/safetensors';
import type { KernelCounts } from '../models/quantization';
import type { ModelSource } from '../models/source';
import { BitMatrix } from '../native/bit_matrix';
import { INPUT_SCALES, KERNELS, OUTPUT_SCALES } from '../nn/linear';
import { type ConvertedModules, disposeConverted } from './block_conversion';
import type { ConversionTask } from './convert_model';
import type { DenseSource } from './dense_source';
import { windowsPerChunk } from './hidden_states';
import type { KernelMatrices } from './kernel_matrices';
import { FileStateStore, type Side } from './state_store';
import { storedTensor } from './stored_tensor';

const MANIFEST = 'conversion.json';
const VERSION = 1;
const ALLOCATION = 'allocation.json';
const blockFile = (layer: number) => `block-${layer}.safetensors`;

/** The files of all blocks, in order, and the residuals of their modules. */
export interface FinishedBlocks extends AsyncDisposable {
  readonly files: readonly SafetensorsFile[];
  readonly residuals: ReadonlyMap<string, number>;
}

/** Where the blocks of an unfinished conversion to `output` are kept. */
export function workFolderOf(output: string): string {
  return `${resolve(output)}.partial`;
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

export class WorkFolder {
  private constructor(
    readonly path: string,
    /** Blocks finished by earlier processes. */
    readonly finished: number,
  ) {}

  /**
   * Opens the folder of an unfinished conversion or begins a new one. Throws MBOK_INVALID_ARGUMENT where the folder
   * belongs to another conversion, unless `restart` is set: then it is emptied.
   */
  static async open(path: string, own: string, { restart }: { readonly restart: boolean }): Promise<WorkFolder> {
    if (restart) await remove(path);
    await makeFolder(path);
    const manifest = join(path, MANIFEST);
    const found = await readManifest(manifest, path);
    if (found === undefined) {
      await writeFile(manifest, JSON.stringify({ version: VERSION, fingerprint: own }));
      return new WorkFolder(path, 0);
    }
    if (found !== own) {
      throw new MbokError(
        'MBOK_INVALID_ARGUMENT',
        `'${path}' holds an unfinished conversion of another source or with other options; go on with those, restart, or remove it`,
      );
    }
    const names = new Set(await readdir(path));
    let finished = 0;
    while (names.has(blockFile(finished))) finished++;
    return new WorkFolder(path, finished);
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

  /** Kernels by module, where an earlier process has chosen them. */
  async allocation(): Promise<KernelCounts | undefined> {
    const json = await ifPresent(readJson(join(this.path, ALLOCATION)));
    return json && new Map(Object.entries(json as Record<string, number>));
  }

  async keepAllocation(kernels: KernelCounts): Promise<void> {
    await writeFile(join(this.path, ALLOCATION), JSON.stringify(Object.fromEntries(kernels)));
  }

  /** Writes a finished block and frees its matrices. */
  async keep(layer: number, block: ConvertedModules): Promise<void> {
    const tensors = [...block.replaced].map(([name, stored]): TensorSource => storedTensor(name, stored));
    const residuals = JSON.stringify(Object.fromEntries(block.residuals));
    await writeSafetensors(join(this.path, blockFile(layer)), tensors, { residuals });
    disposeConverted(block);
  }

  /** Opens a finished block. */
  async block(layer: number): Promise<{ file: SafetensorsFile; residuals: Readonly<Record<string, number>> }> {
    const file = await SafetensorsFile.open(join(this.path, blockFile(layer)));
    return { file, residuals: JSON.parse(file.metadata.get('residuals') ?? '{}') };
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
        for (const [module, residual] of Object.entries(own)) residuals.set(module, residual);
      }
    } catch (error) {
      await close();
      throw error;
    }
    return { files, residuals, [Symbol.asyncDispose]: close };
  }

  /** Kernels of a module in a finished block. Dispose them. */
  async kernels(layer: number, module: string): Promise<KernelMatrices> {
    const { file } = await this.block(layer);
    await using _ = file;
    const sOut = await file.readMatrix(`${module}.${OUTPUT_SCALES}`, 'f32');
    const sIn = await file.readMatrix(`${module}.${INPUT_SCALES}`, 'f32');
    const shape = { rows: sOut.rows * sOut.cols, cols: sIn.cols };
    return { kernels: BitMatrix.fromPacked(await file.read(`${module}.${KERNELS}`), shape), sOut, sIn };
  }

  async remove(): Promise<void> {
    await remove(this.path);
  }
}

async function readManifest(manifest: string, folder: string): Promise<string | undefined> {
  const json = await ifPresent(readJson(manifest));
  if (json !== undefined) return String(json.fingerprint);
  const names = (await readdir(folder)).filter((name) => !name.startsWith(MANIFEST));
  if (names.length === 0) return undefined;
  throw new MbokError('MBOK_IO', `will not work in the folder '${folder}': it holds files but no ${MANIFEST}`);
}
