/** Charts: points lie at their values, and labels are readable. */

import { smooth } from '../../lib/plot/line_chart';
import { front } from '../../lib/plot/scatter_chart';
import { runTypeScript } from '../helpers/run_typescript';
import { expectWellFormed } from '../helpers/xml';

const labels = { title: 'a < b & "c"', xLabel: 'bytes', yLabel: 'ratio' };

/** Draws charts in another process, since the drawing packages are ES modules, which Jest cannot load. */
function draw(charts: readonly (readonly [module: string, name: string, ...given: object[]])[]): string[] {
  const { status, stdout, stderr } = runTypeScript(`
    async function main() {
      const svgs = [];
      for (const [module, name, ...given] of ${JSON.stringify(charts)}) {
        svgs.push(await require('./lib/plot/' + module)[name](...given));
      }
      process.stdout.write(JSON.stringify(svgs));
    }
    main();
  `);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout) as string[];
}

const line = [0, 4, 2].map((y, x) => ({ x, y }));
const scatter = {
  ...labels,
  series: [
    { name: 'theirs', points: [90, 80, 80.1, 80.2].map((x, i) => ({ x, y: 1 + i / 10, label: `t${i}` })) },
    { name: 'ours', points: [85, 70].map((x, i) => ({ x, y: 1.1 + i, label: `o<${i}` })) },
  ],
  reference: { name: 'original', y: 1 },
};
const kinds = {
  ...labels,
  series: [
    { name: 'one form', points: [2, 3].map((y, x) => ({ x, y, label: '', kind: ['trained', 'converted'][x] })) },
    { name: 'other form', points: [{ x: 2, y: 4, label: '', kind: 'trained' }] },
  ],
};
const bars = {
  title: labels.title,
  xLabel: 'per cent',
  groups: [
    { name: 'second in the alphabet', bars: [{ name: 'half', value: 50, note: '50 %' }] },
    { name: 'first', bars: ['whole', 'none'].map((name, i) => ({ name, value: 100 - 100 * i })) },
  ],
};
const heat = {
  ...labels,
  columns: ['0', '1', '2'],
  rows: ['query', 'key'],
  cells: [
    { column: '0', row: 'query', value: 1, text: '1' },
    { column: '2', row: 'key', value: 3, text: '3' },
  ],
  valueLabel: 'kernels',
};

let [lines, points, barred, mapped, narrow, symbols] = ['', '', '', '', '', ''];
beforeAll(() => {
  [lines, points, barred, mapped, narrow, symbols] = draw([
    ['line_chart', 'lineChart', { ...labels, series: [{ name: 'loss', color: '#123456', points: line }] }],
    ['scatter_chart', 'scatterChart', scatter],
    ['bar_chart', 'barChart', bars],
    ['heat_map', 'heatMap', heat],
    ['scatter_chart', 'scatterChart', scatter, { width: 340, embedded: true }],
    ['scatter_chart', 'scatterChart', kinds],
  ]) as [string, string, string, string, string, string];
});

test('charts are well-formed and named, and all their text is escaped', () => {
  for (const svg of [lines, points, barred, mapped, narrow, symbols]) {
    expectWellFormed(svg);
    expect(svg).toContain('aria-label="a &lt; b &amp; &quot;c&quot;"');
    expect(svg).not.toMatch(/NaN|undefined|Infinity/);
  }
});

test('files have a title, a background and grays for dark pages; embedded charts leave these to the page', () => {
  for (const svg of [lines, points, barred, mapped]) {
    expect(svg).toContain('prefers-color-scheme:dark');
    expect(svg).toContain('>a &lt; b &amp; "c"</text>');
  }
  expect(narrow).not.toMatch(/<style>|a &lt; b &amp; "c"</);
  expect(narrow).toMatch(/^<svg [^>]*width="340"/);
});

test('a line goes through its points, on an axis from 0', () => {
  const [, path] = /<path[^>]* d="(M[^"]*)"[^>]* stroke="#123456"/.exec(lines) as unknown as [string, string];
  const [first, second, third] = path
    .split(/[ML]/)
    .filter(Boolean)
    .map((pair) => pair.split(',').map(Number)) as [[number, number], [number, number], [number, number]];
  expect(second[0] * 2).toBeCloseTo(first[0] + third[0], 1);
  // 4 is twice as far from 0 as 2
  expect(first[1] - second[1]).toBeCloseTo(2 * (first[1] - third[1]), 1);
});

test('a bar chart has bars of the length of their values, and groups in their order', () => {
  const widths = [...barred.matchAll(/d="M0,[\d.]+h([\d.]+)v12/g)].map(([, width]) => Number(width));
  expect(widths).toHaveLength(3);
  expect((widths[1] as number) / (widths[0] as number)).toBeCloseTo(2, 1);
  expect(widths[2]).toBe(0);
  for (const text of ['per cent', 'half', 'whole', 'none', '50 %']) expect(barred).toContain(`>${text}<`);
  expect(barred.indexOf('>second in the alphabet<')).toBeLessThan(barred.indexOf('>first<'));
});

test('a scatter chart has a label for each point, a name for each series and for the line', () => {
  for (const name of ['t0', 't1', 't2', 't3', 'o&lt;0', 'o&lt;1', 'theirs', 'ours', 'original']) {
    expect(points).toContain(`>${name}</text>`);
  }
});

test('kinds of points have symbols and a legend besides that of the series', () => {
  for (const name of ['one form', 'other form', 'trained', 'converted']) expect(symbols).toContain(`>${name}</text>`);
  // two circles of the legend and three points, of which one is a square
  const paths = [...symbols.matchAll(/<path[^>]* d="([^"]*)"[^>]* fill="(?:#2f81f7|#e8710a)"/g)].map(
    ([, path]) => path,
  );
  expect(paths).toHaveLength(5);
  expect(paths.filter((path) => path?.includes('h'))).toHaveLength(1);
});

test('a scatter chart has no overlapping labels', () => {
  const found = [
    ...points.matchAll(/<text text-anchor="(\w+)" transform="translate\(([\d.]+),([\d.]+)\)"[^>]*>(?:t\d|o&lt;\d)</g),
  ];
  const boxes = found.map(([, anchor, x, y]) => ({
    left: Number(x) - { start: 0, middle: 6, end: 12 }[anchor as 'start' | 'middle' | 'end'],
    y: Number(y),
  }));
  expect(boxes).toHaveLength(6);
  for (const [i, a] of boxes.entries()) {
    for (const b of boxes.slice(i + 1)) expect(Math.abs(a.left - b.left) >= 11 || Math.abs(a.y - b.y) >= 11).toBe(true);
  }
});

test('a heat map has all cells and their texts', () => {
  // in the cell and on the axis
  expect(mapped.match(/>3<\/text>/g)?.length).toBeGreaterThanOrEqual(2);
  expect(mapped).toContain('>kernels</text>');
});

test('the front consists of the points that no other beats in both', () => {
  const points = [
    { x: 3, y: 1 },
    { x: 1, y: 3 },
    { x: 2, y: 3 },
    { x: 2, y: 2 },
    { x: 4, y: 1 },
  ];
  expect(front(points)).toEqual([points[1], points[3], points[0]]);
});

test('means at the ends are unbiased', () => {
  const points = [0, 10, 20, 30, 100].map((y, x) => ({ x, y }));
  expect(smooth(points, 2).map(({ y }) => y)).toEqual([0, 10, 32, 50, 100]);
});
