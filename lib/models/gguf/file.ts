import { MbokError } from '../../base/errors';
import { isAbsence } from '../../io/failure';
import { type OpenFile, type Positioned, PositionedFile } from '../../io/positioned';
import { type GgufHeader, type GgufTensor, type MetadataValue, parseGgufHeader } from './header';
import { type GgufPart, joinParts, otherParts } from './split';

/** Bytes of the first read; enough for headers with small vocabularies. */
const FIRST_BYTES = 1 << 20;
const GROWTH = 8;
/** Maximum header size, 64 MiB. A vocabulary of 256 k tokens with its merges takes about 10 MB. */
const MOST_HEADER_BYTES = FIRST_BYTES * GROWTH * GROWTH;

/** A file of a model, open. */
interface OpenPart extends GgufPart {
  readonly file: Positioned;
}

/** An open GGUF file, or all files of a split one: metadata and tensors by their names. */
export class GgufFile implements AsyncDisposable {
  /** Path of the file, or of the first. */
  readonly path: string;
  /** Bytes of all files. */
  readonly byteLength: number;
  readonly metadata: ReadonlyMap<string, MetadataValue>;
  /** Tensors by name, file by file in the order of their offsets. */
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  readonly #partOf: ReadonlyMap<string, OpenPart>;

  private constructor(private readonly parts: readonly OpenPart[]) {
    const [first] = parts as readonly [OpenPart];
    const joined = [...joinParts(parts)];
    this.path = first.path;
    this.byteLength = parts.reduce((sum, { file }) => sum + file.size, 0);
    this.metadata = first.header.metadata;
    this.tensors = new Map(joined.map(([name, { tensor }]) => [name, tensor]));
    this.#partOf = new Map(joined.map(([name, { part }]) => [name, part]));
  }

  /**
   * Opens a file and checks its header. The other files of a split one are found by the name of the first.
   *
   * @throws MbokError
   * - MBOK_IO if a file cannot be read
   * - MBOK_FORMAT if one is not a complete, consistent GGUF file, or if those of a split one do not fit together
   * - MBOK_INVALID_ARGUMENT if it is a later file of a split one
   * - MBOK_UNSUPPORTED for versions, byte orders and element types that mbok does not read
   */
  static async open(path: string, open: OpenFile = PositionedFile.open): Promise<GgufFile> {
    const first = await openPart(path, open);
    const parts = [first];
    try {
      const others = otherParts(path, first.header);
      for (const other of others) parts.push(await openPart(other, open).catch((error) => explain(error, path)));
      return new GgufFile(parts);
    } catch (error) {
      for (const { file } of parts) await file.close();
      throw error;
    }
  }

  /**
   * Fills `target` with the bytes of a tensor, from byte `from` on. Throws MBOK_FORMAT if the file was truncated,
   * MBOK_IO.
   */
  async fill({ name, byteOffset }: GgufTensor, from: number, target: Uint8Array): Promise<void> {
    await (this.#partOf.get(name) as OpenPart).file.fill(name, byteOffset + from, target);
  }

  /** Closes the files; later reads fail. Closing twice is allowed. */
  async close(): Promise<void> {
    for (const { file } of this.parts) await file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function openPart(path: string, open: OpenFile): Promise<OpenPart> {
  const file = await open(path);
  try {
    return { path: file.path, file, header: await readHeader(file) };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Says that the missing file belongs to a split one; rethrows other errors. */
function explain(error: unknown, first: string): never {
  if (!(error instanceof MbokError && isAbsence(error))) throw error;
  throw new MbokError('MBOK_IO', `a file of the split model '${first}' is missing: ${error.message}`, { cause: error });
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
