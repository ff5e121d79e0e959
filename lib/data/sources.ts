/** Files of text: which there are, and reading them in parts. */

import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MbokError } from '../errors';
import { ioFailure } from '../io/failure';
import { openRegular } from '../io/regular_file';

/** Bytes read at a time. */
const CHUNK_BYTES = 1 << 20;
/** Characters of a line of JSON: one that is longer is no document but a whole file in one line. */
const LONGEST_LINE = 1 << 26;

/** A file of text. */
export interface SourceFile {
  readonly path: string;
  readonly bytes: number;
}

/**
 * The files that are meant: each name's file or, for a folder, all files in it and below, in the order of their names
 * (by code unit, so that it is the same everywhere). Names that begin with a dot are left out.
 *
 * @throws MbokError MBOK_IO, MBOK_INVALID_ARGUMENT (a folder without a file)
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

/** Adds the files that `path` stands for. `above`: the folders around it, by device and number. */
async function expand(path: string, files: SourceFile[], above: readonly string[]): Promise<void> {
  try {
    const status = await stat(path);
    if (!status.isDirectory()) {
      files.push({ path, bytes: status.size });
      return;
    }
    const own = `${status.dev}:${status.ino}`;
    if (above.includes(own))
      throw new MbokError('MBOK_IO', `cannot read '${path}': it leads back to a folder around it`);
    for (const name of (await readdir(path)).sort()) {
      if (!name.startsWith('.')) await expand(join(path, name), files, [...above, own]);
    }
  } catch (error) {
    throw ioFailure('read', path, error);
  }
}

/**
 * Reads a file from start to end.
 *
 * @param seen - told the bytes of every chunk
 * @throws MbokError MBOK_IO
 */
export async function* readChunks(path: string, seen: (bytes: Uint8Array) => void): AsyncGenerator<Uint8Array> {
  try {
    const file = await openRegular(path);
    try {
      for (;;) {
        const { bytesRead, buffer } = await file.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES);
        if (bytesRead === 0) return;
        const bytes = buffer.subarray(0, bytesRead);
        seen(bytes);
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
 * Reads a file of UTF-8 text. Bytes that are not UTF-8 become U+FFFD; a byte order mark is dropped.
 *
 * @throws MbokError MBOK_IO, MBOK_FORMAT for a file that holds a zero byte, which no text does
 */
export async function* readText(path: string, seen: (bytes: Uint8Array) => void): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  for await (const bytes of readChunks(path, seen)) {
    if (bytes.includes(0)) throw new MbokError('MBOK_FORMAT', `'${path}' is not UTF-8 text: it holds zero bytes`);
    yield decoder.decode(bytes, { stream: true });
  }
  yield decoder.decode();
}

/**
 * Reads the lines of a file of text that hold anything but white space, with their numbers from 1.
 *
 * @throws MbokError MBOK_IO, MBOK_FORMAT (no text, or a line that is too long to be one)
 */
export async function* readLines(
  path: string,
  seen: (bytes: Uint8Array) => void,
): AsyncGenerator<{ readonly line: string; readonly number: number }> {
  let rest = '';
  let number = 0;
  for await (const text of readText(path, seen)) {
    const lines = text.split('\n');
    const last = lines.pop() as string;
    for (const [index, piece] of lines.entries()) {
      const line = index === 0 ? rest + piece : piece;
      number++;
      if (line.trim() !== '') yield { line, number };
    }
    // joined once, when the line ends: a line of many chunks must not be looked through for each of them
    rest = lines.length === 0 ? rest + last : last;
    if (rest.length > LONGEST_LINE) {
      throw new MbokError('MBOK_FORMAT', `'${path}' line ${number + 1} is longer than ${LONGEST_LINE} characters`);
    }
  }
  if (rest.trim() !== '') yield { line: rest, number: number + 1 };
}
