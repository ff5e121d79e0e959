import { type ChartOptions, draw, type Encoding, type Labels, type Layer, WIDTH } from './draw';
import { legend } from './line_chart';
import { GRAYS } from './style';

export interface ScatterPoint {
  readonly x: number;
  /** Above 0. */
  readonly y: number;
  /** '' for none. */
  readonly label: string;
  /** What the symbol shows. Default: the name of the series; then every point of a chart needs it, or none. */
  readonly kind?: string;
}

export interface ScatterSeries {
  readonly name: string;
  readonly points: readonly ScatterPoint[];
}

export interface ScatterChart extends Labels {
  /** Each has a color, and a symbol unless symbols show the kinds of points. */
  readonly series: readonly ScatterSeries[];
  /** Points joined by lines: the Pareto front of each series, or that of all together. Default 'series'. */
  readonly fronts?: 'series' | 'all';
  /** Reference value of y, drawn as a line with its name. */
  readonly reference?: { readonly name: string; readonly y: number };
}

/**
 * Draws labeled points over a linear x axis and a logarithmic y axis; smaller is better for both. Labels without room
 * are omitted. Throws MBOK_PACKAGE_MISSING.
 */
export async function scatterChart(
  { title, xLabel, yLabel, series, fronts = 'series', reference }: ScatterChart,
  { width = WIDTH, embedded }: ChartOptions = {},
): Promise<string> {
  const points = series.flatMap(({ name, points: own }) =>
    own.map((point) => ({ kind: name, ...point, series: name })),
  );
  const heights = [...points.map(({ y }) => y), ...(reference ? [reference.y] : [])];
  const domain = [Math.min(...heights) * 0.97, Math.max(...heights) * 1.06];
  const x: Encoding['x'] = {
    field: 'x',
    type: 'quantitative',
    title: xLabel,
    scale: { zero: false, padding: 24 },
    axis: { tickCount: width < 500 ? 5 : 9 },
  };
  const y: Encoding['y'] = {
    field: 'y',
    type: 'quantitative',
    title: yLabel,
    scale: { type: 'log', domain },
    axis: { tickCount: 8 },
  };
  const color = { field: 'series', type: 'nominal', scale: { domain: series.map(({ name }) => name) } } as const;
  const kinds = [...new Set(points.map(({ kind }) => kind))];
  const hasKinds = points.some(({ kind, series: name }) => kind !== name);
  // with equal fields and domains the legends of color and symbol become one
  const below = { ...legend(width), orient: 'bottom', symbolFillColor: GRAYS.text } as const;
  const shape = hasKinds
    ? ({ field: 'kind', type: 'nominal', scale: { domain: kinds }, legend: below } as const)
    : color;
  const line: Layer = {
    data: { values: fronts === 'all' ? front(points) : series.flatMap(({ name }) => front(of(points, name))) },
    mark: { type: 'line', opacity: 0.5, color: GRAYS.axis },
    encoding: { x, y, ...(fronts === 'series' && { color: { ...color, legend: legend(width) } }) },
  };
  const marks: Layer = {
    mark: { type: 'point', filled: true, size: 70, opacity: 1 },
    encoding: { x, y, color: { ...color, legend: legend(width) }, shape },
  };
  const labels: Layer = {
    name: 'labels',
    mark: { type: 'text', fontSize: 11, color: GRAYS.text },
    encoding: { x, y, text: { field: 'label' } },
  };
  const comparison: readonly Layer[] = reference
    ? [
        {
          data: { values: [reference] },
          mark: { type: 'rule', color: GRAYS.axis, strokeDash: [4, 4] },
          encoding: { y },
        },
        {
          data: { values: [reference] },
          mark: { type: 'text', align: 'left', baseline: 'bottom', dy: -3, color: GRAYS.text, fontSize: 11 },
          encoding: { y, x: { value: 4 }, text: { field: 'name' } },
        },
      ]
    : [];
  return await draw(
    {
      data: { values: points },
      width,
      height: 420,
      autosize: { type: 'fit', contains: 'padding' },
      layer: [...comparison, line, marks, labels],
    },
    { title, embedded, freeLabels: 'labels' },
  );
}

function of<P extends { readonly series: string }>(points: readonly P[], name: string): P[] {
  return points.filter(({ series }) => series === name);
}

/** Returns the Pareto front: points that no other point beats in both coordinates, from left to right. */
export function front<P extends { readonly x: number; readonly y: number }>(points: readonly P[]): P[] {
  const best: P[] = [];
  for (const point of [...points].sort((a, b) => a.x - b.x || a.y - b.y)) {
    if (best.every((other) => point.y < other.y)) best.push(point);
  }
  return best;
}
