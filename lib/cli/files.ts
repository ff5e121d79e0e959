import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { tryFolder } from '../io/atomic';
import { UsageError } from './command';

/** Throws UsageError where a command would replace the model it reads, MBOK_IO where it could not write its result. */
export async function expectTarget(source: string, target: string): Promise<void> {
  const same = resolve(source) === resolve(target) || (await identity(source)) === (await identity(target));
  if (same) throw new UsageError(`OUT must be another folder than ${source}`);
  await tryFolder(target);
}

/** Device and number of a file, or its path where there is none. */
async function identity(path: string): Promise<string> {
  try {
    const { dev, ino } = await stat(path);
    return `${dev}:${ino}`;
  } catch {
    return resolve(path);
  }
}
