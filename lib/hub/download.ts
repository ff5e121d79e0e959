/** Download of a file into the cache: it resumes, is verified, and appears under its final name complete. */

import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open, rename, stat, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MbokError } from '../base/errors';
import { throwIfAborted } from '../base/validate';
import { makeFolder, syncFolder, writeAll } from '../io/atomic';
import { ioFailure } from '../io/failure';
import { ifPresent, remove } from '../io/files';
import { takeLock } from '../io/lock';
import type { CachedRepository } from './cache';
import { repeated, send, TransientFailure } from './http';
import { fileAddress, type HubFile } from './repository';
import type { HubSettings } from './settings';

/** Milliseconds between two looks at a lock that another process holds. */
const PAUSE = 200;
const CHUNK_BYTES = 1 << 20;
/** Complete contents with a wrong hash before the download is given up: the first may be a leftover gone bad. */
const MOST_WRONG = 2;

/** What a download needs to know besides the file. */
export interface DownloadContext {
  readonly settings: HubSettings;
  readonly cached: CachedRepository;
  readonly commit: string;
  readonly signal?: AbortSignal | undefined;
  /** Called with the bytes of the file that are on the disk. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/**
 * Downloads a file into the cache, unless it is there.
 *
 * Bytes go to `HASH.mbok.incomplete`. Python locks by flock, which Node lacks, so an unfinished file of the same name
 * could have two writers. Complete contents are renamed, so both programs may download a file at once.
 *
 * @returns whether anything was downloaded
 * @throws MbokError MBOK_NETWORK, MBOK_HUB_DENIED, MBOK_HUB_MISSING, MBOK_ABORTED, MBOK_IO; MBOK_FORMAT if the content has
 * another hash than the hub lists
 */
export async function downloadFile(file: HubFile, context: DownloadContext): Promise<boolean> {
  const { cached, commit, signal, onBytes } = context;
  const [path, blob] = [cached.path(commit, file.name), cached.blob(file.etag)];
  const isPresent = async (place: string) => (await sizeOf(place)) === file.size;
  try {
    if (await isPresent(path)) {
      onBytes?.(file.size);
      return false;
    }
    await makeFolder(cached.locks);
    await makeFolder(dirname(blob));
    await using _ = await waitForLock(`${cached.locks}/${file.etag}.lock`, file.name, signal);
    const isNew = !(await isPresent(path)) && !(await isPresent(blob));
    if (isNew) await fetchBlob(file, blob, context);
    else onBytes?.(file.size);
    await cached.link(commit, file.name, file.etag, isNew);
    return isNew;
  } catch (error) {
    throw ioFailure('write', path, error);
  }
}

/**
 * Checks that the disk of the cache has the bytes that a download still needs. Throws MBOK_DISK_FULL.
 *
 * Others write meanwhile, so the disk may be full later nevertheless; that is MBOK_IO, and the download can be continued.
 */
export async function expectSpace(
  files: readonly HubFile[],
  { cached, commit, settings }: DownloadContext,
): Promise<void> {
  let needed = 0;
  // equal contents are stored once
  for (const { name, etag, size } of new Map(files.map((file) => [file.etag, file])).values()) {
    const blob = cached.blob(etag);
    const sizes = [cached.path(commit, name), blob, incompleteOf(blob)].map(async (path) => await sizeOf(path));
    const present = Math.max(...(await Promise.all(sizes)).map((bytes) => bytes ?? 0));
    needed += Math.max(size - present, 0);
  }
  const { blocks, bavail, bsize } = await statfs(settings.cache);
  const free = bavail * bsize;
  // some network file systems do not know their size
  if (blocks === 0 || needed <= free) return;
  const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  throw new MbokError(
    'MBOK_DISK_FULL',
    `${cached.repo} needs ${megabytes(needed)}, but the disk of '${settings.cache}' has ${megabytes(free)} free: ` +
      `remove models with mbok rm, or set HF_HUB_CACHE to a folder on another disk`,
  );
}

async function sizeOf(path: string): Promise<number | undefined> {
  return (await ifPresent(stat(path)))?.size;
}

function incompleteOf(blob: string): string {
  return `${blob}.mbok.incomplete`;
}

async function waitForLock(prefix: string, name: string, signal: AbortSignal | undefined): Promise<AsyncDisposable> {
  for (;;) {
    throwIfAborted(signal);
    try {
      return await takeLock(prefix, `is downloading '${name}'`);
    } catch (error) {
      if (!(error instanceof MbokError && error.code === 'MBOK_BUSY')) throw error;
      await sleep(PAUSE);
    }
  }
}

async function fetchBlob(file: HubFile, blob: string, context: DownloadContext): Promise<void> {
  const { cached, signal } = context;
  const incomplete = incompleteOf(blob);
  const what = `${cached.repo}/${file.name}`;
  const handle = (await ifPresent(open(incomplete, 'r+'))) ?? (await open(incomplete, 'wx+'));
  let isComplete = false;
  try {
    const target = await PartialFile.open(handle, file, context.onBytes);
    for (let wrong = 0; !isComplete; ) {
      await repeated(what, signal, (progressed) => fetchRest(target, what, context, progressed));
      const found = target.digest();
      isComplete = found === file.etag;
      if (isComplete) break;
      await target.restart();
      wrong++;
      if (wrong < MOST_WRONG) continue;
      const message = `${what}: the content has the hash ${found}, but the hub lists ${file.etag}`;
      throw new MbokError('MBOK_FORMAT', `${message}; a proxy or a mirror may have changed it`);
    }
    await handle.sync();
  } catch (error) {
    // an empty file would be a leftover of no use
    if ((await handle.stat()).size === 0) await remove(incomplete);
    throw error;
  } finally {
    await handle.close();
  }
  await rename(incomplete, blob);
  await syncFolder(dirname(blob));
}

/** A file whose first bytes are on the disk, with the hash of these. */
class PartialFile {
  #bytes = 0;
  #mostBytes = 0;
  #hash: Hash;
  /** ETag of the answer that the bytes of this process come from. */
  etag: string | undefined;

