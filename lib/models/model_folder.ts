/**
 * Writer of model folders. A folder appears completely or not at all, and other people's files in it stay.
 *
 * A marker file identifies folders that mbok wrote, and lists its files. Such a folder is replaced as a whole by two
 * renames, since Node cannot exchange names atomically. A folder with other files is refused. With `overwrite`, files
 * of the model are written into it one by one and all others stay. If a process dies in between, the next reader or
 * writer of the folder completes or reverts its work.
 */

import { lstat, mkdir, readdir, readlink, realpath, rename, rm, rmdir, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { MbokError } from '../base/errors';
import { boolean, invalid, string, throwIfAborted } from '../base/validate';
import { version } from '../base/version';
import { isReference } from '../hub/reference';
import { abandoned, leftoverOf, leftovers, makeFolder, syncFolder, temporaryName, writeFile } from '../io/atomic';
import { ioFailure, isSystemError } from '../io/failure';
import { ifPresent, removeIfEmpty } from '../io/files';
import { isJsonObject, type JsonObject, readJson } from '../io/json';
import { takeLock } from '../io/lock';
import { BASELINE_FILE, COMPANIONS, CONFIG_FILE, MARKER_FILE } from '../io/model_files';
import { expectApart } from '../io/output_path';
import { WEIGHTS_FILE } from '../io/safetensors_shards';

/** Names of model files: those assumed for folders without a marker, and those that overwriting replaces. */
const MODEL_FILES: readonly string[] = [CONFIG_FILE, WEIGHTS_FILE, ...COMPANIONS, BASELINE_FILE, MARKER_FILE];
/** Names that a marker may list. It is untrusted input, so it may only name files that models consist of. */
const OWN_NAME = /^[\w-][\w.-]*\.(json|jinja|safetensors)$/;

/** Maximum milliseconds that a writer waits for another to move its folder into place: renames only. */
const LONGEST_EXCHANGE = 10_000;

/** Content of a file, or a function that writes the file at a path. */
export type FileContent = string | Uint8Array | ((path: string) => Promise<void>);

/** Options for writing a model folder. */
export interface OutputOptions {
  /**
   * Write into a folder that mbok did not create, or that has other files. Files with names of model files are
   * replaced, all others stay. Default false: such a folder is refused with MBOK_IO.
   */
  readonly overwrite?: boolean | undefined;
}

/**
 * Writes a model folder. It appears completely or not at all; an older folder stays until then.
 *
 * @param path - the folder; missing parents are created, links are followed
 * @param files - contents by name
 * @throws MbokError MBOK_IO naming `path`, or the first file in it that mbok did not write. MBOK_BUSY if another
 * process holds the lock longer than renames take. MBOK_INVALID_ARGUMENT, MBOK_ABORTED
 */
export async function writeModelFolder(
  path: string,
  { overwrite, signal }: OutputOptions & { readonly signal?: AbortSignal | undefined },
  files: ReadonlyMap<string, FileContent>,
): Promise<void> {
  throwIfAborted(signal);
  const target = await prepare(path, { inputs: [], overwrite });
  const temporary = temporaryName(target);
  try {
    await mkdir(temporary);
    await fill(temporary, files);
    throwIfAborted(signal);
    await using _ = await takeLock(`${target}.lock`, `is writing '${path}'`, { wait: LONGEST_EXCHANGE });
    await moveToTarget(temporary, target, path, overwrite);
    await syncFolder(dirname(target));
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw ioFailure('write', path, withoutTemporaryName(error, temporary, path));
  }
}

/**
 * Checks that {@link writeModelFolder} can write a folder, so that errors appear before an hour of work. Creates
 * missing parents.
 *
 * @param inputs - files and folders that the work reads
 * @throws MbokError MBOK_INVALID_ARGUMENT if the output is one of the inputs or contains one; MBOK_IO
 */
export async function expectOutput(
  path: string,
  given: OutputOptions & { readonly inputs: readonly string[] },
): Promise<void> {
  const temporary = temporaryName(await prepare(path, given));
  try {
    await mkdir(temporary);
    await rmdir(temporary);
  } catch (error) {
    throw ioFailure('write', path, error);
  }
}

/** Resolves `path` and completes or reverts unfinished work of earlier writers. Throws as {@link expectOutput} does. */
async function prepare(
  path: string,
  { inputs, overwrite }: OutputOptions & { readonly inputs: readonly string[] },
): Promise<string> {
  string('output', path);
  boolean('overwrite', overwrite ?? false);
  if (isReference(path)) invalid('output', 'a folder, which mbok push can upload', path);
  try {
    const target = await followLinks(path);
    await expectApart(target, inputs);
    await makeFolder(dirname(target));
    await settle(target, path);
    await expectReplaceable(target, path, overwrite);
    for (const folder of await abandoned(target)) await removeOwnFiles(folder);
    return target;
  } catch (error) {
    throw ioFailure('write', path, error);
  }
}

/** Writes the files, the marker first, so that the folder is identified whenever the process dies. */
async function fill(folder: string, files: ReadonlyMap<string, FileContent>): Promise<void> {
  const names = [...files.keys(), MARKER_FILE];
  await writeFile(join(folder, MARKER_FILE), `${JSON.stringify({ mbok: version(), files: names }, null, 2)}\n`);
  for (const [name, content] of files) {
    if (typeof content === 'function') await content(join(folder, name));
    else await writeFile(join(folder, name), content);
  }
}

/** Moves a complete folder to its name. The lock of `target` must be held. */
async function moveToTarget(
  complete: string,
  target: string,
  path: string,
  overwrite: boolean | undefined,
): Promise<void> {
  const names = await namesIn(target);
  if (names === undefined) return await rename(complete, target);
  // check again: other processes may have changed the folder during the work
  const ownFiles = await expectReplaceable(target, path, overwrite);
  if (names.every((name) => ownFiles.has(name))) return await exchange(complete, target);
  const installed = temporaryName(target, 'new');
  await rename(complete, installed);
  await install(installed, target);
}

/** Replaces a whole folder. If the process dies between the renames, {@link recoverModelFolder} finds the old one. */
async function exchange(complete: string, target: string): Promise<void> {
  const aside = temporaryName(target, 'old');
  await rename(target, aside);
  try {
    await rename(complete, target);
  } catch (error) {
    await rename(aside, target);
    throw error;
  }
  await dissolve(aside, target);
}

/** Removes a replaced folder. Files that others added while it was moved go to the new folder. */
async function dissolve(aside: string, target: string): Promise<void> {
  await removeOwnFiles(aside);
  for (const name of (await namesIn(aside)) ?? []) {
    if ((await ifPresent(lstat(join(target, name)))) === undefined) await rename(join(aside, name), join(target, name));
  }
  await removeIfEmpty(aside);
}

/**
 * Moves the files of a complete folder into one that has other files. config.json is removed first and added back last:
 * in between, the folder is not a model, rather than a mix of two. The marker of `complete` moves last of all. So a
 * process that resumes after a kill can tell moved files from files to remove.
 */
async function install(complete: string, target: string): Promise<void> {
  const listed = await markedNames(complete);
  if (listed !== undefined) {
    await ifPresent(unlink(join(target, CONFIG_FILE)));
    const previous = [...((await markedNames(target)) ?? []), ...MODEL_FILES];
    for (const name of previous) if (!listed.has(name)) await ifPresent(unlink(join(target, name)));
    const last = [CONFIG_FILE, MARKER_FILE];
    for (const name of [...[...listed].filter((name) => !last.includes(name)), ...last]) {
      await ifPresent(rename(join(complete, name), join(target, name)));
    }
    await syncFolder(target);
  }
  await removeIfEmpty(complete);
}

/**
 * Completes or reverts the unfinished replacement of a model folder by a process that died. Call it before reading a
 * folder; it does nothing if config.json exists.
 */
export async function recoverModelFolder(path: string): Promise<void> {
  try {
    const target = await followLinks(path);
    if ((await ifPresent(lstat(join(target, CONFIG_FILE)))) === undefined) await settle(target, path);
  } catch (error) {
    // nothing to recover: the reader of the folder reports that it does not exist
    if (isSystemError(error) && ['ENOENT', 'ENOTDIR', 'EACCES'].includes(error.code as string)) return;
    throw ioFailure('recover', path, error);
  }
}

/** Completes or reverts unfinished work. With the lock held, no living process is between two renames. */
async function settle(target: string, path: string): Promise<void> {
  if ((await leftovers(target, 'old', 'new')).length === 0) return;
  await using _ = await takeLock(`${target}.lock`, `is writing '${path}'`, { wait: LONGEST_EXCHANGE });
  for (const { path: complete } of await leftovers(target, 'new')) await install(complete, target);
  for (const { path: aside } of await leftovers(target, 'old')) {
    if ((await namesIn(target)) === undefined) await rename(aside, target);
    else await dissolve(aside, target);
  }
}

/**
 * Lists the files in `target` that may be replaced. Throws MBOK_IO if `target` is not a folder, or contains a file that
 * mbok did not write.
 */
async function expectReplaceable(
  target: string,
  path: string,
  overwrite: boolean | undefined,
): Promise<ReadonlySet<string>> {
  const status = await ifPresent(lstat(target));
  if (status === undefined) return new Set();
  if (!status.isDirectory()) throw new MbokError('MBOK_IO', `cannot write '${path}': a file of this name exists`);
  const entries = await readdir(target, { withFileTypes: true });
  const files = new Set(entries.filter((entry) => !entry.isDirectory()).map(({ name }) => name));
  if (overwrite) {
    const folder = entries.find((entry) => entry.isDirectory() && MODEL_FILES.includes(entry.name));
    if (folder !== undefined) {
      throw new MbokError('MBOK_IO', `cannot write '${path}': its '${folder.name}' is a folder`);
    }
    const marked = await markedNames(target);
    return new Set([...MODEL_FILES, ...(marked ?? [])]);
  }
  const ownFiles = (await markedNames(target)) ?? (await unmarkedNames(target)) ?? new Set();
  const stranger = entries
    .map(({ name }) => name)
    .sort()
    .find((name) => !files.has(name) || !ownFiles.has(name));
  if (stranger === undefined) return ownFiles;
  throw new MbokError(
    'MBOK_IO',
    `will not replace the folder '${path}': mbok has not written its '${stranger}'; overwriting replaces the files of the model in it and leaves all others`,
  );
}

/** Lists the files that the folder's marker names; undefined without a marker. */
async function markedNames(folder: string): Promise<ReadonlySet<string> | undefined> {
  const files = (await readIfJson(join(folder, MARKER_FILE)))?.files;
  if (!Array.isArray(files)) return undefined;
  return new Set([...files.filter((name) => typeof name === 'string' && OWN_NAME.test(name)), MARKER_FILE]);
}

/** Lists the files of a Boolean model written by a version without markers; undefined for other folders. */
async function unmarkedNames(folder: string): Promise<ReadonlySet<string> | undefined> {
  const settings = (await readIfJson(join(folder, CONFIG_FILE)))?.quantization_config;
  return isJsonObject(settings) && settings.quant_method === 'mbok' ? new Set(MODEL_FILES) : undefined;
}

/** Reads JSON; undefined if the file does not exist, or is another program's file of the same name. */
async function readIfJson(path: string): Promise<JsonObject | undefined> {
  try {
    return await ifPresent(readJson(path));
  } catch (error) {
    if (error instanceof MbokError && error.code === 'MBOK_FORMAT') return undefined;
    throw error;
  }
}

/** Removes the files that mbok wrote from a model folder, and the folder if it is empty then. Throws MBOK_IO. */
export async function removeModelFolder(path: string): Promise<void> {
  try {
    if ((await ifPresent(lstat(path)))?.isDirectory()) await removeOwnFiles(path);
  } catch (error) {
    throw ioFailure('remove', path, error);
  }
}

async function removeOwnFiles(folder: string): Promise<void> {
  const ownFiles = (await markedNames(folder)) ?? (await unmarkedNames(folder)) ?? new Set([MARKER_FILE]);
  const names = ((await namesIn(folder)) ?? []).filter((name) => ownFiles.has(leftoverOf(name)?.of ?? name));
  const last = (name: string) => Number(name === MARKER_FILE);
  for (const name of names.sort((a, b) => last(a) - last(b))) await ifPresent(unlink(join(folder, name)));
  await removeIfEmpty(folder);
}

/** Lists the names in a folder; undefined if it does not exist. */
async function namesIn(folder: string): Promise<string[] | undefined> {
  return await ifPresent(readdir(folder));
}

/** Resolves the links of a path that may not exist. */
async function followLinks(path: string): Promise<string> {
  const real = await ifPresent(realpath(path));
  if (real !== undefined) return real;
  const parent = await followLinksOfParent(resolve(path));
  const link = await ifPresent(
    readlink(parent).catch((error) => (isNoLink(error) ? undefined : Promise.reject(error))),
  );
  return link === undefined ? parent : await followLinks(resolve(dirname(parent), link));
}

async function followLinksOfParent(path: string): Promise<string> {
  const parent = await ifPresent(realpath(dirname(path)));
  return parent === undefined ? path : join(parent, basename(path));
}

/** Tells whether the error means that a path is not a link. */
function isNoLink(error: unknown): boolean {
  return isSystemError(error) && error.code === 'EINVAL';
}

/** Replaces the temporary folder in an error message by the path that the caller passed. */
function withoutTemporaryName(error: unknown, temporary: string, path: string): unknown {
  if (!(error instanceof MbokError) || !error.message.includes(temporary)) return error;
  return new MbokError(error.code, error.message.replaceAll(temporary, path), { cause: error });
}
