import { lineChart } from '../../plot/line_chart';
import { perplexity, seconds } from '../format';
import { CALIBRATION_WINDOWS, type Recipes } from '../recipes';
import type { Section } from '../section';

const WINDOWS = [4, 16, CALIBRATION_WINDOWS, 256] as const;
const COUNTS = [2] as const;

/** Section on the amount of calibration text. */
export function calibrationSection(recipes: Recipes): Section {
  const models = COUNTS.map((kernels) => ({
    kernels,
    models: WINDOWS.map((windows) => ({ windows, model: recipes.calibrated(kernels, windows) })),
  }));
  return {
    id: 'calibration',
    title: 'Amount of calibration text',
    commands: models.flatMap((row) => row.models.map(({ model }) => recipes.perplexity(model))),
    show(results) {
      const rows = models.map(({ kernels, models: own }) => ({
        kernels,
        points: own.map(({ windows, model }) => ({
          windows,
          perplexity: results.of(recipes.perplexity(model))?.perplexity,
          seconds: model.maker && results.stored(model.maker)?.seconds,
        })),
      }));
      const series = rows
        .map(({ kernels, points }) => ({
          name: `K = ${kernels}`,
          points: points.flatMap(({ windows, perplexity: y }) => (y === undefined ? [] : [{ x: windows, y }])),
        }))
        .filter(({ points }) => points.length > 0);
      return {
        text: [],
        exhibits: [
          {
            id: 'calibration',
            caption: `Perplexity by the number of calibration windows of ${recipes.settings.window} tokens, spread over the text. A text that is too short gives fewer windows. The seconds of the whole conversion are in parentheses.`,
            chart:
              series.length === 0
                ? undefined
                : (options) =>
                    lineChart(
                      {
                        ...{ title: 'Perplexity by calibration text', xLabel: 'windows', yLabel: 'perplexity' },
                        ...{ series, logarithmic: true, points: true, xLogarithmic: true, xValues: [...WINDOWS] },
                      },
                      options,
                    ),
            table: {
              head: ['perplexity (seconds)', ...WINDOWS.map((windows) => `${windows} windows`)],
              rows: rows.map(({ kernels, points }) => [
                `K = ${kernels}`,
                ...points.map((point) => `${perplexity(point.perplexity)} (${seconds(point.seconds)})`),
              ]),
            },
            data: rows,
          },
        ],
      };
    },
  };
}
