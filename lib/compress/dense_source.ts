/** The source of dense weights for a conversion: a loaded model, or a model on disk that is read block by block. */

import { type TensorHead, tensorBytes } from '../io/safetensors';
import type { Constants, DecoderConfig, Family, ParameterSpecification } from '../models/family';
import type { ModelCore } from '../models/model_core';
import { isTable, type ModelPart } from '../models/parts';
import { type DenseStorage, partHead } from '../models/stored_matrix';
import type { Parameters } from '../nn/builder';
import type { Formats, PartType } from '../structures/structure';

/** Some matrices of a model. `release` frees them if they were read from disk for this call. */
export interface Borrowed {
  readonly parameters: Parameters;
  release(): void;
}

/** The weights of a block, original or partly converted. */
export interface BlockWeights {
  readonly parameters: Parameters;
  /** Formats of the weights that are not dense. */
  readonly formats: Formats;
}

/** A dense model as input of a conversion. */
export interface DenseSource {
  readonly family: Family;
  readonly config: DecoderConfig;
  /** Returns the tables that all blocks share, such as rotary angles, for up to `positions` positions. */
  constants(positions: number): Constants;
  /** All tensors of the architecture. */
  readonly specifications: readonly ParameterSpecification[];
  /** Formats of the source's weights that are not dense. */
  readonly formats: Formats;
  /** Returns the storage type of a part of real numbers; undefined if the source does not contain it. */
  storage(name: string): DenseStorage | undefined;
  /**
   * Loads the matrices of these tensors. Throws as reading a model does, and MBOK_DISPOSED if the model was disposed
   * meanwhile.
   */
  borrow(specifications: readonly ParameterSpecification[]): Promise<Borrowed>;
}

/**
 * Returns the storage type of a part in the output. Bits and integers have their type; real numbers have the source's
 * type if the source contains them.
 */
export function storageOf({ type, name }: ModelPart, source: Pick<DenseSource, 'storage'>): PartType {
  if (type === 'bits' || type === 'I8' || type === 'Q8') return type;
  return source.storage(name) ?? (type as PartType);
}

/** Returns the header entry of a part in the output. */
export function headOf(part: ModelPart, source: Pick<DenseSource, 'storage'>): TensorHead {
  return partHead(part, storageOf(part, source));
}

/** Computes the bytes of parts in a file, without its header. */
export function bytesOfParts(parts: readonly ModelPart[], source: Pick<DenseSource, 'storage'>): number {
  return parts.reduce((sum, part) => sum + tensorBytes(headOf(part, source)), 0);
}

/** Returns the weight of a linear module. */
export function linearWeight({ specifications }: DenseSource, module: string): ParameterSpecification {
  return specifications.find(({ name }) => name === `${module}.weight`) as ParameterSpecification;
}

/** Lists the tensors of block `layer`. */
export function blockSpecifications({ specifications }: DenseSource, layer: number): readonly ParameterSpecification[] {
  return specifications.filter((specification) => specification.layer === layer);
}

/** Lists the tensors that embed token ids. */
export function embeddingSpecifications({ specifications }: DenseSource): readonly ParameterSpecification[] {
  return specifications.filter((specification) => specification.layer === undefined && specification.role !== 'head');
}

/** Lists the tensors after the last block, without the head: the final norm, and what follows it. */
export function finalSpecifications({ specifications }: DenseSource): readonly ParameterSpecification[] {
  return specifications.filter((specification) => specification.layer === undefined && !isTable(specification));
}

/** Wraps a loaded model as a source. Its matrices are not copied. */
export function loadedSource(model: ModelCore): DenseSource {
  const { family, config } = model;
  return {
    family,
    config,
    specifications: family.parameters(config),
    formats: model.formats,
    constants: (positions) => model.constants(positions),
    storage: (name) => model.stored.get(name)?.storage as DenseStorage | undefined,
    borrow: async () => ({ parameters: model.parameters, release: () => {} }),
  };
}
