/** Checks of output paths: an output must not overwrite an input or a file that mbok did not write. */

import { realpath, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { MbokError } from '../base/errors';
import { ifPresent } from './files';
import { PositionedFile } from './positioned';

const BEGINNING_BYTES = 1 << 16;

/**
 * Throws MBOK_INVALID_ARGUMENT if `output` is one of `inputs` or a folder that contains one, since writing could
 * destroy the input. An output inside an input folder is allowed.
 */
export async function expectApart(output: string, inputs: readonly string[]): Promise<void> {
  const outputIdentity = await identity(output);
  for (const input of inputs) {
    if ((await identity(input)) === outputIdentity) {
      throw new MbokError('MBOK_INVALID_ARGUMENT', `the output must be another place than the input '${input}'`);
    }
    for (const path of await pathsOf(input)) {
      for (const ancestor of ancestors(path)) {
        if ((await identity(ancestor)) !== outputIdentity) continue;
        throw new MbokError('MBOK_INVALID_ARGUMENT', `the output '${output}' must not hold the input '${input}'`);
      }
    }
  }
}

/**
 * Throws MBOK_IO if the file at `path` exists, is not empty, and `isOwn` does not recognize its first 64 KB.
 *
 * @param what - the output, for messages: `a training log`
 */
export async function expectOwnFile(path: string, what: string, isOwn: (beginning: string) => boolean): Promise<void> {
  const file = await ifPresent(PositionedFile.open(path));
  if (file === undefined) return;
  await using _ = file;
  const bytes = await file.upTo(0, BEGINNING_BYTES);
  if (bytes.length === 0 || isOwn(Buffer.from(bytes).toString())) return;
  throw new MbokError('MBOK_IO', `will not replace '${path}' with ${what}: it is another file`);
}

/** Returns the absolute path, and the path that its links lead to. */
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

/** Returns device and inode number, which all paths to a file share, or the absolute path if nothing exists there. */
async function identity(path: string): Promise<string> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch {
    return resolve(path);
  }
}
