/**
 * Work folders: what a long call keeps on disk to go on from after a kill. A marker file tells such a folder from other
 * people's; one call at a time works in it; and only files that such a call writes are ever removed from it.
 */

import { readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { MbokError } from '../base/errors';
import { leftoverOf, makeFolder } from './atomic';
import { ioFailure, isAbsence } from './failure';
import { exists, ifPresent, removeIfEmpty } from './files';
import { type JsonLimits, type JsonObject, readJson } from './json';
import { isLockName, takeLock } from './lock';

/** Locks lie within the folder, so that they go with it. */
const LOCK = 'lock';

/** What kind of work folder it is. */
export interface WorkKind {
  /** What is worked on, for messages: `a conversion`. */
  readonly what: string;
  /** File, of JSON, that every folder of this kind has from its beginning. */
  readonly marker: string;
  /** Of the marker; by default those of configurations. */
  readonly limits?: JsonLimits;
  /** Whether the marker says what one of this kind does: another program's file may have its name. */
  readonly isMarker: (json: JsonObject) => boolean;
  /** Whether calls of this kind write a file, or a folder below, of this name. */
  readonly owns: (name: string) => boolean;
}

/** A work folder that this call holds until disposed. */
export interface Claim extends AsyncDisposable {
  readonly folder: string;
  /** What the folder's marker says; undefined where no earlier call has begun the work. */
  readonly marker: JsonObject | undefined;
  /** Removes what calls of this kind have written, and nothing else. */
  clear(): Promise<void>;
}

/**
 * Makes the folder if it is not there, and takes it.
 *
 * @throws MbokError MBOK_IO where it is no folder, or holds files but no marker; MBOK_BUSY where another call works in it
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
 * Removes what calls of this kind have written into a folder, and the folder where nothing else is in it; nothing where it
 * is not there. Throws as {@link claimFolder}.
 */
export async function removeWork(folder: string, kind: WorkKind): Promise<void> {
  if (!(await exists(folder))) return;
  await using claim = await claimFolder(folder, kind);
  await claim.clear();
}

/** Undefined where the folder holds nothing. Throws MBOK_IO where it is somebody else's. */
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

/** Makes the folder and locks it; once more where the call that had it removes it in between. */
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

/** Names in the folder, but for locks and what writers that died have left. */
async function contents(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => !isLockName(name, LOCK) && leftoverOf(name) === undefined);
}

async function clear(folder: string, kind: WorkKind): Promise<void> {
  const { marker, owns } = kind;
  try {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const { name } = entry;
      const path = join(folder, name);
      // the marker goes last: until then whoever finds the folder knows whose it is
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

/** Gives the folder back, and removes it where nothing is left in it. */
async function release(folder: string, lock: AsyncDisposable): Promise<void> {
  await lock[Symbol.asyncDispose]();
  await removeIfEmpty(folder);
}
