/**
 * Work folders: what a long call stores on disk in order to resume after it was killed.
 *
 * A marker file identifies a work folder, and one call at a time works in it. mbok removes only files that such a call
 * writes.
 */

import { readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { MbokError } from '../base/errors';
import { leftoverOf, makeFolder } from './atomic';
import { ioFailure, isAbsence } from './failure';
import { exists, ifPresent, removeIfEmpty } from './files';
import { type JsonLimits, type JsonObject, readJson } from './json';
import { isLockName, takeLock } from './lock';

/** The lock lies inside the folder, so that removing the folder removes it. */
const LOCK = 'lock';

/** Kind of work folder. */
export interface WorkKind {
  /** The work, for messages: `a conversion`. */
  readonly what: string;
  /** Name of the JSON file that every folder of this kind has from the start. */
  readonly marker: string;
  /** Size limits of the marker file. Default: those of configurations. */
  readonly limits?: JsonLimits;
  /** Tells whether the marker was written by this kind of work. Another program's file may have the same name. */
  readonly isMarker: (json: JsonObject) => boolean;
  /** Tells whether calls of this kind write a file or subfolder of this name. */
  readonly owns: (name: string) => boolean;
}

/** A work folder, locked by this call until disposed. */
export interface Claim extends AsyncDisposable {
  readonly folder: string;
  /** Content of the marker file; undefined if no earlier call has begun the work. */
  readonly marker: JsonObject | undefined;
  /** Removes only what calls of this kind have written. */
  clear(): Promise<void>;
}

/**
 * Creates the folder if it is missing, and locks it.
 *
 * @throws MbokError MBOK_IO if it is not a folder, or holds files but no marker; MBOK_BUSY if another call works in it
 */
export async function claimFolder(folder: string, kind: WorkKind): Promise<Claim> {
  const lock = await lockIn(folder, `works on ${kind.what} in '${folder}'`);
  try {
    return {
      folder,
      marker: await readMarker(folder, kind),
      clear: () => clear(folder, kind),
      [Symbol.asyncDispose]: () => release(folder, lock),
    };
  } catch (error) {
    await release(folder, lock);
    throw ioFailure('read', folder, error);
  }
}

/**
 * Removes what calls of this kind have written into a folder, then the folder if it is empty. Does nothing if the
 * folder does not exist. Throws as {@link claimFolder}.
 */
export async function removeWork(folder: string, kind: WorkKind): Promise<void> {
  if (!(await exists(folder))) return;
  await using claim = await claimFolder(folder, kind);
  await claim.clear();
}

/**
 * Reads the marker. Returns undefined if the folder is empty. Throws MBOK_IO if the folder is not a work folder of this
 * kind.
 */
async function readMarker(
  folder: string,
  { what, marker, limits, isMarker }: WorkKind,
): Promise<JsonObject | undefined> {
  const names = await contents(folder);
  const stranger = names.sort()[0];
  if (stranger === undefined) return undefined;
  const json = names.includes(marker) ? await readJson(join(folder, marker), limits) : undefined;
  if (json !== undefined && isMarker(json)) return json;
  const reason = json === undefined ? `it holds '${stranger}' but no ${marker}` : `its '${marker}' is not mbok's`;
  throw new MbokError('MBOK_IO', `will not work on ${what} in the folder '${folder}': ${reason}`);
}

/** Creates the folder and locks it. Retries up to 10 times if the previous holder removes the folder in between. */
async function lockIn(folder: string, what: string): Promise<AsyncDisposable> {
  for (let attempt = 1; ; attempt++) {
    await makeFolder(folder);
    try {
      return await takeLock(join(folder, LOCK), what);
    } catch (error) {
      if (!isAbsence(error) || attempt === 10) throw error;
    }
  }
}

/** Lists the folder without locks and without leftovers of dead writers. */
async function contents(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => !isLockName(name, LOCK) && leftoverOf(name) === undefined);
}

async function clear(folder: string, kind: WorkKind): Promise<void> {
  const { marker, owns } = kind;
  try {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const { name } = entry;
      const path = join(folder, name);
      // remove the marker last: until then it identifies the folder
      if (name === marker || !owns(leftoverOf(name)?.of ?? name)) continue;
      if (!entry.isDirectory()) await unlink(path);
      else {
        await clear(path, kind);
        await removeIfEmpty(path);
      }
    }
    await ifPresent(unlink(join(folder, marker)));
  } catch (error) {
    throw ioFailure('clear', folder, error);
  }
}

/** Unlocks the folder, and removes it if it is empty. */
async function release(folder: string, lock: AsyncDisposable): Promise<void> {
  await lock[Symbol.asyncDispose]();
  await removeIfEmpty(folder);
}
