/** A safetensors file whose tensors come in any order, over several processes: the header says beforehand where each lies. */

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

/** Where the bytes of a tensor go: to the beginning of tensor `name` but for the first `skip`, which are there. */
export interface TensorPlace {
  readonly name: string;
  readonly skip: number;
}

/** Reads what has been written; tensors that have not been are zeros. Close it. */
export class PlacedSafetensors implements AsyncDisposable {
  private constructor(
    /** Of the same file. */
    readonly reader: SafetensorsFile,
    private readonly file: FileHandle,
  ) {}

  /** Begins a file; one of this name is forgotten. Throws MBOK_IO, MBOK_INVALID_ARGUMENT for a name given twice. */
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

  /** Opens a file to go on with. Throws MBOK_IO, MBOK_FORMAT where it does not hold just these tensors. */
  static async open(path: string, tensors: readonly TensorHead[]): Promise<PlacedSafetensors> {
    const reader = await SafetensorsFile.open(path);
    try {
      const headOf = ({ name, dtype, shape }: TensorHead) => ({ name, dtype, shape });
      if (!isDeepStrictEqual([...reader.tensors.values()].map(headOf), inOrder(tensors).map(headOf))) {
        throw new MbokError('MBOK_FORMAT', `'${path}' has other tensors than were to be written`);
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

  /** Writes a tensor to its place; it lasts once the file is synced. Throws MBOK_IO, MBOK_FORMAT, MBOK_SHAPE. */
  async write(tensor: TensorSource, place: TensorPlace = { name: tensor.name, skip: 0 }): Promise<void> {
    const { name, skip } = place;
    const { byteOffset, byteLength } = this.reader.entry(name);
    if (tensorBytes(tensor) > byteLength) {
      throw new MbokError('MBOK_SHAPE', `tensor '${tensor.name}' is too large for '${name}' of '${this.path}'`);
    }
    if (skip >= tensorBytes(tensor)) return;
    try {
      await writePieces(tensor, this.path, async (piece, start) => {
        const known = Math.min(Math.max(0, skip - start), piece.byteLength);
        await writeAll(this.file, piece.subarray(known), byteOffset + start + known);
      });
    } catch (error) {
      throw ioFailure('write', this.path, error);
    }
  }

  /** Makes what has been written outlive a crash of the machine. Throws MBOK_IO. */
  async sync(): Promise<void> {
    try {
      await this.file.sync();
    } catch (error) {
      throw ioFailure('write', this.path, error);
    }
  }

  /** Closing twice is allowed. */
  async close(): Promise<void> {
    await this.file.close();
    await this.reader.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
