/**
 * Upload of files to a repository of the hub, as one commit. Large files go to its storage by the protocol of Git LFS
 * (https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md), whole or in parts, and others into the commit.
 *
 * `@huggingface/hub` 2.17 can do this too, at the cost of 12 MB in every installation.
 */

import { createHash } from 'node:crypto';
import { MbokError } from '../base/errors';
import { show, throwIfAborted } from '../base/validate';
import { isJsonObject, type JsonObject, parseJsonObject } from '../io/json';
import { PositionedFile } from '../io/positioned';
import { type Content, type HubAnswer, type HubRequest, readBody, repeated, send } from './http';
import type { HubSettings } from './settings';

/** Bytes at the start of a file by which the hub decides how to store it. */
const SAMPLE_BYTES = 512;
const CHUNK_BYTES = 1 << 20;
const MOST_ANSWER_BYTES = 1 << 24;
const LFS_TYPE = 'application/vnd.git-lfs+json';

/** A file to upload: its content, or the path where it lies. */
export interface UploadFile {
  /** Name in the repository. */
  readonly name: string;
  readonly content: Uint8Array | string;
}

export interface UploadOptions {
  readonly settings: HubSettings;
  /** First line of the commit's message. */
  readonly message: string;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: { readonly done: number; readonly what: string }) => void) | undefined;
}

/**
 * Creates a repository unless it exists, and uploads files to its branch `main`.
 *
 * @returns the address of the commit
 * @throws MbokError MBOK_HUB_DENIED without a token that may write; MBOK_NETWORK, MBOK_IO, MBOK_FORMAT, MBOK_ABORTED
 */
export async function uploadFiles(repo: string, files: readonly UploadFile[], given: UploadOptions): Promise<string> {
  const { settings, message } = given;
  if (settings.offline) throw new MbokError('MBOK_NETWORK', 'HF_HUB_OFFLINE forbids the network; unset it to upload');
  if (settings.token === undefined) {
    const page = `${settings.endpoint}/settings/tokens`;
    throw new MbokError(
      'MBOK_HUB_DENIED',
      `an upload needs a token: create one that may write at ${page} and set HF_TOKEN`,
    );
  }
  const upload = new Upload(repo, given);
  await upload.createRepository();
  const opened: Opened[] = [];
  try {
    for (const file of files) opened.push(await openFile(file));
    const large = await upload.large(opened);
    const lines: object[] = [{ key: 'header', value: { summary: message, description: '' } }];
    for (const file of opened) {
      const { name: path, content } = file;
      if (large.has(path)) {
        const oid = await sha256(content, given.signal);
        await upload.store(file, oid);
        lines.push({ key: 'lfsFile', value: { path, algo: 'sha256', size: content.length, oid } });
      } else {
        const bytes = await wholeOf(content);
        lines.push({ key: 'file', value: { path, encoding: 'base64', content: bytes.toString('base64') } });
      }
    }
    return await upload.commit(lines);
  } finally {
    for (const { close } of opened) await close();
  }
}

/** A content of which any part can be read. */
interface Slices extends Content {
  slice(from: number, to: number): Content;
}

interface Opened {
  readonly name: string;
  readonly content: Slices;
  readonly close: () => Promise<void>;
}

async function openFile({ name, content }: UploadFile): Promise<Opened> {
  if (typeof content !== 'string') {
    const read = async (from: number, to: number) => content.subarray(from, to);
    return { name, content: slices(read, 0, content.length), close: async () => {} };
  }
  const file = await PositionedFile.open(content);
  const read = async (from: number, to: number) => {
    const bytes = new Uint8Array(to - from);
    await file.fill(name, from, bytes);
    return bytes;
  };
  return { name, content: slices(read, 0, file.size), close: () => file.close() };
}

function slices(read: (from: number, to: number) => Promise<Uint8Array>, from: number, to: number): Slices {
  return {
    length: to - from,
    async *pieces() {
      for (let at = from; at < to; at += CHUNK_BYTES) yield await read(at, Math.min(at + CHUNK_BYTES, to));
    },
    slice: (start, end) => slices(read, from + start, from + end),
  };
}

async function sha256(content: Content, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of content.pieces()) {
    throwIfAborted(signal);
    hash.update(piece);
  }
  return hash.digest('hex');
}

async function wholeOf(content: Content): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of content.pieces()) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** The requests of one upload. */
class Upload {
  constructor(
    private readonly repo: string,
    private readonly options: UploadOptions,
  ) {}

  async createRepository(): Promise<void> {
    const [organization, name] = this.repo.split('/');
    const body = JSON.stringify({ organization, name });
    await this.#send('/api/repos/create', { method: 'POST', body, accepts: 409 });
  }

  /** Asks which files belong into the storage of large files. */
  async large(files: readonly Opened[]): Promise<ReadonlySet<string>> {
    const described = await Promise.all(
      files.map(async ({ name: path, content }) => {
        const sample = await wholeOf(content.slice(0, Math.min(SAMPLE_BYTES, content.length)));
        return { path, size: content.length, sample: sample.toString('base64') };
      }),
    );
    const body = JSON.stringify({ files: described });
    const answer = await this.#json(`/api/models/${this.repo}/preupload/main`, { method: 'POST', body });
    const modes = Array.isArray(answer.files) ? answer.files.filter(isJsonObject) : [];
    return new Set(modes.filter(({ uploadMode }) => uploadMode === 'lfs').map(({ path }) => String(path)));
  }

