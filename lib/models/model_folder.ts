/**
 * Folders of models as mbok writes them: complete or not at all, and never at the expense of somebody else's files.
 *
 * A marker file tells the folders that mbok has written, and which files it put there. Such a folder is replaced as a
 * whole, by two renames, since Node has no exchange of names. A folder that holds anything else is refused or, where the
 * caller asks to overwrite, gets the files of the model one by one while all others stay. Whatever a killed process has
 * left half way, the next one that reads or writes the folder completes or takes back.
 */

import { lstat, mkdir, readdir, readlink, realpath, rename, rm, rmdir, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { MbokError } from '../base/errors';
import { boolean, string, throwIfAborted } from '../base/validate';
import { version } from '../base/version';
import { abandoned, leftoverOf, leftovers, makeFolder, syncFolder, temporaryName, writeFile } from '../io/atomic';
import { ioFailure, isSystemError } from '../io/failure';
import { ifPresent, removeIfEmpty } from '../io/files';
import { isJsonObject, type JsonObject, readJson } from '../io/json';
import { takeLock } from '../io/lock';
import { expectApart } from '../io/output_path';
import { WEIGHTS_FILE } from '../io/safetensors_shards';
import { TOKENIZER_FILE } from '../text/tokenizer';

export const CONFIG_FILE = 'config.json';
/** Small files that belong to a model and are copied along with it as they are. */
export const COMPANIONS = [
  TOKENIZER_FILE,
  'tokenizer_config.json',
  'special_tokens_map.json',
  'generation_config.json',
  'chat_template.jinja',
];
/** How a baseline was made, for people and reports. */
export const BASELINE_FILE = 'baseline.json';
/** Tells the folders that mbok has written, and which files it put there. */
export const MARKER_FILE = 'mbok.json';
/** Names that files of a model have; those of models without a marker, and those that overwriting replaces. */
const MODEL_FILES: readonly string[] = [CONFIG_FILE, WEIGHTS_FILE, ...COMPANIONS, BASELINE_FILE, MARKER_FILE];
/** A marker is a claim like any other: it can name no other files than such as models consist of. */
const OWN_NAME = /^[\w-][\w.-]*\.(json|jinja|safetensors)$/;

/** Milliseconds that a writer waits for another one to put its folder in the same place: renames, no work. */
const LONGEST_EXCHANGE = 10_000;

/** A file's content, or what writes the file at a path. */
export type FileContent = string | Uint8Array | ((path: string) => Promise<void>);

/** How a model's folder is written. */
export interface OutputOptions {
  /**
   * Write into a folder that mbok has not made, or that holds other files too: those with names of a model's files are
   * replaced, all others stay. Default false: such a folder is refused with MBOK_IO.
   */
  readonly overwrite?: boolean | undefined;
}

/**
 * Writes a model's folder. It appears complete or not at all; an older one stays until then.
 *
 * @param path - the folder; missing parents are made, links are followed
 * @param files - contents by name
 * @throws MbokError MBOK_IO naming `path`, or the first file in it that mbok has not written. MBOK_BUSY where another
 *   process holds the place for longer than renaming takes. MBOK_ABORTED
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
    await put(temporary, target, path, overwrite);
    await syncFolder(dirname(target));
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw ioFailure('write', path, withoutTemporaryName(error, temporary, path));
  }
}

/**
 * Throws what {@link writeModelFolder} would throw before it writes a file: better before an hour of work than after it.
 * Missing parents are made.
 *
 * @param inputs - files and folders that the work reads
 * @throws MbokError MBOK_INVALID_ARGUMENT where the output is one of the inputs or holds one; MBOK_IO
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

/** Where `path` leads, with what earlier writers have left there settled. Throws as {@link expectOutput}. */
async function prepare(
  path: string,
  { inputs, overwrite }: OutputOptions & { readonly inputs: readonly string[] },
): Promise<string> {
  string('output', path);
  boolean('overwrite', overwrite ?? false);
  try {
    const target = await followLinks(path);
    await expectApart(target, inputs);
    await makeFolder(dirname(target));
    await settle(target, path);
    await expectReplaceable(target, path, overwrite);
    for (const folder of await abandoned(target)) await removeOwn(folder);
    return target;
  } catch (error) {
    throw ioFailure('write', path, error);
  }
}

/** The marker comes first, so that it is known whose files they are whenever the process dies. */
async function fill(folder: string, files: ReadonlyMap<string, FileContent>): Promise<void> {
  const names = [...files.keys(), MARKER_FILE];
  await writeFile(join(folder, MARKER_FILE), `${JSON.stringify({ mbok: version(), files: names }, null, 2)}\n`);
  for (const [name, content] of files) {
    if (typeof content === 'function') await content(join(folder, name));
    else await writeFile(join(folder, name), content);
  }
}

/** Gives a complete folder its name. The lock of `target` is held. */
async function put(complete: string, target: string, path: string, overwrite: boolean | undefined): Promise<void> {
  const names = await namesIn(target);
  if (names === undefined) return await rename(complete, target);
  // anything may have happened to the folder during the work
  const own = await expectReplaceable(target, path, overwrite);
  if (names.every((name) => own.has(name))) return await exchange(complete, target);
  const installed = temporaryName(target, 'new');
  await rename(complete, installed);
  await install(installed, target);
}

/** Replaces a folder as a whole: in between, {@link recoverModelFolder} finds the old one. */
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

/** Removes a folder that has been replaced, but for what somebody has put there while it was being moved. */
async function dissolve(aside: string, target: string): Promise<void> {
  await removeOwn(aside);
  for (const name of (await namesIn(aside)) ?? []) {
    if ((await ifPresent(lstat(join(target, name)))) === undefined) await rename(join(aside, name), join(target, name));
  }
  await removeIfEmpty(aside);
}

/**
 * Moves the files of a complete folder into one that holds other files too. config.json goes first and comes back last:
 * until then it is no model, rather than one of two. The marker of `complete` stays to the end, so that a process that
 * goes on after a kill knows the files that have been moved from those that are to go.
 */
async function install(complete: string, target: string): Promise<void> {
  const listed = await markedNames(complete);
  if (listed !== undefined) {
    await ifPresent(unlink(join(target, CONFIG_FILE)));
    const old = [...((await markedNames(target)) ?? []), ...MODEL_FILES];
    for (const name of old) if (!listed.has(name)) await ifPresent(unlink(join(target, name)));
    const last = [CONFIG_FILE, MARKER_FILE];
    for (const name of [...[...listed].filter((name) => !last.includes(name)), ...last]) {
      await ifPresent(rename(join(complete, name), join(target, name)));
    }
    await syncFolder(target);
  }
  await removeIfEmpty(complete);
}

/**
 * Completes or takes back what a process that died has left of replacing a model's folder. Call it before reading one; it
 * does nothing when all is well.
 */
export async function recoverModelFolder(path: string): Promise<void> {
  try {
    const target = await followLinks(path);
    if ((await ifPresent(lstat(join(target, CONFIG_FILE)))) === undefined) await settle(target, path);
  } catch (error) {
    // nothing to recover: whoever reads the folder reports that it is not there
    if (isSystemError(error) && ['ENOENT', 'ENOTDIR', 'EACCES'].includes(error.code as string)) return;
    throw ioFailure('recover', path, error);
  }
}

/** Whoever has the lock knows that no living process is at work between two renames. */
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
 * Names of the files in `target` that may be replaced. Throws MBOK_IO where something else is there than a folder, or
 * where the folder holds a file that mbok has not written.
 */
async function expectReplaceable(
  target: string,
  path: string,
  overwrite: boolean | undefined,
): Promise<ReadonlySet<string>> {
  const found = await ifPresent(lstat(target));
  if (found === undefined) return new Set();
  if (!found.isDirectory()) throw new MbokError('MBOK_IO', `cannot write '${path}': a file of this name exists`);
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
  const own = (await markedNames(target)) ?? (await unmarkedNames(target)) ?? new Set();
  const stranger = entries
    .map(({ name }) => name)
    .sort()
    .find((name) => !files.has(name) || !own.has(name));
  if (stranger === undefined) return own;
  throw new MbokError(
    'MBOK_IO',
    `will not replace the folder '${path}': mbok has not written its '${stranger}'; overwriting replaces the files of the model in it and leaves all others`,
  );
}

/** Names of the files that the folder's marker says mbok has written; undefined without a marker. */
async function markedNames(folder: string): Promise<ReadonlySet<string> | undefined> {
  const files = (await readIfJson(join(folder, MARKER_FILE)))?.files;
  if (!Array.isArray(files)) return undefined;
  return new Set([...files.filter((name) => typeof name === 'string' && OWN_NAME.test(name)), MARKER_FILE]);
}

/** Of a Boolean model that a version without markers has written; undefined for anybody else's folder. */
async function unmarkedNames(folder: string): Promise<ReadonlySet<string> | undefined> {
  const settings = (await readIfJson(join(folder, CONFIG_FILE)))?.quantization_config;
  return isJsonObject(settings) && settings.quant_method === 'mbok' ? new Set(MODEL_FILES) : undefined;
}

/** Undefined where there is no such file, or another program's that happens to have its name. */
async function readIfJson(path: string): Promise<JsonObject | undefined> {
  try {
    return await ifPresent(readJson(path));
  } catch (error) {
    if (error instanceof MbokError && error.code === 'MBOK_FORMAT') return undefined;
    throw error;
  }
}

/** Removes what mbok has written of a model's folder, and the folder where nothing else is in it. Throws MBOK_IO. */
export async function removeModelFolder(path: string): Promise<void> {
  try {
    if ((await ifPresent(lstat(path)))?.isDirectory()) await removeOwn(path);
  } catch (error) {
    throw ioFailure('remove', path, error);
  }
}

async function removeOwn(folder: string): Promise<void> {
  const own = (await markedNames(folder)) ?? (await unmarkedNames(folder)) ?? new Set([MARKER_FILE]);
  const names = ((await namesIn(folder)) ?? []).filter((name) => own.has(leftoverOf(name)?.of ?? name));
  const last = (name: string) => Number(name === MARKER_FILE);
  for (const name of names.sort((a, b) => last(a) - last(b))) await ifPresent(unlink(join(folder, name)));
  await removeIfEmpty(folder);
}

/** Names in a folder; undefined where there is none. */
async function namesIn(folder: string): Promise<string[] | undefined> {
  return await ifPresent(readdir(folder));
}

/** Where a path leads, whether or not anything is there. */
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

/** What reading a link says of something that is none. */
function isNoLink(error: unknown): boolean {
  return isSystemError(error) && error.code === 'EINVAL';
}

/** Errors of files within the folder shall name them by the path that the caller knows. */
function withoutTemporaryName(error: unknown, temporary: string, path: string): unknown {
  if (!(error instanceof MbokError) || !error.message.includes(temporary)) return error;
  return new MbokError(error.code, error.message.replaceAll(temporary, path), { cause: error });
}
