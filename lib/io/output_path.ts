/** Where results may be written: not in the place of what is read, nor of anything that mbok has not written. */

import { realpath, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { MbokError } from '../base/errors';
import { ifPresent } from './files';
import { PositionedFile } from './positioned';

const BEGINNING_BYTES = 1 << 16;

/**
 * Throws MBOK_INVALID_ARGUMENT where `output` is one of `inputs`, or a folder that holds one: writing it could destroy
 * what is read. An output within a folder that is an input is allowed.
 */
export async function expectApart(output: string, inputs: readonly string[]): Promise<void> {
  const place = await identity(output);
  for (const input of inputs) {
    if ((await identity(input)) === place) {
      throw new MbokError('MBOK_INVALID_ARGUMENT', `the output must be another place than the input '${input}'`);
    }
    for (const path of await pathsOf(input)) {
      for (const ancestor of ancestors(path)) {
        if ((await identity(ancestor)) !== place) continue;
        throw new MbokError('MBOK_INVALID_ARGUMENT', `the output '${output}' must not hold the input '${input}'`);
      }
    }
  }
}

/**
 * Throws MBOK_IO where something is at `path` that the caller has not written: neither nothing, an empty file nor one
 * whose beginning, of up to 64 KB, `isOwn` recognizes.
 *
 * @param what - what is to be written, for messages: `a training log`
 */
export async function expectOwnFile(path: string, what: string, isOwn: (beginning: string) => boolean): Promise<void> {
  const file = await ifPresent(PositionedFile.open(path));
  if (file === undefined) return;
  await using _ = file;
  const bytes = await file.upTo(0, BEGINNING_BYTES);
  if (bytes.length === 0 || isOwn(Buffer.from(bytes).toString())) return;
  throw new MbokError('MBOK_IO', `will not replace '${path}' by ${what}: it is something else`);
}

/** A path as it is given, and where its links lead. */
async function pathsOf(path: string): Promise<readonly string[]> {
  const given = resolve(path);
  try {
    return [given, await realpath(path)];
  } catch {
    return [given];
  }
}

function ancestors(path: string): string[] {
  const parent = dirname(path);
  return parent === path ? [] : [parent, ...ancestors(parent)];
}

/** Device and number of a file or folder, which all paths to it share; its path where there is none. */
async function identity(path: string): Promise<string> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return resolve(path);
  }
}
