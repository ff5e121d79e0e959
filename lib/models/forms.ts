import { structureOf } from '../structures/registry';
import type { LayerInspection } from './inspect';

/** Formats how many layers have each structure, and its smallest and largest size. */
export function formsOf(layers: readonly Pick<LayerInspection, 'format'>[]): string {
  const kinds = [...new Set(layers.map(({ format }) => format.kind))].sort();
  return kinds
    .map((kind) => {
      const formats = layers.map(({ format }) => format).filter((format) => format.kind === kind);
      const labels = [...new Set(formats.map((format) => structureOf(format).describe(format)))];
      labels.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
      return `${formats.length} × ${labels.length === 1 ? labels[0] : `${labels[0]} to ${labels.at(-1)}`}`;
    })
    .join(', ');
}
