/** Loading of a task's files: its questions and its worked examples. */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { MbokError } from '../base/errors';
import { uniformInteger } from '../base/random';
import { readLines, readRecords } from './records';
import type { Question, TaskDefinition } from './task';

/** Separators between a context and its continuation, and between worked examples. */
const TARGET_DELIMITER = ' ';
const EXAMPLE_DELIMITER = '\n\n';

export interface LoadOptions {
  /** Folder of all tasks' files. */
  readonly data: string;
  /** Worked examples before every question. */
  readonly shots: number;
  /** Seed of their choice. */
  readonly seed: number;
  /** Largest number of questions, from the start. */
  readonly limit: number;
}

/** A text pair whose second part is scored. */
export interface ScoredText {
  readonly context: string;
  readonly continuation: string;
}

export interface LoadedTask {
  /** File of the questions. */
  readonly file: string;
  readonly questions: readonly Question[];
  /** Worked examples, which all questions share so that they are computed once. */
  readonly examples: string;
}

/**
 * Reads a task. Worked examples are drawn by `seed` from the task's example file. Without such a file they are drawn
 * from the questions, and the drawn questions are not asked. Throws MBOK_IO, MBOK_FORMAT, and MBOK_INVALID_ARGUMENT for
 * too many shots.
 */
export async function loadTask(task: TaskDefinition, { data, shots, seed, limit }: LoadOptions): Promise<LoadedTask> {
  const file = task.files.map((name) => join(data, name)).find(existsSync);
  if (file === undefined) {
    throw new MbokError('MBOK_IO', `task '${task.name}': '${data}' holds none of ${task.files.join(', ')}`);
  }
  const questions = await readQuestions(task, file);
  const exampleFile = shots > 0 ? task.exampleFiles.map((name) => join(data, name)).find(existsSync) : undefined;
  const pool = exampleFile === undefined ? questions : await readQuestions(task, exampleFile);
  if (shots > pool.length - (pool === questions ? 1 : 0)) {
    throw new MbokError(
      'MBOK_INVALID_ARGUMENT',
      `task '${task.name}': ${shots} examples are wanted, '${exampleFile ?? file}' has only ${pool.length} questions`,
    );
  }
  const drawn = draw(pool, shots, seed);
  const unseen = pool === questions ? questions.filter((question) => !drawn.includes(question)) : questions;
  return { file, questions: unseen.slice(0, limit), examples: drawn.map(workedExample).join('') };
}

async function readQuestions(task: TaskDefinition, file: string): Promise<Question[]> {
  const records = await readRecords(file);
  if (records.length === 0) throw new MbokError('MBOK_FORMAT', `'${file}' holds no questions`);
  const answers = task.answerFile && (await readLines(task.answerFile(file)));
  return records.map((record, index) => task.question(record, answers?.[index]?.trim()));
}

/** Draws `count` members of a list, without repetition. */
function draw<T>(list: readonly T[], count: number, seed: number): T[] {
  const remaining = [...list];
  return Array.from(
    { length: count },
    (_, i) => remaining.splice(uniformInteger(remaining.length, seed, i), 1)[0] as T,
  );
}

function workedExample({ options, answer }: Question): string {
  const { context, choice } = options[answer] as Question['options'][number];
  return `${context}${TARGET_DELIMITER}${choice}${EXAMPLE_DELIMITER}`;
}

/** Returns the texts whose likelihoods decide a question. */
export function scoredTexts({ options }: Question, examples: string): ScoredText[] {
  return options.map(({ context, choice }) => ({
    context: examples + context,
    continuation: TARGET_DELIMITER + choice,
  }));
}
