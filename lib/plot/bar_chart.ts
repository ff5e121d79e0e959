import { type ChartOptions, draw, textWidth, WIDTH } from './draw';
import { GRAYS } from './style';

/** Bars under a common heading. */
export interface BarGroup {
  readonly name: string;
  readonly bars: readonly { readonly name: string; readonly value: number; readonly note?: string }[];
}

export interface BarChart {
  readonly title: string;
  readonly xLabel: string;
  readonly groups: readonly BarGroup[];
}

/**
 * Draws horizontal bars from 0, one below the other; the height follows from their number. Every group needs a bar.
 * Throws MBOK_PACKAGE_MISSING.
 */
export async function barChart(
  { title, xLabel, groups }: BarChart,
  { width = WIDTH, embedded }: ChartOptions = {},
): Promise<string> {
  const values = groups.flatMap((group) =>
    group.bars.map(({ name, value, note = '' }) => ({ group: group.name, name, value, note })),
  );
  const longest = (texts: readonly string[]) => Math.max(...texts.map((text) => textWidth(text)));
  const margins = longest(values.map(({ name }) => name)) + longest(values.map(({ note }) => note)) + 60;
  const bars = {
    field: 'name',
    type: 'nominal',
    sort: null,
    title: null,
    axis: { grid: false, labelLimit: 400 },
  } as const;
  const length = {
    field: 'value',
    type: 'quantitative',
    title: xLabel,
    axis: { grid: true, tickCount: width < 500 ? 3 : 6 },
  } as const;
  return await draw(
    {
      data: { values },
      facet: {
        row: {
          field: 'group',
          type: 'nominal',
          sort: groups.map(({ name }) => name),
          title: null,
          header: { labelOrient: 'top', labelAnchor: 'start' },
        },
      },
      spacing: 8,
      resolve: { scale: { y: 'independent' } },
      spec: {
        width: Math.max(120, width - margins),
        height: { step: 20 },
        layer: [
          {
            mark: { type: 'bar', height: 12 },
            encoding: {
              y: bars,
              x: length,
              color: {
                field: 'group',
                type: 'nominal',
                scale: { domain: groups.map(({ name }) => name) },
                legend: null,
              },
            },
          },
          {
            mark: { type: 'text', align: 'left', dx: 6, color: GRAYS.text },
            encoding: { y: bars, x: length, text: { field: 'note' } },
          },
        ],
      },
    },
    { title, embedded },
  );
}
