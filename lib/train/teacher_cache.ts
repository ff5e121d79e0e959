/**
 * Teacher cache: a teacher's predictions on the windows of a run, in a file. It stores the likeliest tokens and
 * combines all others.
 */

import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { MbokError } from '../base/errors';
import { throwIfAborted } from '../base/validate';
import type { Dataset } from '../data/dataset';
import type { Precision } from '../graph/arithmetic';
import { Graph } from '../graph/graph';
import { topTokens } from '../graph/operations/head_loss';
import { Plan } from '../graph/plan';
import { writeFile } from '../io/atomic';
import { ioFailure, isSystemError } from '../io/failure';
import { ifPresent } from '../io/files';
import { f32ToHalf, halfToF32 } from '../io/half';
import { isJsonObject, type JsonObject } from '../io/json';
import { expectOwnFile } from '../io/output_path';
import { openRegular } from '../io/regular_file';
import type { ModelCore } from '../models/model_core';

/** Everything that determines the stored predictions. */
export interface CacheKey {
  /** Hash of the teacher's weights and configuration. Undefined accepts any teacher. */
  readonly teacher: string | undefined;
  /** Hash of the data. */
  readonly data: string;
  readonly window: number;
  /** Start token of every window; null: windows begin with the text itself. */
  readonly startId: number | null;
  readonly batch: number;
  readonly seed: number;
  readonly steps: number;
  readonly topK: number;
  readonly precision: Precision;
}

const FORMAT = 'mbok teacher cache 2';

interface Header extends Omit<CacheKey, 'teacher'> {
  readonly format: typeof FORMAT;
  readonly teacher: string;
}

/** Stored predictions of a step's positions. */
export interface StoredPredictions {
  readonly logarithms: Float32Array;
  readonly ids: Int32Array;
}

const HEADER_BYTES = 1024;
/**
 * Bytes of the trailer, which holds a mean KL in nats. It is KL(teacher ‖ stored) with the remaining probability spread
 * evenly over all other tokens. It is known only at the end.
 */
const TRAILER_BYTES = 64;
/** Rows of the head per run, which share the cost of packing the head. */
const HEAD_ROWS = 2048;

/** Hashes a model's weights and configuration. */
export function modelDigest(model: ModelCore): string {
  const hash = createHash('sha256').update(JSON.stringify(model.savedJson));
  for (const [name, matrix] of model.parameters) hash.update(name).update(matrix.raw());
  return hash.digest('hex');
}

/** An open teacher cache. Logarithms are f16; ids have 16 bits, or 32 for large vocabularies. Close it. */
export class TeacherCache {
  private constructor(
    readonly path: string,
    /** Mean KL in nats between the teacher's full predictions and the stored ones, measured while writing. */
    readonly error: number,
    private readonly file: FileHandle,
    private readonly key: CacheKey,
    private readonly vocabulary: number,
  ) {}

  /**
   * Opens a cache file if it belongs to this key. Returns undefined if it is missing or belongs to another. Throws
   * MBOK_IO.
   */
  static async open(path: string, key: CacheKey, vocabulary: number): Promise<TeacherCache | undefined> {
    const file = await ifPresent(openRegular(path));
    if (file === undefined) return undefined;
    try {
      const { size } = await file.stat();
      const json = async (position: number, length: number) => {
        const bytes = Buffer.alloc(length);
        await file.read(bytes, 0, length, position);
        return parseIfJson(bytes.toString());
      };
      const header = await json(0, HEADER_BYTES);
      const { error } = await json(Math.max(0, size - TRAILER_BYTES), TRAILER_BYTES);
      const wide = vocabulary > 0x10000;
      const isComplete = size === HEADER_BYTES + key.steps * stepBytes(key, wide) + TRAILER_BYTES;
      // files of earlier versions have no startId: their windows had no start token
      if (
        isComplete &&
        header.format === FORMAT &&
        matches({ startId: null, ...header }, key) &&
        Number.isFinite(error)
      ) {
        return new TeacherCache(path, error as number, file, key, vocabulary);
      }
    } catch (error) {
      await file.close();
      throw ioFailure('read', path, error);
    }
    await file.close();
    return undefined;
  }

  /**
   * Runs the teacher over the windows of every step and stores its predictions. The file is written atomically. Throws
   * MBOK_IO, MBOK_ABORTED, MBOK_OUT_OF_MEMORY.
   */
  static async write(
    path: string,
    teacher: ModelCore,
    data: Dataset,
    key: CacheKey,
    { signal, onProgress }: { signal?: AbortSignal | undefined; onProgress?: ((done: number) => void) | undefined },
  ): Promise<TeacherCache> {
    await expectOwnFile(path, "a teacher's predictions", (beginning) =>
      beginning.startsWith('{"format":"mbok teacher'),
    );
    const wide = teacher.config.vocabularySize > 0x10000;
    const writer = new Writer(teacher, key, wide);
    const { window, startId, batch, seed, steps } = key;
    const header: Header = { format: FORMAT, ...key, teacher: key.teacher as string };
    try {
      await writeFile(path, async (file) => {
        await file.append(Buffer.from(JSON.stringify(header).padEnd(HEADER_BYTES)));
        let error = 0;
        for (let step = 0; step < steps; step++) {
          throwIfAborted(signal);
          const { ids } = await data.batch({ window, startId: startId ?? undefined, batch, seed, step });
          const { bytes, error: stepError } = await writer.predict(ids, signal);
          await file.append(bytes);
          error += stepError / steps;
          onProgress?.((step + 1) / steps);
        }
        await file.append(Buffer.from(JSON.stringify({ error }).padEnd(TRAILER_BYTES)));
      });
    } finally {
      writer.dispose();
    }
    return (await TeacherCache.open(path, key, teacher.config.vocabularySize)) as TeacherCache;
  }

