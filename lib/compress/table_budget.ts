/** The form of an embedding or a head within a number of bytes: how many kernels, and how many rows in 8 bits. */

import { invalid } from '../base/validate';
import type { ParameterSpecification } from '../models/family';
import { partsOf } from '../models/parts';
import { booleanTableFormat, FREQUENT_MULTIPLE } from '../structures/boolean_table';
import { INT8 } from '../structures/int8';
import { MAX_KERNELS } from '../structures/kernels';
import type { LayerFormat } from '../structures/structure';
import { bytesOfParts } from './dense_source';

/** Squared error of one kernel relative to the weight, and the ratio of each further kernel's to that (SmolLM2's table). */
const [ONE_KERNEL, RATIO] = [0.254, 0.32];
/**
 * Weight of the mean error of all rows beside the mean by the tokens' frequencies. The head multiplies every row, so the
 * noise of rare rows counts a little for each token. Perplexities with several forms of the table suggest 0.05 to 0.4 on
 * SmolLM2 and 1 on tiny-stories.
 */
const ALIKE = 0.3;

/**
 * Chooses the form with the least expected error: that of a row in kernels, weighted by the frequency of its token, plus
 * {@link ALIKE} of the mean over rows. Rows in 8 bits count as exact. Throws MBOK_INVALID_ARGUMENT if one kernel does not fit.
 *
 * @param budget - bytes of all parts in a file
 * @param tokenCounts - occurrences of every token in a text; without them no rows are set apart
 */
export function tableWithin(
  table: ParameterSpecification,
  budget: number,
  tokenCounts: Float64Array | undefined,
): LayerFormat {
  // the parts of these formats have types of their own
  const bytesOf = (format: LayerFormat) => bytesOfParts(partsOf(table, format), { storage: () => undefined });
  if (bytesOf(INT8) <= budget) return INT8;
  const coverage = tokenCounts && coverageOf(tokenCounts, table.rows);
  let best: { readonly format: LayerFormat; readonly cost: number } | undefined;
  for (let kernels = 1; kernels <= MAX_KERNELS; kernels++) {
    let frequent = 0;
    if (bytesOf(booleanTableFormat(kernels)) > budget) break;
    const limit = coverage === undefined ? 0 : table.rows - 1;
    while (
      frequent + FREQUENT_MULTIPLE <= limit &&
      bytesOf(booleanTableFormat(kernels, frequent + FREQUENT_MULTIPLE)) <= budget
    ) {
      frequent += FREQUENT_MULTIPLE;
    }
    const uncovered = 1 - (coverage?.[frequent] ?? 0) + ALIKE * (1 - frequent / table.rows);
    const cost = ONE_KERNEL * RATIO ** (kernels - 1) * uncovered;
    if (best === undefined || cost < best.cost) best = { format: booleanTableFormat(kernels, frequent), cost };
  }
  const least = bytesOf(booleanTableFormat(1));
  return best?.format ?? invalid('embeddings', `at least ${least} bytes for '${table.name}', one kernel`, budget);
}

/** Computes the share of a text that its n most frequent tokens make up, for n from 0 to `rows`. */
function coverageOf(tokenCounts: Float64Array, rows: number): Float64Array {
  const counts = Float64Array.from(tokenCounts).sort().reverse();
  const total = counts.reduce((sum, count) => sum + count, 0);
  const coverage = new Float64Array(rows + 1);
  for (let n = 1; n <= rows; n++) coverage[n] = (coverage[n - 1] as number) + (counts[n - 1] ?? 0) / total;
  return coverage;
}
