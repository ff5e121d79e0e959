/** Output of sections: tables on the console, and files. */

import { mkdir, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(import.meta.url);
const { scatterChart } = require('../../dist/plot/scatter_chart.js');

const folder = join(import.meta.dirname, 'results');

/**
 * Prints a table and writes it with its conditions to results/<name>.json, and charts to results/<chart>.svg.
 *
 * @param {{title: string, columns: string[], rows: {name: string, error?: string, cells?: string[]}[], notes: string[],
 * charts: Record<string, object>}} section
 */
export async function report(name, { title, columns, rows, notes, charts, ...data }, conditions) {
  console.log(`\n${title}`);
  const width = Math.max(...rows.map((row) => row.name.length));
  const line = (first, cells) =>
    console.log(`  ${first.padEnd(width)} ${cells.map((cell) => cell.padStart(15)).join('')}`);
  line('', columns);
  for (const row of rows) {
    if (row.error === undefined) line(row.name, row.cells);
    else console.log(`  ${row.name.padEnd(width)}   missing: ${row.error}`);
  }
  for (const note of notes) console.log(`  ${note}`);

  await mkdir(folder, { recursive: true });
  const json = { title, conditions, notes, ...data };
  await writeFile(join(folder, `${name}.json`), `${JSON.stringify(json, null, 2)}\n`);
  for (const [file, chart] of Object.entries(charts)) {
    const series = chart.series.filter(({ points }) => points.length > 0);
    if (series.length > 0) await writeFile(join(folder, `${file}.svg`), await scatterChart({ ...chart, series }));
  }
}

/** Formats a number for a table. */
export const digits = (value, places = 1) => value.toFixed(places);
export const percent = (fraction) => `${(100 * fraction).toFixed(0)} %`;
