/** Perplexity by the conventions of published figures. Quote window, split and tokenizer with every figure. */

import { MbokError } from '../base/errors';
import { integerInRange, invalid, options, throwIfAborted } from '../base/validate';
import type { Dataset } from '../data/dataset';
import { type TextData, toDataset } from '../data/load_dataset';
import {
  type StartToken,
  type StartTokenOptions,
  startIdFor,
  startTokenOf,
  type TextWindow,
  textTokensOf,
  type WindowShape,
} from '../data/windows';
import { type ActivationBits, arithmeticOf, type Precision } from '../graph/arithmetic';
import { expectModel, type Model } from '../model';
import type { ModelCore } from '../models/model_core';
import { WindowScorer } from './window_scorer';

/** Options of {@link evaluatePerplexity}. */
export interface PerplexityOptions extends StartTokenOptions {
  /** Tokens of a window, including the start token. Default: 2048, or the model's limit if that is smaller. */
  readonly window?: number;
  /**
   * Text tokens from one window to the next. With a smaller stride windows overlap. Default: the text tokens of a
   * window, which are `window`, or one less after a start token.
   */
  readonly stride?: number;
  /** Largest number of windows, from the start of the text; 256 for C4's usual figures. Default: all. */
  readonly maxWindows?: number;
  /** Precision of dense products. Default 'f32'. */
  readonly precision?: Precision;
  /** Bits to which the inputs of Boolean layers are rounded. Default: as the precision requires. */
  readonly activations?: ActivationBits | undefined;
  /** Stops the evaluation, which then throws MBOK_ABORTED. */
  readonly signal?: AbortSignal | undefined;
  /** Receives the number of scored windows and their perplexity after every run. */
  readonly onProgress?: ((progress: PerplexityProgress) => void) | undefined;
}

/** Progress of an evaluation. */
export interface PerplexityProgress {
  /** Finished share of the work, from 0 to 1. */
  readonly done: number;
  /** Windows scored so far. */
  readonly windows: number;
  /** Perplexity of the windows scored so far. */
  readonly perplexity: number;
}

/** Tokens that count: all, or in conversations those of the assistant. */
export type ScoredTokens = 'all' | 'assistant';

/** Returns which tokens of a dataset count. */
export function scoredTokens(dataset: Dataset): ScoredTokens {
  return dataset.masked ? 'assistant' : 'all';
}

/** Result of {@link evaluatePerplexity}, and the conventions of the measurement. */
export interface PerplexityResult {
  /** exp of the mean negative log-likelihood of the scored tokens. */
  readonly perplexity: number;
  /** Number of scored tokens. */
  readonly tokens: number;
  /** Tokens that count: all, or in conversations those of the assistant. */
  readonly scored: ScoredTokens;
  /** Tokens of the whole text, including those that start documents. */
  readonly textTokens: number;
  /** Number of windows with a scored token. */
  readonly windows: number;
  /** Tokens of a window, including the start token. */
  readonly window: number;
  /** Text tokens from one window to the next. */
  readonly stride: number;
  /** 'auto': every window began with the tokenizer's start token; 'stream': windows were cut from the text as it is. */
  readonly startToken: StartToken;
  /** Precision of dense products. */
  readonly precision: Precision;
  /** Bits to which the inputs of Boolean layers were rounded; undefined if only the precision rounded them. */
  readonly activations: ActivationBits | undefined;
}

const KEYS = [
  'window',
  'stride',
  'startToken',
  'maxWindows',
  'precision',
  'activations',
  'signal',
  'onProgress',
] as const;
const DEFAULT_WINDOW = 2048;

/**
 * Measures the model's perplexity on a text. Windows are taken from the start, every position but the first of a window
 * is scored, and a remainder shorter than a window is dropped. With a smaller stride windows overlap, and each scores
 * only tokens that no earlier window has scored. In conversations only the assistant's tokens are scored, and windows
 * without any are skipped.
 *
 * Every window begins with the token that the tokenizer puts before a text, if there is one. Such a window of w tokens
 * contains, scores and advances by w − 1 text tokens. No token is added with `startToken` 'stream', or if the text
 * itself has one at the start of a window.
 *
 * In a text of several documents (separated by `<|endoftext|>`, or a dataset's lines and files) each document follows
 * the token that starts a document. A single document is tokenized like any text, as for published figures of
 * WikiText-2: no token precedes it unless the tokenizer adds one. The result does not depend on the number of threads.
 *
 * @param model - dense or Boolean; not changed
 * @param data - a text, a dataset, or token ids, which are cut like a text
 * @returns perplexity, number of scored tokens, and the conventions
 * @throws MbokError MBOK_INVALID_ARGUMENT for a text that is empty or shorter than a window, conversations without
 * assistant's tokens, a window beyond the model's limit, or ids outside its vocabulary; MBOK_NO_TOKENIZER, MBOK_BUSY
 * (the model is being finetuned), MBOK_DISPOSED, MBOK_NON_FINITE, MBOK_ABORTED
 *
 * @example
 * const { perplexity } = await evaluatePerplexity(model, await readFile('valid.txt', 'utf8'), { window: 256 });
 */
export async function evaluatePerplexity(
  model: Model,
  data: TextData,
  given: PerplexityOptions = {},
): Promise<PerplexityResult> {
  const core = expectModel('model', model);
  using _ = core.holdToRead();
  return await measurePerplexity(core, data, given);
}

