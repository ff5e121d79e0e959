/** From the name of a model at the hub to its files in the cache. */

import { join, relative } from 'node:path';
import { MbokError } from '../base/errors';
import { options, show, string, throwIfAborted } from '../base/validate';
import { warn } from '../base/warn';
import { exists } from '../io/files';
import { COMPANIONS } from '../io/model_files';
import { readIndex } from '../io/safetensors_shards';
import { CachedRepository, markCache } from './cache';
import { downloadFile, expectSpace } from './download';
import { formatReference, isReference, type ModelReference, parseReference } from './reference';
import { type HubFile, type HubListing, isCommit, listRepository } from './repository';
import { prefixOf, type Selection, select } from './select';
import { type HubSettings, hubSettings } from './settings';

/** Files that are downloaded at a time. */
const AT_ONCE = 4;

/** A file of a model. */
export interface FileSize {
  /** Name in the repository. */
  readonly name: string;
  /** Size in bytes. */
  readonly bytes: number;
}

/** A file of which a part is on the disk. */
export interface FileProgress extends FileSize {
  /** Bytes of the whole file; `bytes` are those on the disk. */
  readonly totalBytes: number;
}

/** Progress of a download. */
export interface PullProgress {
  /** Share of all bytes, from 0 to 1. */
  readonly done: number;
  /** The file that has just advanced, with its share: `download model.safetensors 12 of 90 MB`. */
  readonly what: string;
  /** Bytes of all files on the disk. */
  readonly bytes: number;
  /** Bytes of all files together. */
  readonly totalBytes: number;
  /** The file that has just advanced. */
  readonly file: FileProgress;
}

/** Options of {@link pullModel}. */
export interface PullOptions {
  /** Stops the download, which then throws MBOK_ABORTED. The next one continues it. */
  readonly signal?: AbortSignal | undefined;
  /** Called whenever bytes have been written. */
  readonly onProgress?: ((progress: PullProgress) => void) | undefined;
}

/** A model in the cache. */
export interface PulledModel {
  /** Folder or GGUF file, as `Model.load` takes it. */
  readonly path: string;
  /** `user/repo`. */
  readonly repo: string;
  /** Branch, tag or commit that was asked for. */
  readonly revision: string;
  /** Commit of the files. */
  readonly commit: string;
  /** Names and sizes of the files of the model. */
  readonly files: readonly FileSize[];
  /** Bytes of all files of the model. */
  readonly bytes: number;
  /** Bytes of the files that this call downloaded. */
  readonly downloadedBytes: number;
}

/**
 * Downloads a model from the hub into the cache of huggingface_hub, unless it is there. A stopped or killed download
 * continues at the next call. Files are checked by the hashes that the hub lists.
 *
 * A branch is looked up at the hub each time. If the hub cannot be reached, the files of the last time serve, with a
 * warning. With HF_HUB_OFFLINE=1, or for a commit, files in the cache serve without any request.
 *
 * @param name - `hf:user/repo[:quant][/file][#revision]`, or an address of the hub
 * @throws MbokError MBOK_INVALID_ARGUMENT, also if several GGUF files fit; MBOK_UNSUPPORTED if the repository has no model
 *   that mbok reads; MBOK_HUB_MISSING, MBOK_HUB_DENIED, MBOK_DISK_FULL, MBOK_NETWORK, MBOK_FORMAT, MBOK_IO, MBOK_ABORTED
 *
 * @example
 * const { path } = await pullModel('hf:HuggingFaceTB/SmolLM2-135M-Instruct');
 */
export async function pullModel(name: string, given: PullOptions = {}): Promise<PulledModel> {
  options('options', given, ['signal', 'onProgress']);
  throwIfAborted(given.signal);
  const reference = parseReference(string('name', name));
  const settings = hubSettings();
  const cached = new CachedRepository(settings, reference.repo);
  if (settings.offline) return (await modelInCache(reference, cached)) ?? missingOffline(reference, settings);
  if (isCommit(reference.revision)) {
    const model = await modelInCache(reference, cached);
    if (model !== undefined && (await isWhole(reference, model, cached))) return model;
  }
  let listing: HubListing;
  try {
    listing = await listRepository(reference, settings, given.signal);
  } catch (error) {
    if (!(error instanceof MbokError && error.code === 'MBOK_NETWORK')) throw error;
    const model = await modelInCache(reference, cached);
    if (model === undefined) throw error;
    warn(`${error.message}; the files of commit ${model.commit.slice(0, 8)} in the cache are used`);
    return model;
  }
  return await download(reference, listing, cached, settings, given);
}

/**
 * Returns a path that can be opened: that of the downloaded files for a name at the hub, and any other path unchanged.
 * Throws as {@link pullModel}.
 */
export async function localModel(path: string, { signal, onProgress }: PullOptions = {}): Promise<string> {
  return isReference(string('path', path)) ? (await pullModel(path, { signal, onProgress })).path : path;
}

function missingOffline(reference: ModelReference, { cache }: HubSettings): never {
  throw new MbokError(
    'MBOK_NETWORK',
    `${formatReference(reference)} is not, or not completely, in the cache ${cache}, and HF_HUB_OFFLINE forbids the network: ` +
      `unset it, or run mbok pull ${formatReference(reference)} where there is a network and copy the cache`,
  );
}

