import { readFile } from 'node:fs/promises';
import { ioFailure } from '../io/failure';
import { expectOutput } from '../models/model_folder';
import type { CommandCall, OptionTable } from './command';

/** Of commands that write a model's folder. */
export const OUTPUT_OPTIONS: OptionTable = {
  overwrite: {
    kind: 'flag',
    help: 'write into OUT even if mbok has not made it; only files with names of a model are replaced',
  },
};

/** The text of a file. Throws MBOK_IO. */
export async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw ioFailure('read', path, error);
  }
}

/** Throws where a command must not write its result, or could not: before it loads a model. */
export async function expectTarget(call: CommandCall, target: string, inputs: readonly string[]): Promise<void> {
  await expectOutput(target, { inputs, overwrite: call.flag('overwrite') });
}
