/** PIQA (arXiv 1911.11641): choice between two solutions of a goal in the physical world. */

import { MbokError } from '../../base/errors';
import { choose, type TaskDefinition } from '../task';

export const piqa: TaskDefinition = {
  name: 'piqa',
  kind: 'choice',
  normalized: true,
  files: ['piqa/valid.jsonl'],
  exampleFiles: ['piqa/train.jsonl'],
  answerFile: (questions) => questions.replace(/\.jsonl$/, '-labels.lst'),
  question(record, answer) {
    if (answer !== '0' && answer !== '1') {
      throw new MbokError('MBOK_FORMAT', `${record.place}: its answer must be 0 or 1, got '${answer ?? ''}'`);
    }
    const solutions = [record.string('sol1'), record.string('sol2')];
    return choose(`Question: ${record.string('goal')}\nAnswer:`, solutions, Number(answer));
  },
};
