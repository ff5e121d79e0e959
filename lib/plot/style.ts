/** Style of charts: colors that stand out on white and on nearly black, and grays that follow the page. */

export const COLORS = ['#2f81f7', '#e8710a', '#1a9e55', '#b35bd0', '#d1344b', '#0f9bb4', '#9a7b2c', '#d6409f'] as const;
/** Symbols, so that series differ by more than color. */
export const SHAPES = [
  'circle',
  'square',
  'diamond',
  'triangle-up',
  'cross',
  'triangle-down',
  'triangle-right',
  'triangle-left',
] as const;

export const FONT = 'system-ui, sans-serif';

/** Grays for light pages; {@link chartStyle} replaces them on dark ones. */
export const GRAYS = { page: '#ffffff', title: '#111111', text: '#444444', axis: '#888888', grid: '#e4e4e4' } as const;
const DARK: Readonly<Record<keyof typeof GRAYS, string>> = {
  page: '#0d1117',
  title: '#f0f6fc',
  text: '#b1bac4',
  axis: '#7d8590',
  grid: '#2b3138',
};

/**
 * Returns CSS rules that invert the grays of charts on dark pages. They select drawn colors instead of classes or
 * variables, so that programs without CSS show the light chart.
 */
export function chartStyle(): string {
  const rules = (Object.keys(GRAYS) as (keyof typeof GRAYS)[]).map(
    (name) => `svg [fill="${GRAYS[name]}"]{fill:${DARK[name]}}svg [stroke="${GRAYS[name]}"]{stroke:${DARK[name]}}`,
  );
  return `@media(prefers-color-scheme:dark){${rules.join('')}}`;
}
