import { heatMap } from '../../plot/heat_map';
import { lineChart, smooth } from '../../plot/line_chart';
import { COLORS } from '../../plot/style';
import { placeOf } from '../modules';
import { BATCH, type Inspection, type Recipes, WATCHED_KERNELS, WATCHED_WINDOWS } from '../recipes';
import type { Exhibit, Section } from '../section';
import type { TrainingCurves } from '../training_log';

/** Columns of the flip map: steps are averaged to fit. */
const COLUMNS = 25;
/** Largest number of rows: with more layers, those of a block are combined. */
const ROWS = 64;

/** Section on the training of a model with two kernels. */
export function trainingSection(recipes: Recipes): Section {
  const { steps, window } = recipes.settings;
  const runs = [
    { name: 'flipped bits', model: recipes.finetunedKernels(WATCHED_KERNELS) },
    { name: 'latent weights', model: recipes.latentKernels(WATCHED_KERNELS) },
  ];
  const [native] = runs as [(typeof runs)[0], (typeof runs)[0]];
  const inspection = recipes.inspection(native.model);
  return {
    id: 'training',
    title: 'Training curves',
    commands: [...runs.flatMap(({ model }) => (model.maker ? [model.maker] : [])), inspection],
    show(results) {
      const curves = runs.flatMap(({ name, model }) => {
        const training = model.maker && results.stored(model.maker)?.training;
        const best = model.maker && results.of(model.maker)?.bestStep;
        return training === undefined ? [] : [{ name, training, best }];
      });
      const kept = curves.map(({ name, best }) => `${name}: step ${best ?? steps}`).join('; ');
      const flips = curves.find(({ name }) => name === native.name)?.training.flips ?? {};
      const layers = results.of(inspection)?.layers;
      return {
        text: [
          `Both runs train K = ${WATCHED_KERNELS} from the calibrated model for ${steps} steps of ${BATCH} × ${window} tokens, with the original as teacher.`,
        ],
        exhibits: [
          ...losses(curves),
          {
            id: 'training-perplexity',
            caption: `Perplexity of the first ${WATCHED_WINDOWS} windows of the training text during training. The evaluation text is not used. Each run returns the best model of these evaluations (${kept}).`,
            chart: curves.every(({ training }) => training.evaluations.length === 0)
              ? undefined
              : (options) =>
                  lineChart(
                    {
                      title: 'Perplexity while training',
                      xLabel: 'step',
                      yLabel: 'perplexity of training text',
                      logarithmic: true,
                      points: true,
                      series: curves.map(({ name, training }) => ({
                        name,
                        points: training.evaluations.map(({ step, perplexity }) => ({ x: step, y: perplexity })),
                      })),
                    },
                    options,
                  ),
            data: curves.map(({ name, training }) => ({ name, evaluations: training.evaluations })),
          },
          ...(layers === undefined ? [] : flipMap(flips, layers)),
        ],
      };
    },
  };
}

function losses(curves: readonly { readonly name: string; readonly training: TrainingCurves }[]): Exhibit[] {
  const quantities: readonly (readonly [string, string, (training: TrainingCurves) => readonly number[]])[] = [
    ['loss', 'loss', ({ loss }) => loss],
    ['kl', 'KL from the original, nats per token', ({ parts }) => parts.kl ?? []],
  ];
  return quantities.flatMap(([id, yLabel, values]) => {
    const lines = curves.map(({ name, training }) => ({ name, values: values(training) }));
    if (lines.every((line) => line.values.length === 0)) return [];
    const what = id === 'loss' ? 'The loss that is minimized: KL plus γ times the loss of hidden states' : 'KL alone';
    return [
      {
        id: `training-${id}`,
        caption: `${what}. Pale lines are single steps, and strong lines moving averages. Both runs see the same windows in the same order.`,
        chart: (options) =>
          lineChart(
            {
              title: yLabel,
              xLabel: 'step',
              yLabel,
              series: lines.flatMap((line, i) => {
                const points = line.values.map((y, at) => ({ x: at + 1, y }));
                const color = COLORS[i] as string;
                return [
                  { name: `${line.name}, each step`, color, faint: true, points },
                  { name: line.name, color, points: smooth(points, Math.ceil(points.length / 25)) },
                ];
              }),
            },
            options,
          ),
        data: lines,
      },
    ];
  });
}

/** Draws the share of weights with a flipped bit, by step and layer. */
function flipMap(flips: TrainingCurves['flips'], layers: Inspection['layers']): Exhibit[] {
  const steps = Object.values(flips)[0]?.length ?? 0;
  if (steps === 0) return [];
  const byBlock = layers.length > ROWS;
  const groups = new Map<string, { weights: number; moved: number[] }>();
  for (const { module, rows, cols } of layers) {
    const moved = flips[module];
    if (moved === undefined) continue;
    const { block, matrix } = placeOf(module);
    const name = byBlock ? `block ${block ?? ''}` : `${block ?? ''} ${matrix}`.trim();
    const group = groups.get(name) ?? { weights: 0, moved: Array.from({ length: steps }, () => 0) };
    group.weights += rows * cols;
    for (const [step, count] of moved.entries()) group.moved[step] = (group.moved[step] as number) + count;
    groups.set(name, group);
  }
  const width = Math.ceil(steps / COLUMNS);
  const starts = Array.from({ length: Math.ceil(steps / width) }, (_, i) => i * width);
  const cells = [...groups].flatMap(([row, { weights, moved }]) =>
    starts.flatMap((start) => {
      const counted = moved.slice(start, start + width);
      const value = counted.reduce((sum, count) => sum + count, 0) / counted.length / weights;
      // a logarithmic scale has no place for zero
      return value > 0 ? [{ column: String(start + 1), row, value: Number(value.toPrecision(4)) }] : [];
    }),
  );
  if (cells.length === 0) return [];
  return [
    {
      id: 'flips',
      caption: `Share of a ${byBlock ? "block's" : "layer's"} weights with a bit that flips in a step, by steps and ${byBlock ? 'blocks' : 'layers (block and matrix)'}. Each column is the mean of ${width} steps. Colors are logarithmic, and cells without flips are empty.`,
      chart: (options) =>
        heatMap(
          {
            title: 'Flips by layer',
            xLabel: 'step',
            yLabel: '',
            columns: starts.map((start) => String(start + 1)),
            rows: [...groups.keys()],
            cells,
            valueLabel: 'flips per weight and step',
            logarithmic: true,
          },
          options,
        ),
      data: { columns: 'first step of each column', steps: width, cells },
    },
  ];
}
