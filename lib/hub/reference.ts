/** Names of models at the hub: `hf:` references and pasted addresses. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import { hubSettings } from './settings';

/** A model at the hub, or a part of its repository. */
export interface ModelReference {
  /** `user/repo`. */
  readonly repo: string;
  /** Branch, tag or commit. */
  readonly revision: string;
  /** Quantization of a GGUF file, such as Q4_K_M, in any case; undefined if it was not named. */
  readonly quant: string | undefined;
  /** A file or a folder of the repository; undefined for the repository. */
  readonly path: string | undefined;
}

/** Hosts whose addresses are references, besides that of HF_ENDPOINT. */
const HOSTS = ['huggingface.co', 'www.huggingface.co', 'hf.co'];
const DEFAULT_REVISION = 'main';
const SCHEME = 'hf:';
const FORM = 'hf:user/repo[:quant][/file][#revision]';

/** Parts of repository names, as the hub allows them. `--` separates user and repository in the cache. */
const NAME = /^(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?$/;
const QUANT = /^[A-Za-z0-9][\w.-]{0,63}$/;
const LONGEST_PATH = 1024;

/** Tells whether a model's path is a reference to the hub, and not a local path. */
export function isReference(path: string): boolean {
  return path.startsWith(SCHEME) || addressOf(path) !== undefined;
}

/**
 * Parses `hf:user/repo[:quant][/file][#revision]` or an address such as
 * `https://huggingface.co/user/repo/blob/main/model.gguf`. The file may be a folder. Throws MBOK_INVALID_ARGUMENT.
 */
export function parseReference(text: string): ModelReference {
  const address = addressOf(text);
  const refuse = (reason: string) =>
    new MbokError('MBOK_INVALID_ARGUMENT', `${show(text)} names no model at the hub: ${reason}`);
  const [, name = '', fragment] = /^([^#]*)(?:#(.*))?$/s.exec(address?.path ?? text.slice(SCHEME.length)) ?? [];
  const [user = '', repoAndQuant = '', ...rest] = name.replace(/\/+$/, '').split('/');
  if (address !== undefined && ['datasets', 'spaces'].includes(user)) throw refuse(`it is an address of ${user}`);
  const [, repo = '', quant] = /^([^:]*)(?::(.*))?$/s.exec(repoAndQuant) ?? [];
  if (![user, repo].every((part) => NAME.test(part))) throw refuse(`it must have the form ${FORM}`);
  if (quant !== undefined && !QUANT.test(quant)) throw refuse(`${show(quant)} is not a quantization such as Q4_K_M`);
  const place = address === undefined ? { segments: rest } : ofAddress(rest);
  if (place === undefined) throw refuse(`it must be the address of a repository, a folder or a file`);
  const revision = fragment ?? place.revision ?? DEFAULT_REVISION;
  if (!isSafePath(revision)) throw refuse(`${show(revision)} is not a revision`);
  const path = place.segments.length === 0 ? undefined : place.segments.join('/');
  if (path !== undefined && !isSafePath(path)) throw refuse(`${show(path)} is not a file of a repository`);
  return { repo: `${user}/${repo}`, revision, quant, path };
}

/** Writes a reference as `hf:` text. */
export function formatReference({ repo, revision, quant, path }: ModelReference): string {
  const selected = `${quant === undefined ? '' : `:${quant}`}${path === undefined ? '' : `/${path}`}`;
  return `${SCHEME}${repo}${selected}${revision === DEFAULT_REVISION ? '' : `#${revision}`}`;
}

/** Returns the decoded path of an address of the hub; undefined for any other text. */
function addressOf(text: string): { readonly path: string } | undefined {
  const [, host, path] = /^(?:https?:\/\/)?([^/\s]+)\/(.*)$/s.exec(text) ?? [];
  if (host === undefined || path === undefined) return undefined;
  const isAddress = /^https?:\/\//.test(text);
  const known = HOSTS.includes(host) || (isAddress && host === new URL(hubSettings().endpoint).host);
  if (!known) return undefined;
  // the fragment of an address is a position on the page, but references pasted together may have a revision there
  const [beforeQuery = '', query = ''] = path.split('?', 2);
  const fragment = /#.*$/s.exec(query)?.[0] ?? '';
  try {
    return { path: decodeURIComponent(beforeQuery) + fragment };
  } catch {
    return { path: beforeQuery + fragment };
  }
}

/** Reads what follows the repository in an address. */
function ofAddress(rest: readonly string[]): { revision?: string; segments: readonly string[] } | undefined {
  const [kind, ...inside] = rest;
  if (kind === undefined) return { segments: [] };
  if (!['tree', 'blob', 'resolve', 'raw'].includes(kind) || inside.length === 0) return undefined;
  // names of other references than branches have three parts, as in refs/pr/1
  const length = inside[0] === 'refs' ? 3 : 1;
  return { revision: inside.slice(0, length).join('/'), segments: inside.slice(length) };
}

/**
 * Tells whether a name from outside can be joined to a folder without leaving it, on any system. It must be relative,
 * with `/` as separator, and free of `.`, `..`, backslashes, colons (drives, streams) and control characters.
 */
export function isSafePath(path: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not occur
  if (path.length > LONGEST_PATH || /[\\:\x00-\x1f\x7f]/.test(path)) return false;
  return path.split('/').every((part) => part !== '' && part !== '.' && part !== '..' && part.length <= 255);
}
