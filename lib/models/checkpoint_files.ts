/** The contents of a model's files after opening, independent of their format. */

import type { WeightReader } from '../io/weight_reader';
import type { GgufTokenizer } from './gguf/tokenizer';

/** The contents of a checkpoint, in the terms of Hugging Face. */
export interface Checkpoint {
  /** The configuration, as in config.json. */
  readonly json: Readonly<Record<string, unknown>>;
  /** File of the configuration, for messages. */
  readonly place: string;
  /** Contents of the small files next to it, by name. */
  readonly companions: ReadonlyMap<string, Buffer>;
  /**
   * Tokenizer as the file describes it, if it has such a description. It equals that of the companions and is faster to
   * build.
   */
  readonly tokenizer?: GgufTokenizer | undefined;
  readonly weights: WeightReader;
  /** Notes for the user about files that can be read. */
  readonly notes: readonly string[];
}
