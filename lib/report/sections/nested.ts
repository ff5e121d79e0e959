import { fixed, perplexity } from '../format';
import { KERNELS, type Recipes } from '../recipes';
import type { Section } from '../section';

/** Section on one file whose first kernels are complete models. */
export function nestedSection(recipes: Recipes): Section {
  const most = Math.max(...KERNELS);
  const nested = recipes.nested(most);
  const counts = [...KERNELS].reverse();
  const prefix = (kernels: number) => recipes.perplexity(nested, { kernels });
  const alone = (kernels: number) => recipes.perplexity(recipes.calibrated(kernels));
  return {
    id: 'nested',
    title: 'Several sizes in one file',
    commands: counts.flatMap((kernels) => [prefix(kernels), alone(kernels)]),
    show(results) {
      const bits = nested.maker && results.of(nested.maker)?.bitsPerWeight;
      const rows = counts.map((kernels) => ({
        kernels,
        nested: results.of(prefix(kernels))?.perplexity,
        alone: results.of(alone(kernels))?.perplexity,
      }));
      return {
        text: [],
        exhibits: [
          {
            id: 'nested',
            caption: `Perplexity of the first kernels of one calibrated file with ${most} kernels, beside models converted for only that number of kernels. The file is made with --nested and has ${fixed(bits, 3)} bits per weight, including the scales of all prefixes.`,
            table: {
              head: ['kernels that are read', 'nested', 'alone', 'nested ÷ alone'],
              rows: rows.map((row) => [
                String(row.kernels),
                perplexity(row.nested),
                perplexity(row.alone),
                fixed(row.nested === undefined || row.alone === undefined ? undefined : row.nested / row.alone, 3),
              ]),
            },
            data: { bitsPerWeight: bits, prefixes: rows },
          },
        ],
      };
    },
  };
}
