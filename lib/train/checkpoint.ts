/**
 * Checkpoints of a run: a folder with all that the next step depends on, so that a resumed run goes on to the same bits.
 * It is replaced as a whole: whenever the process dies, the old or the new one is there.
 */

import { join } from 'node:path';
import { MbokError } from '../errors';
import { recoverFolder, writeFile, writeFolder } from '../io/atomic';
import { exists } from '../io/files';
import { type JsonLimits, readJson } from '../io/json';
import { SafetensorsFile, type TensorSource, writeSafetensors } from '../io/safetensors';
import { type Matrix, rowBytes } from '../native/matrix';
import type { Snapshot } from './snapshot';

const FORMAT_VERSION = 1;
const PROGRESS_FILE = 'progress.json';
const STATE_FILE = 'state.safetensors';
/** A record a step, of about ten values in 200 bytes. */
const PROGRESS_LIMITS: JsonLimits = { bytes: 1 << 28, values: 2 ** 24 };
const DTYPES = {
  f32: 'F32',
  f16: 'F16',
  bf16: 'BF16',
  i32: 'I32',
  bits: 'U8',
  bitTiles: 'U8',
  u8: 'U8',
  i8: 'I8',
} as const;
/** Prefix of the tensors of the best model so far. */
const BEST = 'best:';

export interface CheckpointContent<Progress> {
  /** What the run's result depends on besides its state; a resumed run must agree in every entry. */
  readonly fingerprint: Readonly<Record<string, unknown>>;
  readonly progress: Progress;
  /** Trained parameters (scales in F32, packed kernels) and optimizer state by name. */
  readonly matrices: ReadonlyMap<string, Matrix>;
  /** The trained parameters of the best model so far, of the shapes in `matrices`. */
  readonly best: Snapshot | undefined;
}

/** Replaces the checkpoint in `folder`. Throws MBOK_IO; the old checkpoint then stays. */
export async function saveCheckpoint<Progress>(
  folder: string,
  { fingerprint, progress, matrices, best }: CheckpointContent<Progress>,
): Promise<void> {
  const tensors = [...matrices].map(([name, matrix]) => describe(name, matrix, () => matrix.raw()));
  const kept = [...(best ?? [])].map(([name, data]) => describe(BEST + name, matrices.get(name) as Matrix, () => data));
  const fill = async (directory: string) => {
    await writeSafetensors(join(directory, STATE_FILE), [...tensors, ...kept]);
    const json = { version: FORMAT_VERSION, fingerprint, hasBest: best !== undefined, progress };
    await writeFile(join(directory, PROGRESS_FILE), JSON.stringify(json));
  };
  await writeFolder(folder, { marker: PROGRESS_FILE }, fill);
}

/** The fingerprint of the checkpoint in `folder`; undefined where there is none. Throws MBOK_FORMAT, MBOK_IO. */
export async function savedFingerprint(folder: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  await recoverFolder(folder);
  const place = join(folder, PROGRESS_FILE);
  return (await exists(place))
    ? ((await readJson(place, PROGRESS_LIMITS)).fingerprint as Record<string, unknown>)
    : undefined;
}

/**
 * Reads the checkpoint in `folder` into `matrices`. Resolves to undefined where there is none, and changes nothing then.
 * Throws MBOK_INVALID_ARGUMENT naming the option that differs from the run that wrote it, MBOK_UNSUPPORTED for another
 * format version, MBOK_FORMAT, MBOK_IO.
 */
export async function loadCheckpoint<Progress>(
  folder: string,
  fingerprint: Readonly<Record<string, unknown>>,
  matrices: ReadonlyMap<string, Matrix>,
): Promise<
  { readonly progress: Progress; readonly best: Map<string, ReturnType<Matrix['raw']>> | undefined } | undefined
> {
  await recoverFolder(folder);
  const place = join(folder, PROGRESS_FILE);
  if (!(await exists(place))) return undefined;
  const json = await readJson(place, PROGRESS_LIMITS);
  if (json.version !== FORMAT_VERSION) {
    throw new MbokError('MBOK_UNSUPPORTED', `'${place}' has version ${String(json.version)}, not ${FORMAT_VERSION}`);
  }
  expectSame(place, json.fingerprint as Record<string, unknown>, fingerprint);
  await using file = await SafetensorsFile.open(join(folder, STATE_FILE));
  const read = async (name: string, matrix: Matrix) => {
    const target = matrix.raw();
    const bytes = await file.read(name);
    if (bytes.length !== target.byteLength) {
      throw new MbokError('MBOK_FORMAT', `'${file.path}': tensor '${name}' has ${bytes.length} bytes`);
    }
    bytesOf(target).set(bytes);
    return target;
  };
  // all of it is read before anything is changed
  const contents = new Map<string, ReturnType<Matrix['raw']>>();
  for (const [name, matrix] of matrices) contents.set(name, await read(name, matrix));
  const best = json.hasBest === true ? new Map<string, ReturnType<Matrix['raw']>>() : undefined;
  for (const name of best === undefined ? [] : file.tensors.keys()) {
    const trained = name.startsWith(BEST) ? matrices.get(name.slice(BEST.length)) : undefined;
    if (trained !== undefined) best?.set(name.slice(BEST.length), await read(name, trained));
  }
  for (const [name, matrix] of matrices) matrix.write(contents.get(name) as ReturnType<Matrix['raw']>);
  return { progress: json.progress as Progress, best };
}

function describe(name: string, { rows, cols, type }: Matrix, data: () => ReturnType<Matrix['raw']>): TensorSource {
  const bytes = () => bytesOf(data());
  return { name, dtype: DTYPES[type], shape: [rows, DTYPES[type] === 'U8' ? rowBytes(type, cols) : cols], bytes };
}

function bytesOf({ buffer, byteOffset, byteLength }: ReturnType<Matrix['raw']>): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function expectSame(place: string, saved: Record<string, unknown>, given: Readonly<Record<string, unknown>>): void {
  for (const key of new Set([...Object.keys(saved), ...Object.keys(given)])) {
    const [before, now] = [JSON.stringify(saved[key]), JSON.stringify(given[key])];
    if (before === now) continue;
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      `cannot resume from '${place}': it was written with '${key}' ${before}, this run has ${now}`,
    );
  }
}
