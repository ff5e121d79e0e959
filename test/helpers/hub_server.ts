/**
 * A server of the hub's API on loopback, with a second one on another port as its network of content (CDN), to which it
 * redirects requests for large files. Faults are injected by request.
 */

import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A repository of the server. */
export interface ServedRepository {
  /** Contents by name; those in `large` are stored as Git LFS stores them. */
  readonly files: Readonly<Record<string, Buffer>>;
  readonly large?: readonly string[];
  /** Revisions besides 'main', all of which are the same commit. */
  readonly revisions?: readonly string[];
  /** Token that may read it, and whether it has terms. */
  readonly access?: { readonly token: string; readonly gated: boolean };
}

/** What goes wrong with one answer. */
export interface Fault {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** The connection is cut after so many bytes of the body. */
  readonly cutAfter?: number;
  /** Content that is sent instead. */
  readonly content?: Buffer;
  /** ETag that is sent instead. */
  readonly etag?: string;
  /** Whether a request for a part gets the whole file. */
  readonly ignoresRange?: boolean;
  /** Address to which the answer redirects. */
  readonly location?: string;
}

/** A request as a server has seen it. */
export interface SeenRequest {
  readonly host: 'hub' | 'cdn';
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage['headers'];
}

const PIECE = 1 << 14;

/** Commit of every repository: a hash of its contents. */
export function commitOf({ files }: ServedRepository): string {
  const hash = createHash('sha1');
  for (const [name, content] of Object.entries(files)) hash.update(name).update(content);
  return hash.digest('hex');
}

/** Name of a content in the cache. */
export function etagOf(content: Buffer, isLarge: boolean): string {
  if (isLarge) return createHash('sha256').update(content).digest('hex');
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
}

/** The hub and its network of content. */
export class HubServer implements AsyncDisposable {
  readonly repositories = new Map<string, ServedRepository>();
  readonly requests: SeenRequest[] = [];
  /** Returns the fault of a request; undefined for a proper answer. */
  fault: (request: SeenRequest) => Fault | undefined = () => undefined;
  /** Milliseconds between pieces of 16 KB. */
  pause = 0;
  /** Changes what the hub lists. */
  list: (entry: Record<string, unknown>) => Record<string, unknown> = (entry) => entry;
  /** Contents that were stored as large files, by SHA-256. */
  readonly stored = new Map<string, Buffer>();
  /** Lines of the commits, by repository. */
  readonly commits = new Map<string, readonly { readonly key: string; readonly value: Record<string, unknown> }[]>();
  /** Bytes of the parts in which large files are stored; undefined: whole. */
  chunk: number | undefined;
  readonly #parts = new Map<string, Buffer>();
  readonly #hub = createServer((request, response) => void this.#answer('hub', request, response));
  readonly #cdn = createServer((request, response) => void this.#answer('cdn', request, response));

