/** The option `embeddings` of conversions. */

import { integerInRange, invalid, options } from '../base/validate';
import type { ParameterSpecification } from '../models/family';
import { isTable, moduleOf } from '../models/parts';
import { booleanTableFormat, FREQUENT_MULTIPLE } from '../structures/boolean_table';
import { INT8 } from '../structures/int8';
import { MAX_KERNELS } from '../structures/kernels';
import type { Formats, LayerFormat } from '../structures/structure';

/** Embedding and head of ±1 kernels. */
export interface BooleanEmbeddings {
  /** Number of kernels, 1 to 8. */
  readonly kernels: number;
  /**
   * Number of tokens whose rows have 8 bits instead, a multiple of 64: the most frequent ones in the calibration text,
   * which is required. Default 0.
   */
  readonly frequent?: number;
}

/**
 * What embedding and head become: that of the source ('unchanged'), 8 bits with one scale per row ('int8'), a number of
 * kernels, or kernels with the rows of frequent tokens in 8 bits.
 */
export type EmbeddingChoice = 'unchanged' | 'int8' | number | BooleanEmbeddings;

/**
 * Returns the formats of embedding and head by module; empty if they are unchanged. `calibrated` tells whether there is a
 * calibration text. Throws MBOK_INVALID_ARGUMENT.
 */
export function embeddingFormats(
  choice: EmbeddingChoice,
  specifications: readonly ParameterSpecification[],
  { calibrated }: { readonly calibrated: boolean },
): Formats {
  const tables = choice === 'unchanged' ? [] : specifications.filter(isTable);
  return new Map(tables.map((table) => [moduleOf(table.name), formatOf(choice, table, calibrated)]));
}

function formatOf(choice: EmbeddingChoice, { rows }: ParameterSpecification, calibrated: boolean): LayerFormat {
  if (choice === 'int8') return INT8;
  if (typeof choice !== 'number' && (typeof choice !== 'object' || choice === null)) {
    return invalid('embeddings', "'unchanged', 'int8', a number of kernels or { kernels, frequent }", choice);
  }
  const given = typeof choice === 'number' ? { kernels: choice } : choice;
  const { kernels, frequent = 0 } = options('embeddings', given, ['kernels', 'frequent']);
  const name = typeof choice === 'number' ? 'embeddings' : 'embeddings.kernels';
  const count = integerInRange(name, kernels, 1, MAX_KERNELS);
  integerInRange('embeddings.frequent', frequent, 0, rows - 1);
  if (frequent % FREQUENT_MULTIPLE !== 0) {
    invalid('embeddings.frequent', `a multiple of ${FREQUENT_MULTIPLE}`, frequent);
  }
  if (frequent > 0 && !calibrated) {
    invalid('embeddings.frequent', "given with method 'calibrated', whose text tells the frequent tokens", frequent);
  }
  return booleanTableFormat(count, frequent);
}
