/** What charts have around their data: an SVG file without script or fonts of its own, readable on light and dark pages. */

import type { Axis } from './axis';

const SIZE = { width: 720, height: 400 };
const MARGIN = { left: 64, right: 24, top: 56, bottom: 52 };

/** The area of the data, in pixels. */
export const AREA = {
  left: MARGIN.left,
  right: SIZE.width - MARGIN.right,
  top: MARGIN.top,
  bottom: SIZE.height - MARGIN.bottom,
};

/** Colours that stand out on white as well as on nearly black. */
export const COLORS = ['#2f81f7', '#e8710a', '#1a9e55', '#b35bd0', '#d1344b'] as const;

const STYLE = `<style>
.page{fill:#fff}.halo{stroke:#fff}text{fill:#444}.title{fill:#111}.grid{stroke:#e4e4e4}.axis{stroke:#888}
@media(prefers-color-scheme:dark){.page{fill:#0d1117}.halo{stroke:#0d1117}text{fill:#b1bac4}.title{fill:#f0f6fc}.grid{stroke:#2b3138}.axis{stroke:#7d8590}}
</style>`;

export interface Labels {
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
}

/** An entry of the legend. */
export interface LegendEntry {
  readonly name: string;
  /** Drawn left of the name, in 20 pixels around (x + 10, y). */
  readonly sample: (x: number, y: number) => string;
}

/** The file: a page of the given size with a title and elements. */
export function page(
  { width, height }: { readonly width: number; readonly height: number },
  title: string,
  elements: readonly string[],
): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="12">`,
    STYLE,
    `<rect class="page" width="100%" height="100%" rx="8"/>`,
    `<text class="title" x="${AREA.left}" y="26" font-size="16" font-weight="600">${escapeXml(title)}</text>`,
    ...elements,
    '</svg>',
    '',
  ].join('\n');
}

/** A page with axes, a legend and the data's elements. */
export function frame(
  { title, xLabel, yLabel }: Labels,
  { x, y }: { readonly x: Axis; readonly y: Axis },
  legend: readonly LegendEntry[],
  data: readonly string[],
): string {
  const { left, right, top, bottom } = AREA;
  return page(SIZE, title, [
    ...y.ticks.map((value) => `<path class="grid" d="M${left} ${pixel(y.at(value))}H${right}"/>`),
    ...y.ticks.map((value) => tickLabel(left - 8, y.at(value) + 4, 'end', value)),
    ...x.ticks.map((value) => `<path class="axis" d="M${pixel(x.at(value))} ${bottom}v5"/>`),
    ...x.ticks.map((value) => tickLabel(x.at(value), bottom + 20, 'middle', value)),
    `<path class="axis" d="M${left} ${bottom}H${right}"/>`,
    `<text x="${(left + right) / 2}" y="${SIZE.height - 12}" text-anchor="middle">${escapeXml(xLabel)}</text>`,
    `<text transform="translate(18 ${(top + bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeXml(yLabel)}</text>`,
    ...data,
    ...legendElements(legend),
  ]);
}

/** About what a text takes, in pixels. */
export function textWidth(text: string): number {
  return 6.4 * text.length;
}

export function pixel(value: number): string {
  return String(Math.round(value * 10) / 10);
}

export function escapeXml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
}

/** In a row that ends at the right. */
function legendElements(entries: readonly LegendEntry[]): string[] {
  let at = AREA.right;
  return entries.toReversed().flatMap(({ name, sample }) => {
    at -= 26 + textWidth(name) + 14;
    return [sample(at, 42), `<text x="${pixel(at + 26)}" y="46">${escapeXml(name)}</text>`];
  });
}

export function tickLabel(x: number, y: number, anchor: string, value: number): string {
  return `<text x="${pixel(x)}" y="${pixel(y)}" text-anchor="${anchor}">${Number(value.toPrecision(10))}</text>`;
}
