/** HellaSwag (arXiv 1905.07830): choice among four endings of a description. */

import { choiceIndex, strings } from '../records';
import { choose, type TaskDefinition } from '../task';

/** Cleans a text as the harness does: square brackets are leftovers of the WikiHow part. */
export function clean(text: string): string {
  return text.trim().replaceAll(' [title]', '. ').replace(/.+/g, withoutBrackets).replaceAll('  ', ' ');
}

/** Removes bracketed parts of a line. The expression /\[.*?\]/g takes quadratic time if many brackets stay open. */
function withoutBrackets(line: string): string {
  let rest = '';
  let at = 0;
  for (;;) {
    const open = line.indexOf('[', at);
    const close = open < 0 ? -1 : line.indexOf(']', open);
    if (close < 0) return rest + line.slice(at);
    rest += line.slice(at, open);
    at = close + 1;
  }
}

/** Capitalizes like Python's str.capitalize, which also lowercases the other letters. */
export function capitalize(text: string): string {
  const first = text === '' ? '' : String.fromCodePoint(text.codePointAt(0) as number);
  return first.toUpperCase() + text.slice(first.length).toLowerCase();
}

export const hellaswag: TaskDefinition = {
  name: 'hellaswag',
  kind: 'choice',
  normalized: true,
  files: ['hellaswag/hellaswag_val.jsonl', 'hellaswag/hellaswag_val_1000.official.jsonl'],
  exampleFiles: ['hellaswag/hellaswag_train.jsonl'],
  question(record) {
    const context = `${record.string('ctx_a')} ${capitalize(record.string('ctx_b'))}`;
    const endings = strings(record, 'endings').map(clean);
    const answer = choiceIndex(record, 'label', [...endings.keys()]);
    return choose(clean(`${record.string('activity_label')}: ${context}`), endings, answer);
  },
};
