/**
 * The embedded model with a tokenizer that puts a start token before a text, like those of Gemma, LLaMA and Mistral.
 */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { copyTinyStories } from './folders';

/** The start token, which also separates documents. */
export const START_ID = 0;

/** Writes the model to `folder`, with a tokenizer.json that adds the start token. */
export function writeStartModel(folder: string): string {
  mkdirSync(folder, { recursive: true });
  copyTinyStories(folder);
  const path = join(folder, 'tokenizer.json');
  const name = '<|endoftext|>';
  const template = (id: string) => [{ SpecialToken: { id: name, type_id: 0 } }, { Sequence: { id, type_id: 0 } }];
  const json = {
    ...JSON.parse(readFileSync(path, 'utf8')),
    post_processor: {
      type: 'TemplateProcessing',
      single: template('A'),
      pair: [...template('A'), ...template('B')],
      special_tokens: { [name]: { id: name, ids: [START_ID], tokens: [name] } },
    },
  };
  writeFileSync(path, JSON.stringify(json));
  return folder;
}
