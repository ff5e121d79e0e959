/**
 * Checkpoints of a run: a folder with everything that the next step depends on, so that a resumed run continues with
 * the same bits.
 *
 * progress.json names its state file and is replaced last. If the process dies, either the old or the new checkpoint is
 * complete. One run at a time uses the folder.
 */

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import { leftoverOf, writeFile } from '../io/atomic';
import { type Claim, claimFolder, removeWork, type WorkKind } from '../io/claim';
import { ioFailure } from '../io/failure';
import { remove } from '../io/files';
import { isJsonObject, type JsonLimits, type JsonObject } from '../io/json';
import { allFinite, SafetensorsFile, type TensorSource, writeSafetensors } from '../io/safetensors';
import { type Matrix, rowBytes } from '../native/matrix';
import type { Snapshot } from './snapshot';

const FORMAT_VERSION = 2;
const PROGRESS_FILE = 'progress.json';
/** 'state.safetensors' is the name of format version 1. */
const STATE_FILE = /^state(-\d+)?\.safetensors$/;
/** progress.json has one record per step, with about ten values in 200 bytes. */
const LIMITS: JsonLimits = { bytes: 1 << 28, values: 2 ** 24 };
const KIND: WorkKind = {
  what: 'a checkpoint',
  marker: PROGRESS_FILE,
  limits: LIMITS,
  isMarker: ({ version, fingerprint }) => Number.isInteger(version) && isJsonObject(fingerprint),
  owns: (name) => name === PROGRESS_FILE || STATE_FILE.test(name),
};
const DTYPES = {
  f32: 'F32',
  f16: 'F16',
  bf16: 'BF16',
  i32: 'I32',
  bits: 'U8',
  bitTiles: 'U8',
  u8: 'U8',
  i8: 'I8',
  q8: 'U8',
} as const;
/** Prefix of the tensors of the best model so far. */
const BEST = 'best:';

/** Everything that determines a run's result besides its state. */
export type Fingerprint = Readonly<Record<string, unknown>>;

/** Matrices of a run by name. */
export interface RunMatrices {
  /** Trained parameters: f32 parameters and packed kernels. */
  readonly trained: ReadonlyMap<string, Matrix>;
  /** State of the optimizers. */
  readonly state: ReadonlyMap<string, Matrix>;
}

export interface CheckpointContent {
  /** Settings and inputs; a resumed run must agree in every entry. */
  readonly fingerprint: Fingerprint;
  /** Steps completed. */
  readonly step: number;
  /** Progress, as stored in JSON. */
  readonly progress: unknown;
  readonly matrices: RunMatrices;
  /** Trained parameters of the best model so far. */
  readonly best: Snapshot | undefined;
}

/** The checkpoint folder of a run, locked against other runs. Dispose it. */
export class Checkpoint implements AsyncDisposable {
  readonly #claim: Claim;
  /** Whether the folder contains its marker. */
  #begun: boolean;

  private constructor(claim: Claim) {
    this.#claim = claim;
    this.#begun = claim.marker !== undefined;
  }

  /**
   * Locks the folder. Throws MBOK_BUSY if another run has it, MBOK_IO if it is not a checkpoint folder, MBOK_FORMAT.
   */
  static async open(folder: string): Promise<Checkpoint> {
    return new Checkpoint(await claimFolder(folder, KIND));
  }

  /** Removes the checkpoint in `folder`, if there is one and no other run has locked it. Throws MBOK_IO. */
  static async remove(folder: string): Promise<void> {
    try {
      await removeWork(folder, KIND);
    } catch (error) {
      if (!(error instanceof MbokError) || error.code !== 'MBOK_BUSY') throw error;
    }
  }

