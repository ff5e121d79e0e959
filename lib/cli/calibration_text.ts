/** Text for calibration: files, or text that the model writes. */

import { dirname } from 'node:path';
import { MbokError } from '../base/errors';
import type { Dataset } from '../data/dataset';
import type { TextData } from '../data/load_dataset';
import { TRAINING_PRECISIONS } from '../graph/arithmetic';
import { Model } from '../model';
import type { CalibrationReport } from '../models/conversion_report';
import { ModelSource } from '../models/source';
import { ChatTemplate } from '../text/chat';
import { DOCUMENT_MARKER } from '../text/corpus';
import { type CommandCall, type OptionTable, UsageError } from './command';
import { cutNote, DATA_OPTIONS, openText, textFiles } from './data';
import type { StatusLine } from './terminal';

/** Calibration options of all commands that calibrate. */
export const CALIBRATION_OPTIONS: OptionTable = {
  calibration: {
    kind: 'text',
    value: 'PATH',
    many: true,
    help: "calibration text: a file or folder, repeatable; 'self': the model writes it",
  },
  'calibration-windows': {
    kind: 'integer',
    value: 'N',
    minimum: 1,
    help: 'windows of calibration text',
    byDefault: '112; with self 16',
  },
  'calibration-window': {
    kind: 'integer',
    value: 'N',
    minimum: 2,
    help: 'tokens of a window, the start token included',
    byDefault: '1024',
  },
  ...DATA_OPTIONS,
  precision: {
    kind: 'choice',
    choices: TRAINING_PRECISIONS,
    help: 'precision of products on calibration text',
    byDefault: 'bf16',
  },
  seed: { kind: 'integer', value: 'N', minimum: 0, help: 'seed of the text that the model writes', byDefault: '0' },
};

/** Value of --calibration for which the model writes the text. */
const SELF = 'self';
/** Default windows of the model's text. It writes at most a few hundred tokens per second. */
const SELF_WINDOWS = 16;

/** Returns the files and folders of the option --calibration. */
export function calibrationFiles(call: CommandCall): readonly string[] {
  return call.texts('calibration').filter((name) => name !== SELF);
}

/** Formats a report's calibration for people. */
export function calibrationLine({
  windows,
  length,
  startToken,
}: Pick<CalibrationReport, 'windows' | 'length' | 'startToken'>) {
  return `calibrated on ${windows} windows of ${length} tokens, ${cutNote(startToken)}`;
}

/** Reads the text of the option --calibration, with its default number of windows. Throws as `loadDataset`. */
export async function calibrationText(
  call: CommandCall,
  source: string,
  status: StatusLine,
): Promise<{ readonly data: TextData; readonly windows?: number; readonly close: () => Promise<void> }> {
  const names = call.texts('calibration');
  if (names.includes(SELF)) {
    if (names.length > 1) throw new UsageError(`--calibration ${SELF} cannot be combined with other text`);
    const windows = call.number('calibration-windows') ?? SELF_WINDOWS;
    return { data: await ownText(call, source, windows, status), windows, close: async () => {} };
  }
  const dataset = await encode(call, source, status);
  return { data: dataset, close: () => dataset.close() };
}

async function encode(call: CommandCall, source: string, status: StatusLine): Promise<Dataset> {
  const files = await textFiles(call, 'calibration');
  await using model = await ModelSource.open(source);
  const { tokenizer, place, companions } = model;
  if (tokenizer === undefined) throw new MbokError('MBOK_NO_TOKENIZER', `${place}: this model has no tokenizer`);
  const chatTemplate = ChatTemplate.fromFiles(companions, dirname(place));
  return await openText(files, call, { tokenizer, chatTemplate }, status);
}

/** Lets the model write documents at temperature 1 from an empty prompt, until they fill the windows. */
async function ownText(call: CommandCall, source: string, windows: number, status: StatusLine): Promise<string> {
  const { signal } = call;
  await using model = await Model.load(source, { signal, onProgress: status.progress('load') });
  const length = Math.min(call.number('calibration-window') ?? 1024, model.config.maxPositions);
  const seed = call.number('seed') ?? 0;
  const wanted = windows * length;
  const documents: string[] = [];
  for (let tokens = 0; tokens < wanted; ) {
    // each document has another seed, and its start token counts, so that empty documents also make progress
    const options = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: seed + documents.length };
    const generation = model.generate('', { ...options, maxTokens: length - 1, signal });
    for await (const _ of generation);
    const { text, tokens: written } = await generation.result;
    documents.push(text);
    tokens += written + 1;
    status.bar('write', Math.min(1, tokens / wanted), `${documents.length} documents of the model's own`);
  }
  return documents.join(DOCUMENT_MARKER);
}
