/**
 * Safetensors files whose tensors are written in any order, over several processes. The header fixes each tensor's
 * position in advance.
 */

import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { MbokError } from '../base/errors';
import { syncFolder, writeAll } from './atomic';
import { ioFailure } from './failure';
import {
  buildHeader,
  inOrder,
  SafetensorsFile,
  safetensorsBytes,
  type TensorHead,
  type TensorSource,
  tensorBytes,
  writePieces,
} from './safetensors';

/** A safetensors file open for reading and writing. Tensors not yet written read as zeros. */
export class PlacedSafetensors implements AsyncDisposable {
  private constructor(
    /** Reader of the same file. */
    readonly reader: SafetensorsFile,
    private readonly file: FileHandle,
  ) {}

  /**
   * Creates a file and replaces one of the same name. Throws MBOK_IO, or MBOK_INVALID_ARGUMENT if two tensors share a
   * name.
   */
  static async create(
    path: string,
    tensors: readonly TensorHead[],
    metadata: Readonly<Record<string, string>>,
  ): Promise<PlacedSafetensors> {
    try {
      const file = await open(path, 'w');
      try {
        await writeAll(file, buildHeader(inOrder(tensors), metadata));
        await file.truncate(safetensorsBytes(tensors, metadata));
        await file.sync();
      } finally {
        await file.close();
      }
      await syncFolder(dirname(path));
    } catch (error) {
      throw ioFailure('write', path, error);
    }
    return await PlacedSafetensors.open(path, tensors);
  }

  /** Opens an existing file to continue it. Throws MBOK_IO, or MBOK_FORMAT if it holds other tensors. */
  static async open(path: string, tensors: readonly TensorHead[]): Promise<PlacedSafetensors> {
    const reader = await SafetensorsFile.open(path);
    try {
      const headOf = ({ name, dtype, shape }: TensorHead) => ({ name, dtype, shape });
      if (!isDeepStrictEqual([...reader.tensors.values()].map(headOf), inOrder(tensors).map(headOf))) {
        throw new MbokError('MBOK_FORMAT', `'${path}' has other tensors than expected`);
      }
      return new PlacedSafetensors(reader, await open(path, 'r+'));
    } catch (error) {
      await reader.close();
      throw ioFailure('write', path, error);
    }
  }

  get path(): string {
    return this.reader.path;
  }

  /**
   * Writes a tensor, or the first part of it, at its position. The first `skip` bytes are already there and are not
   * written. The data is durable after {@link sync}. Throws MBOK_IO, MBOK_FORMAT, MBOK_SHAPE.
   */
  async write(tensor: TensorSource, skip = 0): Promise<void> {
    const { byteOffset, byteLength } = this.reader.entry(tensor.name);
    if (tensorBytes(tensor) > byteLength) {
      throw new MbokError('MBOK_SHAPE', `tensor '${tensor.name}' is too large for its place in '${this.path}'`);
    }
    if (skip >= tensorBytes(tensor)) return;
    try {
      await writePieces(tensor, this.path, async (piece, start) => {
        const skipped = Math.min(Math.max(0, skip - start), piece.byteLength);
        await writeAll(this.file, piece.subarray(skipped), byteOffset + start + skipped);
      });
    } catch (error) {
      throw ioFailure('write', this.path, error);
    }
  }

  /** Syncs the file, so that what has been written survives a system crash. Throws MBOK_IO. */
  async sync(): Promise<void> {
    try {
      await this.file.sync();
    } catch (error) {
      throw ioFailure('write', this.path, error);
    }
  }

  /** Closes the file; a second call does nothing. */
  async close(): Promise<void> {
    await this.file.close();
    await this.reader.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
