import type { FileHandle } from 'node:fs/promises';
import { MbokError } from '../base/errors';
import { ioFailure } from './failure';
import { openRegular } from './regular_file';

/** Bytes per read; a multiple of every element size. */
export const CHUNK_BYTES = 1 << 24;

/** A file that is read by position, on the disk or at a server. */
export interface Positioned extends AsyncDisposable {
  /** For messages. */
  readonly path: string;
  /** Size in bytes when it was opened. */
  readonly size: number;
  /** Reads up to `length` bytes at `position`; fewer at the end of the file. */
  upTo(position: number, length: number, target?: Uint8Array): Promise<Uint8Array>;
  /** Fills `target` from `position`, with a part of tensor `name`. Throws MBOK_FORMAT if the file ends before that. */
  fill(name: string, position: number, target: Uint8Array): Promise<void>;
  /** Closes the file; later reads fail. A second call does nothing. */
  close(): Promise<void>;
}

/** Opens a file by its path, or by its name at a server. */
export type OpenFile = (path: string) => Promise<Positioned>;

/**
 * A file read by position, never mapped. Truncating it while it is open gives an error and does not kill the process.
 */
export class PositionedFile implements Positioned {
  private constructor(
    /** As passed to `open`. */
    readonly path: string,
    /** Size in bytes when it was opened. */
    readonly size: number,
    private readonly file: FileHandle,
  ) {}

  /** Opens a file; throws MBOK_IO. */
  static async open(path: string): Promise<PositionedFile> {
    const file = await openRegular(path);
    try {
      return new PositionedFile(path, (await file.stat()).size, file);
    } catch (error) {
      await file.close();
      throw ioFailure('read', path, error);
    }
  }

  /** Reads up to `length` bytes at `position`; fewer at the end of the file. Throws MBOK_IO, MBOK_DISPOSED. */
  async upTo(position: number, length: number, target: Uint8Array = new Uint8Array(length)): Promise<Uint8Array> {
    let done = 0;
    try {
      while (done < length) {
        const chunkLength = Math.min(CHUNK_BYTES, length - done);
        const { bytesRead } = await this.file.read(target, done, chunkLength, position + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EBADF') {
        throw new MbokError('MBOK_DISPOSED', `'${this.path}' has been closed`, { cause: error });
      }
      throw ioFailure('read', this.path, error);
    }
    return target.subarray(0, done);
  }

  /**
   * Fills `target` from `position`, with a part of tensor `name`. Throws MBOK_FORMAT if the file ends before that, else
   * as `upTo`.
   */
  async fill(name: string, position: number, target: Uint8Array): Promise<void> {
    const bytes = await this.upTo(position, target.length, target);
    if (bytes.length === target.length) return;
    throw new MbokError('MBOK_FORMAT', `'${this.path}' ends within tensor '${name}': truncated since it was opened`);
  }

  /** Closes the file; later reads fail. A second call does nothing. */
  async close(): Promise<void> {
    await this.file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
