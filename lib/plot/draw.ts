/** Rendering of Vega-Lite specifications to SVG, without a browser. */

import { createHash } from 'node:crypto';
import type { LabelTransform } from 'vega' with { 'resolution-mode': 'import' };
import type { Config, TopLevelSpec } from 'vega-lite' with { 'resolution-mode': 'import' };
import { MbokError } from '../base/errors';
import { COLORS, chartStyle, FONT, GRAYS, SHAPES } from './style';

/** Appearance of a chart. */
export interface ChartOptions {
  /** Width in pixels. Default 720. */
  readonly width?: number | undefined;
  /**
   * Whether the chart is part of a page with {@link chartStyle} and a caption, so that it needs no title and
   * background. Default false.
   */
  readonly embedded?: boolean | undefined;
}

/** A layer of a chart, and its encoding. */
export type Layer = Extract<TopLevelSpec, { layer: unknown }>['layer'][number];
export type Encoding = NonNullable<Extract<Layer, { mark: unknown }>['encoding']>;

/** Texts of a chart. */
export interface Labels {
  /** Shown above a chart in a separate file; always read out by screen readers. */
  readonly title: string;
  readonly xLabel: string;
  readonly yLabel: string;
}

export const WIDTH = 720;
const FONT_SIZE = 12;

/** Estimates the width of a text in pixels: there is no browser to measure it. */
export function textWidth(text: string, fontSize = FONT_SIZE): number {
  return 0.58 * fontSize * text.length;
}

type Vega = typeof import('vega', { with: { 'resolution-mode': 'import' }});
type VegaLite = typeof import('vega-lite', { with: { 'resolution-mode': 'import' }});

let loaded: Promise<{ vega: Vega; vegaLite: VegaLite }> | undefined;

/** Loads the drawing packages, which are optional. Throws MBOK_PACKAGE_MISSING if they are not installed. */
export async function loadVega(): Promise<{ vega: Vega; vegaLite: VegaLite }> {
  loaded ??= importVega();
  return await loaded;
}

async function importVega() {
  try {
    const [vega, vegaLite] = await Promise.all([import('vega'), import('vega-lite')]);
    const { textMetrics } = vega as unknown as {
      textMetrics: { width: (item: { fontSize?: number; text?: unknown }, text?: unknown) => number };
    };
    // Vega's guess of 0.8 font sizes per character leaves gaps in legends and finds no room for labels
    textMetrics.width = (item, text) => textWidth(String(text ?? item.text ?? ''), item.fontSize);
    return { vega, vegaLite };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new MbokError(
      'MBOK_PACKAGE_MISSING',
      'charts need the packages vega and vega-lite: npm install vega vega-lite',
      { cause: error },
    );
  }
}

/** Options of {@link draw} beside the specification. */
interface DrawOptions extends Pick<ChartOptions, 'embedded'> {
  readonly title: string;
  /** Name of a text layer whose labels are moved so that they cover neither each other nor a point. */
  readonly freeLabels?: string;
}

const CONFIG: Config = {
  font: FONT,
  aria: false,
  background: 'transparent',
  view: { stroke: null },
  axis: {
    labelColor: GRAYS.text,
    titleColor: GRAYS.text,
    labelFontSize: FONT_SIZE,
    titleFontSize: FONT_SIZE,
    titleFontWeight: 'normal',
    titlePadding: 10,
    gridColor: GRAYS.grid,
    domainColor: GRAYS.axis,
    tickColor: GRAYS.axis,
  },
  axisX: { grid: false },
  axisY: { domain: false, ticks: false },
  legend: { labelColor: GRAYS.text, titleColor: GRAYS.text, labelFontSize: FONT_SIZE, titleFontSize: FONT_SIZE },
  title: { color: GRAYS.title, fontSize: 16, fontWeight: 600, anchor: 'start', offset: 14 },
  header: { labelColor: GRAYS.title, labelFontSize: FONT_SIZE, labelFontWeight: 600 },
  range: { category: [...COLORS], symbol: [...SHAPES] },
};

/** Draws a specification as SVG. Throws MBOK_PACKAGE_MISSING. */
export async function draw(
  specification: TopLevelSpec,
  { title, embedded = false, freeLabels }: DrawOptions,
): Promise<string> {
  const { vega, vegaLite } = await loadVega();
  const padding = embedded ? 4 : 16;
  const whole = { ...specification, config: CONFIG, padding, ...(!embedded && { title }) } as TopLevelSpec;
  // log only errors: Vega-Lite warns of intended choices, such as lines of two widths
  const { spec } = vegaLite.compile(whole, { logger: vega.logger(vega.Error) });
  // Vega-Lite cannot express label placement
  const texts = freeLabels && spec.marks?.find(({ name }) => name === `${freeLabels}_marks`);
  if (texts) texts.transform = [LABEL_PLACES];
  const view = new vega.View(vega.parse(spec), { renderer: 'none' });
  const svg = await view.toSVG();
  view.finalize();
  return finish(svg, title, embedded);
}

const ANCHORS = ['right', 'left', 'top', 'bottom', 'top-right', 'bottom-right', 'top-left', 'bottom-left'] as const;
/** Distances of a label from its point, in pixels. */
const DISTANCES = [8, 18, 30];

/** Label placement: the nearest free position. A label without one is omitted. */
const LABEL_PLACES: LabelTransform = {
  type: 'label',
  size: { signal: '[width, height]' },
  anchor: DISTANCES.flatMap(() => [...ANCHORS]),
  offset: DISTANCES.flatMap((far) => ANCHORS.map((anchor) => (anchor.includes('-') ? 0.7 * far : far))),
};

/** Cleans up the SVG and names it for screen readers. Adds style and background unless it is embedded. */
function finish(svg: string, title: string, embedded: boolean): string {
  const short = svg
    .replace(/ xmlns:xlink="[^"]*"| version="1\.1"| class="marks"/g, '')
    // attributes for mouse interaction
    .replace(/ (?:pointer-events|aria-hidden|aria-roledescription|role|class)="[^"]*"/g, '')
    .replace(/ (?:d|transform|x2|y2)="[^"]*"/g, (attribute) => attribute.replace(/(\.\d\d)\d+/g, '$1'))
    .replace(/<path(?: [a-z-]+="[^"]*")* d="M0,0h0v0h0Z"(?: [a-z-]+="[^"]*")*(?:\/>|><\/path>)/g, '');
  // a page may hold many charts, so ids must be unique
  const own = createHash('sha256').update(short).digest('hex').slice(0, 8);
  const unique = short.replace(/(id="|url\(#)(?=gradient)/g, `$1${own}-`);
  const begin = unique.indexOf('>') + 1;
  const head = `${unique.slice(0, begin - 1)} role="img" aria-label="${escapeXml(title)}">`;
  if (embedded) return head + unique.slice(begin);
  const page = `<style>${chartStyle()}</style><rect width="100%" height="100%" rx="8" fill="${GRAYS.page}"/>`;
  return `${head}${page}${unique.slice(begin)}\n`;
}

/** Escapes a text for XML or HTML, including attributes. */
export function escapeXml(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;').replace(/"/g, '&quot;');
}
