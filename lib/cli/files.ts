import { expectOutput } from '../models/model_folder';
import type { CommandCall, OptionTable } from './command';

/** Of commands that write a model's folder. */
export const OUTPUT_OPTIONS: OptionTable = {
  overwrite: {
    kind: 'flag',
    help: 'write into OUT even if mbok has not made it; only files with names of a model are replaced',
  },
};

/** Throws where a command must not write its result, or could not: before it loads a model. */
export async function expectTarget(call: CommandCall, target: string, inputs: readonly string[]): Promise<void> {
  await expectOutput(target, { inputs, overwrite: call.flag('overwrite') });
}
