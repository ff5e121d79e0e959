/**
 * Models in several GGUF files, as llama.cpp's gguf-split writes them: `m-00001-of-00003.gguf` and so on. The first file
 * has the metadata of the model; each has its number, their count, and the number of tensors in all (`split.…`).
 *
 * Like llama.cpp, mbok opens a model by its first file and finds the others by its name.
 */

import { existsSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { MbokError } from '../../base/errors';
import { show } from '../../base/validate';
import type { GgufHeader, GgufTensor } from './header';

const NUMBER = 'split.no';
const COUNT = 'split.count';
const TENSORS = 'split.tensors.count';
const NAME = /-(\d{5})-of-(\d{5})(\.gguf)$/i;
/** Files that five digits can number. */
const MOST_PARTS = 99_999;

/** A file of a model. */
export interface GgufPart {
  /** For messages. */
  readonly path: string;
  readonly header: GgufHeader;
}

/**
 * Returns the paths of the other files of a model by path and header of its first; none if it is in one file.
 *
 * @throws MbokError MBOK_INVALID_ARGUMENT if it is not the first file or is not named as one; MBOK_FORMAT
 */
export function otherParts(path: string, { metadata }: GgufHeader): readonly string[] {
  const count = metadata.get(COUNT) ?? 1;
  if (!(Number.isInteger(count) && (count as number) >= 0 && (count as number) <= MOST_PARTS)) {
    throw new MbokError('MBOK_FORMAT', `'${path}': metadata '${COUNT}' must be a number of files, got ${show(count)}`);
  }
  if ((count as number) <= 1) return [];
  const number = metadata.get(NUMBER);
  const expected = `-00001-of-${digits(count as number)}.gguf`;
  if (number !== 0) {
    const which = typeof number === 'number' ? `file ${number + 1}` : 'a file';
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      `'${path}' is ${which} of a model in ${count} files: open the first, whose name ends with ${expected}`,
    );
  }
  if (!path.toLowerCase().endsWith(expected)) {
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      `'${path}' is the first of ${count} files of a model: its name must end with ${expected}, for the others to be found`,
    );
  }
  return pathsAfter(path);
}

/** Returns a GGUF file and, if it is named as the first of several, the others that exist. */
export function partsOnDisk(path: string): readonly string[] {
  return [path, ...pathsAfter(path).filter((other) => existsSync(other))];
}

function pathsAfter(first: string): readonly string[] {
  const [, number, count] = NAME.exec(first) ?? [];
  if (number !== '00001') return [];
  return Array.from({ length: Math.max(Number(count) - 1, 0) }, (_, i) =>
    first.replace(NAME, (_name, _number, of: string, end: string) => `-${digits(i + 2)}-of-${of}${end}`),
  );
}

function digits(number: number): string {
  return String(number).padStart(5, '0');
}

/**
 * Joins the tensors of all files, and checks that the files are those of one model.
 *
 * @returns tensors with their files, by name
 * @throws MbokError MBOK_FORMAT
 */
export function joinParts<P extends GgufPart>(
  parts: readonly P[],
): ReadonlyMap<string, { readonly tensor: GgufTensor; readonly part: P }> {
  const [first] = parts as readonly [P];
  const joined = new Map<string, { tensor: GgufTensor; part: P }>();
  for (const [i, part] of parts.entries()) {
    if (i > 0) expectSameModel(first, part, i);
    for (const [name, tensor] of part.header.tensors) {
      const other = joined.get(name);
      if (other !== undefined) {
        const both = `'${other.part.path}' and '${part.path}'`;
        throw new MbokError('MBOK_FORMAT', `tensor '${name}' is in both ${both}`);
      }
      joined.set(name, { tensor, part });
    }
  }
  const total = first.header.metadata.get(TENSORS);
  if (parts.length > 1 && total !== joined.size) {
    throw new MbokError(
      'MBOK_FORMAT',
      `'${first.path}': the ${parts.length} files have ${joined.size} tensors, but metadata '${TENSORS}' is ${show(total)}`,
    );
  }
  return joined;
}

/** Checks what a file of several says of itself, and that it says nothing else of the model than the first. */
function expectSameModel(first: GgufPart, { path, header: { metadata } }: GgufPart, index: number): void {
  const refuse = (reason: string) =>
    new MbokError('MBOK_FORMAT', `'${path}' is not file ${index + 1} of the model of '${first.path}': ${reason}`);
  if (metadata.get(NUMBER) !== index) throw refuse(`its metadata '${NUMBER}' is ${show(metadata.get(NUMBER))}`);
  for (const key of new Set([COUNT, TENSORS, ...metadata.keys()])) {
    const [value, expected] = [metadata.get(key), first.header.metadata.get(key)];
    if (key !== NUMBER && !isDeepStrictEqual(value, expected)) {
      throw refuse(`its metadata '${key}' is ${show(value)}, and ${show(expected)} there`);
    }
  }
}
