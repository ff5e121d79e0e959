/** Models at the hub, opened to inspect them: headers and configuration are read, weights are not. */

import { findRemote, type RemoteModel } from '../hub/remote';
import type { HubFile } from '../hub/repository';
import { prefixOf } from '../hub/select';
import { decodeUtf8, parseJsonObject } from '../io/json';
import { CONFIG_FILE } from '../io/model_files';
import { SafetensorsFile } from '../io/safetensors';
import { openShards, parseIndex, WEIGHTS_FILE } from '../io/safetensors_shards';
import type { Checkpoint } from './checkpoint_files';
import { openGguf } from './gguf/open';
import { ModelSource } from './source';

/** An open model at the hub, without its tokenizer. Close the source. */
export interface RemoteSource {
  readonly source: ModelSource;
  readonly remote: RemoteModel;
  /** Files of the model. */
  readonly files: readonly HubFile[];
}

/** Opens a model at the hub. Throws as `pullModel` and `ModelSource.open`. */
export async function openRemote(name: string, signal?: AbortSignal): Promise<RemoteSource> {
  const remote = await findRemote(name, signal);
  const { checkpoint, shards } = await openCheckpoint(remote);
  const source = await ModelSource.of(checkpoint);
  return { source, remote, files: remote.files(shards) };
}

async function openCheckpoint(
  remote: RemoteModel,
): Promise<{ readonly checkpoint: Checkpoint; readonly shards: Iterable<string> }> {
  const { selection, open } = remote;
  if (selection.kind === 'gguf') return { checkpoint: await openGguf(selection.path, open), shards: [] };
  const root = prefixOf(selection);
  const readObject = async (file: string) => {
    const what = `'${remote.repo}/${file}'`;
    return parseJsonObject(decodeUtf8(await remote.read(file), what), what);
  };
  const place = root + CONFIG_FILE;
  const json = await readObject(place);
  const { index } = selection;
  const shardOf = index === undefined ? undefined : parseIndex(await readObject(index), index);
  const weights =
    index === undefined || shardOf === undefined
      ? await SafetensorsFile.open(root + WEIGHTS_FILE, open)
      : await openShards(index, shardOf, open);
  return {
    checkpoint: { json, place, companions: new Map(), weights, notes: [] },
    shards: new Set(shardOf?.values() ?? []),
  };
}
