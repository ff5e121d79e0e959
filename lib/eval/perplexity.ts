/** Perplexity by the conventions of published figures (window, split and tokeniser belong beside every one of them). */

import { MbokError } from '../errors';
import { Graph, type Precision } from '../graph/graph';
import { negativeLogLikelihood } from '../graph/operations/losses';
import { Plan } from '../graph/plan';
import type { ModelCore } from '../models/model_core';
import { encodeCorpus, nextTokens } from '../text/corpus';
import { integerInRange, integers, invalid, oneOf, options, throwIfAborted } from '../validate';

/** Options of {@link evaluatePerplexity}. */
export interface PerplexityOptions {
  /** Tokens of a window. Default: 2048, or the model's limit if that is less. */
  readonly window?: number;
  /** At most this many windows from the start of the text. Default: all. */
  readonly maxWindows?: number;
  /** Of dense products. Default 'f32'. */
  readonly precision?: Precision;
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

/** What {@link evaluatePerplexity} found. */
export interface PerplexityResult {
  /** exp of the mean negative log-likelihood of the scored tokens. */
  readonly perplexity: number;
  /** Tokens scored: every position but the first of each window. */
  readonly tokens: number;
  /** Windows of the text. */
  readonly windows: number;
}

const KEYS = ['window', 'maxWindows', 'precision', 'signal', 'onProgress'] as const;
const DEFAULT_WINDOW = 2048;
/** Windows are computed together up to this many tokens … */
const TOKENS_AT_ONCE = 2048;
/** … and logits: 256 MB of them. */
const LOGITS_AT_ONCE = 2 ** 26;

/**
 * The model's perplexity on a text: non-overlapping windows from the start, every position but a window's first scored,
 * the rest that does not fill a window left out. Before tokenisation the end-of-text token is put before every document
 * (documents of a text are separated by that token's spelling). The same for any number of threads.
 *
 * @param model - dense or Boolean; used, not changed
 * @param textOrIds - a text, or token ids that are taken as they are
 * @returns perplexity, tokens scored and windows
 * @throws MbokError MBOK_INVALID_ARGUMENT for an empty text, a text shorter than a window, a window longer than the
 * model's limit or ids outside its vocabulary; MBOK_NO_TOKENIZER, MBOK_DISPOSED, MBOK_NON_FINITE, MBOK_ABORTED
 *
 * @example
 * const { perplexity } = await evaluatePerplexity(model, await readFile('valid.txt', 'utf8'), { window: 256 });
 */
export async function evaluatePerplexity(
  model: ModelCore,
  textOrIds: string | ArrayLike<number>,
  given: PerplexityOptions = {},
): Promise<PerplexityResult> {
  const { maxWindows, precision = 'f32', signal, onProgress } = options('options', given, KEYS);
  const window = evaluationWindow(given.window, model.config.maxPositions);
  if (maxWindows !== undefined) integerInRange('maxWindows', maxWindows, 1);
  oneOf('precision', precision, ['f32', 'bf16'] as const);
  throwIfAborted(signal);
  const ids = await tokens(model, textOrIds, signal);
  const windows = Math.min(Math.floor(ids.length / window), maxWindows ?? Infinity);
  if (windows === 0) {
    throw new MbokError('MBOK_INVALID_ARGUMENT', `the text has ${ids.length} tokens, fewer than a window of ${window}`);
  }
  const rows = Math.min(TOKENS_AT_ONCE, LOGITS_AT_ONCE / model.config.vocabularySize);
  const together = Math.min(windows, Math.max(1, Math.floor(rows / window)));
  await using plan = scoringPlan(model, together * window, precision);
  // in the order of the text and in float64: the sum must not depend on how windows are grouped or work is split
  let sum = 0;
  let done = 0;
  const result = () => ({ perplexity: Math.exp(sum / (done * (window - 1))), windows: done });
  while (done < windows) {
    const count = Math.min(together, windows - done);
    for (const value of await score(plan, ids.subarray(done * window, (done + count) * window), window, signal)) {
      sum += value;
    }
    done += count;
    onProgress?.({ done: done / windows, ...result() });
  }
  if (!Number.isFinite(sum)) throw new MbokError('MBOK_NON_FINITE', `the log-likelihood of the text is ${-sum}`);
  return { ...result(), tokens: windows * (window - 1) };
}

function evaluationWindow(window: number | undefined, limit: number): number {
  integerInRange('window', window ?? 2, 2);
  if (window !== undefined && window > limit) {
    throw new MbokError('MBOK_INVALID_ARGUMENT', `'window' is ${window}, longer than the model's limit of ${limit}`);
  }
  return window ?? Math.min(DEFAULT_WINDOW, limit);
}

async function tokens(
  model: ModelCore,
  textOrIds: string | ArrayLike<number>,
  signal: AbortSignal | undefined,
): Promise<Int32Array> {
  if (typeof textOrIds === 'string') return Int32Array.from(await encodeCorpus(model.tokenizer, textOrIds, { signal }));
  const ids = integers('ids', textOrIds, 0, model.config.vocabularySize - 1);
  return ids.length > 0 ? Int32Array.from(ids) : invalid('ids', 'token ids, at least a window of them', ids);
}

/** Negative log-likelihood of each row's target. */
function scoringPlan(model: ModelCore, maxRows: number, precision: Precision): Plan {
  const graph = new Graph({ precision });
  const column = { rows: 'tokens', cols: 1, type: 'i32' } as const;
  const ids = graph.input('ids', column);
  const targets = graph.input('targets', column);
  const builder = model.builder(graph);
  const { finished } = model.build(builder, ids);
  graph.output('losses', negativeLogLikelihood(model.family.head(builder, finished, model.config), targets));
  return new Plan(graph, { maxRows });
}

async function score(
  plan: Plan,
  ids: Int32Array,
  window: number,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const scalars = { rows: ids.length, sequenceLength: window };
  const { losses } = await plan.run({ inputs: { ids, targets: nextTokens(ids, window) }, scalars, signal });
  return losses as Float32Array;
}
