/** LAMBADA (arXiv 1606.06031) as prepared by OpenAI: the last word of a passage, which depends on the whole passage. */

import { choose, type TaskDefinition } from '../task';

export const lambada: TaskDefinition = {
  name: 'lambada_openai',
  kind: 'completion',
  normalized: false,
  files: ['lambada_openai/lambada_openai.jsonl', 'lambada_openai/test.jsonl', 'lambada_test.jsonl'],
  exampleFiles: [],
  question(record) {
    // some editions have the last word in a separate field
    if (record.has('continuation')) return choose(record.string('context'), [record.string('continuation')], 0);
    const text = record.string('text');
    const last = text.lastIndexOf(' ');
    return choose(text.slice(0, Math.max(last, 0)), [text.slice(last + 1)], 0);
  },
};
