/** What a repository holds at a revision, as the hub lists it. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import { decodeUtf8, isJsonObject, parseJsonObject } from '../io/json';
import { readBody, repeated, send } from './http';
import { isSafePath, type ModelReference } from './reference';
import type { HubSettings } from './settings';

/** Longest list of files, in bytes. Repositories with ten thousand files have about 3 MB. */
const MOST_LIST_BYTES = 1 << 26;
const MOST_LIST_VALUES = 2 ** 20;

/** A file of a repository. */
export interface HubFile {
  readonly name: string;
  readonly size: number;
  /** Name of the file's content in the cache: the SHA-256 of a large file, the SHA-1 of the Git blob of another. */
  readonly etag: string;
}

/** The files of a repository at a commit. */
export interface HubListing {
  readonly commit: string;
  readonly files: ReadonlyMap<string, HubFile>;
}

/** Address of a file's content at a commit. */
export function fileAddress({ endpoint }: HubSettings, repo: string, commit: string, name: string): string {
  return `${endpoint}/${repo}/resolve/${commit}/${name.split('/').map(encodeURIComponent).join('/')}`;
}

/**
 * Asks the hub which commit a revision is, and what it holds.
 *
 * @throws MbokError MBOK_HUB_MISSING, MBOK_HUB_DENIED, MBOK_NETWORK; MBOK_FORMAT if the answer is not such a list
 */
export async function listRepository(
  { repo, revision }: Pick<ModelReference, 'repo' | 'revision'>,
  settings: HubSettings,
  signal?: AbortSignal,
): Promise<HubListing> {
  const what = `${repo} at ${revision}`;
  const url = `${settings.endpoint}/api/models/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const body = await repeated(what, signal, async () =>
    readBody(await send({ settings, url, signal, what, repo }), MOST_LIST_BYTES, what),
  );
  const place = `the hub's list of ${what}`;
  const { sha, siblings } = parseJsonObject(decodeUtf8(body, place), place, MOST_LIST_VALUES);
  if (typeof sha !== 'string' || !isCommit(sha) || !Array.isArray(siblings)) {
    throw new MbokError('MBOK_FORMAT', `${place} has no commit or no files: is ${settings.endpoint} a hub?`);
  }
  // a name that could leave the folder of the model is as good as absent
  const files = siblings.map((entry) => readEntry(entry, place)).filter(({ name }) => isSafePath(name));
  return { commit: sha, files: new Map(files.map((file) => [file.name, file])) };
}

/** Tells whether a revision is a full commit hash, which never changes its content. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

function readEntry(entry: unknown, place: string): HubFile {
  const refuse = (reason: string) => new MbokError('MBOK_FORMAT', `${place} ${reason}`);
  if (!isJsonObject(entry) || typeof entry.rfilename !== 'string') throw refuse('has an entry without a name');
  const { rfilename: name, blobId, lfs } = entry;
  const large = isJsonObject(lfs) ? lfs : undefined;
  const size = large?.size ?? entry.size;
  const etag = large?.sha256 ?? blobId;
  if (!Number.isSafeInteger(size) || (size as number) < 0) throw refuse(`gives ${show(name)} the size ${show(size)}`);
  const digits = large === undefined ? 40 : 64;
  if (typeof etag !== 'string' || etag.length !== digits || !/^[0-9a-f]+$/.test(etag)) {
    throw refuse(`gives ${show(name)} the hash ${show(etag)}`);
  }
  return { name, size: size as number, etag };
}
