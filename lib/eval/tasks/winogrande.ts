/** WinoGrande (arXiv 1907.10641): choice between two names for a blank. */

import { choiceIndex, malformed } from '../records';
import type { TaskDefinition } from '../task';

export const winogrande: TaskDefinition = {
  name: 'winogrande',
  kind: 'choice',
  normalized: false,
  files: ['winogrande_1.1/dev.jsonl', 'winogrande/dev.jsonl'],
  exampleFiles: ['winogrande_1.1/train_xl.jsonl', 'winogrande/train_xl.jsonl'],
  // partial scoring (arXiv 1806.02847): the options stand in the context, and the text after the blank is scored
  question(record) {
    const sentence = record.string('sentence');
    const blank = sentence.indexOf('_');
    if (blank < 0) malformed(record, 'sentence', "a text with a blank '_'");
    const rest = sentence.slice(blank + 1).trim();
    const contexts = ['option1', 'option2'].map((key) => sentence.slice(0, blank) + record.string(key));
    return {
      options: contexts.map((context) => ({ context, choice: rest })),
      answer: choiceIndex(record, 'answer', [1, 2]),
    };
  },
};
