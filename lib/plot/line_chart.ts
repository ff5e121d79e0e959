import { type ChartOptions, draw, type Labels, WIDTH } from './draw';
import { COLORS } from './style';

export interface Series {
  readonly name: string;
  /** Default: the next of {@link COLORS}. */
  readonly color?: string;
  /** Whether to draw a thin, pale line, for noisy values. */
  readonly faint?: boolean;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

export interface LineChart extends Labels {
  readonly series: readonly Series[];
  /** Whether the y axis is logarithmic; otherwise it begins at 0. Default false. */
  readonly logarithmic?: boolean;
  /** Whether the x axis is logarithmic. Default false. */
  readonly xLogarithmic?: boolean;
  /** Ticks of the x axis. Default: round numbers. */
  readonly xValues?: readonly number[];
  /** Whether to mark every point. Default false. */
  readonly points?: boolean;
}

/** Draws lines. Every series needs a point. Throws MBOK_PACKAGE_MISSING. */
export async function lineChart(
  { title, xLabel, yLabel, series, logarithmic = false, xLogarithmic = false, xValues, points = false }: LineChart,
  { width = WIDTH, embedded }: ChartOptions = {},
): Promise<string> {
  const values = series.flatMap(({ name, points: own, faint = false }) =>
    own.map(({ x, y }) => ({ x, y, series: name, faint })),
  );
  const domain = series.map(({ name }) => name);
  const range = series.map(({ color }, i) => color ?? (COLORS[i % COLORS.length] as string));
  return await draw(
    {
      data: { values },
      width,
      height: 340,
      autosize: { type: 'fit', contains: 'padding' },
      mark: { type: 'line', point: points ? { size: 40 } : false, strokeJoin: 'round' },
      encoding: {
        x: {
          field: 'x',
          type: 'quantitative',
          title: xLabel,
          scale: xLogarithmic ? { type: 'log', nice: false } : { zero: false, nice: false },
          axis: xValues ? { values: [...xValues] } : { tickCount: width < 500 ? 5 : 10 },
        },
        y: {
          field: 'y',
          type: 'quantitative',
          title: yLabel,
          scale: logarithmic ? { type: 'log', domain: around(values.map(({ y }) => y)) } : { zero: true },
          axis: { tickCount: 6 },
        },
        color: {
          field: 'series',
          type: 'nominal',
          scale: { domain, range },
          legend: { ...legend(width), symbolType: 'stroke' },
        },
        strokeWidth: { field: 'faint', type: 'nominal', scale: { domain: [false, true], range: [2, 1] }, legend: null },
        opacity: { field: 'faint', type: 'nominal', scale: { domain: [false, true], range: [1, 0.4] }, legend: null },
      },
    },
    { title, embedded },
  );
}

/** Returns a logarithmic axis range slightly larger than that of the values. */
function around(values: readonly number[]): [number, number] {
  return [Math.min(...values) * 0.97, Math.max(...values) * 1.03];
}

/** Returns a legend above the plot, with as many columns as fit. */
export function legend(width: number) {
  return { orient: 'top', title: null, columns: width < 500 ? 2 : 4, labelLimit: 300 } as const;
}

/** Smooths points by the mean of each and its neighbors up to `radius` places away. */
export function smooth<P extends { readonly x: number; readonly y: number }>(points: readonly P[], radius: number) {
  return points.map(({ x }, i) => {
    // equally many on either side, so that the ends are not biased towards the middle
    const reach = Math.min(radius, i, points.length - 1 - i);
    const near = points.slice(i - reach, i + reach + 1);
    return { x, y: near.reduce((sum, point) => sum + point.y, 0) / near.length };
  });
}