/** Finds a complete model in the cache. */
async function modelInCache(reference: ModelReference, cached: CachedRepository): Promise<PulledModel | undefined> {
  const commit = await cached.commitOf(reference.revision);
  if (commit === undefined) return undefined;
  const sizes = await cached.files(commit);
  const selection = ifAny(() => select(reference, sizes.keys()));
  if (selection === undefined) return undefined;
  const names = [...selection.files, ...(await shardsOf(selection, cached, commit))];
  if (!names.every((name) => sizes.has(name))) return undefined;
  return describe(
    reference,
    cached,
    commit,
    selection,
    names.map((name) => ({ name, size: sizes.get(name) as number })),
    0,
  );
}

/**
 * Tells whether the hub would give the same files. Other programs may have downloaded only some: one of several GGUF
 * files, or weights without a tokenizer.
 */
async function isWhole(
  { quant, path }: ModelReference,
  model: PulledModel,
  cached: CachedRepository,
): Promise<boolean> {
  if (model.path.endsWith('.gguf')) return quant !== undefined || path !== undefined;
  const root = relative(cached.snapshot(model.commit), model.path);
  for (const name of COMPANIONS) {
    const isKnown = (await exists(join(model.path, name))) || (await cached.isAbsent(model.commit, join(root, name)));
    if (!isKnown) return false;
  }
  return true;
}

/** Returns undefined where the cache does not hold the model. What is ambiguous among all files is an error. */
function ifAny(choose: () => Selection): Selection | undefined {
  try {
    return choose();
  } catch (error) {
    if (error instanceof MbokError && ['MBOK_HUB_MISSING', 'MBOK_UNSUPPORTED'].includes(error.code)) return undefined;
    throw error;
  }
}

async function download(
  reference: ModelReference,
  listing: HubListing,
  cached: CachedRepository,
  settings: HubSettings,
  { signal, onProgress }: PullOptions,
): Promise<PulledModel> {
  const { commit, files: listed } = listing;
  const selection = select(reference, listed.keys());
  const files = selection.files.map((name) => listed.get(name) as HubFile);
  await markCache(settings);
  let downloadedBytes = 0;
  const fetch = async (file: HubFile, stop = signal, onBytes?: (bytes: number) => void) => {
    if (await downloadFile(file, { settings, cached, commit, signal: stop, onBytes })) downloadedBytes += file.size;
  };
  // the index says which other files there are
  const index = files.find(({ name }) => selection.kind === 'folder' && name === selection.index);
  if (index !== undefined) await fetch(index);
  const shards = (await shardsOf(selection, cached, commit)).map((name) => {
    const file = listed.get(name);
    if (file !== undefined) return file;
    const what = `its index names ${show(name)}, which it does not have`;
    throw new MbokError('MBOK_HUB_MISSING', `${formatReference(reference)}: ${what}`);
  });
  await expectSpace([...files, ...shards], { settings, cached, commit });
  const progress = new Progress([...files, ...shards], onProgress);
  await eachOf([...files, ...shards], signal, (file, stop) =>
    fetch(file, stop, (bytes) => progress.advance(file, bytes)),
  );
  if (selection.kind === 'folder') {
    for (const name of COMPANIONS.map((name) => prefixOf(selection) + name)) {
      if (!listed.has(name)) await cached.setAbsent(commit, name);
    }
  }
  // last, so that a branch never leads to an incomplete model
  await cached.setCommit(reference.revision, commit);
  return describe(reference, cached, commit, selection, [...files, ...shards], downloadedBytes);
}

/** Reads the names of the weights of a checkpoint in several files; none for other models. */
async function shardsOf(selection: Selection, cached: CachedRepository, commit: string): Promise<readonly string[]> {
  if (selection.kind !== 'folder' || selection.index === undefined) return [];
  const shards = new Set((await readIndex(cached.path(commit, selection.index))).values());
  return [...shards].map((shard) => prefixOf(selection) + shard);
}

function describe(
  { repo, revision }: ModelReference,
  cached: CachedRepository,
  commit: string,
  selection: Selection,
  files: readonly Pick<HubFile, 'name' | 'size'>[],
  downloadedBytes: number,
): PulledModel {
  return {
    path: join(cached.snapshot(commit), ...selection.path.split('/')),
    repo,
    revision,
    commit,
    files: files.map(({ name, size }) => ({ name, bytes: size })),
    bytes: files.reduce((sum, { size }) => sum + size, 0),
    downloadedBytes,
  };
}

/** Adds up the bytes of all files. */
class Progress {
  readonly #bytes = new Map<string, number>();
  #done = 0;
  readonly #total: number;

  constructor(
    files: readonly HubFile[],
    private readonly onProgress: PullOptions['onProgress'],
  ) {
    this.#total = files.reduce((sum, { size }) => sum + size, 0);
  }

  advance({ name, size }: HubFile, bytes: number): void {
    this.#done += bytes - (this.#bytes.get(name) ?? 0);
    this.#bytes.set(name, bytes);
    this.onProgress?.({
      done: this.#total === 0 ? 1 : this.#done / this.#total,
      what: `download ${name} ${(bytes / 1e6).toFixed(1)} of ${(size / 1e6).toFixed(1)} MB`,
      bytes: this.#done,
      totalBytes: this.#total,
      file: { name, bytes, totalBytes: size },
    });
  }
}

/** Does `work` on all items, `AT_ONCE` at a time. The first failure stops all others. */
async function eachOf<T>(
  items: readonly T[],
  signal: AbortSignal | undefined,
  work: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const waiting = [...items];
  const stop = new AbortController();
  const either = signal === undefined ? stop.signal : AbortSignal.any([signal, stop.signal]);
  const failures: unknown[] = [];
  const worker = async () => {
    for (let item = waiting.shift(); item !== undefined && failures.length === 0; item = waiting.shift()) {
      try {
        await work(item, either);
      } catch (error) {
        failures.push(error);
        stop.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (failures.length > 0) throw failures[0];
}
