import { MbokError } from '../base/errors';
import {
  boolean,
  options as checkOptions,
  integerInRange,
  integers,
  invalid,
  object,
  string,
  throwIfAborted,
} from '../base/validate';
import { ChatTemplate } from '../text/chat';
import { encodeCorpus } from '../text/corpus';
import type { Tokenizer } from '../text/tokenizer';
import { Dataset } from './dataset';
import { holdsRecords } from './documents';
import { encodeInMemory, encodeOnce, type Task } from './encode_files';
import { listFiles } from './sources';
import { MemoryTokens } from './token_file';

/** Options of {@link loadDataset}. */
export interface DatasetOptions {
  /**
   * Files and folders. Files named *.jsonl or *.ndjson hold a JSON object a line, *.json the same or a list of objects, all
   * others plain text, whose documents are separated by `<|endoftext|>`. All are UTF-8. Of a folder all files count, those
   * below it too, in the order of their names.
   */
  readonly files: string | readonly string[];
  /** Field of a JSON object that holds the document. Default 'text'; for conversations see `chat`. */
  readonly field?: string | undefined;
  /**
   * JSON objects hold conversations, which the model's chat template turns into text: lists of messages with `role` and
   * `content` in `field` or `messages`, or else `conversations` (of `from` and `value`), `prompt` and `completion`, or
   * `instruction`, `input` and `output`. A model trained on them without a teacher learns what the assistant says alone,
   * and only that is scored. Default false.
   */
  readonly chat?: boolean | undefined;
  /**
   * Folder that tokens are kept in, so that the same text need not be encoded again; false: keep them in memory.
   * Default: the environment's MBOK_CACHE, else `mbok` in XDG_CACHE_HOME or ~/.cache (in memory where that cannot be
   * written).
   */
  readonly cache?: string | false | undefined;
  /** Stop reading when there are as many tokens; they are then kept in memory. Default: all. */
  readonly maxTokens?: number | undefined;
  /** Stops the call, which then throws MBOK_ABORTED. */
  readonly signal?: AbortSignal | undefined;
  /** Told how much of the text is encoded, from 0 to 1, and the file that is being read. */
  readonly onProgress?: ((progress: { readonly done: number; readonly what: string }) => void) | undefined;
}

const KEYS = ['files', 'field', 'chat', 'cache', 'maxTokens', 'signal', 'onProgress'] as const;

/**
 * Encodes files of text, or finds the tokens that an earlier call has left. Texts are read in parts and may be far larger
 * than memory. Tokens are kept by a hash of everything they depend on, the files' content above all, so a file that has
 * changed is encoded again; kept files that are damaged are made anew, and calls at the same time do not disturb each
 * other.
 *
 * @param given - what to read, and how
 * @param model - the model that the tokens are for; its tokenizer is enough unless they are conversations
 * @throws MbokError MBOK_INVALID_ARGUMENT (also for files that hold no text), MBOK_IO, MBOK_FORMAT (naming file and line),
 *   MBOK_NO_TOKENIZER, MBOK_UNSUPPORTED (conversations for a model without a chat template), MBOK_ABORTED
 */
export async function loadDataset(
  given: DatasetOptions,
  model: Tokenizer | { readonly tokenizer: Tokenizer; readonly chatTemplate?: ChatTemplate | undefined },
): Promise<Dataset> {
  const { files, field, chat = false, cache, maxTokens, signal, onProgress } = checkOptions('options', given, KEYS);
  const names = [files].flat();
  if (names.length === 0) invalid('files', 'at least one file', files);
  for (const name of names) string('files', name);
  if (cache !== undefined && cache !== false) string('cache', cache);
  object('model', model);
  const tokenizer = 'tokenizer' in model ? model.tokenizer : model;
  if (typeof tokenizer?.encode !== 'function') invalid('model', 'a model or a tokenizer', model);
  const template = boolean('chat', chat) ? chatTemplateOf(model) : undefined;
  const task: Task = {
    files: await listFiles(names),
    tokenizer,
    format: { field: field === undefined ? field : string('field', field), chat: template },
    wide: chat || tokenizer.vocabSize > 0x10000,
    maxTokens: maxTokens === undefined ? Infinity : integerInRange('maxTokens', maxTokens, 1),
    signal,
    onProgress,
  };
  const plain = task.files.find(({ path }) => !holdsRecords(path));
  if (chat && plain !== undefined) {
    invalid('files', 'files named *.jsonl, *.ndjson or *.json where they hold conversations', plain.path);
  }
  throwIfAborted(signal);
  const store = cache === false || maxTokens !== undefined ? await encodeInMemory(task) : await encodeOnce(task, cache);
  if (store.tokens === 0) {
    await store.close();
    throw new MbokError('MBOK_INVALID_ARGUMENT', `${names.map((name) => `'${name}'`).join(', ')}: the text is empty`);
  }
  return new Dataset(
    store,
    task.files.map(({ path }) => path),
  );
}

function chatTemplateOf(model: object): ChatTemplate {
  const template: unknown = 'chatTemplate' in model ? model.chatTemplate : undefined;
  return template instanceof ChatTemplate ? template : invalid('model', 'a model with a chat template', model);
}

/** What evaluation, calibration and training take: text, token ids that are taken as they are, or a dataset. */
export type TextData = string | ArrayLike<number> | Dataset;

/**
 * Makes a dataset of what a caller gave; one that is a dataset already stays the caller's to close.
 *
 * @param name - of the argument, for messages
 * @param options - `maxTokens`: how much of a text is wanted, more or less
 * @throws MbokError MBOK_INVALID_ARGUMENT (no text, ids outside the vocabulary), MBOK_NO_TOKENIZER for text, MBOK_ABORTED
 */
export async function toDataset(
  name: string,
  data: TextData,
  model: { readonly tokenizer: Tokenizer; readonly config: { readonly vocabularySize: number } },
  {
    maxTokens = Infinity,
    signal,
  }: { readonly maxTokens?: number | undefined; readonly signal?: AbortSignal | undefined } = {},
): Promise<Dataset> {
  const most = model.config.vocabularySize - 1;
  if (data instanceof Dataset) {
    if (data.largestId <= most) return data;
    return invalid(name, `a dataset of ids up to ${most}, as made by this model's tokenizer`, data.largestId);
  }
  if (typeof data === 'string') {
    const tokens = await encodeCorpus(model.tokenizer, string(name, data), { maxTokens, signal });
    return new Dataset(new MemoryTokens(tokens));
  }
  const ids = Int32Array.from(integers(name, data, 0, most));
  return ids.length > 0 ? new Dataset(new MemoryTokens(ids)) : invalid(name, 'text or token ids', data);
}
