import { linearAxis } from './axis';
import { AREA, COLORS, escapeXml, page, pixel, textWidth, tickLabel } from './frame';

/** Bars under one heading. */
export interface BarGroup {
  readonly name: string;
  readonly bars: readonly { readonly name: string; readonly value: number; readonly note?: string }[];
}

export interface BarChart {
  readonly title: string;
  readonly xLabel: string;
  readonly groups: readonly BarGroup[];
}

const ROW = 20;
const HEADING = 26;
const GAP = 10;

/** Draws horizontal bars from 0, one below the other, as high as they need. Every group needs a bar. */
export function barChart({ title, xLabel, groups }: BarChart): string {
  const bars = groups.flatMap((group) => group.bars);
  const names = AREA.left / 2 + Math.max(...bars.map(({ name }) => textWidth(name)));
  const notes = Math.max(...bars.map(({ note = '' }) => textWidth(note)));
  const axis = linearAxis([0, ...bars.map(({ value }) => value)], names, AREA.right - notes);
  let at = AREA.top;
  const rows: string[] = [];
  groups.forEach((group, index) => {
    const color = COLORS[index % COLORS.length] as string;
    rows.push(`<text class="title" x="${AREA.left / 2}" y="${at}" font-weight="600">${escapeXml(group.name)}</text>`);
    at += HEADING - ROW / 2;
    for (const { name, value, note = '' } of group.bars) {
      const width = axis.at(value) - names;
      rows.push(
        `<text x="${pixel(names - 8)}" y="${at + 4}" text-anchor="end">${escapeXml(name)}</text>`,
        `<rect x="${pixel(names)}" y="${at - 6}" width="${pixel(width)}" height="12" fill="${color}"/>`,
        `<text x="${pixel(names + width + 6)}" y="${at + 4}">${escapeXml(note)}</text>`,
      );
      at += ROW;
    }
    at += GAP;
  });
  const grid = axis.ticks.map((tick) => `<path class="grid" d="M${pixel(axis.at(tick))} ${AREA.top - 8}V${at}"/>`);
  const marks = axis.ticks.map((tick) => tickLabel(axis.at(tick), at + 18, 'middle', tick));
  const label = `<text x="${pixel((names + AREA.right) / 2)}" y="${at + 40}" text-anchor="middle">${escapeXml(xLabel)}</text>`;
  return page({ width: AREA.right + 24, height: at + 56 }, title, [...grid, ...rows, ...marks, label]);
}
