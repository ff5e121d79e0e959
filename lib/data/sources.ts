/** Text files: listing them, and reading them in parts. */

import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MbokError } from '../base/errors';
import { ioFailure } from '../io/failure';
import { JsonListSplitter } from '../io/json_list';
import { openRegular } from '../io/regular_file';
import { expectNoStandIn } from '../io/stand_in';
import { Utf8Decoder } from '../io/utf8';

/** Bytes per read. */
const CHUNK_BYTES = 1 << 20;
/** Longest line or record in characters. A longer one is not a document but a whole file. */
const LONGEST_PIECE = 1 << 26;

/** A text file and its size. */
export interface SourceFile {
  readonly path: string;
  readonly bytes: number;
}

/**
 * Lists the files of names: a file itself, or all files in a folder and below. A folder is sorted by name, by code
 * units, so that the order is the same everywhere. Names in it that begin with a dot are skipped.
 *
 * @throws MbokError MBOK_IO, MBOK_INVALID_ARGUMENT if a folder has no files
 */
export async function listFiles(names: readonly string[]): Promise<SourceFile[]> {
  const files: SourceFile[] = [];
  for (const name of names) {
    const before = files.length;
    await expand(name, files, []);
    if (files.length === before) throw new MbokError('MBOK_INVALID_ARGUMENT', `the folder '${name}' has no files`);
  }
  return files;
}

/** Adds the files of `path`. `above` holds device and inode numbers of the enclosing folders. */
async function expand(path: string, files: SourceFile[], above: readonly string[]): Promise<void> {
  try {
    const status = await stat(path);
    if (!status.isDirectory()) {
      files.push({ path, bytes: status.size });
      return;
    }
    const identity = `${status.dev}:${status.ino}`;
    if (above.includes(identity))
      throw new MbokError('MBOK_IO', `cannot read '${path}': it leads back to a folder around it`);
    for (const name of (await readdir(path)).sort()) {
      if (!name.startsWith('.')) await expand(join(path, name), files, [...above, identity]);
    }
  } catch (error) {
    throw ioFailure('read', path, error);
  }
}

/**
 * Reads a file from start to end.
 *
 * @param onBytes - receives the bytes of every chunk
 * @throws MbokError MBOK_IO
 */
export async function* readChunks(path: string, onBytes: (bytes: Uint8Array) => void): AsyncGenerator<Uint8Array> {
  try {
    const file = await openRegular(path);
    try {
      for (;;) {
        const { bytesRead, buffer } = await file.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES);
        if (bytesRead === 0) return;
        const bytes = buffer.subarray(0, bytesRead);
        onBytes(bytes);
        yield bytes;
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    throw ioFailure('read', path, error);
  }
}

/**
 * Reads a file of UTF-8 text and drops a byte order mark.
 *
 * @throws MbokError MBOK_IO, MBOK_FORMAT if the file is not text, has another encoding, or is a web page without such a
 * name
 */
export async function* readText(path: string, onBytes: (bytes: Uint8Array) => void): AsyncGenerator<string> {
  const decoder = new Utf8Decoder(`'${path}'`, '. Convert the file, e.g. from Latin-1 by: iconv -f LATIN1 -t UTF-8');
  let beginning: string | undefined;
  for await (const bytes of readChunks(path, onBytes)) {
    // a file named as a web page is meant to be one
    if (beginning === undefined && !/\.(x?html?|xml)$/i.test(path)) expectNoStandIn(bytes, path);
    beginning ??= Buffer.from(bytes.subarray(0, BEGINNING_BYTES)).toString('hex');
    const kind = kindOf(beginning, bytes.includes(0));
    if (kind !== undefined) throw new MbokError('MBOK_FORMAT', `'${path}' is not UTF-8 text: it ${kind}`);
    yield decoder.push(bytes);
  }
  decoder.end();
}

/** Reads the start of a text, after white space. Throws as {@link readText}. */
export async function beginningOf(path: string): Promise<string> {
  for await (const part of readText(path, () => {})) {
    const text = part.trimStart();
    if (text !== '') return text;
  }
  return '';
}

/** Bytes at the start of a file that identify its type. */
const BEGINNING_BYTES = 16;

/** File types that are mistaken for text, by their first bytes in hexadecimal. */
const KINDS: readonly (readonly [beginning: RegExp, kind: string])[] = [
  [/^(fffe|feff)/, 'is UTF-16 (iconv -f UTF-16 -t UTF-8 converts it)'],
  [/^47475546(0[1-4]|00)0000/, 'is a GGUF file, a model'],
  [/^.{8}0{8}7b/, 'is a safetensors file, weights of a model'],
  [/^1f8b/, 'is compressed by gzip'],
  [/^28b52ffd/, 'is compressed by zstd'],
  [/^fd377a585a00/, 'is compressed by xz'],
  [/^425a683[1-9]314159265359/, 'is compressed by bzip2'],
  [/^504b0(304|506)/, 'is a ZIP archive, or in a format that is one'],
  [/^5041523115/, 'is a Parquet file (write its rows as lines of JSON)'],
  [/^(4152524f573100|ffffffff)/, 'is an Arrow file (write its rows as lines of JSON)'],
  [/^255044462d/, 'is a PDF'],
];

/** Returns the type of a file that is not UTF-8 text; undefined if none is recognized. */
function kindOf(beginning: string, hasZero: boolean): string | undefined {
  const [, kind] = KINDS.find(([pattern]) => pattern.test(beginning)) ?? [];
  return kind ?? (hasZero ? 'holds zero bytes' : undefined);
}

/** A part of a file that is read separately. */
export interface Piece {
  readonly text: string;
  /** Name of the part in messages. */
  readonly place: string;
}

/**
 * Reads the lines of a text file, except lines of only white space.
 *
 * @throws MbokError MBOK_IO, MBOK_FORMAT if the file is not text or a line is too long
 */
export async function* readLines(path: string, onBytes: (bytes: Uint8Array) => void): AsyncGenerator<Piece> {
  let rest = '';
  let number = 1;
  const place = () => `'${path}' line ${number}`;
  for await (const text of readText(path, onBytes)) {
    const lines = text.split('\n');
    const last = lines.pop() as string;
    for (const [index, piece] of lines.entries()) {
      const line = index === 0 ? rest + piece : piece;
      if (line.trim() !== '') yield { text: line, place: place() };
      number++;
    }
    // only append here: searching a line of many chunks again for each chunk would take quadratic time
    rest = lines.length === 0 ? rest + last : last;
    expectLength(rest.length, place);
  }
  if (rest.trim() !== '') yield { text: rest, place: place() };
}

/**
 * Reads the elements of a file that holds one JSON list of objects.
 *
 * @throws MbokError MBOK_IO, MBOK_FORMAT if the file is not text or not such a list, or an element is too long
 */
export async function* readElements(path: string, onBytes: (bytes: Uint8Array) => void): AsyncGenerator<Piece> {
  const splitter = new JsonListSplitter(`'${path}'`);
  let number = 1;
  const place = () => `'${path}' record ${number}`;
  for await (const part of readText(path, onBytes)) {
    for (const text of splitter.push(part)) {
      yield { text, place: place() };
      number++;
    }
    expectLength(splitter.pending, place);
  }
  splitter.end();
}

function expectLength(length: number, place: () => string): void {
  if (length <= LONGEST_PIECE) return;
  throw new MbokError('MBOK_FORMAT', `${place()} is longer than ${LONGEST_PIECE} characters`);
}
