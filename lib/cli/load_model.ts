/** Loading of the model that a command reads. */

import { localModel, type PullProgress } from '../hub/pull';
import { Model } from '../model';
import { MAX_KERNELS } from '../structures/kernels';
import type { CommandCall, OptionTable } from './command';
import { megabytes, RemainingTime, type StatusLine } from './terminal';

export const LOAD_OPTIONS: OptionTable = {
  kernels: {
    kind: 'integer',
    value: 'K',
    minimum: 1,
    maximum: MAX_KERNELS,
    help: 'read only the first K kernels, or the K-th size of products; accurate for models converted with --nested',
    byDefault: 'all',
  },
};

/** Returns a callback that shows a download. */
export function pullProgress(status: StatusLine): (progress: PullProgress) => void {
  const remaining = new RemainingTime();
  return ({ done, what, bytes, totalBytes }) =>
    status.bar('pull', done, `${megabytes(bytes)} of ${megabytes(totalBytes)}${remaining.after(done)}: ${what}`);
}

/** Returns the local path of a model. One at the hub is downloaded, with a bar. Throws as {@link pullModel}. */
export async function modelPath(call: CommandCall, path: string, status: StatusLine): Promise<string> {
  return await localModel(path, { signal: call.signal, onProgress: pullProgress(status) });
}

/** Loads a model, with the requested number of kernels. Throws as {@link Model.load}. */
export async function loadModel(call: CommandCall, name: string, status: StatusLine): Promise<Model> {
  const path = await modelPath(call, name, status);
  const onProgress = status.progress('load');
  return await Model.load(path, { kernels: call.number('kernels'), signal: call.signal, onProgress });
}
