import type { ChartOptions } from '../../plot/draw';
import { front, scatterChart } from '../../plot/scatter_chart';
import { fixed, megabytes, perplexity, seconds } from '../format';
import { KERNELS, type PlannedModel, type Quantization, type Recipes } from '../recipes';
import type { Results } from '../results';
import type { Section } from '../section';
import { BUDGETS } from './allocation';

/**
 * Largest perplexity in the chart, as a multiple of the original's. Higher points would compress the interesting range.
 */
const HIGHEST_RATIO = 4;
const BASELINE_BITS = [2, 3, 4] as const;

interface Candidate {
  readonly method: string;
  readonly label: string;
  readonly model: PlannedModel;
}

interface Row {
  readonly method: string;
  readonly label: string;
  readonly bytes: number;
  readonly bitsPerWeight: number;
  readonly perplexity: number;
  readonly seconds: number | undefined;
  readonly peakMemory: number | undefined;
}

/** Section on perplexity against size for all methods. */
export function methodsSection(recipes: Recipes): Section {
  const { original } = recipes;
  const candidates = candidatesOf(recipes);
  const evaluation = recipes.perplexity(original);
  const inspection = recipes.inspection(original);
  return {
    id: 'methods',
    title: 'Perplexity against size',
    commands: [evaluation, inspection, ...candidates.map(({ model }) => recipes.perplexity(model))],
    show(results) {
      const rows = candidates.flatMap((candidate) => rowOf(candidate, recipes, results));
      const reference = results.of(evaluation)?.perplexity ?? Number.NaN;
      const size = results.of(inspection);
      const best = frontOf(rows, ({ bytes }) => bytes);
      const shown = rows.filter((row) => row.perplexity <= HIGHEST_RATIO * reference);
      const hidden = rows.filter((row) => !shown.includes(row));
      const chart = (x: (row: Row) => number, xLabel: string) => {
        if (shown.length === 0) return undefined;
        const named = frontOf(shown, x);
        const series = [...new Set(shown.map(({ method }) => method))].map((name) => ({
          name,
          points: shown
            .filter(({ method }) => method === name)
            .map((row) => ({ x: x(row), y: row.perplexity, label: named.has(row) ? `${name}, ${row.label}` : '' })),
        }));
        const labels = { title: 'Perplexity against size', xLabel, yLabel: 'perplexity' };
        const line = { name: `original, ${perplexity(reference)}`, y: reference };
        return (options: ChartOptions) => scatterChart({ ...labels, fronts: 'all', reference: line, series }, options);
      };
      const left =
        hidden.length === 0
          ? ''
          : ` Above the chart: ${hidden.map((row) => `${row.method} ${row.label} (${perplexity(row.perplexity)})`).join(', ')}.`;
      return {
        text: [
          `The original has ${size?.parameters.toLocaleString('en') ?? '–'} parameters, ${size?.linearWeights.toLocaleString('en') ?? '–'} of them in linear layers, ${megabytes(size?.bytes)} MB and a perplexity of ${perplexity(reference)}. Conversions change only its linear layers. Embeddings, head and norms are in every file, and change only if they are trained.`,
          'svid and refit convert without data; calibrated keeps the outputs of the layers on some text; finetuned starts from it and flips bits with the original as teacher. latent is the same training with a number in 32 bits behind every sign. RTN (round to nearest) and GPTQ put every weight on a grid. OneBit is one kernel, trained with latent weights.',
        ],
        exhibits: [
          {
            id: 'perplexity-bytes',
            caption: `Perplexity on a logarithmic axis against the size of the file. The gray line joins the models that no other model beats in both; they are labeled. A number of bits is a budget with kernels chosen for each layer by measured errors. Sizes are those of model.safetensors. For RTN and GPTQ they are those of a file with their codes, without its header.${left}`,
            chart: chart(({ bytes }) => bytes / 1e6, 'MB of the whole file, embeddings included'),
            data: { original: { perplexity: reference, bytes: size?.bytes }, models: rows },
          },
          {
            id: 'perplexity-bits',
            caption: `The same against bits per weight of the linear layers, including their scales, zero points and biases.${left}`,
            chart: chart(({ bitsPerWeight }) => bitsPerWeight, 'bits per weight of linear layers, scales included'),
            data: rows.map(({ method, label, bitsPerWeight, perplexity: value }) => ({
              ...{ method, label, bitsPerWeight },
              perplexity: value,
            })),
          },
          {
            id: 'methods',
            caption: `All models. For a model on the front, every smaller file is worse and every better one larger. Seconds are the time of all processes that made the model, including their starts. Memory is the peak of the last of these processes.`,
            table: {
              head: ['method', '', 'bits per weight', 'MB', 'perplexity', '÷ original', 'front', 'seconds', 'peak MB'],
              rows: rows.map((row) => [
                row.method,
                row.label,
                fixed(row.bitsPerWeight, 3),
                megabytes(row.bytes),
                perplexity(row.perplexity),
                fixed(row.perplexity / reference, 3),
                best.has(row) ? '●' : '',
                seconds(row.seconds),
                megabytes(row.peakMemory),
              ]),
            },
            data: rows,
          },
        ],
      };
    },
  };
}

