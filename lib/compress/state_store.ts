/** Storage for the hidden states of all calibration windows between blocks: memory, or files next to the output. */

import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MbokError } from '../base/errors';
import { reused } from '../base/reused';
import { writeAll } from '../io/atomic';
import { ioFailure } from '../io/failure';
import { openRegular } from '../io/regular_file';

/** The model as converted so far (student), or the original (teacher). */
export type Side = 'student' | 'teacher';

/** Hidden states by side, block and chunk of windows. Layer l stands for the states before block l. Dispose it. */
export interface StateStore extends AsyncDisposable {
  /** Returns the number of chunks written before block `layer`. */
  chunks(side: Side, layer: number): number;
  /** Reads a chunk. `into` is an array that may be overwritten and returned. */
  read(side: Side, layer: number, chunk: number, into?: Float32Array): Promise<Float32Array>;
  /** Writes a chunk; chunks are written in order. The caller may reuse the array afterwards. */
  write(side: Side, layer: number, chunk: number, data: Float32Array): Promise<void>;
  /** Flushes the states before block `layer` to the disk, if the store is on a disk. */
  sync(layer: number): Promise<void>;
  /** Frees the states before block `layer − 1`. */
  drop(layer: number): Promise<void>;
}

/** Hidden states in memory. */
export class MemoryStateStore implements StateStore {
  readonly #states = new Map<string, Float32Array[]>();

  chunks(side: Side, layer: number): number {
    return this.#states.get(`${side} ${layer}`)?.length ?? 0;
  }

  async read(side: Side, layer: number, chunk: number): Promise<Float32Array> {
    return this.#states.get(`${side} ${layer}`)?.[chunk] as Float32Array;
  }

  async write(side: Side, layer: number, chunk: number, data: Float32Array): Promise<void> {
    const key = `${side} ${layer}`;
    const all = this.#states.get(key) ?? [];
    all[chunk] = data.slice();
    this.#states.set(key, all);
  }

  async sync(): Promise<void> {}

  async drop(layer: number): Promise<void> {
    for (const side of ['student', 'teacher']) this.#states.delete(`${side} ${layer - 1}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#states.clear();
  }
}

interface StateFile {
  readonly file: FileHandle;
  readonly path: string;
  chunks: number;
}

/**
 * Hidden states in files of f32 numbers, one for each side and block. All chunks but the last have the same length.
 * Memory holds one chunk at a time, however long the text is. A conversion that was killed resumes without a pass
 * through the finished blocks.
 */
export class FileStateStore implements StateStore {
  readonly #files = new Map<string, StateFile>();

  /** `chunkBytes`: bytes of each chunk but the last. `bytes`: bytes of all chunks. */
  constructor(
    private readonly folder: string,
    private readonly chunkBytes: number,
    private readonly bytes: number,
  ) {}

  /**
   * Opens the states before block `layer` that an earlier process wrote. Throws MBOK_FORMAT if their size is wrong,
   * MBOK_IO.
   */
  async reopen(side: Side, layer: number): Promise<void> {
    const path = this.#path(side, layer);
    try {
      const file = await openRegular(path);
      this.#files.set(path, { file, path, chunks: Math.ceil(this.bytes / this.chunkBytes) });
      const { size } = await file.stat();
      if (size === this.bytes) return;
      throw new MbokError('MBOK_FORMAT', `'${path}' has ${size} bytes instead of ${this.bytes}; start anew`);
    } catch (error) {
      throw ioFailure('read', path, error);
    }
  }

  chunks(side: Side, layer: number): number {
    return this.#files.get(this.#path(side, layer))?.chunks ?? 0;
  }

  async read(side: Side, layer: number, chunk: number, into?: Float32Array): Promise<Float32Array> {
    const path = this.#path(side, layer);
    const { file } = this.#files.get(path) as StateFile;
    try {
      const begin = chunk * this.chunkBytes;
      const data = reused(into, Math.min(this.chunkBytes, this.bytes - begin) / 4);
      const { bytesRead } = await file.read(data, 0, data.byteLength, begin);
      if (bytesRead === data.byteLength) return data;
    } catch (error) {
      throw ioFailure('read', path, error);
    }
    throw new MbokError('MBOK_FORMAT', `'${path}' was truncated while it was open`);
  }

  async write(side: Side, layer: number, chunk: number, data: Float32Array): Promise<void> {
    const path = this.#path(side, layer);
    try {
      const entry = this.#files.get(path) ?? { file: await open(path, 'w+'), path, chunks: 0 };
      this.#files.set(path, entry);
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      await writeAll(entry.file, bytes, chunk * this.chunkBytes);
      entry.chunks = chunk + 1;
    } catch (error) {
      throw ioFailure('write', path, error);
    }
  }

  async sync(layer: number): Promise<void> {
    for (const side of ['student', 'teacher'] as const) {
      const entry = this.#files.get(this.#path(side, layer));
      try {
        await entry?.file.sync();
      } catch (error) {
        throw ioFailure('write', (entry as StateFile).path, error);
      }
    }
  }

  async drop(layer: number): Promise<void> {
    for (const side of ['student', 'teacher'] as const) {
      const path = this.#path(side, layer - 1);
      await this.#files.get(path)?.file.close();
      this.#files.delete(path);
      await rm(path, { force: true });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { file } of this.#files.values()) await file.close();
    this.#files.clear();
  }

  #path(side: Side, layer: number): string {
    return join(this.folder, `${side}-${layer}.f32`);
  }
}
