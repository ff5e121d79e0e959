/** Files of a model at the hub, read in parts by requests for ranges, without downloading them. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import type { OpenFile, Positioned } from '../io/positioned';
import { CachedRepository } from './cache';
import { readBody, repeated, send, TransientFailure } from './http';
import { formatReference, parseReference } from './reference';
import { fileAddress, type HubFile, type HubListing, listRepository } from './repository';
import { prefixOf, type Selection, select } from './select';
import { type HubSettings, hubSettings } from './settings';

/** Bytes of the shortest request: a few round trips cost more. */
const LEAST_BYTES = 1 << 17;
/** Largest file that is read whole: a configuration or an index. */
const MOST_BYTES = 1 << 24;

/** A model at the hub. */
export interface RemoteModel {
  /** The reference as `hf:` text. */
  readonly name: string;
  readonly repo: string;
  readonly commit: string;
  readonly selection: Selection;
  /** Opens a file of the repository by its name. */
  readonly open: OpenFile;
  /** Reads a small file of the repository. Throws MBOK_HUB_MISSING, MBOK_FORMAT if it has more than 16 MiB. */
  read(name: string): Promise<Buffer>;
  /**
   * Returns the files of the model with their sizes.
   *
   * @param shards - names of the weights of a checkpoint in several files, from its index
   */
  files(shards: Iterable<string>): readonly HubFile[];
  /** Returns the bytes of these files that are in the cache. */
  cachedBytes(files: readonly HubFile[]): Promise<number>;
}

/** Finds a model at the hub. Throws as `pullModel`; the network is needed. */
export async function findRemote(name: string, signal?: AbortSignal): Promise<RemoteModel> {
  const reference = parseReference(name);
  const settings = hubSettings();
  const listing = await listRepository(reference, settings, signal);
  const selection = select(reference, listing.files.keys());
  const { repo } = reference;
  const cached = new CachedRepository(settings, repo);
  const open = async (path: string) => {
    // names that node:path joined have backslashes on Windows
    return new RemoteFile(fileOf(listing, path.replaceAll('\\', '/'), repo), {
      repo,
      commit: listing.commit,
      settings,
      signal,
    });
  };
  return {
    name: formatReference(reference),
    repo,
    commit: listing.commit,
    selection,
    open,
    async read(file) {
      const remote = await open(file);
      if (remote.size > MOST_BYTES) {
        throw new MbokError('MBOK_FORMAT', `'${file}' of ${repo} has ${remote.size} bytes; ${MOST_BYTES} are the most`);
      }
      return Buffer.from(await remote.upTo(0, remote.size));
    },
    files: (shards) =>
      [...selection.files, ...[...shards].map((shard) => prefixOf(selection) + shard)].map((file) =>
        fileOf(listing, file, repo),
      ),
    async cachedBytes(files) {
      const present = await cached.files(listing.commit);
      return files.reduce((sum, file) => sum + (present.get(file.name) === file.size ? file.size : 0), 0);
    },
  };
}

function fileOf({ files }: HubListing, name: string, repo: string): HubFile {
  const file = files.get(name);
  if (file !== undefined) return file;
  throw new MbokError('MBOK_HUB_MISSING', `${repo} has no file ${show(name)}`);
}

interface RemoteContext {
  readonly settings: HubSettings;
  readonly repo: string;
  readonly commit: string;
  readonly signal: AbortSignal | undefined;
}

/** A file at the hub. Its beginning, where headers are, is remembered. */
class RemoteFile implements Positioned {
  readonly path: string;
  readonly size: number;
  #start: Uint8Array = new Uint8Array();

  constructor(
    private readonly file: HubFile,
    private readonly context: RemoteContext,
  ) {
    this.path = `${context.repo}/${file.name}`;
    this.size = file.size;
  }

  async upTo(position: number, length: number, target?: Uint8Array): Promise<Uint8Array> {
    const end = Math.min(position + length, this.size);
    const known = this.#start.length;
    if (end > known && position <= known) {
      const more = await this.#fetch(known, Math.min(Math.max(end, known + LEAST_BYTES), this.size));
      this.#start = Buffer.concat([this.#start, more]);
    }
    const bytes =
      end <= this.#start.length
        ? this.#start.subarray(position, Math.max(position, end))
        : await this.#fetch(position, end);
    target?.set(bytes);
    return target?.subarray(0, bytes.length) ?? bytes;
  }

  async fill(name: string, position: number, target: Uint8Array): Promise<void> {
    const { length } = await this.upTo(position, target.length, target);
    if (length === target.length) return;
    throw new MbokError('MBOK_FORMAT', `'${this.path}' ends within tensor '${name}'`);
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {}

  /** Reads the bytes from `start` to before `end`. */
  async #fetch(start: number, end: number): Promise<Uint8Array> {
    if (end <= start) return new Uint8Array();
    const { settings, repo, commit, signal } = this.context;
    const url = fileAddress(settings, repo, commit, this.file.name);
    return await repeated(this.path, signal, async () => {
      const headers = { range: `bytes=${start}-${end - 1}` };
      await using answer = await send({ settings, url, headers, signal, what: this.path, repo });
      const isPart = answer.status === 206;
      if (!isPart && !(start === 0 && end === this.size)) {
        throw new MbokError('MBOK_NETWORK', `${this.path}: the server does not send parts of files; download it first`);
      }
      const bytes = await readBody(answer, end - start, this.path);
      if (bytes.length === end - start) return bytes;
      throw new TransientFailure(`the hub sent ${bytes.length} bytes of ${end - start}`);
    });
  }
}
