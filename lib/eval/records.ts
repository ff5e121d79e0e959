/** Reads JSONL files record by record, with errors that name file and line. */

import { readFile } from 'node:fs/promises';
import { MbokError } from '../errors';
import { ioFailure } from '../io/failure';
import { decodeUtf8, isJsonObject, parseJsonObject } from '../io/json';
import { ConfigReader } from '../models/config_reader';
import { show } from '../validate';

/** One record of a task's file; its place is the file and the line. */
export type TaskRecord = ConfigReader;

/** The records of a JSONL file; empty lines are skipped. Throws MBOK_IO and MBOK_FORMAT, the latter with the line. */
export async function readRecords(path: string): Promise<TaskRecord[]> {
  return (await readLines(path)).flatMap((line, index) => {
    const place = `${path}:${index + 1}`;
    return line.trim() === '' ? [] : [new ConfigReader(parseJsonObject(line, place), place)];
  });
}

/** The lines of a text file. Throws MBOK_IO, MBOK_FORMAT where it is not UTF-8. */
export async function readLines(path: string): Promise<string[]> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw ioFailure('read', path, error);
  }
  return decodeUtf8(bytes, `'${path}'`).split(/\r?\n/);
}

/** A list of at least one string. Throws MBOK_FORMAT. */
export function strings(record: TaskRecord, key: string): readonly string[] {
  const value = record.json[key];
  const isList = Array.isArray(value) && value.length > 0 && value.every((each) => typeof each === 'string');
  return isList ? (value as string[]) : malformed(record, key, 'a list of strings');
}

/** One of the values, as its place in the list; the record may write a number as one or as a string. Throws MBOK_FORMAT. */
export function choiceIndex(record: TaskRecord, key: string, values: readonly (string | number)[]): number {
  const found = values.map(String).indexOf(String(record.json[key]));
  return found >= 0 ? found : malformed(record, key, `one of ${values.join(', ')}`);
}

/** Throws MBOK_FORMAT: what the record should have held under `key`. */
export function malformed({ json, place }: TaskRecord, key: string, wanted: string): never {
  const value = json[key];
  const got = isJsonObject(value) || Array.isArray(value) ? JSON.stringify(value).slice(0, 80) : show(value);
  throw new MbokError('MBOK_FORMAT', `${place}: '${key}' must be ${wanted}, got ${got}`);
}
