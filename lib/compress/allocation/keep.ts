/** The `keep` option: formats that the caller sets for single layers. */

import { isDeepStrictEqual } from 'node:util';
import { MbokError } from '../../base/errors';
import { invalid } from '../../base/validate';
import { ConfigReader } from '../../models/config_reader';
import type { ParameterSpecification } from '../../models/family';
import { moduleOf } from '../../models/parts';
import { DENSE } from '../../structures/dense';
import { INT8 } from '../../structures/int8';
import { kernelsFormat, MAX_KERNELS } from '../../structures/kernels';
import { findStructure } from '../../structures/registry';
import type { LayerFormat } from '../../structures/structure';
import { formatsFor } from '../converters';

/**
 * Format of a layer in `keep`: unchanged, 8 bits with one scale per row, a number of kernels, or an explicit format.
 */
export type FixedFormat = 'dense' | 'int8' | number | LayerFormat | (LayerFormat & Readonly<Record<string, unknown>>);

/** Maps the layers that match `keep` to their formats. Throws MBOK_INVALID_ARGUMENT. */
export function checkFixedFormats(
  keep: Readonly<Record<string, FixedFormat>> | undefined,
  linears: readonly ParameterSpecification[],
): ReadonlyMap<string, LayerFormat> {
  if (keep === undefined) return new Map();
  if (typeof keep !== 'object' || keep === null || Array.isArray(keep)) return invalid('keep', 'an object', keep);
  const layers = linears.map((linear) => ({ module: moduleOf(linear.name), linear }));
  const fixedFormats = new Map<string, LayerFormat>();
  for (const [pattern, value] of Object.entries(keep)) {
    const name = `keep['${pattern}']`;
    const format = readFormat(name, value);
    const matching = layers.filter(({ module }) => matches(module, pattern));
    if (matching.length === 0) invalid('keep', `of linear layers such as '${layers[0]?.module}'`, pattern);
    for (const { module, linear } of matching) {
      const possible = [DENSE, ...formatsFor(linear)];
      if (!possible.some((other) => isDeepStrictEqual(other, format))) {
        invalid(name, `a format that a conversion can give '${module}'`, value);
      }
      fixedFormats.set(module, format);
    }
  }
  return fixedFormats;
}

function readFormat(name: string, value: unknown): LayerFormat {
  if (value === 'dense') return DENSE;
  if (value === 'int8') return INT8;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= MAX_KERNELS) {
    return kernelsFormat(value);
  }
  if (typeof value === 'object' && value !== null) return parseFormat(name, { ...value });
  return invalid(name, `'dense', 'int8' or a number of kernels from 1 to ${MAX_KERNELS}`, value);
}

function parseFormat(name: string, json: Readonly<Record<string, unknown>>): LayerFormat {
  const settings = new ConfigReader(json, name);
  try {
    const kind = settings.string('kind');
    const structure = findStructure(kind) ?? invalid(`${name}.kind`, 'a structure that weights can have', kind);
    const format = structure.parse(settings);
    settings.expectUnderstood(() => false);
    return format;
  } catch (cause) {
    // a ConfigReader reports errors of files; here the argument is at fault
    throw cause instanceof MbokError ? new MbokError('MBOK_INVALID_ARGUMENT', cause.message, { cause }) : cause;
  }
}

function matches(module: string, pattern: string): boolean {
  const literal = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${literal.join('.*')}$`).test(module);
}
