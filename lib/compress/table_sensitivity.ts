/**
 * Measures how much the next-token loss of the original model rises when its embedding and head become Boolean tables.
 * Models differ by a factor of thirty: two kernels raise SmolLM2-135M's by 3.7 nats and tiny-stories's by 0.11.
 *
 * Some windows pass through the model four times side by side: with the original tables, with one kernel, with two, and
 * with two and some rows in 8 bits. The blocks are dense, and each is read once.
 */

import { isTable, moduleOf } from '../models/parts';
import type { ProgressOptions } from '../models/stored_matrix';
import type { Matrix } from '../native/matrix';
import { booleanTableFormat, FREQUENT_MULTIPLE } from '../structures/boolean_table';
import { structureOf } from '../structures/registry';
import type { LayerFormat } from '../structures/structure';
import { replacedIn } from './block_conversion';
import type { ConversionTask } from './convert_model';
import { type ConvertedWeights, collected, disposeConverted, formatsWith } from './converted';
import type { FitRounds, WeightConverter } from './converter';
import { converterOf } from './converters';
import type { DenseSource } from './dense_source';
import {
  advanceOriginal,
  calibrationWalk,
  embedWindows,
  type Walk,
  windowsOfTokens,
  windowsPerChunk,
} from './hidden_states';
import { runHead } from './next_token_loss';
import { MemoryStateStore } from './state_store';
import { coverageOf, type TableSensitivity, USUAL_SENSITIVITY } from './table_budget';
import { countTokens } from './table_calibration';

/** Tokens of the windows. All forms see the same ones, so few suffice. */
const TOKENS = 2 ** 12;
/** Share of the rows that are in 8 bits in the last form. */
const FREQUENT_SHARE = 1 / 8;
/** Smallest rise that is told from none, in nats. */
const LEAST_RISE = 1e-4;
/** Largest rise with two kernels relative to one, so that a second kernel is never worth nothing. */
const USUAL_RATIO = USUAL_SENSITIVITY.rise[1] / USUAL_SENSITIVITY.rise[0];
/** Largest `alike`: beyond, frequent rows hardly matter more than others. */
const MOST_ALIKE = 10;

/** Computes the sensitivity from some of the calibration's windows. Throws as running a model does, and MBOK_ABORTED. */
export async function tableSensitivity(
  source: DenseSource,
  { settings, windows }: NonNullable<ConversionTask['calibration']>,
  rounds: FitRounds,
  { signal, onProgress }: ProgressOptions,
): Promise<TableSensitivity> {
  await using states = new MemoryStateStore();
  const walk = calibrationWalk(source, settings, states, signal);
  const tokenCounts = countTokens(windows, source.config.vocabularySize);
  const { rows } = source.specifications.find(isTable) as { rows: number };
  const frequent = Math.max(1, Math.round((rows * FREQUENT_SHARE) / FREQUENT_MULTIPLE)) * FREQUENT_MULTIPLE;
  const forms = [1, 2].map((kernels) => booleanTableFormat(kernels));
  if (frequent < rows) forms.push(booleanTableFormat(2, frequent));
  const converted: ConvertedWeights[] = [];
  try {
    for (const format of forms) {
      onProgress?.({ done: 0, what: `embeddings tried with ${structureOf(format).describe(format)}` });
      converted.push(await convertTables(walk, format, tokenCounts, rounds));
    }
    const sources = [source, ...converted.map((tables) => sourceWith(source, tables))];
    const [original, ...losses] = await nextTokenLosses(walk, sources, windowsOfTokens(windows, walk.length, TOKENS));
    const rises = losses.map((loss) => Math.max(LEAST_RISE, loss - (original as number)));
    const [one, measuredTwo, twoBeside] = rises as [number, number, number | undefined];
    const two = Math.min(measuredTwo, one * USUAL_RATIO);
    const uncovered = 1 - (coverageOf(tokenCounts, rows)[frequent] as number);
    return {
      rise: [one, two],
      alike:
        twoBeside === undefined ? USUAL_SENSITIVITY.alike : alikeOf(twoBeside / two, uncovered, 1 - frequent / rows),
    };
  } finally {
    for (const tables of converted) disposeConverted(tables);
  }
}

/** Solves ratio = (uncovered + a · others) / (1 + a) for a, where others is the share of rows in kernels. */
function alikeOf(ratio: number, uncovered: number, others: number): number {
  if (ratio >= others) return MOST_ALIKE;
  return Math.min(MOST_ALIKE, Math.max(0, (ratio - uncovered) / (others - ratio)));
}

/** Converts all tables without calibration. The caller disposes the result. */
async function convertTables(
  { source, signal }: Walk,
  format: LayerFormat,
  tokenCounts: Float64Array,
  rounds: FitRounds,
): Promise<ConvertedWeights> {
  return await collected(async (tables) => {
    for (const owner of source.specifications.filter(isTable)) {
      const { parameters, release } = await source.borrow([owner]);
      try {
        const goal = { owner, format, rounds, tokenCounts, signal };
        const converter = converterOf(format) as WeightConverter;
        tables.set(moduleOf(owner.name), await converter.fit(parameters.get(owner.name) as Matrix, goal));
      } finally {
        release();
      }
    }
  });
}

/** Presents a model with other tables. */
function sourceWith(source: DenseSource, tables: ConvertedWeights): DenseSource {
  return {
    ...source,
    formats: formatsWith(source.formats, tables),
    async borrow(specifications) {
      const others = specifications.filter(({ name }) => !tables.has(moduleOf(name)));
      const { parameters, release } = await source.borrow(others);
      return { ...replacedIn({ parameters, formats: source.formats }, tables), release };
    },
  };
}

/** Computes the mean next-token loss of models that differ only in their tables. */
async function nextTokenLosses(
  walk: Walk,
  sources: readonly DenseSource[],
  windows: readonly Int32Array[],
): Promise<readonly number[]> {
  const { states } = walk;
  const chunks = Math.ceil(windows.length / windowsPerChunk(walk));
  const places = sources.map((source, i) => {
    return { walk: { ...walk, source }, stored: { windows, firstChunk: i * chunks } };
  });
  for (const { walk, stored } of places) await embedWindows(walk, stored, ['student']);
  const { layers } = walk.source.config;
  for (let layer = 0; layer < layers; layer++) {
    await advanceOriginal(walk, layer);
    await states.drop(layer + 1);
  }
  const losses: number[] = [];
  for (const { walk, stored } of places) {
    let [sum, tokens] = [0, 0];
    await runHead(
      walk,
      stored,
      (x, loss) => x.graph.output('loss', loss()),
      async ({ predicted, results }) => {
        sum += predicted * (results.loss?.[0] as number);
        tokens += predicted;
      },
    );
    losses.push(sum / tokens);
  }
  await states.drop(layers + 1);
  return losses;
}
