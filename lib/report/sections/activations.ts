import { ACTIVATION_BITS } from '../../graph/arithmetic';
import { bitsText, perplexity } from '../format';
import type { KERNELS, Recipes } from '../recipes';
import type { Section } from '../section';

/** Section on inputs of Boolean layers, rounded to few bits. */
export function activationsSection(recipes: Recipes): Section {
  const counts = [2, 4] as const satisfies readonly (typeof KERNELS)[number][];
  const models = counts.map((kernels) => ({ name: `K = ${kernels}, calibrated`, model: recipes.calibrated(kernels) }));
  const choices = [undefined, ...ACTIVATION_BITS];
  const measured = (model: (typeof models)[number]['model'], activations: (typeof choices)[number]) =>
    recipes.perplexity(model, activations === undefined ? {} : { activations });
  return {
    id: 'activations',
    title: 'Bits of activations',
    commands: models.flatMap(({ model }) => choices.map((bits) => measured(model, bits))),
    show(results) {
      const rows = models.map(({ name, model }) => ({
        name,
        points: choices.map((bits) => ({ bits, perplexity: results.of(measured(model, bits))?.perplexity })),
      }));
      return {
        text: [],
        exhibits: [
          {
            id: 'activations',
            caption:
              'Perplexity with the inputs of Boolean layers rounded to the given number of bits. Inputs are rotated and rounded in groups of 64 numbers of a token. The models were not trained with rounded inputs.',
            table: {
              head: ['', 'not rounded', ...ACTIVATION_BITS.map(bitsText)],
              rows: rows.map(({ name, points }) => [name, ...points.map((point) => perplexity(point.perplexity))]),
            },
            data: rows,
          },
        ],
      };
    },
  };
}
