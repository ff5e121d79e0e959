/** The files that a report is made of, by the variables that its commands name them with. */

import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { throwIfAborted } from '../base/validate';
import { listFiles, readChunks } from '../data/sources';
import { ioFailure } from '../io/failure';

/** Variable, with its dollar, to path as the caller gave it. */
export type Variables = ReadonlyMap<string, string>;

/** A word of a command with the variables replaced. */
export function expand(word: string, variables: Variables): string {
  const [, name = '', rest = ''] = /^(\$[A-Z]+\d*)(.*)$/s.exec(word) ?? [];
  const path = variables.get(name);
  return path === undefined ? word : path + rest;
}

/** The variables that a command's words begin with. */
export function variablesIn(words: readonly string[], variables: Variables): string[] {
  return [...variables.keys()].filter((name) => words.some((word) => word === name || word.startsWith(`${name}/`)));
}

/**
 * SHA-256 over names and contents of a file, or of all files in a folder: of a model those beside config.json alone.
 * Throws MBOK_IO, MBOK_INVALID_ARGUMENT, MBOK_ABORTED.
 */
export async function digestOf(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256');
  for (const file of await filesOf(path)) {
    throwIfAborted(signal);
    hash.update(`${basename(file)}\n`);
    for await (const _ of readChunks(file, (bytes) => hash.update(bytes))) throwIfAborted(signal);
  }
  return hash.digest('hex');
}

async function filesOf(path: string): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const entries = await readdir(path, { withFileTypes: true });
    const beside = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
    if (beside.includes('config.json')) return beside.sort().map((name) => join(path, name));
  } catch (error) {
    throw ioFailure('read', path, error);
  }
  return (await listFiles([path])).map((file) => file.path);
}