  static async start(): Promise<HubServer> {
    const server = new HubServer();
    for (const one of [server.#hub, server.#cdn]) await new Promise<void>((done) => one.listen(0, '127.0.0.1', done));
    return server;
  }

  get endpoint(): string {
    return address(this.#hub);
  }

  /** The environment of a process that uses this server, with these variables and no other settings of a hub. */
  environment(variables: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
    const others = Object.entries(process.env).filter(([name]) => !name.startsWith('HF_'));
    return { ...Object.fromEntries(others), HF_ENDPOINT: this.endpoint, ...variables };
  }

  /** Requests for contents, by name of the file. */
  downloads(name: string): readonly SeenRequest[] {
    return this.requests.filter(({ path, host }) => path.endsWith(`/${name}`) && host === this.#hostOf(name));
  }

  /** Forgets requests and faults. */
  reset(): void {
    this.requests.length = 0;
    this.fault = () => undefined;
    this.list = (entry) => entry;
    this.pause = 0;
    this.repositories.clear();
    this.stored.clear();
    this.commits.clear();
    this.chunk = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of [this.#hub, this.#cdn]) {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  }

  #hostOf(name: string): 'hub' | 'cdn' {
    return [...this.repositories.values()].some(({ large }) => large?.includes(name)) ? 'cdn' : 'hub';
  }

  async #answer(host: 'hub' | 'cdn', request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url as string, this.endpoint);
    const seen = {
      host,
      method: request.method as string,
      path: decodeURIComponent(pathname),
      headers: request.headers,
    };
    this.requests.push(seen);
    response.on('error', () => {});
    const fault = this.fault(seen) ?? {};
    if (fault.location !== undefined) return end(response, 302, { location: fault.location });
    if (fault.status !== undefined) return end(response, fault.status, fault.headers ?? {});
    if (['POST', 'PUT'].includes(seen.method)) return await this.#receive(seen, request, response);
    const [, repo = '', revision, name] = host === 'cdn' ? cdnParts(seen.path) : hubParts(seen.path);
    const repository = this.repositories.get(repo);
    if (repository === undefined) {
      return end(response, request.headers.authorization === undefined ? 401 : 404, { 'x-error-code': 'RepoNotFound' });
    }
    const { access, revisions = [] } = repository;
    if (host === 'hub' && access !== undefined && request.headers.authorization !== `Bearer ${access.token}`) {
      return end(response, access.gated ? 403 : 401, { 'x-error-code': access.gated ? 'GatedRepo' : 'RepoNotFound' });
    }
    const commit = commitOf(repository);
    if (![commit, 'main', ...revisions].includes(revision as string)) {
      return end(response, 404, { 'x-error-code': 'RevisionNotFound' });
    }
    if (name === undefined) return this.#sendList(response, repository, commit);
    const content = repository.files[name];
    if (content === undefined) return end(response, 404, { 'x-error-code': 'EntryNotFound' });
    const isLarge = repository.large?.includes(name) ?? false;
    const etag = etagOf(content, isLarge);
    if (host === 'hub' && isLarge) {
      return end(response, 302, {
        location: `${address(this.#cdn)}/${repo}/${commit}/${name}`,
        'x-repo-commit': commit,
        'x-linked-etag': `"${etag}"`,
        'x-linked-size': String(content.length),
      });
    }
    const headers = { ...(host === 'hub' && { 'x-repo-commit': commit }), ...fault.headers };
    await this.#sendContent(request, response, fault.content ?? content, fault.etag ?? `"${etag}"`, headers, fault);
  }

  /** Answers the requests of an upload. */
  async #receive({ path, headers }: SeenRequest, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const body = Buffer.concat(pieces);
    const put = /^\/put\/(\w+)(?:\/(\d+))?$/.exec(path);
    if (put !== null) {
      const [, oid = '', part] = put;
      // storage servers refuse streams without a length, and know no tokens
      if (headers['content-length'] === undefined || headers.authorization !== undefined) return end(response, 400, {});
      if (part === undefined) this.stored.set(oid, body);
      else this.#parts.set(`${oid}/${part}`, body);
      return end(response, 200, { etag: `"${part}"` });
    }
    if (headers.authorization !== 'Bearer write') return end(response, 403, {});
    const reply = (json: object) => void response.end(JSON.stringify(json));
    const repo = /^\/(?:api\/models\/)?([^/]+\/[^/]+?)(?:\.git)?\//.exec(path)?.[1] ?? '';
    if (path === '/api/repos/create') {
      const { organization, name } = JSON.parse(body.toString());
      return end(response, this.commits.has(`${organization}/${name}`) ? 409 : 200, {});
    }
    if (path.endsWith('/preupload/main')) {
      const { files } = JSON.parse(body.toString()) as { files: { path: string }[] };
      return reply({
        files: files.map((file) => ({
          path: file.path,
          uploadMode: /\.safetensors$/.test(file.path) ? 'lfs' : 'regular',
        })),
      });
    }
    if (path.endsWith('/objects/batch')) {
      const [{ oid, size }] = JSON.parse(body.toString()).objects;
      if (this.stored.has(oid)) return reply({ objects: [{ oid, size }] });
      const count = Math.ceil(size / (this.chunk ?? size));
      const storage = `${address(this.#cdn)}/put/${oid}`;
      const parts = Object.fromEntries(Array.from({ length: count }, (_, i) => [String(i + 1), `${storage}/${i + 1}`]));
      const upload =
        this.chunk === undefined
          ? { href: storage }
          : { href: `${this.endpoint}/${repo}/complete`, header: { chunk_size: String(this.chunk), ...parts } };
      return reply({
        objects: [{ oid, size, actions: { upload, verify: { href: `${this.endpoint}/${repo}/verify` } } }],
      });
    }
    if (path.endsWith('/complete')) {
      const { oid, parts } = JSON.parse(body.toString()) as {
        oid: string;
        parts: { partNumber: number; etag: string }[];
      };
      const all = parts.map(({ partNumber, etag }) => [this.#parts.get(`${oid}/${partNumber}`), etag] as const);
      if (all.some(([piece, etag], i) => piece === undefined || etag !== `"${i + 1}"`)) return end(response, 400, {});
      this.stored.set(oid, Buffer.concat(all.map(([piece]) => piece as Buffer)));
      return reply({});
    }
    if (path.endsWith('/verify'))
      return end(response, this.stored.has(JSON.parse(body.toString()).oid) ? 200 : 400, {});
    if (!path.endsWith('/commit/main')) return end(response, 404, {});
    this.commits.set(
      repo,
      body
        .toString()
        .split('\n')
        .map((line) => JSON.parse(line)),
    );
    reply({ commitUrl: `${this.endpoint}/${repo}/commit/1` });
  }

  #sendList(response: ServerResponse, { files, large = [] }: ServedRepository, commit: string): void {
    const siblings = Object.entries(files).map(([name, content]) => {
      const isLarge = large.includes(name);
      const lfs = isLarge ? { lfs: { sha256: etagOf(content, true), size: content.length, pointerSize: 130 } } : {};
      return this.list({ rfilename: name, size: content.length, blobId: etagOf(content, false), ...lfs });
    });
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ id: 'x', sha: commit, siblings }));
  }

  async #sendContent(
    request: IncomingMessage,
    response: ServerResponse,
    content: Buffer,
    etag: string,
    headers: Record<string, string>,
    fault: Fault,
  ): Promise<void> {
    const [, from] = /^bytes=(\d+)-/.exec(request.headers.range ?? '') ?? [];
    const [, , to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const isCurrent = [undefined, etag].includes(request.headers['if-range'] as string | undefined);
    const isPart = from !== undefined && isCurrent && !fault.ignoresRange;
    const start = isPart ? Number(from) : 0;
    const stop = isPart && to !== undefined ? Math.min(Number(to) + 1, content.length) : content.length;
    if (start >= content.length && start > 0) return end(response, 416, {});
    response.writeHead(isPart ? 206 : 200, {
      etag,
      'accept-ranges': 'bytes',
      'content-length': stop - start,
      ...(isPart && { 'content-range': `bytes ${start}-${stop - 1}/${content.length}` }),
      ...headers,
    });
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    const last = fault.cutAfter === undefined ? stop : Math.min(stop, start + fault.cutAfter);
    for (let at = start; at < last && !response.destroyed; at += PIECE) {
      response.write(content.subarray(at, Math.min(at + PIECE, last)));
      if (this.pause > 0) await sleep(this.pause);
    }
    // fetch drops what its reader has not taken when a connection is cut
    if (last < stop) setTimeout(() => response.destroy(), 100);
    else response.end();
  }
}

/** Repository, revision and file of a path of the hub. */
function hubParts(path: string): readonly (string | undefined)[] {
  const api = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/(.+)$/.exec(path);
  return api ?? /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path) ?? [];
}

function cdnParts(path: string): readonly (string | undefined)[] {
  return /^\/([^/]+\/[^/]+)\/([^/]+)\/(.+)$/.exec(path) ?? [];
}

function end(response: ServerResponse, status: number, headers: Readonly<Record<string, string>>): void {
  response.writeHead(status, headers);
  response.end();
}

function address(server: Server): string {
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
