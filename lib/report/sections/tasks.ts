import type { Measurement } from '../../eval/statistics';
import { NOT_KNOWN } from '../format';
import type { PlannedModel, Recipes } from '../recipes';
import type { Section } from '../section';
import { finetunedKernels } from './methods';

const COUNTS = [4, 3, 2] as const;

/** Section on questions of published tasks. */
export function tasksSection(recipes: Recipes): Section {
  const trains = recipes.settings.steps > 0;
  const models: readonly { readonly name: string; readonly model: PlannedModel }[] = [
    { name: 'original', model: recipes.original },
    ...COUNTS.map((kernels) => ({
      name: `K = ${kernels}, ${trains ? 'finetuned' : 'calibrated'}`,
      model: trains ? finetunedKernels(recipes, kernels) : recipes.calibrated(kernels),
    })),
  ];
  const questions = recipes.questions(models.map(({ model }) => model));
  return {
    id: 'tasks',
    title: 'Questions',
    commands: [questions],
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
      return {
        text: [],
        exhibits: [
          {
            id: 'tasks',
            caption:
              'Zero-shot answers by the conventions of lm-evaluation-harness, with standard errors. acc is the share of right answers; acc_norm is the same with likelihoods per character.',
            table: {
              head: ['task', 'questions', 'metric', ...models.map(({ name }) => name)],
              rows: rows.map(({ task, count, metric, values }) => [
                ...[task, String(count), metric],
                ...values.map((value) => (value === undefined ? NOT_KNOWN : withError(value, metric))),
              ]),
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
