/** The option `embeddings` of conversions. */

import { finiteNumber, integerInRange, invalid, options } from '../base/validate';
import type { ParameterSpecification } from '../models/family';
import { isTable, moduleOf } from '../models/parts';
import { booleanTableFormat, FREQUENT_MULTIPLE } from '../structures/boolean_table';
import { INT8 } from '../structures/int8';
import { MAX_KERNELS } from '../structures/kernels';
import type { Formats, LayerFormat } from '../structures/structure';
import { type TableSensitivity, tableBeside, tableWithin } from './table_budget';

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
 * Maximum size of embedding and head together: bits per number, or bytes. They become kernels with as many rows of
 * frequent tokens in 8 bits as fit, or 8 bits if that fits; see table_budget.ts.
 */
export type EmbeddingBudget =
  | {
      /** Maximum bits per number of embedding and head. */
      readonly bits: number;
    }
  | {
      /** Maximum bytes of embedding and head together. */
      readonly size: number;
    };

/**
 * What embedding and head become: that of the source ('unchanged'), 8 bits with one scale per row ('int8'), a number of
 * kernels, kernels with the rows of frequent tokens in 8 bits, or the best form within a budget.
 */
export type EmbeddingChoice = 'unchanged' | 'int8' | number | BooleanEmbeddings | EmbeddingBudget;

/** Checked options for embedding and head: a choice, or the bytes of tables and linear layers together. */
export type TableGoal = EmbeddingChoice | { readonly together: number };

/** What the choice of table formats depends on besides the goal. */
export interface TableFacts {
  readonly specifications: readonly ParameterSpecification[];
  /** Occurrences of every token in the calibration text; undefined without one. */
  readonly tokenCounts: Float64Array | undefined;
  readonly sensitivity: TableSensitivity;
}

/** Tells whether the formats follow from a number of bytes, so that the model's sensitivity matters. */
export function isTableBudget(goal: TableGoal): goal is EmbeddingBudget | { readonly together: number } {
  return typeof goal === 'object' && goal !== null && ('bits' in goal || 'size' in goal || 'together' in goal);
}

/** Returns the formats of embedding and head by module; empty if they are unchanged. Throws MBOK_INVALID_ARGUMENT. */
export function embeddingFormats(goal: TableGoal, { specifications, tokenCounts, sensitivity }: TableFacts): Formats {
  const tables = goal === 'unchanged' ? [] : specifications.filter(isTable);
  const count = (of: readonly ParameterSpecification[]) => of.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const numbers = count(tables);
  const formatIn = (table: ParameterSpecification): LayerFormat => {
    if (!isTableBudget(goal)) return formatOf(goal, table, tokenCounts !== undefined);
    if ('together' in goal) {
      const weights = count(specifications.filter(({ role }) => role === 'linear'));
      return tableBeside(tables, { size: goal.together, weights }, tokenCounts, sensitivity);
    }
    const bytes = Math.floor((budgetBytes(goal, numbers) * table.rows * table.cols) / numbers);
    return tableWithin(table, bytes, tokenCounts, sensitivity);
  };
  return new Map(tables.map((table) => [moduleOf(table.name), formatIn(table)]));
}

function budgetBytes(budget: EmbeddingBudget, numbers: number): number {
  if ('size' in budget) {
    const { size } = options('embeddings', budget, ['size']);
    return integerInRange('embeddings.size', size, 1);
  }
  const { bits } = options('embeddings', budget, ['bits']);
  return (finiteNumber('embeddings.bits', bits, Number.MIN_VALUE) * numbers) / 8;
}

function formatOf(
  choice: Exclude<EmbeddingChoice, EmbeddingBudget>,
  { rows }: ParameterSpecification,
  calibrated: boolean,
): LayerFormat {
  if (choice === 'int8') return INT8;
  if (typeof choice !== 'number' && (typeof choice !== 'object' || choice === null)) {
    const expected = "'unchanged', 'int8', a number of kernels, { kernels, frequent }, { bits } or { size }";
    return invalid('embeddings', expected, choice);
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