/** Returns the rows on the Pareto front of `x` and perplexity. */
function frontOf(rows: readonly Row[], x: (row: Row) => number): ReadonlySet<Row> {
  return new Set(front(rows.map((row) => ({ x: x(row), y: row.perplexity, row }))).map(({ row }) => row));
}

function candidatesOf(recipes: Recipes): Candidate[] {
  const trains = recipes.settings.steps > 0;
  const ofKernels = (method: string, make: (kernels: number) => PlannedModel, counts: readonly number[] = KERNELS) =>
    counts.map((kernels) => ({ method, label: `K = ${kernels}`, model: make(kernels) }));
  const ofBudgets = (method: string, make: (start: PlannedModel) => PlannedModel) =>
    BUDGETS.map((bits) => ({ method, label: `${bits} bits`, model: make(recipes.allocated(bits, 'measured')) }));
  const ofBits = (method: 'rtn' | 'gptq') =>
    BASELINE_BITS.map((bits) => ({
      method: method.toUpperCase(),
      label: `${bits} bits`,
      model: recipes.baseline(method, bits),
    }));
  return [
    ...ofKernels('svid', (kernels) => recipes.plain('svid', kernels)),
    ...ofKernels('refit', (kernels) => recipes.plain('refit', kernels)),
    ...ofKernels('calibrated', (kernels) => recipes.calibrated(kernels)),
    ...ofBudgets('calibrated', (start) => start),
    ...(trains ? ofKernels('finetuned', (kernels) => finetunedKernels(recipes, kernels)) : []),
    ...(trains ? ofBudgets('finetuned', (start) => recipes.finetuned(start)) : []),
    ...(trains ? ofKernels('latent', (kernels) => latentKernels(recipes, kernels), LATENT_KERNELS) : []),
    ...ofBits('rtn'),
    ...ofBits('gptq'),
    ...(trains ? [{ method: 'OneBit', label: 'K = 1', model: recipes.oneBit() }] : []),
  ];
}

/** Numbers of kernels that are also trained with latent weights. */
export const LATENT_KERNELS = [1, 2, 3] as const;
/** Number of kernels of the runs whose curves are shown. */
export const WATCHED_KERNELS = 2;

export function finetunedKernels(recipes: Recipes, kernels: number) {
  return recipes.finetuned(recipes.calibrated(kernels), { watched: kernels === WATCHED_KERNELS });
}

export function latentKernels(recipes: Recipes, kernels: number) {
  return recipes.finetuned(recipes.calibrated(kernels), { latent: true, watched: kernels === WATCHED_KERNELS });
}

function rowOf({ method, label, model }: Candidate, recipes: Recipes, results: Results): Row[] {
  const made = model.maker && results.of(model.maker);
  const value = results.of(recipes.perplexity(model))?.perplexity;
  if (made === undefined || model.maker === undefined || value === undefined) return [];
  // a baseline's folder is dense: take the size of its packed codes instead
  const size = (made as Partial<Quantization>).packed ?? (made as { bitsPerWeight: number; bytes: number });
  const { bitsPerWeight, bytes } = size;
  const [own, peakMemory] = [results.secondsWithNeeds(model.maker), results.peakMemory(model.maker)];
  return [{ method, label, bytes, bitsPerWeight, perplexity: value, seconds: own, peakMemory }];
}