  /** Stores a large file, unless the hub has its content. */
  async store({ name, content }: Opened, oid: string): Promise<void> {
    const { length: size } = content;
    const objects = [{ oid, size }];
    const batch = { operation: 'upload', transfers: ['basic', 'multipart'], hash_algo: 'sha_256', objects };
    const answer = await this.#json(`/${this.repo}.git/info/lfs/objects/batch`, lfs(batch));
    const [object] = Array.isArray(answer.objects) ? answer.objects.filter(isJsonObject) : [];
    if (isJsonObject(object?.error)) {
      throw new MbokError('MBOK_NETWORK', `the hub does not store '${name}': ${show(object.error.message)}`);
    }
    const { upload, verify } = isJsonObject(object?.actions) ? object.actions : {};
    if (isJsonObject(upload)) await this.#put(name, content, oid, upload);
    if (isJsonObject(verify)) await this.#send(String(verify.href), lfs({ oid, size }));
  }

  async commit(lines: readonly object[]): Promise<string> {
    const body = lines.map((line) => JSON.stringify(line)).join('\n');
    const headers = { 'content-type': 'application/x-ndjson' };
    const answer = await this.#json(`/api/models/${this.repo}/commit/main`, { method: 'POST', body, headers });
    return typeof answer.commitUrl === 'string' ? answer.commitUrl : `${this.options.settings.endpoint}/${this.repo}`;
  }

  async #put(name: string, content: Slices, oid: string, { href, header }: JsonObject): Promise<void> {
    const { chunk_size: chunk, ...more } = isJsonObject(header) ? header : {};
    let sent = 0;
    const put = async (url: string, part: Content, headers: Readonly<Record<string, string>> = {}) => {
      const body = {
        length: part.length,
        pieces: () => this.#counted(name, part, (bytes) => (sent + bytes) / content.length),
      };
      const answer = await this.#send(url, { method: 'PUT', body, headers });
      sent += part.length;
      return answer.get('etag') ?? '';
    };
    if (chunk === undefined) {
      await put(String(href), content, strings(more));
      return;
    }
    const bytes = Number(chunk);
    const count = Math.ceil(content.length / bytes);
    // the addresses of the parts are headers with their numbers as names
    const addresses = Object.entries(strings(more))
      .filter(([part]) => /^\d+$/.test(part))
      .sort(([a], [b]) => Number(a) - Number(b));
    if (!(bytes >= 1) || addresses.length !== count) {
      throw new MbokError('MBOK_FORMAT', `the hub gives ${addresses.length} addresses for ${count} parts of '${name}'`);
    }
    const parts: { partNumber: number; etag: string }[] = [];
    for (const [i, [, url]] of addresses.entries()) {
      const part = content.slice(i * bytes, Math.min((i + 1) * bytes, content.length));
      parts.push({ partNumber: i + 1, etag: await put(url, part) });
    }
    await this.#send(String(href), lfs({ oid, parts }));
  }

  async *#counted(name: string, content: Content, share: (bytes: number) => number): AsyncGenerator<Uint8Array> {
    let bytes = 0;
    for await (const piece of content.pieces()) {
      yield piece;
      bytes += piece.length;
      this.options.onProgress?.({ done: share(bytes), what: `upload ${name}` });
    }
  }

  async #json(path: string, request: UploadRequest): Promise<JsonObject> {
    return await this.#answered(path, request, async (answer, what) =>
      parseJsonObject((await readBody(answer, MOST_ANSWER_BYTES, what)).toString('utf8'), `the answer for ${what}`),
    );
  }

  async #send(path: string, request: UploadRequest): Promise<Headers> {
    return await this.#answered(path, request, async (answer, what) => {
      await readBody(answer, MOST_ANSWER_BYTES, what);
      return answer.headers;
    });
  }

  async #answered<T>(
    path: string,
    { headers, ...request }: UploadRequest,
    read: (answer: HubAnswer, what: string) => Promise<T>,
  ): Promise<T> {
    const { settings, signal } = this.options;
    const url = path.startsWith('/') ? settings.endpoint + path : path;
    if (!URL.canParse(url)) throw new MbokError('MBOK_FORMAT', `the hub names an address that is none: ${show(url)}`);
    const what = `the upload to ${this.repo}`;
    const type = { 'content-type': 'application/json' };
    const all = { ...(typeof request.body === 'string' && type), ...headers };
    return await repeated(what, signal, async () =>
      read(await send({ settings, url, signal, what, repo: this.repo, ...request, headers: all }), what),
    );
  }
}

type UploadRequest = Pick<HubRequest, 'method' | 'body' | 'headers' | 'accepts'>;

function lfs(body: object): UploadRequest {
  return { method: 'POST', body: JSON.stringify(body), headers: { accept: LFS_TYPE, 'content-type': LFS_TYPE } };
}

function strings(headers: JsonObject): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}
