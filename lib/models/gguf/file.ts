import { MbokError } from '../../base/errors';
import { type OpenFile, type Positioned, PositionedFile } from '../../io/positioned';
import { type GgufHeader, type GgufTensor, type MetadataValue, parseGgufHeader } from './header';

/** Bytes of the first read; enough for headers with small vocabularies. */
const FIRST_BYTES = 1 << 20;
const GROWTH = 8;
/** Maximum header size, 64 MiB. A vocabulary of 256 k tokens with its merges takes about 10 MB. */
const MOST_HEADER_BYTES = FIRST_BYTES * GROWTH * GROWTH;

/** An open GGUF file: metadata and tensors by their names in the file. */
export class GgufFile implements AsyncDisposable {
  private constructor(
    private readonly file: Positioned,
    private readonly header: GgufHeader,
  ) {}

  /**
   * Opens a file and checks its header.
   *
   * @throws MbokError MBOK_IO if it cannot be read, MBOK_FORMAT if it is not a complete, consistent GGUF file,
   * MBOK_UNSUPPORTED for versions, byte orders and element types that mbok does not read
   */
  static async open(path: string, open: OpenFile = PositionedFile.open): Promise<GgufFile> {
    const file = await open(path);
    try {
      return new GgufFile(file, await readHeader(file));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Path as passed to `open`. */
  get path(): string {
    return this.file.path;
  }

  /** Bytes of the file. */
  get byteLength(): number {
    return this.file.size;
  }

  get metadata(): ReadonlyMap<string, MetadataValue> {
    return this.header.metadata;
  }

  /** Tensors by name, in the order of their offsets. */
  get tensors(): ReadonlyMap<string, GgufTensor> {
    return this.header.tensors;
  }

  /**
   * Fills `target` with the bytes of a tensor, from byte `from` on. Throws MBOK_FORMAT if the file was truncated,
   * MBOK_IO.
   */
  async fill({ name, byteOffset }: GgufTensor, from: number, target: Uint8Array): Promise<void> {
    await this.file.fill(name, byteOffset + from, target);
  }

  /** Closes the file; later reads fail. Closing twice is allowed. */
  async close(): Promise<void> {
    await this.file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Reads the header. Its length is not stored, so growing pieces are read until it is complete. Throws MBOK_FORMAT. */
async function readHeader(file: Positioned): Promise<GgufHeader> {
  for (let length = FIRST_BYTES; length <= MOST_HEADER_BYTES; length *= GROWTH) {
    const start = await file.upTo(0, Math.min(length, file.size));
    // if the file has shrunk since it was opened, its current end counts
    const bytes = start.length < Math.min(length, file.size) ? start.length : file.size;
    const header = parseGgufHeader(start, bytes, file.path);
    if (header !== undefined) return header;
  }
  throw new MbokError('MBOK_FORMAT', `the header of '${file.path}' is longer than ${MOST_HEADER_BYTES} bytes`);
}
