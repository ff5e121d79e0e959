/** What opening the files of a model gives, whatever their format. */

import type { WeightReader } from '../io/weight_reader';
import type { GgufTokenizer } from './gguf/tokenizer';

/** What a checkpoint's files hold, in the terms of Hugging Face whatever their format. */
export interface Checkpoint {
  /** config.json. */
  readonly json: Readonly<Record<string, unknown>>;
  /** Where the configuration came from, for messages. */
  readonly place: string;
  /** Contents of the small files beside it, by name. */
  readonly companions: ReadonlyMap<string, Buffer>;
  /** Where the file describes a tokenizer in a way of its own: quicker to build than from the companions, and the same. */
  readonly tokenizer?: GgufTokenizer | undefined;
  readonly weights: WeightReader;
  /** What a user should know of the files although they can be read. */
  readonly notes: readonly string[];
}
