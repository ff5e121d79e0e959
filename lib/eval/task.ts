/**
 * Declarative definition of tasks: one file per task, from published records to texts whose likelihoods are compared.
 * Prompts and rules are those of EleutherAI's lm-evaluation-harness, so that figures are comparable with published
 * ones.
 */

import type { TaskRecord } from './records';

/** An option of a question. Scored is the likelihood of ' ' + `choice` after `context`. */
export interface Option {
  readonly context: string;
  readonly choice: string;
}

/** A question with its options; `answer` is the index of the correct one. */
export interface Question {
  readonly options: readonly Option[];
  readonly answer: number;
}

/**
 * 'choice': the correct option must be the likeliest one. 'completion': greedy decoding must write the only option,
 * token by token.
 */
export type TaskKind = 'choice' | 'completion';

/** A task over published files. To add one, write a file in ./tasks and a row in ./tasks/registry.ts. */
export interface TaskDefinition {
  /** Name in the harness, e.g. 'arc_easy'. */
  readonly name: string;
  readonly kind: TaskKind;
  /** Whether the harness also reports acc_norm, which compares options by log-likelihood per character. */
  readonly normalized: boolean;
  /** Candidates for the question file, relative to the data folder. The first that exists is read. */
  readonly files: readonly string[];
  /** Candidates for the file of worked examples. If none exists, they are drawn from the questions. */
  readonly exampleFiles: readonly string[];
  /** Path of the answer file, with one line per question, for questions published without answers. */
  readonly answerFile?: (questions: string) => string;
  /** Converts a record to a question. `answer` is its line of the answer file. Throws MBOK_FORMAT for other records. */
  question(record: TaskRecord, answer: string | undefined): Question;
}

/** Creates a question with several choices after the same context. */
export function choose(context: string, choices: readonly string[], answer: number): Question {
  return { options: choices.map((choice) => ({ context, choice })), answer };
}
