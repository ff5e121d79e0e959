import { fixed, megabytes, perplexity } from '../format';
import type { PlannedModel, Recipes } from '../recipes';
import type { Results } from '../results';
import type { Section } from '../section';
import { sizeOf } from '../size';

/** Kernels of the linear layers beside each form of the tables. */
export const TABLE_KERNELS = 2;
/** Divisors of the parameters' size in 32 bits that give the sizes of whole files. */
export const FILES = [32, 24, 16] as const;

/** Returns the values of --embeddings that the report compares. */
export function tableForms({ frequent }: Recipes): readonly string[] {
  return ['int8', '3', '2', `2+${frequent}`, 'bits:2.5'];
}

/** Section on Boolean tables (embedding and head), and on files in which linear layers and tables are Boolean. */
export function embeddingsSection(recipes: Recipes): Section {
  const trains = recipes.settings.steps > 0;
  const tables = [
    { form: 'unchanged', model: recipes.calibrated(TABLE_KERNELS) },
    ...tableForms(recipes).map((form) => ({ form, model: recipes.withTables(TABLE_KERNELS, form) })),
  ];
  const files = FILES.map((divisor) => {
    const before = recipes.wholeFile(divisor);
    return { divisor, before, after: trains ? recipes.finetuned(before) : undefined };
  });
  const value = (model: PlannedModel | undefined, results: Results) =>
    model && results.of(recipes.perplexity(model))?.perplexity;
  return {
    id: 'embeddings',
    title: 'Boolean embeddings and whole files',
    commands: [
      ...tables.map(({ model }) => model),
      ...files.flatMap(({ before, after }) => [before, ...(after ? [after] : [])]),
    ].map((model) => recipes.perplexity(model)),
    show(results) {
      const ofTables = tables.map(({ form, model }) => ({
        ...{ form, ...sizeOf(model, results) },
        perplexity: value(model, results),
      }));
      const unchanged = ofTables[0]?.perplexity ?? Number.NaN;
      const ofFiles = files.map(({ divisor, before, after }) => ({
        ...{ divisor, ...sizeOf(before, results) },
        calibrated: value(before, results),
        ...(trains && { finetuned: value(after, results) }),
      }));
      return {
        text: [
          'Embedding and head are tables with a row for each token. They can have 8 bits, kernels, or kernels with 8 bits in the rows of the most frequent tokens.',
        ],
        exhibits: [
          {
            id: 'tables',
            caption: `Perplexity by the form of the tables, with K = ${TABLE_KERNELS} in all linear layers, calibrated. The form is the value of --embeddings: 2+${recipes.frequent} is two kernels with 8 bits in the rows of the ${recipes.frequent} most frequent tokens, and bits:2.5 the form that suits so many bits per number. MB are those of model.safetensors.`,
            table: {
              head: ['tables', 'MB', 'perplexity', '÷ unchanged'],
              rows: ofTables.map((row) => [
                row.form,
                megabytes(row.bytes),
                perplexity(row.perplexity),
                fixed(row.perplexity === undefined ? undefined : row.perplexity / unchanged, 3),
              ]),
            },
            data: ofTables,
          },
          {
            id: 'files',
            caption: `Whole files within a share of the parameters' size in 32 bits. Tables and linear layers share it, and the forms of both are chosen by measurements.`,
            table: {
              head: [
                ...['share of 32 bits', 'bits per linear weight', 'MB', 'calibrated'],
                ...(trains ? ['finetuned'] : []),
              ],
              rows: ofFiles.map((row) => [
                ...[`1/${row.divisor}`, fixed(row.bitsPerWeight, 3), megabytes(row.bytes)],
                perplexity(row.calibrated),
                ...(trains ? [perplexity(row.finetuned)] : []),
              ]),
            },
            data: ofFiles,
          },
        ],
      };
    },
  };
}
