/** The formats that a budget can choose for a layer, and their bytes in a file. */

import { tensorBytes } from '../../io/safetensors';
import type { ParameterSpecification } from '../../models/family';
import { partsOf } from '../../models/parts';
import { formatJson } from '../../models/quantization';
import type { Formats } from '../../structures/structure';
import { formatsFor } from '../converters';
import { type DenseSource, headOf } from '../dense_source';
import type { Choice } from './layers';

/**
 * Lists the formats for a weight with their bytes, in ascending order. Of formats with equal bytes only the first
 * remains.
 */
export function choicesOf(weight: ParameterSpecification, source: Pick<DenseSource, 'storage'>): readonly Choice[] {
  const choices = formatsFor(weight, { budgeted: true }).map((format): Choice => {
    const heads = partsOf(weight, format).map((part) => headOf(part, source));
    return { format, bytes: heads.reduce((sum, head) => sum + tensorBytes(head), 0) };
  });
  return choices.sort((a, b) => a.bytes - b.bytes).filter(({ bytes }, i, sorted) => bytes !== sorted[i - 1]?.bytes);
}

/** Converts formats by module to JSON. */
export function formatsJson(formats: Formats): Record<string, unknown> {
  return Object.fromEntries([...formats].map(([module, format]) => [module, formatJson(format)]));
}
