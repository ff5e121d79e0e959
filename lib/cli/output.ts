import { MbokError } from '../base/errors';
import { expectOutput } from '../models/model_folder';
import { type CommandCall, type OptionTable, UsageError } from './command';

/** Options of commands that write a model's folder. */
export const OUTPUT_OPTIONS: OptionTable = {
  overwrite: {
    kind: 'flag',
    help: 'write to OUT even if mbok did not create it; replaces only files with the names of model files',
  },
};

/**
 * Checks the output before a command loads a model. Throws UsageError if it is or contains an input, and MBOK_IO if
 * mbok must not or cannot write it.
 */
export async function expectTarget(call: CommandCall, target: string, inputs: readonly string[]): Promise<void> {
  try {
    await expectOutput(target, { inputs, overwrite: call.flag('overwrite') });
  } catch (error) {
    if (error instanceof MbokError && error.code === 'MBOK_INVALID_ARGUMENT') throw new UsageError(error.message);
    throw error;
  }
}
