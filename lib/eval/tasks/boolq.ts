/** BoolQ (arXiv 1905.10044): yes/no questions about a passage. */

import { choiceIndex } from '../records';
import { choose, type TaskDefinition } from '../task';

export const boolq: TaskDefinition = {
  name: 'boolq',
  kind: 'choice',
  normalized: false,
  files: ['boolq/dev.jsonl', 'boolq/val.jsonl'],
  exampleFiles: ['boolq/train.jsonl'],
  question(record) {
    // the harness reads SuperGLUE's edition, which has the title in the passage
    const title = record.has('title') ? `${record.string('title')} -- ` : '';
    const context = `${title}${record.string('passage')}\nQuestion: ${record.string('question')}?\nAnswer:`;
    const answer = choiceIndex(record, record.has('label') ? 'label' : 'answer', ['false', 'true']);
    return choose(context, ['no', 'yes'], answer);
  },
};
