/** Where a conversion takes dense weights from: a loaded model, or a model on disk that is read block by block. */

import type { TensorHead } from '../io/safetensors';
import type { Constants, DecoderConfig, Family, ParameterSpecification } from '../models/family';
import type { ModelCore } from '../models/model_core';
import type { ModelPart } from '../models/parts';
import { type DenseStorage, partHead } from '../models/stored_matrix';
import type { Parameters } from '../nn/builder';
import type { Formats, PartType } from '../structures/structure';

/** Some of a model's matrices; `release` frees them where they were read for this. */
export interface Borrowed {
  readonly parameters: Parameters;
  release(): void;
}

/** Weights of a block, as they were or as converted so far. */
export interface BlockWeights {
  readonly parameters: Parameters;
  /** Of those that are not dense. */
  readonly formats: Formats;
}

/** A dense model as a conversion sees it. */
export interface DenseSource {
  readonly family: Family;
  readonly config: DecoderConfig;
  /** Tables that all blocks share, for runs that reach `positions` positions. */
  constants(positions: number): Constants;
  /** Every tensor of the architecture. */
  readonly specifications: readonly ParameterSpecification[];
  /** What its weights are made up of that are not dense. */
  readonly formats: Formats;
  /** How the real numbers of a part are saved; undefined for a part that the source does not have. */
  storage(name: string): DenseStorage | undefined;
  /** Throws as the reading of a model does, and MBOK_DISPOSED for a model disposed meanwhile. */
  borrow(specifications: readonly ParameterSpecification[]): Promise<Borrowed>;
}

/** How an output stores a part: bits and whole numbers in their type, real numbers as the source has them, if it does. */
export function storageOf({ type, name }: ModelPart, source: Pick<DenseSource, 'storage'>): PartType {
  if (type === 'bits' || type === 'I8' || type === 'Q8') return type;
  return source.storage(name) ?? (type as PartType);
}

/** What the header of an output says of a part. */
export function headOf(part: ModelPart, source: Pick<DenseSource, 'storage'>): TensorHead {
  return partHead(part, storageOf(part, source));
}

/** The weight of a linear module. */
export function linearWeight({ specifications }: DenseSource, module: string): ParameterSpecification {
  return specifications.find(({ name }) => name === `${module}.weight`) as ParameterSpecification;
}

/** The tensors of block `layer`. */
export function blockSpecifications({ specifications }: DenseSource, layer: number): readonly ParameterSpecification[] {
  return specifications.filter((own) => own.layer === layer);
}

/** What embeds token ids. */
export function embeddingSpecifications({ specifications }: DenseSource): readonly ParameterSpecification[] {
  return specifications.filter((own) => own.layer === undefined && own.role !== 'head');
}

/** The matrices of a loaded model, which stay where they are. */
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
