import { lineChart } from '../../plot/line_chart';
import { fixed, perplexity } from '../format';
import { type Conversion, KERNELS, type PlannedModel, type Recipes } from '../recipes';
import type { Section } from '../section';

/** Section on one to four kernels per weight. */
export function kernelsSection(recipes: Recipes): Section {
  const methods: readonly (readonly [string, (kernels: number) => PlannedModel<Partial<Conversion>>])[] = [
    ['svid', (kernels) => recipes.plain('svid', kernels)],
    ['refit', (kernels) => recipes.plain('refit', kernels)],
    ['calibrated', (kernels) => recipes.calibrated(kernels)],
    ...(recipes.settings.steps > 0
      ? ([['finetuned', (kernels: number) => recipes.finetunedKernels(kernels)]] as const)
      : []),
  ];
  return {
    id: 'kernels',
    title: 'Number of kernels',
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
              'Perplexity by kernels per weight, on a logarithmic axis. The residual is the relative error of the converted weights, ‖W − Ŵ‖ / ‖W‖, averaged over the layers. Calibration accepts a larger residual for smaller errors of the outputs.',
            chart:
              drawn.length === 0
                ? undefined
                : (options) =>
                    lineChart(
                      {
                        title: 'Perplexity by kernels',
                        xLabel: 'kernels per weight',
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
                ['bits per weight', ...(rows[0]?.models ?? []).map(({ bitsPerWeight }) => fixed(bitsPerWeight, 3))],
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