  /** Replaces the checkpoint. Throws MBOK_IO; the old checkpoint then stays. */
  async save({ fingerprint, step, progress, matrices, best }: CheckpointContent): Promise<void> {
    const { trained, state } = matrices;
    const tensors = [...trained, ...state].map(([name, matrix]) => describe(name, matrix, () => matrix.raw()));
    for (const [name, data] of best ?? []) {
      tensors.push(describe(BEST + name, trained.get(name) as Matrix, () => data));
    }
    const head = { version: FORMAT_VERSION, fingerprint };
    const file = `state-${step}.safetensors`;
    const isFirst = !this.#begun;
    try {
      // write the marker first, so that the folder is always recognized as a checkpoint's
      if (isFirst) await this.#write(head);
      await writeSafetensors(join(this.#claim.folder, file), tensors);
      await this.#write({ ...head, state: file, step, hasBest: best !== undefined, progress });
      await this.#removeStates(file);
    } catch (error) {
      if (isFirst) await this.#claim.clear();
      throw error;
    }
  }

  /** The fingerprint of the earlier run; undefined if none has saved anything. */
  get fingerprint(): Fingerprint | undefined {
    return this.#claim.marker?.fingerprint as Fingerprint | undefined;
  }

  /**
   * Loads the checkpoint of an earlier run into the matrices. Resolves to undefined if there is none. If it rejects,
   * nothing has changed.
   *
   * @param check - converts the content of progress.json to progress, or throws; receives also its path
   * @throws MbokError MBOK_INVALID_ARGUMENT naming the option that differs from the earlier run, MBOK_UNSUPPORTED for
   * another format version, MBOK_FORMAT if the content cannot be a run's state, MBOK_IO
   */
  async load<Progress>(
    fingerprint: Fingerprint,
    { trained, state }: RunMatrices,
    check: (json: JsonObject, path: string) => Progress,
  ): Promise<{ readonly progress: Progress; readonly best: Snapshot | undefined } | undefined> {
    const json = this.#claim.marker;
    if (json === undefined) return undefined;
    const path = this.#progressPath;
    if (json.version !== FORMAT_VERSION) {
      throw new MbokError('MBOK_UNSUPPORTED', `'${path}' has version ${show(json.version)}, not ${FORMAT_VERSION}`);
    }
    expectSame(path, json.fingerprint as JsonObject, fingerprint);
    if (json.state === undefined) return undefined;
    if (typeof json.state !== 'string' || !STATE_FILE.test(json.state)) {
      throw new MbokError('MBOK_FORMAT', `'${path}': 'state' must name the file of the state, got ${show(json.state)}`);
    }
    const progress = check(json, path);
    await using file = await SafetensorsFile.open(join(this.#claim.folder, json.state));
    // read everything before anything changes
    const contents = new Map<Matrix, ReturnType<Matrix['raw']>>();
    for (const [name, matrix] of [...trained, ...state]) contents.set(matrix, await readState(file, name, matrix));
    const best = json.hasBest === true ? new Map<string, ReturnType<Matrix['raw']>>() : undefined;
    for (const [name, matrix] of trained) best?.set(name, await readState(file, BEST + name, matrix));
    for (const [matrix, data] of contents) matrix.write(data);
    return { progress, best };
  }

  /** Unlocks the folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#claim[Symbol.asyncDispose]();
  }

  get #progressPath(): string {
    return join(this.#claim.folder, PROGRESS_FILE);
  }

  async #write(json: JsonObject): Promise<void> {
    await writeFile(this.#progressPath, JSON.stringify(json));
    this.#begun = true;
  }

  /** Removes states of earlier steps, and incomplete ones of killed processes. */
  async #removeStates(currentFile: string): Promise<void> {
    const { folder } = this.#claim;
    try {
      const names = (await readdir(folder)).filter((name) => STATE_FILE.test(leftoverOf(name)?.of ?? name));
      for (const name of names) if (name !== currentFile) await remove(join(folder, name));
    } catch (error) {
      throw ioFailure('read', folder, error);
    }
  }
}

function describe(name: string, { rows, cols, type }: Matrix, data: () => ReturnType<Matrix['raw']>): TensorSource {
  const bytes = () => bytesOf(data());
  return { name, dtype: DTYPES[type], shape: [rows, DTYPES[type] === 'U8' ? rowBytes(type, cols) : cols], bytes };
}

/** Reads the content of a matrix from a checkpoint. Throws MBOK_FORMAT. */
async function readState(file: SafetensorsFile, name: string, matrix: Matrix): Promise<ReturnType<Matrix['raw']>> {
  const target = matrix.raw();
  const expected = describe(name, matrix, () => target);
  const { dtype, shape } = file.entry(name);
  if (dtype !== expected.dtype || shape.join() !== expected.shape.join()) {
    throw new MbokError(
      'MBOK_FORMAT',
      `'${file.path}': tensor '${name}' must be ${expected.dtype} [${expected.shape.join(', ')}], got ${dtype} [${shape.join(', ')}]`,
    );
  }
  bytesOf(target).set(await file.read(name));
  if (dtype !== 'U8' && dtype !== 'I32' && !allFinite(target as Float32Array, dtype)) {
    throw new MbokError('MBOK_FORMAT', `'${file.path}': tensor '${name}' has a value that is not finite`);
  }
  return target;
}

function bytesOf({ buffer, byteOffset, byteLength }: ReturnType<Matrix['raw']>): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function expectSame(path: string, saved: JsonObject, given: Fingerprint): void {
  for (const key of new Set([...Object.keys(saved), ...Object.keys(given)])) {
    const [before, now] = [saved, given].map((all) => (Object.hasOwn(all, key) ? JSON.stringify(all[key]) : undefined));
    if (before === now) continue;
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      `cannot resume from '${path}': it was written with '${key}' ${show(saved[key])}, this run has ${show(given[key])}`,
    );
  }
}
