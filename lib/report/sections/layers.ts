import { heatMap } from '../../plot/heat_map';
import { placeOf } from '../modules';
import type { Inspection, Recipes } from '../recipes';
import type { Section } from '../section';

/** Bits per weight of the mixed model: enough that layers differ in form and size. */
export const MIXED_BITS = 1.25;

/** Section on the form of each layer within a budget, and on their residuals. */
export function layersSection(recipes: Recipes): Section {
  const model = recipes.allocated(MIXED_BITS, 'measured');
  const inspection = recipes.inspection(model);
  return {
    id: 'layers',
    title: 'Forms by layer',
    commands: [inspection],
    show(results) {
      const layers = (results.of(inspection)?.layers ?? []).map((layer) => ({ ...layer, ...placeOf(layer.module) }));
      const blocks = [...new Set(layers.map(({ block }) => String(block ?? '')))];
      const matrices = [...new Set(layers.map(({ matrix }) => matrix))];
      return {
        text: [],
        exhibits: [
          {
            id: 'layers',
            caption: `The model with a budget of ${MIXED_BITS} bits per weight, with forms chosen by measured errors. Columns are blocks and rows are matrices. K is a number of kernels, and r the inner dimension of a factor pair. Colors are residuals.`,
            chart:
              layers.length === 0
                ? undefined
                : (options) =>
                    heatMap(
                      {
                        title: `Forms and residuals at ${MIXED_BITS} bits`,
                        xLabel: 'block',
                        yLabel: '',
                        columns: blocks,
                        rows: matrices,
                        cells: layers.map(({ block, matrix, format, residual = 0 }) => ({
                          column: String(block ?? ''),
                          row: matrix,
                          value: residual,
                          text: formLabel(format),
                        })),
                        valueLabel: 'residual ‖W − Ŵ‖ / ‖W‖',
                      },
                      options,
                    ),
            data: layers.map(({ module, rows, cols, format, residual }) => ({
              module,
              rows,
              cols,
              form: formLabel(format),
              residual,
            })),
          },
        ],
      };
    },
  };
}

function formLabel({ format, count, rank }: Inspection['layers'][number]['format']): string {
  if (count !== undefined) return `K ${count}`;
  return rank === undefined ? format : `r ${rank}`;
}
