import type { Measurement } from '../../eval/statistics';
import { fixed, megabytes, NOT_KNOWN } from '../format';
import { KERNELS, type PlannedModel, type Recipes } from '../recipes';
import type { Section } from '../section';
import { sizeOf } from '../size';

/** Bits per weight of the factor pairs that answer questions. */
const BITS = [2.1, 1.5, 1, 0.8] as const;

/** Section on questions of published tasks. */
export function tasksSection(recipes: Recipes): Section {
  const trains = recipes.settings.steps > 0;
  const stage = trains ? 'finetuned' : 'calibrated';
  const models: readonly { readonly name: string; readonly model: PlannedModel }[] = [
    { name: 'original', model: recipes.original },
    ...[...KERNELS].reverse().map((kernels) => ({
      name: `K = ${kernels}, ${stage}`,
      model: trains ? recipes.finetunedKernels(kernels) : recipes.calibrated(kernels),
    })),
    ...BITS.map((bits) => ({
      name: `pairs of ${bits} bits, ${stage}`,
      model: trains ? recipes.finetuned(recipes.pairs(bits)) : recipes.pairs(bits),
    })),
  ];
  const questions = recipes.questions(models.map(({ model }) => model));
  return {
    id: 'tasks',
    title: 'Questions',
    commands: [questions, recipes.inspection(recipes.original)],
    show(results) {
      const answered = results.of(questions)?.models ?? [];
      const [first] = answered;
      const rows = (first?.results ?? []).flatMap(({ task, questions: count, metrics }) =>
        Object.keys(metrics).map((metric) => {
          const values = answered.map(({ results: own }) => {
            const found = own.find((result) => result.task === task)?.metrics as
              | Readonly<Record<string, Measurement>>
              | undefined;
            return found?.[metric];
          });
          return { task, count, metric, values };
        }),
      );
      const original = results.of(recipes.inspection(recipes.original));
      const sizes = models.map(({ model }) => (model.maker === undefined ? original : sizeOf(model, results)));
      return {
        text: [],
        exhibits: [
          {
            id: 'tasks',
            caption:
              'Zero-shot answers by the conventions of lm-evaluation-harness, with standard errors. acc is the share of right answers; acc_norm is the same with likelihoods per character.',
            table: {
              head: ['task', 'questions', 'metric', ...models.map(({ name }) => name)],
              rows:
                rows.length === 0
                  ? []
                  : [
                      ...rows.map(({ task, count, metric, values }) => [
                        ...[task, String(count), metric],
                        ...values.map((value) => (value === undefined ? NOT_KNOWN : withError(value, metric))),
                      ]),
                      ['bits per weight', '', '', ...sizes.map((size) => fixed(size?.bitsPerWeight, 3))],
                      ['MB', '', '', ...sizes.map((size) => megabytes(size?.bytes))],
                    ],
            },
            data: rows,
          },
        ],
      };
    },
  };
}

function withError({ value, standardError }: Measurement, metric: string): string {
  const digits = metric === 'perplexity' ? 2 : 4;
  return value < 1e5
    ? `${value.toFixed(digits)} ± ${standardError.toFixed(digits)}`
    : `${value.toExponential(2)} ± ${standardError.toExponential(2)}`;
}