  private constructor(
    private readonly handle: FileHandle,
    readonly file: HubFile,
    private readonly onBytes: ((bytes: number) => void) | undefined,
  ) {
    this.#hash = newHash(file);
  }

  static async open(handle: FileHandle, file: HubFile, onBytes?: (bytes: number) => void): Promise<PartialFile> {
    const target = new PartialFile(handle, file, onBytes);
    const { size } = await handle.stat();
    if (size > file.size) await handle.truncate(0);
    else if (size > 0) await target.#readBack(size);
    return target;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Appends bytes. Returns whether the file is longer than it ever was, so that a download makes progress. */
  async append(piece: Uint8Array): Promise<boolean> {
    await writeAll(this.handle, piece, this.#bytes);
    const before = this.#mostBytes;
    this.#count(piece);
    return this.#mostBytes > before;
  }

  /** Discards all bytes. */
  async restart(): Promise<void> {
    await this.handle.truncate(0);
    this.#bytes = 0;
    this.#hash = newHash(this.file);
    this.etag = undefined;
    this.onBytes?.(0);
  }

  digest(): string {
    return this.#hash.copy().digest('hex');
  }

  #count(piece: Uint8Array): void {
    this.#hash.update(piece);
    this.#bytes += piece.length;
    this.#mostBytes = Math.max(this.#mostBytes, this.#bytes);
    this.onBytes?.(this.#bytes);
  }

  /** Reads what an earlier process has written. */
  async #readBack(size: number): Promise<void> {
    const buffer = new Uint8Array(CHUNK_BYTES);
    while (this.#bytes < size) {
      const { bytesRead } = await this.handle.read(buffer, 0, CHUNK_BYTES, this.#bytes);
      if (bytesRead === 0) break;
      this.#count(buffer.subarray(0, bytesRead));
    }
  }
}

/** Large files are listed by SHA-256, others as Git does it, by SHA-1 of a header and the content. */
function newHash({ etag, size }: HubFile): Hash {
  return etag.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
}

/** Fetches the bytes that are missing. Throws TransientFailure if the connection ends before the file does. */
async function fetchRest(
  target: PartialFile,
  what: string,
  { settings, cached, commit, signal }: DownloadContext,
  progressed: () => void,
): Promise<void> {
  const { size, name } = target.file;
  if (target.bytes === size) return;
  const headers: Record<string, string> = {};
  if (target.bytes > 0) {
    headers.range = `bytes=${target.bytes}-`;
    if (target.etag !== undefined) headers['if-range'] = target.etag;
  }
  const url = fileAddress(settings, cached.repo, commit, name);
  await using answer = await send({ settings, url, headers, signal, what, repo: cached.repo });
  const etag = answer.headers.get('etag') ?? undefined;
  if (answer.status !== 206 || !isContinuation(answer.headers, target) || (target.etag ?? etag) !== etag) {
    // the server sends the whole file, because it cannot send a part or because the file has changed
    await target.restart();
    if (answer.status !== 200) throw new TransientFailure(`the hub answers ${answer.status} to a request for a part`);
  }
  // a weak tag does not promise equal bytes
  target.etag = etag?.startsWith('W/') ? undefined : etag;
  const promised = answer.headers.get('content-length');
  if (promised !== null && Number(promised) !== size - target.bytes) {
    throw new TransientFailure(`the hub sends ${promised} bytes of ${size - target.bytes}`);
  }
  for await (const piece of answer.pieces()) {
    if (target.bytes + piece.length > size) {
      await target.restart();
      throw new TransientFailure(`the hub sends more than the ${size} bytes that it lists`);
    }
    if (await target.append(piece)) progressed();
  }
  if (target.bytes < size) throw new TransientFailure(`the hub sent ${target.bytes} bytes of ${size}`);
}

/** Tells whether an answer continues at the end of the present bytes and has the listed length. */
function isContinuation(headers: Headers, { bytes, file }: PartialFile): boolean {
  const [, from, to, of] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(headers.get('content-range') ?? '') ?? [];
  return Number(from) === bytes && Number(to) === file.size - 1 && (of === '*' || Number(of) === file.size);
}
