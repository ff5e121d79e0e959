/** Perplexity by the conventions of published figures (window, split and tokenizer belong beside every one of them). */

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
import { expectModel, type ModelCore } from '../models/model_core';
import { WindowScorer } from './window_scorer';

/** Options of {@link evaluatePerplexity}. */
export interface PerplexityOptions extends StartTokenOptions {
  /** Tokens of a window, the start token included. Default: 2048, or the model's limit if that is less. */
  readonly window?: number;
  /**
   * Tokens of the text from one window to the next. Fewer than a window holds make windows overlap. Default: all that a
   * window holds, `window`, or one less after a start token.
   */
  readonly stride?: number;
  /** At most this many windows from the start of the text; 256 for C4's usual figures. Default: all. */
  readonly maxWindows?: number;
  /** Of dense products. Default 'f32'. */
  readonly precision?: Precision;
  /** Bits that the inputs of Boolean layers are rounded to. Default: as the precision asks. */
  readonly activations?: ActivationBits | undefined;
  /** Stops the evaluation, which then throws MBOK_ABORTED. */
  readonly signal?: AbortSignal | undefined;
  /** Told after every run how many windows are scored and the perplexity so far. */
  readonly onProgress?: ((progress: PerplexityProgress) => void) | undefined;
}

/** How far an evaluation is. */
export interface PerplexityProgress {
  /** Share of the work done, from 0 to 1. */
  readonly done: number;
  /** Windows scored so far. */
  readonly windows: number;
  /** Of the windows scored so far. */
  readonly perplexity: number;
}

/** Which tokens of a text count: all, or of conversations those that the assistant says. */
export type ScoredTokens = 'all' | 'assistant';

/** Those of a dataset. */
export function scoredTokens(dataset: Dataset): ScoredTokens {
  return dataset.masked ? 'assistant' : 'all';
}

/** What {@link evaluatePerplexity} found, and how it was measured. */
export interface PerplexityResult {
  /** exp of the mean negative log-likelihood of the scored tokens. */
  readonly perplexity: number;
  /** Tokens scored. */
  readonly tokens: number;
  /** Which those are: all, or of conversations what the assistant says. */
  readonly scored: ScoredTokens;
  /** Tokens of the whole text, those included that start documents. */
  readonly textTokens: number;
  /** Windows in which a token is scored. */
  readonly windows: number;
  /** Tokens of a window, the start token included. */
  readonly window: number;
  /** Tokens of the text from one window to the next. */
  readonly stride: number;
  /** 'auto': every window began with the tokenizer's start token; 'stream': windows were cut as the text came. */
  readonly startToken: StartToken;
  /** Of dense products. */
  readonly precision: Precision;
  /** Bits of the inputs of Boolean layers; undefined where only the precision rounded them. */
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
 * The model's perplexity on a text: windows from the start, every position but a window's first scored, the rest that
 * does not fill a window left out. With a smaller stride, windows overlap, and each scores only tokens that none before it
 * has. Of conversations only what the assistant says is scored, and windows without any of it are left out.
 *
 * Every window begins with the token that the tokenizer puts before a text, if it puts one. Such a window of w tokens holds,
 * scores and advances by w − 1 tokens of the text. None is added with `startToken` 'stream', nor where the text itself has
 * one at a window's beginning.
 *
 * A text of several documents (separated by `<|endoftext|>`, or a dataset's lines and files) is read with the token that
 * starts a document before each. One document is read as the tokenizer reads a text by itself, as published figures of
 * WikiText-2 are: nothing comes before it unless the tokenizer puts it there. The same for any number of threads.
 *
 * @param model - dense or Boolean; used, not changed
 * @param data - a text, a dataset, or token ids, which are a text's and cut like one
 * @returns perplexity, tokens scored, and the conventions
 * @throws MbokError MBOK_INVALID_ARGUMENT for a text that is empty or shorter than a window, conversations in which the
 * assistant says nothing, a window longer than the model's limit, or ids outside its vocabulary. MBOK_NO_TOKENIZER, MBOK_BUSY
 * (the model is being finetuned), MBOK_DISPOSED, MBOK_NON_FINITE, MBOK_ABORTED
 *
 * @example
 * const { perplexity } = await evaluatePerplexity(model, await readFile('valid.txt', 'utf8'), { window: 256 });
 */
export async function evaluatePerplexity(
  model: ModelCore,
  data: TextData,
  given: PerplexityOptions = {},
): Promise<PerplexityResult> {
  using _ = expectModel('model', model).holdToRead();
  return await measurePerplexity(model, data, given);
}

/** {@link evaluatePerplexity} for a caller that holds the model. */
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

/** Throws what {@link measurePerplexity} would throw because of the text: before a run in which it comes late. */
export async function expectMeasurable(model: ModelCore, data: TextData, given: PerplexityOptions): Promise<void> {
  await cutText(model, data, given);
}

/** The text's windows in which something is scored. */
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
  const most = dataset.masked ? Infinity : maxWindows;
  const all = await dataset.windows(shape, { from, stride, most, signal });
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
  const most = textTokensOf(shape);
  if (stride === shape.window && stride > most) {
    invalid('stride', `at most ${most}, the tokens of the text that a window holds after its start token`, stride);
  }
  return integerInRange('stride', stride ?? most, 1, most);
}

/** Tokens read at a time. */
const PIECE = 2 ** 16;

/**
 * Where the text begins: at 1 where it is one document, before which the dataset has put a token that the tokenizer
 * itself would not put there.
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

/** The first `most` windows that score a token which counts. Throws MBOK_INVALID_ARGUMENT where there is none. */
async function scoredWindows(
  dataset: Dataset,
  windows: readonly TextWindow[],
  shape: WindowShape,
  most: number,
): Promise<TextWindow[]> {
  const scored: TextWindow[] = [];
  for (const each of windows) {
    if (scored.length === most) break;
    const { labels } = await dataset.window(each.place, shape);
    if (labels.subarray(each.scoredFrom).some((label) => label >= 0)) scored.push(each);
  }
  if (scored.length > 0) return scored;
  throw new MbokError(
    'MBOK_INVALID_ARGUMENT',
    `none of the ${windows.length} windows of ${shape.window} tokens scores a token that counts`,
  );
}

/** The tokens of some windows, and what follows each: −1 where that is not scored. */
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