  /**
   * Reads the stored predictions of step `step` (from 0). Throws MBOK_IO, MBOK_FORMAT if an id is outside the
   * vocabulary.
   */
  async read(step: number): Promise<StoredPredictions> {
    const { key, vocabulary } = this;
    const wide = vocabulary > 0x10000;
    const bytes = new Uint8Array(stepBytes(key, wide));
    try {
      const { bytesRead } = await this.file.read(bytes, 0, bytes.length, HEADER_BYTES + step * bytes.length);
      if (bytesRead !== bytes.length) throw new MbokError('MBOK_IO', `'${this.path}' was cut short`);
    } catch (error) {
      throw isSystemError(error) ? ioFailure('read', this.path, error) : error;
    }
    const rows = key.batch * key.window;
    const logarithms = new Uint16Array(bytes.buffer, 0, rows * (key.topK + 1));
    const tokens = wide
      ? new Uint32Array(bytes.slice(logarithms.byteLength).buffer)
      : new Uint16Array(bytes.buffer, logarithms.byteLength);
    if (tokens.some((id: number) => id >= vocabulary)) {
      throw new MbokError('MBOK_FORMAT', `'${this.path}' has ids beyond the vocabulary of ${vocabulary}`);
    }
    return { logarithms: halfToF32(logarithms, 'F16'), ids: Int32Array.from(tokens) };
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

function matches(header: JsonObject, key: CacheKey): boolean {
  return (Object.keys(key) as (keyof CacheKey)[]).every(
    (name) => key[name] === undefined || header[name] === key[name],
  );
}

/** Parses a JSON object; returns an empty one for other text. */
function parseIfJson(text: string): JsonObject {
  try {
    const json: unknown = JSON.parse(text);
    return isJsonObject(json) ? json : {};
  } catch {
    return {};
  }
}

/** Returns the bytes of a step: logarithms [rows, k + 1] in f16, then ids [rows, k]. */
function stepBytes({ batch, window, topK }: CacheKey, wide: boolean): number {
  return batch * window * (2 * (topK + 1) + (wide ? 4 : 2) * topK);
}

/** A runner of the teacher: blocks one sequence at a time, the head over rows of many sequences. */
class Writer {
  readonly #states: Plan;
  readonly #head: Plan;

  constructor(
    private readonly teacher: ModelCore,
    private readonly key: CacheKey,
    private readonly wide: boolean,
  ) {
    const { precision, window, batch, topK } = key;
    const body = new Graph({ precision });
    const ids = body.input('ids', { rows: 'tokens', cols: 1, type: 'i32' });
    body.output('states', teacher.build(teacher.builder(body), ids, window).finished);
    this.#states = new Plan(body, { maxRows: window });
    const head = new Graph({ precision });
    const states = head.input('states', { rows: 'tokens', cols: teacher.config.hiddenSize });
    const outputs = topTokens(teacher.family.head(teacher.builder(head), states, teacher.config), topK);
    for (const [i, name] of ['kept', 'ids', 'error'].entries())
      head.output(name, outputs[i] as (typeof outputs)[number]);
    this.#head = new Plan(head, { maxRows: Math.min(HEAD_ROWS, batch * window) });
  }

  /** Computes the bytes of one step and its mean error. */
  async predict(ids: Int32Array, signal: AbortSignal | undefined): Promise<{ bytes: Uint8Array; error: number }> {
    const { window, topK, batch } = this.key;
    const width = this.teacher.config.hiddenSize;
    const bytes = new Uint8Array(stepBytes(this.key, this.wide));
    const logarithms = new Uint16Array(bytes.buffer, 0, ids.length * (topK + 1));
    const tokens = this.wide ? new Uint32Array(ids.length * topK) : new Uint16Array(ids.length * topK);
    const states = new Float32Array(ids.length * width);
    for (let sequence = 0; sequence < batch; sequence++) {
      const sequenceIds = ids.subarray(sequence * window, (sequence + 1) * window);
      const ran = await this.#states.run({ inputs: { ids: sequenceIds }, scalars: { rows: window }, signal });
      states.set(ran.states as Float32Array, sequence * window * width);
    }
    let error = 0;
    for (let first = 0; first < ids.length; first += this.#head.maxRows) {
      const rows = Math.min(this.#head.maxRows, ids.length - first);
      const part = states.subarray(first * width, (first + rows) * width);
      const results = await this.#head.run({ inputs: { states: part }, scalars: { rows }, signal });
      logarithms.set(f32ToHalf(results.kept as Float32Array, 'F16'), first * (topK + 1));
      tokens.set(results.ids as Float32Array, first * topK);
      for (const value of results.error as Float32Array) error += value / ids.length;
    }
    bytes.set(new Uint8Array(tokens.buffer), logarithms.byteLength);
    return { bytes, error };
  }

  dispose(): void {
    this.#states.dispose();
    this.#head.dispose();
  }
}
