/** Sampling as a model's generation_config.json recommends it. */

import { join } from 'node:path';
import { decodeUtf8, parseJsonObject } from '../io/json';
import { ConfigReader } from '../models/config_reader';
import type { SamplingOptions } from './sampler';

const FILE = 'generation_config.json';

/**
 * As transformers reads it: greedy unless `do_sample` is true. Throws MBOK_FORMAT.
 *
 * @param files - companions of a model by name
 * @param folder - where they come from, for messages
 */
export function recommendedSampling(files: ReadonlyMap<string, Uint8Array>, folder: string): SamplingOptions {
  const place = join(folder, FILE);
  const bytes = files.get(FILE);
  const config = new ConfigReader(bytes ? parseJsonObject(decodeUtf8(bytes, `'${place}'`), `'${place}'`) : {}, place);
  const repetitionPenalty = config.number('repetition_penalty', 1);
  if (!config.boolean('do_sample', false)) return { temperature: 0, repetitionPenalty };
  return {
    temperature: config.number('temperature', 1),
    topP: config.number('top_p', 1),
    ...(config.has('top_k') && { topK: config.amount('top_k') }),
    ...(config.has('min_p') && { minP: config.amount('min_p') }),
    repetitionPenalty,
  };
}
