import { MbokError } from '../base/errors';
import { expectOutput } from '../models/model_folder';
import { type CommandCall, type OptionTable, UsageError } from './command';

/** Of commands that write a model's folder. */
export const OUTPUT_OPTIONS: OptionTable = {
  overwrite: {
    kind: 'flag',
    help: 'write into OUT even if mbok has not made it; only files with names of a model are replaced',
  },
};

/**
 * Throws before a command loads a model: UsageError where its output is or holds one of its inputs, MBOK_IO where it must
 * not write there, or could not.
 */
export async function expectTarget(call: CommandCall, target: string, inputs: readonly string[]): Promise<void> {
  try {
    await expectOutput(target, { inputs, overwrite: call.flag('overwrite') });
  } catch (error) {
    if (error instanceof MbokError && error.code === 'MBOK_INVALID_ARGUMENT') throw new UsageError(error.message);
    throw error;
  }
}
