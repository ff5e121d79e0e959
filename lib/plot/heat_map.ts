import { type ChartOptions, draw, type Encoding, type Labels, type Layer, WIDTH } from './draw';
import { GRAYS } from './style';

export interface HeatMap extends Labels {
  /** Columns from left to right, and rows from top to bottom. */
  readonly columns: readonly string[];
  readonly rows: readonly string[];
  readonly cells: readonly {
    readonly column: string;
    readonly row: string;
    /** Value that the color shows. */
    readonly value: number;
    /** Text in the cell. */
    readonly text?: string;
  }[];
  /** Meaning of the color. */
  readonly valueLabel: string;
  /** Whether the color scale is logarithmic; values must then be above 0. Default false. */
  readonly logarithmic?: boolean;
}

/** Most labels on the column axis that stay readable. */
const MARKED = { wide: 24, narrow: 10 };

/** Draws a table as colors. Missing cells stay empty. Throws MBOK_PACKAGE_MISSING. */
export async function heatMap(
  { title, xLabel, yLabel, columns, rows, cells, valueLabel, logarithmic = false }: HeatMap,
  { width = WIDTH, embedded }: ChartOptions = {},
): Promise<string> {
  const every = Math.ceil(columns.length / (width < 500 ? MARKED.narrow : MARKED.wide));
  const x: Encoding['x'] = {
    field: 'column',
    type: 'ordinal',
    title: xLabel,
    scale: { domain: [...columns], padding: 0 },
    axis: { values: columns.filter((_, i) => i % every === 0), labelAngle: 0, domain: false, ticks: false },
  };
  const y: Encoding['y'] = {
    field: 'row',
    type: 'ordinal',
    title: yLabel,
    scale: { domain: [...rows], padding: 0 },
    axis: { grid: false, labelLimit: 220, domain: false, ticks: false },
  };
  const color = {
    field: 'value',
    type: 'quantitative',
    scale: { scheme: 'viridis', type: logarithmic ? 'log' : 'linear', zero: false },
    legend: {
      title: valueLabel,
      orient: 'top',
      titleLimit: 600,
      gradientLength: Math.min(260, width / 2),
      tickCount: 4,
      ...(logarithmic && { format: '.0e', tickCount: 2 }),
    },
  } as const;
  const hasText = cells.some(({ text }) => text !== undefined);
  const rectangles: Layer = {
    mark: { type: 'rect', ...(hasText && { stroke: GRAYS.page, strokeWidth: 1 }) },
    encoding: { x, y, color },
  };
  // white with a dark rim is readable on every color of the scale
  const texts: Layer = {
    mark: { type: 'text', fontSize: 11, fontWeight: 600, color: 'white' },
    encoding: { x, y, text: { field: 'text' } },
  };
  const rims: Layer = {
    mark: {
      type: 'text',
      fontSize: 11,
      fontWeight: 600,
      color: 'black',
      stroke: 'black',
      strokeWidth: 2,
      opacity: 0.6,
    },
    encoding: { x, y, text: { field: 'text' } },
  };
  const svg = await draw(
    {
      data: { values: [...cells] },
      width,
      height: Math.max(120, rows.length * (hasText ? 26 : 14)) + 90,
      autosize: { type: 'fit', contains: 'padding' },
      layer: [rectangles, ...(hasText ? [rims, texts] : [])],
    },
    { title, embedded },
  );
  // antialiased edges would let the page show between neighboring cells
  return svg.replace('<svg', '<svg shape-rendering="crispEdges"');
}
