/** The interface of model families. Each family is one declarative file, from config.json to layers. */

import type { Tensor } from '../graph/graph';
import type { Head } from '../graph/operations/head';
import type { Matrix } from '../native/matrix';
import type { Builder } from '../nn/builder';
import type { ConfigReader } from './config_reader';

/** The settings that all decoders share. */
export interface DecoderConfig {
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  readonly layers: number;
  /** Maximum sequence length of the model. */
  readonly maxPositions: number;
  readonly headDimension: number;
  readonly keyValueHeads: number;
  /** Whether the head uses the embedding table. */
  readonly tied: boolean;
}

/**
 * Purpose of a tensor. Only 'linear' ones are converted to ±1 kernels. 'position' is a table of learned positions.
 * 'projection' is a matrix between the embedding size and the hidden size (OPT-350M). It is small and read for every
 * token, so it is never quantized.
 */
export type ParameterRole = 'linear' | 'embedding' | 'head' | 'norm' | 'bias' | 'position' | 'projection';

/** A tensor of a family's checkpoint: a matrix [rows, cols]. Vectors (norms, biases) have one row. */
export interface ParameterSpecification {
  readonly name: string;
  readonly rows: number;
  readonly cols: number;
  readonly role: ParameterRole;
  /** Index of its block; undefined for embeddings, final norm and head. */
  readonly layer?: number;
  /** Whether files store [cols, rows] (GPT-2's Conv1D). Memory always has [rows, cols]. */
  readonly transposed?: true;
}

/** Constant matrices that layers share, such as rotary tables. The family chooses their names. */
export type Constants = Readonly<Record<string, Matrix>>;

/** A model family. */
export interface Family<Config extends DecoderConfig = DecoderConfig> {
  readonly name: string;
  /** Names in `architectures` of config.json. */
  readonly architectures: readonly string[];
  /** Value of `model_type`, which transformers uses. */
  readonly modelType: string;
  /** Reads config.json. Throws MBOK_FORMAT, MBOK_UNSUPPORTED, MBOK_SHAPE. */
  config(json: ConfigReader): Config;
  /** Prefix of the names of all tensors except the head. */
  readonly prefix: string;
  /**
   * Lists all tensors of a dense checkpoint, the embedding first. A linear module NAME has NAME.weight and optionally
   * NAME.bias.
   */
  parameters(config: Config): readonly ParameterSpecification[];
  /** Computes the constants for up to `positions` positions. A row does not depend on the number of positions. */
  constants(config: Config, positions: number): Constants;
  /** Lists the attention modules in order; each has a key-value cache. */
  attentionModules(config: Config): readonly string[];
  embed(builder: Builder, ids: Tensor, config: Config): Tensor;
  block(builder: Builder, layer: number, x: Tensor, config: Config, constants: Constants): Tensor;
  /** Adds what follows the last block, usually the final norm. */
  finish(builder: Builder, x: Tensor, config: Config): Tensor;
  /** Returns the head for the final hidden states. */
  head(builder: Builder, x: Tensor, config: Config): Head;
}
