/** Axes: where values lie, and which of them are marked. */

export interface Axis {
  readonly ticks: readonly number[];
  /** Where a value lies, in pixels. */
  readonly at: (value: number) => number;
}

const TICKS = 6;

/** Equal steps from a round number to a round number; `from` and `to` in pixels. */
export function linearAxis(values: readonly number[], from: number, to: number): Axis {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const step = roundStep((high - low || 1) / TICKS);
  const first = Math.floor(low / step) * step;
  // 0.13 is 4.000000000000001 steps of 0.005 from 0.11
  const count = Math.max(1, Math.ceil((high - first) / step - 1e-9));
  const ticks = Array.from({ length: count + 1 }, (_, i) => first + i * step);
  return { ticks, at: (value) => from + ((value - first) / (count * step)) * (to - from) };
}

/** The mantissas that are marked, the coarsest list that gives enough marks. */
const MANTISSAS = [
  [1],
  [1, 2, 5],
  [1, 1.5, 2, 3, 5, 7],
  [1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9],
  Array.from({ length: 90 }, (_, i) => 1 + i / 10),
];

/** Equal factors; for values above 0. */
export function logAxis(values: readonly number[], from: number, to: number): Axis {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const decades: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) decades.push(power);
  const lists = MANTISSAS.map((list) => {
    const all = decades.flatMap((power) => list.map((mantissa) => Number((mantissa * 10 ** power).toPrecision(12))));
    const first = Math.max(...all.filter((value) => value <= low));
    const last = Math.min(...all.filter((value) => value >= high));
    return all.filter((value) => value >= first && value <= last);
  });
  const ticks = lists.find(({ length }) => length >= TICKS - 1) ?? (lists.at(-1) as number[]);
  const [first, last] = [ticks[0] as number, Math.max(ticks.at(-1) as number, (ticks[0] as number) * 1.01)];
  return { ticks, at: (value) => from + (Math.log(value / first) / Math.log(last / first)) * (to - from) };
}

/** The next larger of 1, 2 or 5 times a power of ten. */
function roundStep(step: number): number {
  const power = 10 ** Math.floor(Math.log10(step));
  return ([1, 2, 5, 10].find((factor) => factor * power >= step * (1 - 1e-9)) as number) * power;
}
