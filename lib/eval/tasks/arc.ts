/** AI2 Reasoning Challenge (arXiv 1803.05457): grade-school science questions with three to five choices. */

import { choiceIndex, expectChoices, malformed } from '../records';
import { choose, type TaskDefinition } from '../task';

function arc(name: string, part: 'Easy' | 'Challenge'): TaskDefinition {
  return {
    name,
    kind: 'choice',
    normalized: true,
    files: [`arc/ARC-${part}-Test.jsonl`, `ARC-${part}/ARC-${part}-Test.jsonl`],
    exampleFiles: ['Train', 'Dev'].flatMap((split) => [
      `arc/ARC-${part}-${split}.jsonl`,
      `ARC-${part}/ARC-${part}-${split}.jsonl`,
    ]),
    question(record) {
      const question = record.object('question') ?? malformed(record, 'question', 'an object');
      const choices = expectChoices(question, 'choices').objects('choices');
      const labels = choices.map((choice) => choice.string('label'));
      return choose(
        `Question: ${question.string('stem')}\nAnswer:`,
        choices.map((choice) => choice.string('text')),
        choiceIndex(record, 'answerKey', labels),
      );
    },
  };
}

export const arcEasy = arc('arc_easy', 'Easy');
export const arcChallenge = arc('arc_challenge', 'Challenge');
