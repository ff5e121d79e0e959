import { type Axis, linearAxis } from './axis';
import { AREA, frame, type Labels, pixel } from './frame';

export interface Series {
  readonly name: string;
  readonly color: string;
  /** A thin, pale line for values that jump. */
  readonly faint?: boolean;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

export interface LineChart extends Labels {
  readonly series: readonly Series[];
}

/** Draws lines over an axis from 0. Every series needs a point. */
export function lineChart({ series, ...labels }: LineChart): string {
  const points = series.flatMap((entry) => entry.points);
  const x = linearAxis(
    points.map((point) => point.x),
    AREA.left,
    AREA.right,
  );
  const y = linearAxis([0, ...points.map((point) => point.y)], AREA.bottom, AREA.top);
  const legend = series.map((entry) => ({
    name: entry.name,
    sample: (left: number, top: number) => `<path d="M${pixel(left)} ${top}h20" ${stroke(entry)}/>`,
  }));
  return frame(
    labels,
    { x, y },
    legend,
    series.map((entry) => polyline(entry, x, y)),
  );
}

/** The mean of each point and those up to `radius` places around it. */
export function smooth<P extends { readonly x: number; readonly y: number }>(points: readonly P[], radius: number) {
  return points.map(({ x }, i) => {
    // as many on either side, so that the ends do not lean towards the middle
    const reach = Math.min(radius, i, points.length - 1 - i);
    const near = points.slice(i - reach, i + reach + 1);
    return { x, y: near.reduce((sum, point) => sum + point.y, 0) / near.length };
  });
}

function polyline(series: Series, x: Axis, y: Axis): string {
  const path = series.points.map((point) => `${pixel(x.at(point.x))},${pixel(y.at(point.y))}`).join(' ');
  return `<polyline points="${path}" fill="none" ${stroke(series)} stroke-linejoin="round"/>`;
}

function stroke({ color, faint }: Series): string {
  return `stroke="${color}" ${faint ? 'stroke-width="1" stroke-opacity="0.4"' : 'stroke-width="2"'}`;
}
