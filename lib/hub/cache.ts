/**
 * The cache that Python's huggingface_hub uses, so that each file is downloaded once for all programs
 * (https://huggingface.co/docs/hub/local-cache).
 *
 *     models--user--repo/blobs/HASH                    contents
 *     models--user--repo/snapshots/COMMIT/config.json  a relative link to a content
 *     models--user--repo/refs/main                     the commit of a branch or tag
 *     models--user--repo/.no_exist/COMMIT/NAME         an empty file: the repository has no file NAME
 *     .locks/models--user--repo/HASH.lock-…            held while a content is downloaded
 */

import { copyFile, lstat, readdir, readlink, rename, rm, rmdir, stat, symlink, unlink } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { makeFolder, temporaryName, writeFile } from '../io/atomic';
import { ioFailure, isSystemError } from '../io/failure';
import { exists, ifPresent, readTextIfPresent } from '../io/files';
import { isSafePath } from './reference';
import { isCommit } from './repository';
import type { HubSettings } from './settings';

const PREFIX = 'models--';

/** Paths of a repository in the cache. */
export class CachedRepository {
  readonly folder: string;
  /** Folder of the locks of its contents. */
  readonly locks: string;

  constructor(
    private readonly settings: HubSettings,
    readonly repo: string,
  ) {
    const name = PREFIX + repo.replaceAll('/', '--');
    this.folder = join(settings.cache, name);
    this.locks = join(settings.cache, '.locks', name);
  }

  /** Path of a content. */
  blob(etag: string): string {
    return join(this.folder, 'blobs', etag);
  }

