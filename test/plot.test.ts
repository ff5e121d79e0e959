/** Charts: that points lie where their values say, and that labels can be read. */

import { linearAxis, logAxis } from '../lib/plot/axis';
import { barChart } from '../lib/plot/bar_chart';
import { lineChart, smooth } from '../lib/plot/line_chart';
import { front, scatterChart } from '../lib/plot/scatter_chart';

const labels = { title: 'a < b & c', xLabel: 'bytes', yLabel: 'ratio' };

describe('axes', () => {
  test.each<[string, readonly number[], readonly number[]]>([
    ['whole numbers', [0, 300], [0, 50, 100, 150, 200, 250, 300]],
    ['fractions', [0.11, 0.13], [0.11, 0.115, 0.12, 0.125, 0.13]],
    ['one value', [5], [5, 5.2]],
  ])('of equal steps begin and end round: %s', (_, values, ticks) => {
    const axis = linearAxis(values, 100, 200);
    expect(axis.ticks.map((tick) => Number(tick.toPrecision(10)))).toEqual(ticks);
    expect(axis.at(axis.ticks[0] as number)).toBe(100);
    expect(axis.at(axis.ticks.at(-1) as number)).toBeCloseTo(200);
  });

  test.each<[string, readonly number[], readonly number[]]>([
    ['many decades', [3, 20_000], [1, 10, 100, 1000, 10_000, 100_000]],
    ['one and a half', [1, 34], [1, 2, 5, 10, 20, 50]],
    ['a factor of four', [1.005, 3.9], [1, 1.5, 2, 3, 5]],
    ['a factor of two', [1.005, 2.2], [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5]],
    ['little', [1.02, 1.31], [1, 1.1, 1.2, 1.3, 1.4]],
  ])('of equal factors hold %s', (_, values, ticks) => {
    const axis = logAxis(values, 100, 200);
    expect(axis.ticks).toEqual(ticks);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    expect(axis.at(low)).toBeGreaterThanOrEqual(100);
    expect(axis.at(high)).toBeLessThanOrEqual(200);
    expect(axis.at(Math.sqrt(low * high))).toBeCloseTo((axis.at(low) + axis.at(high)) / 2);
  });
});

test('the front is the points that none beats in both', () => {
  const points = [
    { x: 3, y: 1 },
    { x: 1, y: 3 },
    { x: 2, y: 3 },
    { x: 2, y: 2 },
    { x: 4, y: 1 },
  ];
  expect(front(points)).toEqual([points[1], points[3], points[0]]);
});

test('means at the ends lean to neither side', () => {
  const points = [0, 10, 20, 30, 100].map((y, x) => ({ x, y }));
  expect(smooth(points, 2).map(({ y }) => y)).toEqual([0, 10, 32, 50, 100]);
});

test('a line goes through its points, of an axis from 0', () => {
  const svg = lineChart({
    ...labels,
    series: [{ name: 'loss', color: '#123456', points: [0, 4, 2].map((y, x) => ({ x, y })) }],
  });
  expect(svg).toContain('<polyline points="64,348 380,56 696,202"');
  expect(svg).toContain('a &lt; b &amp; c');
});

test('a bar chart has bars as long as their values, headings and notes', () => {
  const svg = barChart({
    title: labels.title,
    xLabel: 'per cent',
    groups: [
      { name: 'first', bars: [{ name: 'half', value: 50, note: '50 %' }] },
      {
        name: 'second',
        bars: [
          { name: 'whole', value: 100 },
          { name: 'none', value: 0 },
        ],
      },
    ],
  });
  const widths = [...svg.matchAll(/<rect x="[\d.]+" y="\d+" width="([\d.]+)"/g)].map(([, width]) => Number(width));
  expect(widths).toHaveLength(3);
  expect((widths[1] as number) / (widths[0] as number)).toBeCloseTo(2, 2);
  expect(widths[2]).toBe(0);
  for (const text of ['a &lt; b &amp; c', 'per cent', 'first', 'second', '50 %']) expect(svg).toContain(`>${text}<`);
});

describe('a scatter chart', () => {
  const svg = scatterChart({
    ...labels,
    series: [
      { name: 'theirs', points: [90, 80, 80.1, 80.2].map((x, i) => ({ x, y: 1 + i / 10, label: `t${i}` })) },
      { name: 'ours', points: [85, 70].map((x, i) => ({ x, y: 1.1 + i, label: `o<${i}` })) },
    ],
  });

  test('has a mark and a label for each point, and a name for each series', () => {
    // one more of each in the legend
    expect(svg.match(/<circle /g)).toHaveLength(5);
    expect(svg.match(/h8v8h-8z/g)).toHaveLength(3);
    for (const name of ['t0', 't1', 't2', 't3', 'o&lt;0', 'o&lt;1', 'theirs', 'ours'])
      expect(svg).toContain(`>${name}</text>`);
  });

  test('puts no label over another, nor outside', () => {
    const found = [...svg.matchAll(/class="halo" x="([\d.]+)" y="([\d.]+)"/g)];
    const boxes = found.map(([, x, y]) => ({ x: Number(x), y: Number(y) }));
    expect(boxes).toHaveLength(6);
    for (const [i, a] of boxes.entries()) {
      expect(a.x).toBeGreaterThan(60);
      expect(a.x).toBeLessThan(696);
      for (const b of boxes.slice(i + 1)) expect(Math.abs(a.x - b.x) >= 12 || Math.abs(a.y - b.y) >= 13).toBe(true);
    }
  });

  test('has colours for light and for dark pages', () => {
    expect(svg).toContain('prefers-color-scheme:dark');
  });
});
