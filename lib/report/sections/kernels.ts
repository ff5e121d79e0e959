import { lineChart } from '../../plot/line_chart';
import { fixed, perplexity } from '../format';
import { type Conversion, KERNELS, type PlannedModel, type Recipes } from '../recipes';
import type { Section } from '../section';
import { finetunedKernels } from './methods';

/** Section on one to four kernels per weight. */
export function kernelsSection(recipes: Recipes): Section {
  const methods: readonly (readonly [string, (kernels: number) => PlannedModel<Partial<Conversion>>])[] = [
    ['svid', (kernels) => recipes.plain('svid', kernels)],
    ['refit', (kernels) => recipes.plain('refit', kernels)],
    ['calibrated', (kernels) => recipes.calibrated(kernels)],
    ...(recipes.settings.steps > 0
      ? ([['finetuned', (kernels: number) => finetunedKernels(recipes, kernels)]] as const)
      : []),
  ];
  return {
    id: 'kernels',
    title: 'How many kernels',
    commands: methods.flatMap(([, make]) => KERNELS.map((kernels) => recipes.perplexity(make(kernels)))),
    show(results) {
      const rows = methods.map(([method, make]) => ({
        method,
        models: KERNELS.map((kernels) => {
          const model = make(kernels);
          const made = model.maker && results.of(model.maker);
          const { residual, bitsPerWeight } = made ?? {};
          return { kernels, residual, bitsPerWeight, perplexity: results.of(recipes.perplexity(model))?.perplexity };
        }),
      }));
      const series = rows.map(({ method, models }) => ({
        name: method,
        points: models.flatMap(({ kernels, perplexity: y }) => (y === undefined ? [] : [{ x: kernels, y }])),
      }));
      const drawn = series.filter(({ points }) => points.length > 0);
      return {
        text: [],
        exhibits: [
          {
            id: 'kernels',
            caption:
              'Perplexity by kernels a weight, the axis of perplexity in equal factors. The residual is the mean over layers of how far the converted weights are from the original ones, ‖W − Ŵ‖ / ‖W‖: calibration gives some of it up for the outputs.',
            chart:
              drawn.length === 0
                ? undefined
                : (options) =>
                    lineChart(
                      {
                        title: 'Perplexity by kernels',
                        xLabel: 'kernels a weight',
                        yLabel: 'perplexity',
                        series: drawn,
                        logarithmic: true,
                        points: true,
                        xValues: [...KERNELS],
                      },
                      options,
                    ),
            table: {
              head: ['perplexity (residual)', ...KERNELS.map((kernels) => `K = ${kernels}`)],
              rows: [
                ['bits a weight', ...(rows[0]?.models ?? []).map(({ bitsPerWeight }) => fixed(bitsPerWeight, 3))],
                ...rows.map(({ method, models }) => [
                  method,
                  ...models.map(({ perplexity: value, residual }) =>
                    residual === undefined ? perplexity(value) : `${perplexity(value)} (${fixed(residual, 3)})`,
                  ),
                ]),
              ],
            },
            data: rows,
          },
        ],
      };
    },
  };
}
