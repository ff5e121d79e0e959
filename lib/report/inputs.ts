/** Input files of a report, and the variables that stand for them in its commands. */

import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { throwIfAborted } from '../base/validate';
import { listFiles, readChunks } from '../data/sources';
import { ioFailure } from '../io/failure';
import { partsOnDisk } from '../models/gguf/split';

/** Path by variable (with its dollar sign), as the caller passed it. */
export type Variables = ReadonlyMap<string, string>;

/** Replaces the variable at the start of a command's word. */
export function expand(word: string, variables: Variables): string {
  const [, name = '', rest = ''] = /^(\$[A-Z]+\d*)(.*)$/s.exec(word) ?? [];
  const path = variables.get(name);
  return path === undefined ? word : path + rest;
}

/** Returns the variables with which words of a command begin. */
export function variablesIn(words: readonly string[], variables: Variables): string[] {
  return [...variables.keys()].filter((name) => words.some((word) => word === name || word.startsWith(`${name}/`)));
}

/**
 * Computes SHA-256 over names and contents of a file, of all parts of a split one, or of all files in a folder. For a
 * model it covers only the files beside config.json. Throws MBOK_IO, MBOK_INVALID_ARGUMENT, MBOK_ABORTED.
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
    if (!(await stat(path)).isDirectory()) return [...partsOnDisk(path)];
    const entries = await readdir(path, { withFileTypes: true });
    const beside = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
    if (beside.includes('config.json')) return beside.sort().map((name) => join(path, name));
  } catch (error) {
    throw ioFailure('read', path, error);
  }
  return (await listFiles([path])).map((file) => file.path);
}
