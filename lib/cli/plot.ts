/** A line chart as an SVG file: no script, no fonts of its own, readable on light and dark pages. */

export interface Series {
  readonly name: string;
  readonly color: string;
  /** A thin, pale line for values that jump. */
  readonly faint?: boolean;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

export interface Chart {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
}

const SIZE = { width: 720, height: 400 };
const MARGIN = { left: 64, right: 24, top: 56, bottom: 52 };
const TICKS = 6;

interface Axis {
  readonly ticks: readonly number[];
  /** Where a value lies, in pixels. */
  readonly at: (value: number) => number;
}

/** Draws the chart. Every series needs a point. */
export function lineChart({ title, xLabel, yLabel, series }: Chart): string {
  const points = series.flatMap((entry) => entry.points);
  const right = SIZE.width - MARGIN.right;
  const bottom = SIZE.height - MARGIN.bottom;
  const x = axis(
    points.map((point) => point.x),
    MARGIN.left,
    right,
  );
  const y = axis([0, ...points.map((point) => point.y)], bottom, MARGIN.top);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${SIZE.width} ${SIZE.height}" width="${SIZE.width}" height="${SIZE.height}" font-family="system-ui, sans-serif" font-size="12" fill="#444">`,
    `<rect width="100%" height="100%" rx="8" fill="#fff"/>`,
    `<text x="${MARGIN.left}" y="26" font-size="16" font-weight="600" fill="#111">${escapeXml(title)}</text>`,
    ...y.ticks.map((value) => `<path d="M${MARGIN.left} ${pixel(y.at(value))}H${right}" stroke="#e4e4e4"/>`),
    ...y.ticks.map((value) => label(MARGIN.left - 8, y.at(value) + 4, 'end', value)),
    ...x.ticks.map((value) => `<path d="M${pixel(x.at(value))} ${bottom}v5" stroke="#888"/>`),
    ...x.ticks.map((value) => label(x.at(value), bottom + 20, 'middle', value)),
    `<path d="M${MARGIN.left} ${bottom}H${right}" stroke="#888"/>`,
    `<text x="${(MARGIN.left + right) / 2}" y="${SIZE.height - 12}" text-anchor="middle">${escapeXml(xLabel)}</text>`,
    `<text transform="translate(18 ${(MARGIN.top + bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeXml(yLabel)}</text>`,
    ...series.map((entry) => polyline(entry, x, y)),
    ...series.flatMap((entry, i) => legend(entry, right - 110 * (series.length - i))),
    '</svg>',
    '',
  ].join('\n');
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

function axis(values: readonly number[], from: number, to: number): Axis {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const step = roundStep((high - low || 1) / TICKS);
  const first = Math.floor(low / step) * step;
  const count = Math.max(1, Math.ceil((high - first) / step));
  const ticks = Array.from({ length: count + 1 }, (_, i) => first + i * step);
  return { ticks, at: (value) => from + ((value - first) / (count * step)) * (to - from) };
}

/** The next larger of 1, 2 or 5 times a power of ten. */
function roundStep(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step));
  return ([1, 2, 5, 10].find((factor) => factor * power >= step * (1 - 1e-9)) as number) * power;
}

function polyline({ points, color, faint }: Series, x: Axis, y: Axis): string {
  const path = points.map((point) => `${pixel(x.at(point.x))},${pixel(y.at(point.y))}`).join(' ');
  const style = faint ? 'stroke-width="1" stroke-opacity="0.35"' : 'stroke-width="2"';
  return `<polyline points="${path}" fill="none" stroke="${color}" ${style} stroke-linejoin="round"/>`;
}

function legend({ name, color, faint }: Series, at: number): string[] {
  return [
    `<path d="M${at} 42h20" stroke="${color}" stroke-width="${faint ? 1 : 2}" stroke-opacity="${faint ? 0.5 : 1}"/>`,
    `<text x="${at + 26}" y="46">${escapeXml(name)}</text>`,
  ];
}

function label(x: number, y: number, anchor: string, value: number): string {
  return `<text x="${pixel(x)}" y="${pixel(y)}" text-anchor="${anchor}">${Number(value.toPrecision(10))}</text>`;
}

function pixel(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escapeXml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
}
