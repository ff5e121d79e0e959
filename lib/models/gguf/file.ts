import { MbokError } from '../../base/errors';
import { PositionedFile } from '../../io/positioned';
import { type GgufHeader, type GgufTensor, type MetadataValue, parseGgufHeader } from './header';

/** Read at first; enough for the headers of small vocabularies. */
const FIRST_BYTES = 1 << 20;
const GROWTH = 8;
/** A vocabulary of 256 k tokens and its merges take about 10 MB. */
const MOST_HEADER_BYTES = FIRST_BYTES * GROWTH * GROWTH;

/** A GGUF file, opened for reading: its metadata and its tensors by the names of the file. */
export class GgufFile implements AsyncDisposable {
  private constructor(
    private readonly file: PositionedFile,
    private readonly header: GgufHeader,
  ) {}

  /**
   * Opens a file and checks its header.
   *
   * @throws MbokError MBOK_IO (cannot be read), MBOK_FORMAT (not a whole, consistent GGUF file), MBOK_UNSUPPORTED (a
   *   version, byte order or element type that mbok does not read)
   */
  static async open(path: string): Promise<GgufFile> {
    const file = await PositionedFile.open(path);
    try {
      return new GgufFile(file, await readHeader(file));
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** As given to `open`. */
  get path(): string {
    return this.file.path;
  }

  /** Of the file. */
  get byteLength(): number {
    return this.file.size;
  }

  get metadata(): ReadonlyMap<string, MetadataValue> {
    return this.header.metadata;
  }

  /** By name, in the order of their bytes. */
  get tensors(): ReadonlyMap<string, GgufTensor> {
    return this.header.tensors;
  }

  /** Fills `target` with the bytes of a tensor from byte `from` on. Throws MBOK_FORMAT (truncated since), MBOK_IO. */
  async fill({ name, byteOffset }: GgufTensor, from: number, target: Uint8Array): Promise<void> {
    await this.file.fill(name, byteOffset + from, target);
  }

  /** Further reads fail. Closing twice is allowed. */
  async close(): Promise<void> {
    await this.file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The header's length is not written down: more is read until it ends. */
async function readHeader(file: PositionedFile): Promise<GgufHeader> {
  for (let length = FIRST_BYTES; length <= MOST_HEADER_BYTES; length *= GROWTH) {
    const start = await file.upTo(0, Math.min(length, file.size));
    // a file that has shrunk since it was opened ends where it ends now
    const bytes = start.length < Math.min(length, file.size) ? start.length : file.size;
    const header = parseGgufHeader(start, bytes, file.path);
    if (header !== undefined) return header;
  }
  throw new MbokError('MBOK_FORMAT', `the header of '${file.path}' is longer than ${MOST_HEADER_BYTES} bytes`);
}
