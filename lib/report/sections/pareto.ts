import type { ChartOptions } from '../../plot/draw';
import { front, scatterChart } from '../../plot/scatter_chart';
import { bitsText, fixed, megabytes, perplexity, seconds } from '../format';
import { KERNELS, LATENT_KERNELS, LATENT_PAIR, PAIR_BITS, type PlannedModel, type Recipes } from '../recipes';
import type { Results } from '../results';
import type { Section } from '../section';
import { type Size, sizeOf } from '../size';
import { BUDGETS } from './allocation';
import { FILES, TABLE_KERNELS, tableForms } from './embeddings';

/**
 * Largest perplexity in the chart, as a multiple of the original's. Higher points would compress the interesting range.
 */
const HIGHEST_RATIO = 6;
const BASELINE_BITS = [2, 3, 4] as const;

/** What the linear layers, or embedding and head too, consist of: the color of a point. */
type Form = 'kernels' | 'pairs' | 'mixed forms' | 'smaller embeddings' | 'codes of few bits';
/** How a model was made. */
type Method = 'svid' | 'refit' | 'calibrated' | 'finetuned' | 'latent' | 'OneBit' | 'RTN' | 'GPTQ';

/** What a method needs: the symbol of a point. */
const NEEDS: Readonly<Record<Method, string>> = {
  svid: 'without text',
  refit: 'without text',
  RTN: 'without text',
  calibrated: 'calibrated',
  GPTQ: 'calibrated',
  finetuned: 'finetuned',
  latent: 'latent weights',
  OneBit: 'latent weights',
};

interface Candidate {
  readonly form: Form;
  readonly method: Method;
  readonly label: string;
  readonly model: PlannedModel;
}

interface Row extends Size {
  readonly form: Form;
  readonly method: Method;
  readonly label: string;
  readonly perplexity: number;
  readonly seconds: number | undefined;
  readonly peakMemory: number | undefined;
}

