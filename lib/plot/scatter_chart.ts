import { type Axis, linearAxis, logAxis } from './axis';
import { AREA, COLORS, escapeXml, frame, type Labels, pixel, textWidth } from './frame';

export interface ScatterPoint {
  readonly x: number;
  /** Above 0. */
  readonly y: number;
  readonly label: string;
}

export interface ScatterSeries {
  readonly name: string;
  readonly points: readonly ScatterPoint[];
}

export interface ScatterChart extends Labels {
  /** Each has its colour and its mark. At most as many as there are marks. */
  readonly series: readonly ScatterSeries[];
}

/** Shapes of about the same area around (x, y), so that colour alone need not tell series apart. */
const MARKS = [
  (x: string, y: string, color: string) => `<circle cx="${x}" cy="${y}" r="4.5" fill="${color}"/>`,
  (x: string, y: string, color: string) => `<path d="M${x} ${y}m-4 -4h8v8h-8z" fill="${color}"/>`,
  (x: string, y: string, color: string) => `<path d="M${x} ${y}m0 -5.5l5.5 5.5l-5.5 5.5l-5.5 -5.5z" fill="${color}"/>`,
  (x: string, y: string, color: string) => `<path d="M${x} ${y}m0 -5l5.5 9.5h-11z" fill="${color}"/>`,
] as const;

/** Of a label from its point, in pixels, the nearest first. */
const DISTANCES = [9, 20, 32];

interface Box {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

/**
 * Draws labelled points over an axis of equal steps and one of equal factors. The points of a series that no other one
 * of it beats in both are joined: less is better.
 */
export function scatterChart({ series, ...labels }: ScatterChart): string {
  const points = series.flatMap((entry) => entry.points);
  const x = linearAxis(
    points.map((point) => point.x),
    AREA.left,
    AREA.right,
  );
  const y = logAxis(
    points.map((point) => point.y),
    AREA.bottom,
    AREA.top,
  );
  const placed: Box[] = points.map((point) => ({
    left: x.at(point.x) - 6,
    top: y.at(point.y) - 6,
    width: 12,
    height: 12,
  }));
  const style = (index: number) => ({
    color: COLORS[index] as string,
    mark: MARKS[index] as (typeof MARKS)[number],
  });
  const lines = series.map((entry, i) => frontLine(entry.points, style(i).color, x, y));
  const marks = series.flatMap((entry, i) =>
    entry.points.map((point) => style(i).mark(pixel(x.at(point.x)), pixel(y.at(point.y)), style(i).color)),
  );
  const names = points.map((point) => pointLabel(point, x, y, placed));
  const legend = series.map(({ name }, i) => ({
    name,
    sample: (left: number, top: number) => style(i).mark(pixel(left + 10), pixel(top), style(i).color),
  }));
  return frame(labels, { x, y }, legend, [...lines, ...marks, ...names]);
}

/** Points that no other one beats in both coordinates, from left to right. */
export function front<P extends { readonly x: number; readonly y: number }>(points: readonly P[]): P[] {
  const best: P[] = [];
  for (const point of [...points].sort((a, b) => a.x - b.x || a.y - b.y)) {
    if (best.every((other) => point.y < other.y)) best.push(point);
  }
  return best;
}

function frontLine(points: readonly ScatterPoint[], color: string, x: Axis, y: Axis): string {
  const path = front(points).map((point) => `${pixel(x.at(point.x))},${pixel(y.at(point.y))}`);
  return `<polyline points="${path.join(' ')}" fill="none" stroke="${color}" stroke-opacity="0.5"/>`;
}

/** Beside its point, where it covers nothing that is placed already. */
function pointLabel({ x, y, label }: ScatterPoint, xAxis: Axis, yAxis: Axis, placed: Box[]): string {
  const [width, height] = [textWidth(label), 13];
  const [left, top] = [xAxis.at(x), yAxis.at(y)];
  const places = DISTANCES.flatMap((far) => [
    { left: left + far, top: top - height / 2 },
    { left: left - far - width, top: top - height / 2 },
    { left: left - width / 2, top: top - far - height },
    { left: left - width / 2, top: top + far },
    { left: left + 0.7 * far, top: top - 0.7 * far - height },
    { left: left - 0.7 * far - width, top: top - 0.7 * far - height },
    { left: left + 0.7 * far, top: top + 0.7 * far },
    { left: left - 0.7 * far - width, top: top + 0.7 * far },
  ]).map((place) => ({ ...place, width, height }));
  const free = places.find((place) => isInside(place) && !placed.some((other) => overlap(place, other)));
  const box = free ?? (places[0] as Box);
  placed.push(box);
  const text = escapeXml(label);
  return `<text class="halo" x="${pixel(box.left)}" y="${pixel(box.top + 10)}" stroke-width="3" paint-order="stroke">${text}</text>`;
}

function isInside({ left, top, width, height }: Box): boolean {
  return left >= AREA.left && left + width <= AREA.right && top >= AREA.top - 8 && top + height <= AREA.bottom;
}

function overlap(a: Box, b: Box): boolean {
  const apart = a.left + a.width <= b.left || b.left + b.width <= a.left;
  return !(apart || a.top + a.height <= b.top || b.top + b.height <= a.top);
}
