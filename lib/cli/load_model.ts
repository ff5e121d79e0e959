/** Loading of the model that a command reads. */

import { Model } from '../model';
import { MAX_KERNELS } from '../structures/kernels';
import type { CommandCall, OptionTable } from './command';
import type { StatusLine } from './terminal';

export const LOAD_OPTIONS: OptionTable = {
  kernels: {
    kind: 'integer',
    value: 'K',
    minimum: 1,
    maximum: MAX_KERNELS,
    help: 'read only the first K kernels of every layer; accurate for models converted with --nested',
    byDefault: 'all',
  },
};

/** Loads the model at `path`, with the requested number of kernels. Throws as {@link Model.load}. */
export async function loadModel(call: CommandCall, path: string, status: StatusLine): Promise<Model> {
  const onProgress = status.progress('load');
  return await Model.load(path, { kernels: call.number('kernels'), signal: call.signal, onProgress });
}