/** Section on perplexity against size for all models of the report. */
export function paretoSection(recipes: Recipes): Section {
  const { original } = recipes;
  const candidates = candidatesOf(recipes);
  const evaluation = recipes.perplexity(original);
  const inspection = recipes.inspection(original);
  return {
    id: 'pareto',
    title: 'Perplexity against size',
    commands: [evaluation, inspection, ...candidates.map(({ model }) => recipes.perplexity(model))],
    show(results) {
      const rows = candidates.flatMap((candidate) => rowOf(candidate, recipes, results));
      const reference = results.of(evaluation)?.perplexity ?? Number.NaN;
      const size = results.of(inspection);
      // bits of linear layers do not show what smaller embeddings save
      const ofLayers = rows.filter(({ form }) => form !== 'smaller embeddings');
      const [bitsFront, bytesFront] = [
        frontOf(ofLayers, ({ bitsPerWeight }) => bitsPerWeight),
        frontOf(rows, ({ bytes }) => bytes),
      ];
      const isShown = (row: Row) => row.perplexity <= HIGHEST_RATIO * reference;
      const chart = (
        all: readonly Row[],
        best: ReadonlySet<Row>,
        x: (row: Row) => number,
        xLabel: string,
      ): ((options: ChartOptions) => Promise<string>) | undefined => {
        const shown = all.filter(isShown);
        if (shown.length === 0) return undefined;
        const series = [...new Set(shown.map(({ form }) => form))].map((name) => ({
          name,
          points: shown
            .filter(({ form }) => form === name)
            .map((row) => ({
              ...{ x: x(row), y: row.perplexity, kind: NEEDS[row.method] },
              label: best.has(row) ? row.label : '',
            })),
        }));
        const labels = { title: 'Perplexity against size', xLabel, yLabel: 'perplexity' };
        const line = { name: `original, ${perplexity(reference)}`, y: reference };
        return (options) => scatterChart({ ...labels, fronts: 'all', reference: line, series }, options);
      };
      const above = (all: readonly Row[]) => {
        const hidden = all
          .filter((row) => !isShown(row))
          .map((row) => `${nameOf(row)} (${perplexity(row.perplexity)})`);
        return hidden.length === 0 ? '' : ` Above the chart: ${hidden.join(', ')}.`;
      };
      return {
        text: [
          `The original has ${size?.parameters.toLocaleString('en') ?? '–'} parameters, ${size?.linearWeights.toLocaleString('en') ?? '–'} of them in linear layers, ${megabytes(size?.bytes)} MB and a perplexity of ${perplexity(reference)}. Unless a row says otherwise, conversions change only its linear layers: embeddings, head and norms are in every file, and change only if they are trained.`,
          'svid and refit convert without data; calibrated keeps the outputs of the layers on some text; finetuned starts from it and flips bits with the original as teacher. latent is the same training with a number in 32 bits behind every sign. RTN (round to nearest) and GPTQ put every weight on a grid of codes. OneBit is one kernel, trained with latent weights. Mixed forms are chosen for each layer by measured errors.',
        ],
        exhibits: [
          {
            id: 'pareto-bits',
            caption: `Perplexity on a logarithmic axis against the strict bits per weight of the linear layers, including their scales, zero points and biases. Colors show forms, and symbols what the method needs. The gray line joins the models that no other model beats in both; they are labeled.${above(ofLayers)}`,
            chart: chart(
              ofLayers,
              bitsFront,
              (row) => row.bitsPerWeight,
              'bits per weight of linear layers, scales included',
            ),
            data: ofLayers.map(({ form, method, label, bitsPerWeight, perplexity: value }) => ({
              ...{ form, method, label, bitsPerWeight },
              perplexity: value,
            })),
          },
          {
            id: 'pareto-bytes',
            caption: `The same against the size of model.safetensors, with the models whose embeddings are smaller too. For RTN and GPTQ it is the size of a file with their codes, without its header.${above(rows)}`,
            chart: chart(rows, bytesFront, (row) => row.bytes / 1e6, 'MB of the whole file, embeddings included'),
            data: { original: { perplexity: reference, bytes: size?.bytes }, models: rows },
          },
          {
            id: 'pareto',
            caption: `All models. For a model on a front, every smaller one is worse and every better one larger: by bits per weight of the linear layers among the models with unchanged embeddings, and by MB of the whole file among all. Seconds are the time of all processes that made the model, including their starts. Memory is the peak of the last of these processes.`,
            table: {
              head: [
                ...['form', 'size', 'method', 'bits per weight', 'MB', 'perplexity', '÷ original'],
                ...['front by bits', 'front by MB', 'seconds', 'peak MB'],
              ],
              rows: rows.map((row) => [
                ...[row.form, row.label, row.method],
                ...[fixed(row.bitsPerWeight, 3), megabytes(row.bytes), perplexity(row.perplexity)],
                fixed(row.perplexity / reference, 3),
                ...[bitsFront, bytesFront].map((best) => (best.has(row) ? '●' : '')),
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

function nameOf({ form, label, method }: Row): string {
  return `${form} ${label} ${method}`;
}

function candidatesOf(recipes: Recipes): Candidate[] {
  const trains = recipes.settings.steps > 0;
  /** A model before and after finetuning. */
  const stages = (form: Form, label: string, start: PlannedModel, trained?: PlannedModel): Candidate[] => [
    { form, label, method: 'calibrated', model: start },
    ...(trains && trained ? [{ form, label, method: 'finetuned', model: trained } as const] : []),
  ];
  const finetuned = (form: Form, label: string, start: PlannedModel) =>
    stages(form, label, start, recipes.finetuned(start));
  const kernels = (method: Method, count: number, model: PlannedModel): Candidate => {
    return { form: 'kernels', label: `K = ${count}`, method, model };
  };
  return [
    ...KERNELS.flatMap((count) => [
      kernels('svid', count, recipes.plain('svid', count)),
      kernels('refit', count, recipes.plain('refit', count)),
      ...stages('kernels', `K = ${count}`, recipes.calibrated(count), recipes.finetunedKernels(count)),
    ]),
    ...(trains ? LATENT_KERNELS.map((count) => kernels('latent', count, recipes.latentKernels(count))) : []),
    ...(trains ? [kernels('OneBit', 1, recipes.oneBit())] : []),
    ...PAIR_BITS.flatMap((bits) => stages('pairs', bitsText(bits), recipes.pairs(bits), recipes.finetunedPairs(bits))),
    ...(trains ? [latentPair(recipes, bitsText(LATENT_PAIR))] : []),
    ...BUDGETS.flatMap((bits) => finetuned('mixed forms', bitsText(bits), recipes.allocated(bits, 'measured'))),
    ...tableForms(recipes).map((form): Candidate => {
      const model = recipes.withTables(TABLE_KERNELS, form);
      return { form: 'smaller embeddings', label: `K = ${TABLE_KERNELS}, tables ${form}`, method: 'calibrated', model };
    }),
    ...FILES.flatMap((divisor) =>
      finetuned('smaller embeddings', `1/${divisor} of 32 bits`, recipes.wholeFile(divisor)),
    ),
    ...(['rtn', 'gptq'] as const).flatMap((method) =>
      BASELINE_BITS.map((bits): Candidate => {
        const model = recipes.baseline(method, bits);
        return { form: 'codes of few bits', label: bitsText(bits), method: method === 'rtn' ? 'RTN' : 'GPTQ', model };
      }),
    ),
  ];
}

function latentPair(recipes: Recipes, label: string): Candidate {
  return {
    ...{ form: 'pairs', label, method: 'latent' },
    model: recipes.finetuned(recipes.pairs(LATENT_PAIR), { latent: true }),
  };
}

function rowOf({ form, method, label, model }: Candidate, recipes: Recipes, results: Results): Row[] {
  const size = sizeOf(model, results);
  const value = results.of(recipes.perplexity(model))?.perplexity;
  if (size === undefined || model.maker === undefined || value === undefined) return [];
  const [own, peakMemory] = [results.secondsWithNeeds(model.maker), results.peakMemory(model.maker)];
  return [{ form, method, label, ...size, perplexity: value, seconds: own, peakMemory }];
}
