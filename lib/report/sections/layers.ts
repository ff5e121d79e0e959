import { heatMap } from '../../plot/heat_map';
import { placeOf } from '../modules';
import type { Recipes } from '../recipes';
import type { Section } from '../section';

/** Bits per weight of the mixed model: enough that some layers get one kernel and some get three. */
export const MIXED_BITS = 2.25;

/** Section on the kernels of each layer within a budget, and on their residuals. */
export function layersSection(recipes: Recipes): Section {
  const model = recipes.allocated(MIXED_BITS, 'measured');
  const inspection = recipes.inspection(model);
  return {
    id: 'layers',
    title: 'Kernels by layer',
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
            caption: `The model with a budget of ${MIXED_BITS} bits per weight, with kernels chosen by measured errors. Columns are blocks and rows are matrices. Numbers are numbers of kernels, and colors are residuals.`,
            chart:
              layers.length === 0
                ? undefined
                : (options) =>
                    heatMap(
                      {
                        title: `Kernels and residuals at ${MIXED_BITS} bits`,
                        xLabel: 'block',
                        yLabel: '',
                        columns: blocks,
                        rows: matrices,
                        cells: layers.map(({ block, matrix, kernels, residual = 0 }) => ({
                          column: String(block ?? ''),
                          row: matrix,
                          value: residual,
                          text: kernels === 0 ? 'dense' : String(kernels),
                        })),
                        valueLabel: 'residual ‖W − Ŵ‖ / ‖W‖',
                      },
                      options,
                    ),
            data: layers.map(({ module, rows, cols, kernels, residual }) => ({
              module,
              rows,
              cols,
              kernels,
              residual,
            })),
          },
        ],
      };
    },
  };
}
