/** Calibration text: what a caller may give, and the windows that it becomes. */

import { MbokError } from '../errors';
import type { ModelCore } from '../models/model_core';
import { DOCUMENT_MARKER, encodeCorpus, splitWindows, type TokenArray } from '../text/corpus';
import { finiteNumber, integerInRange, integers, options, string } from '../validate';
import type { CalibrationWindows } from './calibrated_conversion';

/** Text and settings of the calibrated method. */
export interface CalibrationOptions {
  /** Text, whose documents are separated by `<|endoftext|>`, or token ids. */
  readonly data: string | ArrayLike<number>;
  /** Windows to take, each third one from the start of the data; a shorter text gives fewer. Default 64. */
  readonly windows?: number;
  /** Tokens of a window. Default 256, or the model's limit where that is less. */
  readonly length?: number;
  /**
   * The mix a: how far each layer aims at the original outputs in spite of the errors before it, from 0 (not at all) to
   * 1. Default: the best of 0, ¼ and ½ on windows held out for judging.
   */
  readonly targetMix?: number;
  /** Rounds of signs and scales. Default: the better of 1 and 2 on held-out windows. */
  readonly rounds?: number;
}

export interface CheckedCalibration {
  readonly data: string | ArrayLike<number>;
  readonly windows: number;
  readonly length: number;
  readonly targetMix: number | undefined;
  readonly rounds: number | undefined;
}

/** Every so many-th window is held out when settings are chosen. */
const HELD_OUT_EVERY = 8;
/** Windows lie this many of their lengths apart, so that few of them come from one document. */
const WINDOW_DISTANCE = 3;

/** Checks the options. Throws MBOK_INVALID_ARGUMENT. */
export function checkCalibration(model: ModelCore, given: CalibrationOptions | undefined): CheckedCalibration {
  const { maxPositions, vocabularySize } = model.config;
  const checked = options('calibration', given, ['data', 'windows', 'length', 'targetMix', 'rounds']);
  const { data, windows = 64, length = Math.min(256, maxPositions), targetMix, rounds } = checked;
  if (typeof data === 'string') string('calibration.data', data);
  else integers('calibration.data', data, 0, vocabularySize - 1);
  return {
    data,
    windows: integerInRange('calibration.windows', windows, 1, 2 ** 20),
    length: integerInRange('calibration.length', length, 2, maxPositions),
    targetMix: targetMix === undefined ? undefined : finiteNumber('calibration.targetMix', targetMix, 0, 1),
    rounds: rounds === undefined ? undefined : integerInRange('calibration.rounds', rounds, 1, 100),
  };
}

/** The windows of the data. Throws MBOK_INVALID_ARGUMENT where not even one fits, MBOK_NO_TOKENIZER, MBOK_ABORTED. */
export async function packCalibration(
  model: ModelCore,
  { data, windows, length }: CheckedCalibration,
  signal: AbortSignal | undefined,
): Promise<Int32Array[]> {
  const wanted = ((windows - 1) * WINDOW_DISTANCE + 1) * length;
  const ids = typeof data === 'string' ? await encodeStart(model, data, wanted, signal) : Int32Array.from(data);
  if (ids.length < length) {
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      `'calibration.data' has ${ids.length} tokens, fewer than one window of ${length}`,
    );
  }
  const packed = splitWindows<TokenArray>(ids, length, { every: WINDOW_DISTANCE, most: windows });
  return packed.map((window) => Int32Array.from(window));
}

/** Encodes whole documents from the start of a text until there are `wanted` tokens: texts may be far longer than that. */
async function encodeStart(
  model: ModelCore,
  text: string,
  wanted: number,
  signal: AbortSignal | undefined,
): Promise<TokenArray> {
  const { tokenizer } = model;
  for (let characters = 8 * wanted; ; characters *= 2) {
    const end = characters < text.length ? text.lastIndexOf(DOCUMENT_MARKER, characters) : -1;
    const ids = await encodeCorpus(tokenizer, end > 0 ? text.slice(0, end) : text, { signal });
    if (end <= 0 || ids.length >= wanted) return ids;
  }
}

/** Sets windows aside for judging; the rest is fitted to. Throws MBOK_INVALID_ARGUMENT for fewer than two. */
export function holdOut(windows: readonly Int32Array[]): CalibrationWindows {
  if (windows.length < 2) {
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      "'calibration.data' fills one window only; give more, shorter windows, or both 'targetMix' and 'rounds'",
    );
  }
  const every = Math.min(HELD_OUT_EVERY, windows.length);
  const isHeldOut = (_: Int32Array, index: number) => index % every === every - 1;
  return {
    fitted: windows.filter((window, index) => !isHeldOut(window, index)),
    heldOut: windows.filter(isHeldOut),
  };
}
