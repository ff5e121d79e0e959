/** Text on the command line: options and functions of the commands that read text. */

import type { Dataset } from '../data/dataset';
import { loadDataset } from '../data/load_dataset';
import { listFiles } from '../data/sources';
import { START_TOKENS, type StartToken } from '../data/windows';
import { type CommandCall, type OptionTable, UsageError } from './command';
import type { StatusLine } from './terminal';

/** Option for the start of windows. */
export const START_TOKEN_OPTION: OptionTable = {
  'start-token': {
    kind: 'choice',
    choices: START_TOKENS,
    help: "begin windows with the tokenizer's start token, or cut them from a stream",
    byDefault: 'auto',
  },
};

/** Reads the option --start-token. */
export function givenStartToken(call: CommandCall): StartToken | undefined {
  return call.text('start-token') as StartToken | undefined;
}

/** Describes it in printed results. */
export function cutNote(startToken: string): string {
  return startToken === 'auto' ? 'windows begin with the start token' : 'windows cut from a stream';
}

/** Options for reading text. */
export const DATA_OPTIONS: OptionTable = {
  field: {
    kind: 'text',
    value: 'NAME',
    help: 'field with the text in objects of *.jsonl or *.json',
    byDefault: 'text; with --chat messages',
  },
  chat: {
    kind: 'flag',
    help: "read objects of *.jsonl or *.json as conversations, formatted by the model's chat template",
  },
  cache: {
    kind: 'text',
    value: 'DIR',
    help: 'cache of encoded texts',
    byDefault: '$MBOK_CACHE, else mbok in $XDG_CACHE_HOME or ~/.cache',
  },
  ...START_TOKEN_OPTION,
};

/** Creates an option for text: a file or folder, repeatable. */
export function textOption(help: string): OptionTable[string] {
  return { kind: 'text', value: 'PATH', many: true, help: `${help}: a file or folder, repeatable` };
}

/** Returns the files of a required option. Throws UsageError, and as {@link textFiles}. */
export async function requiredTextFiles(call: CommandCall, name: string): Promise<readonly string[]> {
  if (call.has(name)) return await textFiles(call, name);
  throw new UsageError(`option --${name} is needed`);
}

/** Returns the files of an option. Throws MBOK_IO if one is missing, before a model is loaded in vain. */
export async function textFiles(call: CommandCall, name: string): Promise<readonly string[]> {
  const files = call.texts(name);
  await listFiles(files);
  return files;
}

/** Encodes files by {@link DATA_OPTIONS}, up to `maxTokens`. Throws as `loadDataset`. */
export async function openText(
  files: readonly string[],
  call: CommandCall,
  model: Parameters<typeof loadDataset>[1],
  status: StatusLine,
  maxTokens?: number,
): Promise<Dataset> {
  const [field, chat, cache] = [call.text('field'), call.flag('chat'), call.text('cache')];
  const onProgress = status.progress('encode');
  return await loadDataset({ files, field, chat, cache, maxTokens, signal: call.signal, onProgress }, model);
}
