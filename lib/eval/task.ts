/**
 * What a task is: one declarative file each, from published records to texts whose likelihoods are compared. Prompts and
 * rules are those of EleutherAI's lm-evaluation-harness, so that figures can be compared with published ones.
 */

import type { TaskRecord } from './records';

/** A text to be scored: how likely is ' ' + `choice` after `context`? */
export interface Option {
  readonly context: string;
  readonly choice: string;
}

/** One question: its options, of which `answer` is right. */
export interface Question {
  readonly options: readonly Option[];
  readonly answer: number;
}

/**
 * 'choice': the right option must be the likeliest one. 'completion': the only option must be what the model would
 * have written, each token the likeliest.
 */
export type TaskKind = 'choice' | 'completion';

/** A task over published files. A new one is a file beside those in ./tasks and a row in ./tasks/registry.ts. */
export interface TaskDefinition {
  /** As the harness calls it, e.g. 'arc_easy'. */
  readonly name: string;
  readonly kind: TaskKind;
  /** Whether the harness also reports acc_norm for this task: options compared by log-likelihood per character. */
  readonly normalized: boolean;
  /** Where the questions are within the data folder; the first file that exists is taken. */
  readonly files: readonly string[];
  /** Where worked examples for prompts are; without any of these files they are taken from the questions. */
  readonly exampleFiles: readonly string[];
  /** The file of the answers, a line each, for questions published without them. */
  readonly answerFile?: (questions: string) => string;
  /** Throws MBOK_FORMAT for a record that is not of the task's format. `answer` is the answer file's line. */
  question(record: TaskRecord, answer: string | undefined): Question;
}

/** A question that asks for one of several choices after the same context. */
export function choose(context: string, choices: readonly string[], answer: number): Question {
  return { options: choices.map((choice) => ({ context, choice })), answer };
}
