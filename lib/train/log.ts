/** Log of a run: one line of JSON per step. */

import { type FileHandle, open } from 'node:fs/promises';
import { writeFile } from '../io/atomic';
import { ioFailure } from '../io/failure';
import { readTextIfPresent } from '../io/files';
import { expectOwnFile } from '../io/output_path';

export class TrainingLog {
  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
  ) {}

  /**
   * Opens the log of a run that continues after `step` steps. Lines of later steps, which a killed run wrote after its
   * last checkpoint, are removed. At step 0 an older log is replaced. Throws MBOK_IO, also if the file is not a log.
   */
  static async open(path: string, step: number): Promise<TrainingLog> {
    await expectOwnFile(path, 'a training log', isLog);
    const validLines = step === 0 ? [] : (await lines(path)).filter((line) => stepOf(line) <= step);
    await writeFile(path, validLines.map((line) => `${line}\n`).join(''));
    try {
      return new TrainingLog(path, await open(path, 'a'));
    } catch (error) {
      throw ioFailure('write', path, error);
    }
  }

  /** Appends an entry. Throws MBOK_IO. */
  async write(entry: Readonly<Record<string, unknown>>): Promise<void> {
    try {
      await this.file.appendFile(`${JSON.stringify(entry)}\n`);
    } catch (error) {
      throw ioFailure('write', this.path, error);
    }
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

async function lines(path: string): Promise<string[]> {
  const text = (await readTextIfPresent(path)) ?? '';
  return text.split('\n').filter((line) => line !== '');
}

/** Tells whether a file starts like a log. */
function isLog(beginning: string): boolean {
  return beginning.startsWith('{"step":');
}

/** Returns the step of a line; Infinity for a line that was cut off when its writer died. */
function stepOf(line: string): number {
  try {
    return (JSON.parse(line) as { step?: number }).step ?? 0;
  } catch {
    return Infinity;
  }
}
