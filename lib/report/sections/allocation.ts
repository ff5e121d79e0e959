import type { AllocationMethod } from '../../compress/allocation/allocation_options';
import { lineChart } from '../../plot/line_chart';
import { perplexity } from '../format';
import type { Recipes } from '../recipes';
import type { Exhibit, Section } from '../section';

/** Budgets in bits per weight. */
export const BUDGETS = [1.5, 2.25, 2.5, 3.25] as const;
const METHODS: readonly AllocationMethod[] = ['uniform', 'paper', 'measured'];

/** Section on three methods that allocate a budget to the layers. */
export function allocationSection(recipes: Recipes): Section {
  const { steps } = recipes.settings;
  const rows = BUDGETS.map((bits) => ({
    bits,
    models: METHODS.map((method) => {
      const before = recipes.allocated(bits, method);
      return { method, before, after: steps > 0 ? recipes.finetuned(before) : undefined };
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
        caption: `Perplexity by the budget in bits per weight, calibrated${steps > 0 ? ` and after ${steps} steps of finetuning` : ''}. The method uniform gives all layers the same form and size and spreads the remainder. The method paper allocates kernels greedily by importance, residual and size (arXiv 2505.22811). The method measured minimizes the sum of the errors that the layers cause in the outputs of their blocks.`,
        table: {
          head: ['bits per weight', ...METHODS, ...(steps > 0 ? METHODS.map((method) => `${method}, finetuned`) : [])],
          rows: measured.map((row) => [
            String(row.bits),
            ...METHODS.map((method) => perplexity(row[method]?.perplexity)),
            ...(steps > 0 ? METHODS.map((method) => perplexity(row[method]?.finetuned)) : []),
          ]),
        },
        data: measured,
      };
      const chart = (id: string, when: string, value: (point: Point | undefined) => number | undefined): Exhibit[] => {
        const series = METHODS.map((name) => ({
          name,
          points: measured.flatMap((row) => {
            const [x, y] = [row[name]?.bitsPerWeight, value(row[name])];
            return x === undefined || y === undefined ? [] : [{ x, y }];
          }),
        })).filter(({ points }) => points.length > 0);
        if (series.length === 0) return [];
        return [
          {
            id,
            caption: `The same as curves, ${when}: perplexity on a logarithmic axis against the bits per weight of the file.`,
            chart: (options) =>
              lineChart(
                {
                  ...{ title: `Allocation, ${when}`, xLabel: 'bits per weight', yLabel: 'perplexity' },
                  ...{ series, logarithmic: true, points: true },
                },
                options,
              ),
            data: series,
          },
        ];
      };
      return {
        text: [],
        exhibits: [
          table,
          ...chart('allocation-calibrated', 'calibrated', (point) => point?.perplexity),
          ...(steps > 0 ? chart('allocation-finetuned', 'finetuned', (point) => point?.finetuned) : []),
        ],
      };
    },
  };
}

interface Point {
  readonly bitsPerWeight?: number;
  readonly perplexity?: number;
  readonly finetuned?: number;
}