  /** Folder of the files of a commit. */
  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit);
  }

  /** Path of a file of a commit. */
  path(commit: string, name: string): string {
    return join(this.snapshot(commit), ...name.split('/'));
  }

  /** Returns the commit of a revision as of the last contact with the hub; undefined if it was never asked for. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (isCommit(revision)) return revision;
    const commit = (await readTextIfPresent(join(this.folder, 'refs', ...revision.split('/'))))?.trim();
    return commit !== undefined && isCommit(commit) ? commit : undefined;
  }

  /** Stores the commit of a revision. */
  async setCommit(revision: string, commit: string): Promise<void> {
    if (revision === commit || (await this.commitOf(revision)) === commit) return;
    const path = join(this.folder, 'refs', ...revision.split('/'));
    await makeFolder(dirname(path));
    await writeFile(path, commit);
  }

  /** Lists the files of a commit with their sizes, by name; empty if there are none. */
  async files(commit: string): Promise<ReadonlyMap<string, number>> {
    const folder = this.snapshot(commit);
    const files = new Map<string, number>();
    for (const path of await pathsIn(folder)) {
      // a link whose content was removed is as good as absent
      const status = await ifPresent(stat(path));
      const name = relative(folder, path).split(sep).join('/');
      if (status?.isFile() && isSafePath(name)) files.set(name, status.size);
    }
    return files;
  }

  /** Tells whether a commit is known to have no file of this name. */
  async isAbsent(commit: string, name: string): Promise<boolean> {
    return await exists(join(this.folder, '.no_exist', commit, ...name.split('/')));
  }

  /** Notes that a commit has no file of this name, as Python does, which then asks no more. */
  async setAbsent(commit: string, name: string): Promise<void> {
    const path = join(this.folder, '.no_exist', commit, ...name.split('/'));
    if (await exists(path)) return;
    await makeFolder(dirname(path));
    await writeFile(path, '');
  }

  /**
   * Gives a content its name in a snapshot: a relative link, or the file itself where links are impossible.
   *
   * @param isNew - whether nothing else can refer to the content, so that it may be moved instead of copied
   */
  async link(commit: string, name: string, etag: string, isNew: boolean): Promise<void> {
    const path = this.path(commit, name);
    const blob = this.blob(etag);
    await makeFolder(dirname(path));
    try {
      // another process may have made it meanwhile
      if ((await ifPresent(stat(path))) !== undefined) return;
      const temporary = temporaryName(path);
      if (await this.#linked(relative(dirname(path), blob), temporary)) await rename(temporary, path);
      else if (isNew) await rename(blob, path);
      else {
        await copyFile(blob, temporary);
        await rename(temporary, path);
      }
    } catch (error) {
      throw ioFailure('write', path, error);
    }
  }

  async #linked(target: string, path: string): Promise<boolean> {
    if (this.settings.withoutLinks) return false;
    try {
      await symlink(target, path);
      return true;
    } catch (error) {
      // Windows allows links to administrators and developers only; FAT has none
      if (isSystemError(error) && ['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP'].includes(error.code as string))
        return false;
      throw error;
    }
  }

  /** Lists the commits of which files are stored. */
  async commits(): Promise<readonly string[]> {
    return (await namesIn(join(this.folder, 'snapshots'))).filter(isCommit);
  }

  /** Lists branches and tags with their commits. */
  async refs(): Promise<ReadonlyMap<string, string>> {
    const folder = join(this.folder, 'refs');
    const refs = new Map<string, string>();
    for (const path of await pathsIn(folder)) {
      const name = relative(folder, path).split(sep).join('/');
      const commit = await this.commitOf(name);
      if (commit !== undefined) refs.set(name, commit);
    }
    return refs;
  }

  /**
   * Removes files of a commit, and contents that no snapshot refers to any more. A repository without files is removed
   * as a whole.
   *
   * @returns the bytes that became free
   */
  async remove(commit: string, names: Iterable<string>): Promise<number> {
    const before = await this.bytes();
    try {
      for (const name of names) await ifPresent(unlink(this.path(commit, name)));
      await removeEmptyFolders(this.snapshot(commit));
      const commits = new Set(await this.commits());
      for (const [name, target] of await this.refs()) {
        if (!commits.has(target)) await ifPresent(unlink(join(this.folder, 'refs', ...name.split('/'))));
      }
      if (commits.size === 0) await this.removeAll();
      else await this.#removeUnreferenced();
    } catch (error) {
      throw ioFailure('remove', this.folder, error);
    }
    return before - (await this.bytes());
  }

  /** Removes the repository, with unfinished downloads. Returns the bytes that became free. */
  async removeAll(): Promise<number> {
    const bytes = await this.bytes();
    try {
      await rm(this.folder, { recursive: true, force: true });
      await rm(this.locks, { recursive: true, force: true });
    } catch (error) {
      throw ioFailure('remove', this.folder, error);
    }
    return bytes;
  }

  async #removeUnreferenced(): Promise<void> {
    const used = new Set<string>();
    for (const path of await pathsIn(join(this.folder, 'snapshots'))) {
      const target = await readlink(path).catch(() => undefined);
      if (target !== undefined) used.add(resolve(dirname(path), target));
    }
    for (const path of await pathsIn(join(this.folder, 'blobs'))) {
      // an unfinished content may be that of a download in progress
      if (!used.has(path) && !path.endsWith('.incomplete')) await unlink(path);
    }
  }

  /** Bytes on the disk. Each content counts once; unfinished ones count too. */
  async bytes(): Promise<number> {
    let bytes = 0;
    for (const folder of ['blobs', 'snapshots']) {
      for (const path of await pathsIn(join(this.folder, folder))) {
        const status = await ifPresent(lstat(path));
        if (status?.isFile()) bytes += status.size;
      }
    }
    return bytes;
  }
}

/** Lists the repositories of models in the cache. */
export async function cachedRepositories(settings: HubSettings): Promise<readonly CachedRepository[]> {
  const names = (await namesIn(settings.cache)).filter((name) => /^models--[^-].*--./.test(name)).sort();
  return names.map((name) => new CachedRepository(settings, name.slice(PREFIX.length).replaceAll('--', '/')));
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return (await ifPresent(readdir(folder))) ?? [];
  } catch (error) {
    throw ioFailure('read', folder, error);
  }
}

/** Lists all files and links below a folder, without following links. */
async function pathsIn(folder: string): Promise<readonly string[]> {
  const entries = (await ifPresent(readdir(folder, { withFileTypes: true }))) ?? [];
  const paths = entries.map(async (entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? await pathsIn(path) : [path];
  });
  return (await Promise.all(paths)).flat();
}

async function removeEmptyFolders(folder: string): Promise<void> {
  for (const entry of (await ifPresent(readdir(folder, { withFileTypes: true }))) ?? []) {
    if (entry.isDirectory()) await removeEmptyFolders(join(folder, entry.name));
  }
  if ((await namesIn(folder)).length === 0) await ifPresent(rmdir(folder));
}

/** Marks the cache for backup programs, as Python does (https://bford.info/cachedir). */
export async function markCache({ cache }: HubSettings): Promise<void> {
  await makeFolder(cache);
  const tag = join(cache, 'CACHEDIR.TAG');
  if (!(await exists(tag)))
    await writeFile(tag, 'Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of huggingface_hub.\n');
}
