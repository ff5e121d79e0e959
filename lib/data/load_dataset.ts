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
   * Files and folders. *.jsonl and *.ndjson files hold one JSON object per line; *.json files the same, or a list of
   * objects. All other files are plain text, with documents separated by `<|endoftext|>`. All are UTF-8. A folder
   * stands for all files in it and below, sorted by name, except names that begin with a dot.
   */
  readonly files: string | readonly string[];
  /** Field of a JSON object that holds the document. Default 'text'; for conversations see `chat`. */
  readonly field?: string | undefined;
  /**
   * Whether JSON objects hold conversations, which the model's chat template formats. Default false.
   *
   * A conversation is a list of messages with `role` and `content`, in `field` or `messages`. Alternatives are
   * `conversations` (of `from` and `value`), `prompt` and `completion`, or `instruction`, `input` and `output`.
   * Training without a teacher learns only the assistant's tokens, and only those are scored.
   */
  readonly chat?: boolean | undefined;
  /**
   * Cache folder for tokens, so that the same text is encoded only once; false: tokens stay in memory. Default: the
   * environment variable MBOK_CACHE, otherwise `mbok` in XDG_CACHE_HOME or ~/.cache. If the latter cannot be written,
   * tokens stay in memory.
   */
  readonly cache?: string | false | undefined;
  /** Number of tokens after which reading stops; the tokens then stay in memory. Default: all. */
  readonly maxTokens?: number | undefined;
  /** Stops the call, which then throws MBOK_ABORTED. */
  readonly signal?: AbortSignal | undefined;
  /** Receives the encoded share of the text, from 0 to 1, and the current file. */
  readonly onProgress?: ((progress: { readonly done: number; readonly what: string }) => void) | undefined;
}

const KEYS = ['files', 'field', 'chat', 'cache', 'maxTokens', 'signal', 'onProgress'] as const;

/**
 * Encodes text files, or reads their tokens from the cache of an earlier call. Texts are read in parts and may be far
 * larger than memory.
 *
 * The cache key is a hash of everything that determines the tokens, including the files' content. A changed file is
 * therefore encoded again. Damaged cache files are rewritten, and concurrent calls do not disturb each other.
 *
 * @param given - what to read, and how
 * @param model - model of the tokens; a tokenizer suffices unless the records are conversations
 * @throws MbokError MBOK_INVALID_ARGUMENT (also if the files hold no text), MBOK_IO, MBOK_FORMAT (naming file and
 * line), MBOK_NO_TOKENIZER, MBOK_UNSUPPORTED (conversations for a model without a chat template), MBOK_ABORTED
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

/** Input of evaluation, calibration and training: text, token ids that are used unchanged, or a dataset. */
export type TextData = string | ArrayLike<number> | Dataset;

/**
 * Converts an argument to a dataset. A dataset is returned as it is, and its caller closes it.
 *
 * @param name - name of the argument, for messages
 * @param options - `maxTokens`: about how many tokens of a text to encode
 * @throws MbokError MBOK_INVALID_ARGUMENT for an empty text or ids outside the vocabulary, MBOK_NO_TOKENIZER for text,
 * MBOK_ABORTED
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
  const maxId = model.config.vocabularySize - 1;
  if (data instanceof Dataset) {
    if (data.largestId <= maxId) return data;
    return invalid(name, `a dataset of ids up to ${maxId}, as made by this model's tokenizer`, data.largestId);
  }
  if (typeof data === 'string') {
    const tokens = await encodeCorpus(model.tokenizer, string(name, data), { maxTokens, signal });
    return new Dataset(new MemoryTokens(tokens));
  }
  const ids = Int32Array.from(integers(name, data, 0, maxId));
  return ids.length > 0 ? new Dataset(new MemoryTokens(ids)) : invalid(name, 'text or token ids', data);
}
