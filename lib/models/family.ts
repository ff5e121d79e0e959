/** What a model family is: one declarative file each, from config.json to layers. */

import type { Tensor } from '../graph/graph';
import type { Head } from '../graph/operations/head';
import type { Matrix } from '../native/matrix';
import type { Builder } from '../nn/builder';
import type { ConfigReader } from './config_reader';

/** What every decoder has, whatever its family. */
export interface DecoderConfig {
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  /** Longest sequence that the model was made for. */
  readonly maxPositions: number;
  readonly headDimension: number;
  readonly keyValueHeads: number;
  /** Whether the head is the embedding table. */
  readonly tied: boolean;
}

/**
 * What a tensor is for. Only 'linear' ones are converted to ±1 kernels. 'position': a table of learned positions.
 * 'projection': a matrix between embeddings or logits and the hidden size (OPT-350M): it is to the embeddings what a
 * converted layer's scales are to its kernels, small and read by every token, so it stays as they do.
 */
export type ParameterRole = 'linear' | 'embedding' | 'head' | 'norm' | 'bias' | 'position' | 'projection';

/** One tensor of a family's checkpoint: a matrix [rows, cols]; vectors (norms, biases) have one row. */
export interface ParameterSpecification {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly role: ParameterRole;
  /** Number of the block that it belongs to; absent for embeddings, final norm and head. */
  readonly layer?: number;
  /** The file holds [cols, rows] (GPT-2's Conv1D); memory always holds [rows, cols]. */
  readonly transposed?: true;
}

/** Constant matrices that layers share, such as rotary tables, by names of the family's own. */
export type Constants = Readonly<Record<string, Matrix>>;

export interface Family<Config extends DecoderConfig = DecoderConfig> {
  readonly name: string;
  /** Names in the `architectures` of config.json. */
  readonly architectures: readonly string[];
  /** Its `model_type`, by which transformers goes. */
  readonly modelType: string;
  config(json: ConfigReader): Config;
  /** What begins the names of all tensors but those of the head. */
  readonly prefix: string;
  /** Every tensor of a dense checkpoint. The first is the embedding. A linear module NAME has NAME.weight and perhaps NAME.bias. */
  parameters(config: Config): readonly ParameterSpecification[];
  /** Computes the constants of runs that reach `positions` positions; rows do not depend on how many there are. */
  constants(config: Config, positions: number): Constants;
  /** Module names of the attention layers, in order: they own key-value caches. */
  attentionModules(config: Config): readonly string[];
  embed(builder: Builder, ids: Tensor, config: Config): Tensor;
  block(builder: Builder, layer: number, x: Tensor, config: Config, constants: Constants): Tensor;
  /** What follows the last block: the final norm. */
  finish(builder: Builder, x: Tensor, config: Config): Tensor;
  /** What makes logits of finished hidden states. */
  head(builder: Builder, x: Tensor, config: Config): Head;
}
