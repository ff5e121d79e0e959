import type { Precision } from '../../graph/arithmetic';
import { barChart } from '../../plot/bar_chart';
import { fixed, megabytes, rate } from '../format';
import { KERNELS, type PlannedModel, type Recipes } from '../recipes';
import type { Exhibit, Section } from '../section';

const PRECISIONS: readonly Precision[] = ['f32', 'bf16'];

/** Section on loading time, speed and memory on this machine. */
export function speedSection(recipes: Recipes): Section {
  const models: readonly { readonly name: string; readonly model: PlannedModel }[] = [
    { name: 'original', model: recipes.original },
    ...KERNELS.map((kernels) => ({ name: `K = ${kernels}`, model: recipes.calibrated(kernels) })),
  ];
  const runs = models.flatMap(({ name, model }) =>
    PRECISIONS.map((precision) => ({ name, precision, command: recipes.speed(model, precision) })),
  );
  return {
    id: 'speed',
    title: 'Speed and memory on this machine',
    commands: runs.map(({ command }) => command),
    show(results) {
      const rows = runs.flatMap(({ name, precision, command }) => {
        const speed = results.of(command);
        return speed === undefined ? [] : [{ name, precision, speed, peakMemory: results.peakMemory(command) }];
      });
      const [first] = rows;
      const bars = (what: 'prefill' | 'decode'): Exhibit[] =>
        rows.length === 0
          ? []
          : [
              {
                id: `speed-${what}`,
                caption: `Tokens per second: ${what === 'prefill' ? 'a prompt at once' : 'one token after the other'}.`,
                chart: (options) =>
                  barChart(
                    {
                      title: what,
                      xLabel: 'tokens per second',
                      groups: PRECISIONS.map((precision) => ({
                        name: precision,
                        bars: rows
                          .filter((row) => row.precision === precision)
                          .map((row) => {
                            const { median } = row.speed[what];
                            return { name: row.name, value: median, note: rate(median) };
                          }),
                      })).filter(({ bars: own }) => own.length > 0),
                    },
                    options,
                  ),
                data: rows.map(({ name, precision, speed }) => ({ name, precision, ...speed[what] })),
              },
            ];
      return {
        text: [],
        exhibits: [
          {
            id: 'speed',
            caption: `Prefill of ${first?.speed.prompt ?? '–'} tokens at once, and decoding of ${first?.speed.tokens ?? '–'} one after the other from an empty cache. The table has the median and the range of ${first?.speed.repeats ?? '–'} runs. Loading reads files that were read before. Peak is the peak memory of the whole process.`,
            table: {
              head: ['', 'precision', 'MB', 'load s', 'prefill tokens/s', 'decode tokens/s', 'peak MB'],
              rows: rows.map(({ name, precision, speed, peakMemory }) => [
                ...[name, precision, megabytes(speed.bytes), fixed(speed.loadSeconds, 2)],
                ...[speed.prefill, speed.decode].map(
                  ({ median, least, most }) => `${rate(median)} (${rate(least)}–${rate(most)})`,
                ),
                megabytes(peakMemory),
              ]),
            },
            data: rows,
          },
          ...bars('prefill'),
          ...bars('decode'),
        ],
      };
    },
  };
}
