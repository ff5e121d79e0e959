/** Documents of files, as parts of text or as token ids. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import { expectWholeCharacters, type JsonObject, parseJsonObject } from '../io/json';
import { type ChatTemplate, encodeChat } from '../text/chat';
import { DOCUMENT_MARKER } from '../text/corpus';
import { DocumentEncoder } from '../text/document_encoder';
import { expectMessages, templateArgumentsOf } from '../text/messages';
import type { Tokenizer } from '../text/tokenizer';
import { isConversation, messagesOf } from './conversation';
import { beginningOf, readElements, readLines, readText } from './sources';

/** Limit on the values of a record. Some records hold the ids of a long text beside it. */
const MOST_VALUES = 2 ** 20;

/** How documents are read from files. */
export interface Format {
  /**
   * Field of a record with the document. If undefined: 'text', or for conversations the result of {@link messagesOf}.
   */
  readonly field: string | undefined;
  /** Chat template. If defined, records are conversations, which the template formats. */
  readonly chat: ChatTemplate | undefined;
}

/** Some tokens of a document, or a whole conversation. */
export interface EncodedPart {
  readonly ids: ArrayLike<number>;
  /** For a conversation: 1 for tokens that count, which a model learns to say, 0 for all others. */
  readonly counted?: Uint8Array;
}

/** Tells whether a file holds records: JSON objects, one per line or in a list. */
export function holdsRecords(path: string): boolean {
  return /\.(jsonl|ndjson|json)$/i.test(path);
}

/**
 * Encodes the documents of a file in order.
 *
 * @param onBytes - receives the bytes read
 * @throws MbokError MBOK_IO, MBOK_FORMAT naming file and line or record, MBOK_INVALID_ARGUMENT if a record is not a
 * conversation
 */
export async function* encodeFile(
  path: string,
  tokenizer: Tokenizer,
  format: Format,
  onBytes: (bytes: Uint8Array) => void,
): AsyncGenerator<EncodedPart> {
  const { chat } = format;
  if (chat !== undefined) {
    for await (const { record, place } of readRecords(path, onBytes)) {
      const messages = conversationOf(record, format, place);
      const { ids, assistant } = attempt(place, () =>
        encodeChat(tokenizer, chat, expectMessages(messages), templateArgumentsOf(record)),
      );
      yield { ids, counted: assistant };
    }
    return;
  }
  const encoder = new DocumentEncoder(tokenizer);
  for await (const { text, ends } of holdsRecords(path)
    ? readFieldTexts(path, format, onBytes)
    : readDocuments(path, onBytes)) {
    for (const ids of encoder.push(text)) yield { ids };
    if (ends) for (const ids of encoder.end()) yield { ids };
  }
}

interface TextPart {
  readonly text: string;
  /** Whether this is the last part of a document. */
  readonly ends: boolean;
}

/** Start of JSON text that holds records. */
const RECORDS_BEGIN = /^(\[\s*)?\{\s*"[^"\n]*"\s*:/;

/** Reads plain text. A marker or the end of the file ends a document. */
async function* readDocuments(path: string, onBytes: (bytes: Uint8Array) => void): AsyncGenerator<TextPart> {
  if (/\.(csv|tsv)$/i.test(path)) {
    throw new MbokError(
      'MBOK_FORMAT',
      `'${path}' is a table: write its rows as objects of JSON, a line each (*.jsonl)`,
    );
  }
  let rest = '';
  let atStart = true;
  for await (const chunk of readText(path, onBytes)) {
    if (atStart && RECORDS_BEGIN.test(chunk.trimStart())) {
      const advice = 'name it *.json (a list) or *.jsonl (an object a line) to have its texts read';
      throw new MbokError('MBOK_FORMAT', `'${path}' holds JSON, not plain text: ${advice}`);
    }
    atStart &&= chunk.trim() === '';
    const parts = (rest + chunk).split(DOCUMENT_MARKER);
    const open = parts.pop() as string;
    for (const text of parts) yield { text, ends: true };
    // withhold the end of the chunk, which may be the start of a marker
    const certain = open.length - (DOCUMENT_MARKER.length - 1);
    if (certain > 0) yield { text: open.slice(0, certain), ends: false };
    rest = open.slice(Math.max(0, certain));
  }
  yield { text: rest, ends: true };
}

async function* readFieldTexts(
  path: string,
  { field = 'text' }: Format,
  onBytes: (bytes: Uint8Array) => void,
): AsyncGenerator<TextPart> {
  for await (const { record, place } of readRecords(path, onBytes)) {
    const text = fieldOf(record, field, place);
    if (typeof text !== 'string') {
      throw new MbokError('MBOK_FORMAT', `${place}: '${field}' must be a string, got ${show(text)}`);
    }
    yield { text, ends: true };
  }
}

/** Reads the records of a file: the elements of a list, or one record per line. */
async function* readRecords(
  path: string,
  onBytes: (bytes: Uint8Array) => void,
): AsyncGenerator<{ readonly record: JsonObject; readonly place: string }> {
  const isList = /\.json$/i.test(path) && (await beginningOf(path)).startsWith('[');
  for await (const { text, place } of isList ? readElements(path, onBytes) : readLines(path, onBytes)) {
    const record = parseJsonObject(text, place, MOST_VALUES);
    expectWholeCharacters(record, text, place);
    yield { record, place };
  }
}

function conversationOf(record: JsonObject, { field }: Format, place: string): unknown {
  if (field !== undefined) return fieldOf(record, field, place);
  return attempt(place, () => messagesOf(record)) ?? fieldOf(record, 'messages', place);
}

function fieldOf(record: JsonObject, field: string, place: string): unknown {
  if (Object.hasOwn(record, field)) return record[field];
  const names = Object.keys(record).slice(0, 8).map(show).join(', ') || 'none';
  const advice = field === 'text' && isConversation(record) ? ': a conversation, which chat (--chat) reads' : '';
  throw new MbokError('MBOK_FORMAT', `${place} has no field '${field}'; it has ${names}${advice}`);
}

/** Runs `work` and puts the document's place before the message of an error. */
function attempt<T>(place: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof MbokError)) throw error;
    throw new MbokError(error.code, `${place}: ${error.message}`, { cause: error });
  }
}
