/** A folder is one report's, and is made by one process at a time. */

import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MbokError } from '../errors';
import { isRunning, makeFolder, writeFile } from '../io/atomic';
import { ioFailure } from '../io/failure';
import { readTextIfPresent, remove } from '../io/files';

/** Tells the folder of a report from other people's folders; in the end it says what the report was made with. */
export const MARKER = 'report.json';
/** Holds the number of the process that makes the report. */
const OWNER = 'running.pid';

/**
 * Makes the folder if it is not there, and takes it until disposed. Throws MBOK_IO where it holds something else than a
 * report, MBOK_BUSY where another process makes it.
 */
export async function claimFolder(folder: string): Promise<AsyncDisposable> {
  await makeFolder(folder);
  const owner = join(folder, OWNER);
  try {
    const names = await readdir(folder);
    if (!names.includes(MARKER)) {
      if (names.length > 0) {
        throw new MbokError('MBOK_IO', `will not write a report into '${folder}': it holds files but no ${MARKER}`);
      }
      await writeFile(join(folder, MARKER), '{}\n');
    }
    const pid = Number(await readTextIfPresent(owner));
    if (pid > 0 && pid !== process.pid && isRunning(pid)) {
      throw new MbokError('MBOK_BUSY', `process ${pid} is making the report in '${folder}'`);
    }
  } catch (error) {
    throw ioFailure('read', folder, error);
  }
  await writeFile(owner, String(process.pid));
  return { [Symbol.asyncDispose]: () => remove(owner) };
}
