/** What the cache of models holds, and removal from it. */

import { MbokError } from '../base/errors';
import { string } from '../base/validate';
import { CachedRepository, cachedRepositories } from './cache';
import type { FileSize } from './pull';
import { formatReference, parseReference } from './reference';
import { select } from './select';
import { hubSettings } from './settings';

/** A commit of a repository in the cache. */
export interface CachedModel {
  /** `user/repo`. */
  readonly repo: string;
  /** Hash of the commit. */
  readonly commit: string;
  /** Branches and tags that are at this commit. */
  readonly refs: readonly string[];
  /** Folder of its files. */
  readonly path: string;
  /** Names and sizes of its files. */
  readonly files: readonly FileSize[];
  /** Bytes of its files. Commits of one repository share equal files. */
  readonly bytes: number;
}

/** What {@link removeCachedModel} has removed. */
export interface RemovedModel {
  /** `user/repo`. */
  readonly repo: string;
  /** Bytes that became free. */
  readonly bytes: number;
}

/** Lists the models in the cache, those of other programs too. Throws MBOK_IO. */
export async function listCachedModels(): Promise<readonly CachedModel[]> {
  const models: CachedModel[] = [];
  for (const cached of await cachedRepositories(hubSettings())) {
    const refs = [...(await cached.refs())];
    for (const commit of await cached.commits()) {
      const files = [...(await cached.files(commit))].map(([name, bytes]) => ({ name, bytes }));
      models.push({
        repo: cached.repo,
        commit,
        refs: refs.filter(([, target]) => target === commit).map(([name]) => name),
        path: cached.snapshot(commit),
        files,
        bytes: files.reduce((sum, file) => sum + file.bytes, 0),
      });
    }
  }
  return models;
}

/**
 * Removes a model from the cache: all commits of a repository, or one if the name has a revision. With a quantization or
 * a file it removes only these files. Contents that other commits use stay.
 *
 * @param name - as `pullModel` takes it
 * @returns the repository and the bytes that became free
 * @throws MbokError MBOK_HUB_MISSING if the cache has nothing of that name; MBOK_INVALID_ARGUMENT, MBOK_IO
 */
export async function removeCachedModel(name: string): Promise<RemovedModel> {
  const reference = parseReference(string('name', name));
  const { repo, revision, quant, path } = reference;
  const cached = new CachedRepository(hubSettings(), repo);
  const isNamed = name.includes('#') || revision !== 'main';
  const commit = isNamed ? await cached.commitOf(revision) : undefined;
  const commits = (await cached.commits()).filter((other) => !isNamed || other === commit);
  let removed = 0;
  let bytes = 0;
  for (const present of commits) {
    const files = [...(await cached.files(present)).keys()];
    const chosen = quant === undefined && path === undefined ? files : select(reference, files).files;
    removed += chosen.length;
    bytes += await cached.remove(present, chosen);
  }
  // a download that was stopped before its first file was complete
  if (commits.length === 0 && !isNamed && (await cached.bytes()) > 0) return { repo, bytes: await cached.removeAll() };
  if (removed > 0) return { repo, bytes };
  throw new MbokError('MBOK_HUB_MISSING', `${formatReference(reference)} is not in the cache; mbok ls shows what is`);
}
