import { lineChart } from '../../plot/line_chart';
import { bitsText, fixed, perplexity, seconds } from '../format';
import { type Conversion, KERNELS, PAIR_BITS, type PlannedModel, type Recipes } from '../recipes';
import type { Section } from '../section';
import { sizeOf } from '../size';

/** Section on factor pairs, products of two ±1 matrices, beside kernels. */
export function pairsSection(recipes: Recipes): Section {
  const trains = recipes.settings.steps > 0;
  const pairs = PAIR_BITS.map((bits): Form => {
    const trained = trains ? recipes.finetunedPairs(bits) : undefined;
    return { form: 'pairs', label: bitsText(bits), start: recipes.pairs(bits), trained };
  });
  const kernels = KERNELS.map((count): Form => {
    const trained = trains ? recipes.finetunedKernels(count) : undefined;
    return { form: 'kernels', label: `K = ${count}`, start: recipes.calibrated(count), trained };
  });
  const forms = [...pairs, ...kernels];
  return {
    id: 'pairs',
    title: 'Factor pairs',
    commands: forms.flatMap(({ start, trained }) =>
      [start, ...(trained ? [trained] : [])].map((model) => recipes.perplexity(model)),
    ),
    show(results) {
      const rows = forms.map(({ form, label, start, trained }) => ({
        ...{ form, label, ...sizeOf(start, results) },
        residual: start.maker && results.of(start.maker)?.residual,
        calibrated: results.of(recipes.perplexity(start))?.perplexity,
        ...(trained && { finetuned: results.of(recipes.perplexity(trained))?.perplexity }),
        seconds: start.maker && results.stored(start.maker)?.seconds,
      }));
      const stages = ['calibrated', ...(trains ? (['finetuned'] as const) : [])] as const;
      const series = stages
        .flatMap((stage) =>
          [...new Set(rows.map(({ form }) => form))].map((form) => ({
            name: `${form}, ${stage}`,
            points: rows
              .filter((row) => row.form === form)
              .flatMap(({ bitsPerWeight: x, [stage]: y }) => (x === undefined || y === undefined ? [] : [{ x, y }])),
          })),
        )
        .filter(({ points }) => points.length > 0);
      return {
        text: [
          'A factor pair is a product of two ±1 matrices with three vectors of scales. Its inner dimension can have any size, and so can the file.',
        ],
        exhibits: [
          {
            id: 'pairs',
            caption: `Perplexity on a logarithmic axis against the strict bits per weight of the linear layers. The residual is ‖W − Ŵ‖ / ‖W‖, averaged over the layers. Seconds are those of the conversion.`,
            chart:
              series.length === 0
                ? undefined
                : (options) =>
                    lineChart(
                      {
                        ...{ title: 'Factor pairs and kernels', xLabel: 'bits per weight', yLabel: 'perplexity' },
                        ...{ series, logarithmic: true, points: true },
                      },
                      options,
                    ),
            table: {
              head: ['form', 'size', 'bits per weight', 'residual', ...stages, 'seconds'],
              rows: rows.map((row) => [
                ...[row.form, row.label, fixed(row.bitsPerWeight, 3), fixed(row.residual, 3)],
                ...stages.map((stage) => perplexity(row[stage])),
                seconds(row.seconds),
              ]),
            },
            data: rows,
          },
        ],
      };
    },
  };
}

interface Form {
  readonly form: 'pairs' | 'kernels';
  readonly label: string;
  readonly start: PlannedModel<Conversion>;
  readonly trained: PlannedModel | undefined;
}
