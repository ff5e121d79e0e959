import type { AllocationMethod } from '../../compress/allocation/allocation_options';
import { lineChart } from '../../plot/line_chart';
import { perplexity } from '../format';
import type { Recipes } from '../recipes';
import type { Exhibit, Section } from '../section';

/** Budgets in bits per weight. */
export const BUDGETS = [0.8, 1.25, 2.25, 2.6] as const;
const METHODS: readonly AllocationMethod[] = ['uniform', 'paper', 'measured'];
/** Method whose models are finetuned. */
const TRAINED: AllocationMethod = 'measured';
/** Least budget of the method `paper`, which gives every layer a kernel: one bit and scales. */
const ONE_KERNEL = 1.2;

/** Section on three methods that allocate a budget to the layers. */
export function allocationSection(recipes: Recipes): Section {
  const { steps } = recipes.settings;
  const rows = BUDGETS.map((bits) => ({
    bits,
    models: METHODS.filter((method) => method !== 'paper' || bits >= ONE_KERNEL).map((method) => {
      const before = recipes.allocated(bits, method);
      return { method, before, after: steps > 0 && method === TRAINED ? recipes.finetuned(before) : undefined };
    }),
  }));
  const models = rows.flatMap((row) => row.models);
  return {
    id: 'allocation',
    title: 'Allocation of a budget',
    commands: models.flatMap(({ before, after }) =>
      [before, ...(after ? [after] : [])].map((model) => recipes.perplexity(model)),
    ),
    show(results) {
      const measured = rows.map(({ bits, models: own }) => ({
        bits,
        ...Object.fromEntries(
          own.map(({ method, before, after }) => [
            method,
            {
              bitsPerWeight: before.maker && results.of(before.maker)?.bitsPerWeight,
              perplexity: results.of(recipes.perplexity(before))?.perplexity,
              ...(after && { finetuned: results.of(recipes.perplexity(after))?.perplexity }),
            },
          ]),
        ),
      })) as readonly ({ readonly bits: number } & Readonly<Record<string, Point>>)[];
      const table: Exhibit = {
        id: 'allocation',
        caption: `Perplexity by the budget in bits per weight, calibrated${steps > 0 ? `, and the models of the method ${TRAINED} after ${steps} steps of finetuning` : ''}. A layer becomes a factor pair, kernels or numbers in 8 bits, or stays dense. The method uniform gives all layers the same form and size and spreads the remainder. The method paper allocates kernels greedily by importance, residual and size (arXiv 2505.22811), so it has no budgets below one kernel. The method measured minimizes the sum of the errors that the layers cause in the outputs of their blocks.`,
        table: {
          head: ['bits per weight', ...METHODS, ...(steps > 0 ? [`${TRAINED}, finetuned`] : [])],
          rows: measured.map((row) => [
            String(row.bits),
            ...METHODS.map((method) => perplexity(row[method]?.perplexity)),
            ...(steps > 0 ? [perplexity(row[TRAINED]?.finetuned)] : []),
          ]),
        },
        data: measured,
      };
      const curve = (name: string, value: (row: (typeof measured)[number]) => readonly [number?, number?]) => ({
        name,
        points: measured.flatMap((row) => {
          const [x, y] = value(row);
          return x === undefined || y === undefined ? [] : [{ x, y }];
        }),
      });
      const series = [
        ...METHODS.map((name) => curve(name, (row) => [row[name]?.bitsPerWeight, row[name]?.perplexity])),
        curve(`${TRAINED}, finetuned`, (row) => [row[TRAINED]?.bitsPerWeight, row[TRAINED]?.finetuned]),
      ].filter(({ points }) => points.length > 0);
      const chart: Exhibit = {
        id: 'allocation-curves',
        caption:
          'The same as curves: perplexity on a logarithmic axis against the bits per weight of the file, calibrated unless a name says otherwise.',
        chart: (options) =>
          lineChart(
            {
              ...{ title: 'Allocation of a budget', xLabel: 'bits per weight', yLabel: 'perplexity' },
              ...{ series, logarithmic: true, points: true },
            },
            options,
          ),
        data: series,
      };
      return { text: [], exhibits: [table, ...(series.length === 0 ? [] : [chart])] };
    },
  };
}

interface Point {
  readonly bitsPerWeight?: number;
  readonly perplexity?: number;
  readonly finetuned?: number;
}
