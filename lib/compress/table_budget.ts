/** The form of embedding and head within a number of bytes: how many kernels, and how many rows in 8 bits. */

import { invalid } from '../base/validate';
import type { ParameterSpecification } from '../models/family';
import { partsOf } from '../models/parts';
import { booleanTableFormat, FREQUENT_MULTIPLE } from '../structures/boolean_table';
import { INT8 } from '../structures/int8';
import { MAX_KERNELS } from '../structures/kernels';
import type { LayerFormat } from '../structures/structure';
import { bytesOfParts } from './dense_source';

/** How much the next-token loss of a model rises with Boolean tables; see table_sensitivity.ts. */
export interface TableSensitivity {
  /** Rise in nats with one and with two kernels in all rows. */
  readonly rise: readonly [number, number];
  /**
   * Weight of the mean error over all rows beside the mean by the tokens' frequencies. The head multiplies every row, so
   * the noise of rare rows counts a little for each token.
   */
  readonly alike: number;
}

/** The sensitivity of SmolLM2-135M, for models that are not measured. */
export const USUAL_SENSITIVITY: TableSensitivity = { rise: [11.9, 3.6], alike: 0.11 };

/** Ratio of the rise to that with one kernel fewer, from three kernels on (SmolLM2: 0.28, tiny-stories: 0.22). */
const RATIO = 0.3;

/**
 * The rise with linear layers of b bits per weight is about {@link LAYER_RISE} · 2^(−{@link LAYER_RATE} · b) nats. The
 * power is the squared error of Boolean forms relative to the weight (0.58 at 0.5 bits, 0.34 at 1, 0.11 at 2.1, 0.04 at
 * 3). Calibrated, SmolLM2 rises by 4.1 to 4.7 times that error up to 1.5 bits, tiny-stories by 5.6 to 3.3 times.
 */
const [LAYER_RISE, LAYER_RATE] = [4.5, 1.55];
/** Bits per weight that linear layers need at least, about. */
const LEAST_LAYER_BITS = 0.3;

/** A form of a table. */
interface TableForm {
  readonly format: LayerFormat;
  /** Bytes of all its parts in a file. */
  readonly bytes: number;
  /** Expected rise of the next-token loss in nats. */
  readonly rise: number;
}

/**
 * Chooses the form that raises the loss least. Throws MBOK_INVALID_ARGUMENT if one kernel does not fit.
 *
 * @param budget - bytes of all parts in a file
 * @param tokenCounts - occurrences of every token in a text; without them no rows are set apart
 */
export function tableWithin(
  table: ParameterSpecification,
  budget: number,
  tokenCounts: Float64Array | undefined,
  sensitivity: TableSensitivity,
): LayerFormat {
  const forms = tableForms(table, tokenCounts, sensitivity);
  const best = leastBy(
    forms.filter(({ bytes }) => bytes <= budget),
    ({ rise }) => rise,
  );
  const least = Math.min(...forms.map(({ bytes }) => bytes));
  return best?.format ?? invalid('embeddings', `at least ${least} bytes for '${table.name}', one kernel`, budget);
}

/**
 * Chooses the form of all tables, which have equal shapes, so that they and linear layers that take the remaining bytes
 * raise the loss least together.
 *
 * @param size - bytes of tables and linear layers
 * @param weights - weights of all linear layers
 */
export function tableBeside(
  tables: readonly ParameterSpecification[],
  { size, weights }: { readonly size: number; readonly weights: number },
  tokenCounts: Float64Array | undefined,
  sensitivity: TableSensitivity,
): LayerFormat {
  const forms = tableForms(tables[0] as ParameterSpecification, tokenCounts, sensitivity);
  const bitsBeside = ({ bytes }: TableForm) => (8 * (size - tables.length * bytes)) / weights;
  const possible = forms.filter((form) => bitsBeside(form) >= LEAST_LAYER_BITS);
  const best =
    leastBy(possible, (form) => LAYER_RISE * 2 ** (-LAYER_RATE * bitsBeside(form)) + form.rise) ??
    leastBy(forms, ({ bytes }) => bytes);
  return (best as TableForm).format;
}

/** Lists all forms of a table: 8 bits, and every number of kernels with every number of rows in 8 bits. */
function tableForms(
  table: ParameterSpecification,
  tokenCounts: Float64Array | undefined,
  { rise, alike }: TableSensitivity,
): readonly TableForm[] {
  const { rows } = table;
  const coverage = tokenCounts && expectedCoverage(tokenCounts, rows);
  // the parts of these formats have types of their own
  const bytesOf = (format: LayerFormat) => bytesOfParts(partsOf(table, format), { storage: () => undefined });
  const forms: TableForm[] = [{ format: INT8, bytes: bytesOf(INT8), rise: 0 }];
  for (let kernels = 1; kernels <= MAX_KERNELS; kernels++) {
    const inAllRows = kernels === 1 ? rise[0] : rise[1] * RATIO ** (kernels - 2);
    for (let frequent = 0; frequent < (coverage ? rows : 1); frequent += FREQUENT_MULTIPLE) {
      const uncovered = 1 - (coverage?.[frequent] ?? 0) + alike * (1 - frequent / rows);
      const format = booleanTableFormat(kernels, frequent);
      forms.push({ format, bytes: bytesOf(format), rise: (inAllRows * uncovered) / (1 + alike) });
    }
  }
  return forms;
}

function leastBy(forms: readonly TableForm[], cost: (form: TableForm) => number): TableForm | undefined {
  let best: { readonly form: TableForm; readonly cost: number } | undefined;
  for (const form of forms) {
    const ofForm = cost(form);
    if (best === undefined || ofForm < best.cost) best = { form, cost: ofForm };
  }
  return best?.form;
}

/**
 * Estimates the share of other texts that the n most frequent tokens of a text make up, for n from 0 to `rows`. Of each
 * count a constant goes to all tokens alike, since rare tokens of a short text are rarer elsewhere (absolute discounting,
 * Ney, Essen and Kneser 1994, with their estimate of the constant).
 */
function expectedCoverage(tokenCounts: Float64Array, rows: number): Float64Array {
  const [once, twice] = [1, 2].map((n) => tokenCounts.filter((count) => count === n).length) as [number, number];
  const discount = once === 0 ? 0 : once / (once + 2 * twice);
  const discounted = tokenCounts.map((count) => Math.max(0, count - discount));
  const sumOf = (counts: Float64Array) => counts.reduce((sum, count) => sum + count, 0);
  const kept = sumOf(discounted) / sumOf(tokenCounts);
  if (kept === 0) return Float64Array.from({ length: rows + 1 }, (_, n) => n / rows);
  return coverageOf(discounted, rows).map((share, n) => kept * share + (1 - kept) * (n / rows));
}

/** Computes the share of a text that its n most frequent tokens make up, for n from 0 to `rows`. */
export function coverageOf(tokenCounts: Float64Array, rows: number): Float64Array {
  const counts = Float64Array.from(tokenCounts).sort().reverse();
  const total = counts.reduce((sum, count) => sum + count, 0);
  const coverage = new Float64Array(rows + 1);
  for (let n = 1; n <= rows; n++) coverage[n] = (coverage[n - 1] as number) + (counts[n - 1] ?? 0) / total;
  return coverage;
}