/** Measures as {@link evaluatePerplexity}, for a caller that already holds the model. */
export async function measurePerplexity(
  model: ModelCore,
  data: TextData,
  given: PerplexityOptions,
): Promise<PerplexityResult> {
  const { signal, onProgress } = options('options', given, KEYS);
  const arithmetic = arithmeticOf(given);
  const { dataset, textTokens, windows, shape, stride } = await cutText(model, data, given);
  const { window, startId } = shape;
  await using scorer = new WindowScorer(model, { window, windows: windows.length, arithmetic });
  let sum = 0;
  let tokens = 0;
  for (let done = 0; done < windows.length; ) {
    const batch = windows.slice(done, done + scorer.together);
    const { ids, targets } = await readWindows(dataset, batch, shape);
    sum += await scorer.score(ids, targets, signal);
    for (const target of targets) if (target >= 0) tokens++;
    done += batch.length;
    onProgress?.({ done: done / windows.length, windows: done, perplexity: Math.exp(sum / tokens) });
  }
  if (!Number.isFinite(sum)) throw new MbokError('MBOK_NON_FINITE', `the log-likelihood of the text is ${-sum}`);
  return {
    perplexity: Math.exp(sum / tokens),
    tokens,
    scored: scoredTokens(dataset),
    textTokens,
    windows: windows.length,
    window,
    stride,
    startToken: startTokenOf(startId),
    ...arithmetic,
  };
}

/** Throws the errors that the text would cause in {@link measurePerplexity}, before a long run that ends with it. */
export async function expectMeasurable(model: ModelCore, data: TextData, given: PerplexityOptions): Promise<void> {
  await cutText(model, data, given);
}

/** Returns the text's windows in which a token is scored. */
async function cutText(model: ModelCore, data: TextData, given: PerplexityOptions) {
  const { maxWindows = Infinity, startToken, signal } = given;
  const shape = {
    window: evaluationWindow(given.window, model.config.maxPositions),
    startId: startIdFor(model, startToken),
  };
  const stride = checkedStride(given.stride, shape);
  if (given.maxWindows !== undefined) integerInRange('maxWindows', maxWindows, 1);
  throwIfAborted(signal);
  const dataset = await toDataset('data', data, model, { signal });
  dataset.expectCounted();
  const from = await textStart(model, data, dataset);
  const textTokens = dataset.length - from;
  const limit = dataset.masked ? Infinity : maxWindows;
  const all = await dataset.windows(shape, { from, stride, most: limit, signal });
  if (all.length === 0) {
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      `the text has ${textTokens} tokens, fewer than a window of ${shape.window}`,
    );
  }
  const windows = dataset.masked ? await scoredWindows(dataset, all, shape, maxWindows) : all;
  return { dataset, textTokens, windows, shape, stride };
}

function evaluationWindow(window: number | undefined, limit: number): number {
  integerInRange('window', window ?? 2, 2);
  if (window !== undefined && window > limit) {
    throw new MbokError('MBOK_INVALID_ARGUMENT', `'window' is ${window}, longer than the model's limit of ${limit}`);
  }
  return window ?? Math.min(DEFAULT_WINDOW, limit);
}

function checkedStride(stride: number | undefined, shape: WindowShape): number {
  const maxStride = textTokensOf(shape);
  if (stride === shape.window && stride > maxStride) {
    invalid('stride', `at most ${maxStride}, the tokens of the text that a window holds after its start token`, stride);
  }
  return integerInRange('stride', stride ?? maxStride, 1, maxStride);
}

/** Tokens read at a time. */
const PIECE = 2 ** 16;

/**
 * Returns where the text begins. It is 1 for a single document whose start token comes from the dataset and not from
 * the tokenizer.
 */
async function textStart(model: ModelCore, data: TextData, dataset: Dataset): Promise<0 | 1> {
  if (!model.hasTokenizer || (typeof data !== 'string' && data !== dataset)) return 0;
  const { tokenizer } = model;
  const start = tokenizer.documentStartId;
  if (start === undefined || tokenizer.encode('')[0] === start) return 0;
  const [first] = await dataset.read(0, Math.min(1, dataset.length));
  if (first !== start) return 0;
  for (let at = 1; at < dataset.length; at += PIECE) {
    const ids = await dataset.read(at, Math.min(PIECE, dataset.length - at));
    if (ids.includes(start)) return 0;
  }
  return 1;
}

/** Returns the first `limit` windows that score a token which counts. Throws MBOK_INVALID_ARGUMENT if there is none. */
async function scoredWindows(
  dataset: Dataset,
  windows: readonly TextWindow[],
  shape: WindowShape,
  limit: number,
): Promise<TextWindow[]> {
  const scored: TextWindow[] = [];
  for (const each of windows) {
    if (scored.length === limit) break;
    const { labels } = await dataset.window(each.place, shape);
    if (labels.subarray(each.scoredFrom).some((label) => label >= 0)) scored.push(each);
  }
  if (scored.length > 0) return scored;
  throw new MbokError(
    'MBOK_INVALID_ARGUMENT',
    `none of the ${windows.length} windows of ${shape.window} tokens scores a token that counts`,
  );
}

/** Reads the tokens of windows, and the successor of each: −1 if it is not scored. */
async function readWindows(
  dataset: Dataset,
  windows: readonly TextWindow[],
  shape: WindowShape,
): Promise<{ readonly ids: Int32Array; readonly targets: Int32Array }> {
  const { window } = shape;
  const ids = new Int32Array(windows.length * window);
  const targets = new Int32Array(ids.length).fill(-1);
  for (const [i, { place, scoredFrom }] of windows.entries()) {
    const read = await dataset.window(place, shape);
    ids.set(read.ids, i * window);
    targets.set(read.labels.subarray(scoredFrom), i * window + scoredFrom - 1);
  }
  return { ids, targets };
}
