/** The documents that files hold, in parts of text or as token ids. */

import { MbokError } from '../errors';
import { type JsonObject, parseJsonObject } from '../io/json';
import { type ChatTemplate, encodeChat } from '../text/chat';
import { DOCUMENT_MARKER } from '../text/corpus';
import { DocumentEncoder } from '../text/document_encoder';
import { expectMessages, templateArgumentsOf } from '../text/messages';
import type { Tokenizer } from '../text/tokenizer';
import { show } from '../validate';
import { readLines, readText } from './sources';

/** Values of a line: some have the ids of a long text beside it. */
const MOST_VALUES = 2 ** 20;

/** What is made of files. */
export interface Format {
  /** Of JSON lines, holds the document. */
  readonly field: string;
  /** Where given, documents are conversations, which are written by it. */
  readonly chat: ChatTemplate | undefined;
}

/** Some tokens of a document, or a whole conversation. */
export interface EncodedPart {
  readonly ids: ArrayLike<number>;
  /** Of a conversation 1 for tokens that count, which a model learns to say, 0 for all others. */
  readonly counted?: Uint8Array;
}

/** True for files of one JSON object a line. */
export function isJsonLines(path: string): boolean {
  return /\.(jsonl|ndjson)$/i.test(path);
}

/**
 * Encodes the documents of a file in their order.
 *
 * @param seen - told the bytes read
 * @throws MbokError MBOK_IO, MBOK_FORMAT naming file and line
 */
export async function* encodeFile(
  path: string,
  tokenizer: Tokenizer,
  format: Format,
  seen: (bytes: Uint8Array) => void,
): AsyncGenerator<EncodedPart> {
  const { chat } = format;
  if (chat !== undefined) {
    for await (const { value, line, place } of readField(path, format, seen)) {
      const { ids, assistant } = attempt(place, () =>
        encodeChat(tokenizer, chat, expectMessages(value), templateArgumentsOf(line)),
      );
      yield { ids, counted: assistant };
    }
    return;
  }
  const encoder = new DocumentEncoder(tokenizer);
  for await (const { text, ends } of isJsonLines(path)
    ? readFieldTexts(path, format, seen)
    : readDocuments(path, seen)) {
    for (const ids of encoder.push(text)) yield { ids };
    if (ends) for (const ids of encoder.end()) yield { ids };
  }
}

interface TextPart {
  readonly text: string;
  /** True for the last part of a document. */
  readonly ends: boolean;
}

/** Plain text: documents lie between markers, and a file's end ends one. */
async function* readDocuments(path: string, seen: (bytes: Uint8Array) => void): AsyncGenerator<TextPart> {
  let rest = '';
  for await (const chunk of readText(path, seen)) {
    const parts = (rest + chunk).split(DOCUMENT_MARKER);
    const open = parts.pop() as string;
    for (const text of parts) yield { text, ends: true };
    // the beginning of a marker may wait for its end
    const certain = open.length - (DOCUMENT_MARKER.length - 1);
    if (certain > 0) yield { text: open.slice(0, certain), ends: false };
    rest = open.slice(Math.max(0, certain));
  }
  yield { text: rest, ends: true };
}

async function* readFieldTexts(
  path: string,
  format: Format,
  seen: (bytes: Uint8Array) => void,
): AsyncGenerator<TextPart> {
  for await (const { value, place } of readField(path, format, seen)) {
    if (typeof value !== 'string') {
      throw new MbokError('MBOK_FORMAT', `${place}: '${format.field}' must be a string, got ${show(value)}`);
    }
    yield { text: value, ends: true };
  }
}

/** The field of every line, and the line that has it. */
async function* readField(
  path: string,
  { field }: Format,
  seen: (bytes: Uint8Array) => void,
): AsyncGenerator<{ readonly value: unknown; readonly line: JsonObject; readonly place: string }> {
  for await (const { line, number } of readLines(path, seen)) {
    const place = `'${path}' line ${number}`;
    const json = parseJsonObject(line, place, MOST_VALUES);
    if (!Object.hasOwn(json, field)) {
      throw new MbokError('MBOK_FORMAT', `${place} has no field '${field}'; it has ${fieldNames(json)}`);
    }
    yield { value: json[field], line: json, place };
  }
}

function fieldNames(json: JsonObject): string {
  return Object.keys(json).slice(0, 8).map(show).join(', ') || 'none';
}

/** What goes wrong with a document is told with its place. */
function attempt<T>(place: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof MbokError)) throw error;
    throw new MbokError(error.code, `${place}: ${error.message}`, { cause: error });
  }
}
