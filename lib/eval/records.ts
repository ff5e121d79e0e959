/** Reader of JSONL files, record by record, with errors that name file and line. */

import { MbokError } from '../base/errors';
import { show } from '../base/validate';
import { readWhole } from '../io/files';
import { decodeUtf8, expectBounded, expectWholeCharacters, parseJsonObject } from '../io/json';
import { ConfigReader } from '../models/config_reader';

/** A record of a task's file; its place is file and line. */
export type TaskRecord = ConfigReader;

/** Largest question file in bytes. The largest known one, HellaSwag's training file, has 47 MB. */
const MOST_BYTES = 1 << 27;
/** Limits on lines, and on all their values. HellaSwag has 40 thousand questions of about 20 values. */
const MOST_LINES = 2 ** 20;
const MOST_VALUES = 2 ** 22;

/** Reads the records of a JSONL file and skips empty lines. Throws MBOK_IO, and MBOK_FORMAT naming the line. */
export async function readRecords(path: string): Promise<TaskRecord[]> {
  const text = await readUtf8(path);
  expectBounded(text, `'${path}'`, MOST_VALUES);
  return linesOf(text, path).flatMap((line, index) => {
    const place = `${path}:${index + 1}`;
    if (line.trim() === '') return [];
    const record = parseJsonObject(line, place);
    expectWholeCharacters(record, line, place);
    return [new ConfigReader(record, place)];
  });
}

/**
 * Reads the lines of a text file. Throws MBOK_IO, and MBOK_FORMAT if it is not UTF-8 or much larger than question files
 * are.
 */
export async function readLines(path: string): Promise<string[]> {
  return linesOf(await readUtf8(path), path);
}

async function readUtf8(path: string): Promise<string> {
  return decodeUtf8(await readWhole(path, MOST_BYTES), `'${path}'`);
}

function linesOf(text: string, path: string): string[] {
  const lines = text.split(/\r?\n/, MOST_LINES + 1);
  if (lines.length <= MOST_LINES) return lines;
  throw new MbokError('MBOK_FORMAT', `'${path}' has more than ${MOST_LINES} lines, the limit for its kind`);
}

/** Largest number of choices of a question. No task has more than five. */
const MOST_CHOICES = 64;

/** Returns a list of 1 to 64 strings. Throws MBOK_FORMAT. */
export function strings(record: TaskRecord, key: string): readonly string[] {
  const value = expectChoices(record, key).json[key];
  const isList = Array.isArray(value) && value.length > 0 && value.every((each) => typeof each === 'string');
  return isList ? (value as string[]) : malformed(record, key, 'a list of strings');
}

/**
 * Returns a record whose list under `key` is short enough for the choices of a question. Otherwise throws MBOK_FORMAT.
 */
export function expectChoices(record: TaskRecord, key: string): TaskRecord {
  const value = record.json[key];
  if (!Array.isArray(value) || value.length <= MOST_CHOICES) return record;
  return malformed(record, key, `a list of at most ${MOST_CHOICES}`);
}

/**
 * Returns the index of the record's value in `values`. The record may write a number or a Boolean as a string. Throws
 * MBOK_FORMAT.
 */
export function choiceIndex(record: TaskRecord, key: string, values: readonly (string | number)[]): number {
  const value = record.json[key];
  const index = typeof value === 'object' ? -1 : values.map(String).indexOf(String(value));
  return index >= 0 ? index : malformed(record, key, `one of ${values.join(', ')}`);
}

/** Throws MBOK_FORMAT, naming what the record should contain under `key`. */
export function malformed({ json, place }: TaskRecord, key: string, wanted: string): never {
  throw new MbokError('MBOK_FORMAT', `${place}: '${key}' must be ${wanted}, got ${show(json[key])}`);
}
