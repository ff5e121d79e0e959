/** Splits GGUF files as llama.cpp's gguf-split does. */

import { parseGgufHeader } from '../../lib/models/gguf/header';
import { text, u32, u64 } from './gguf_writer';

const ALIGNMENT = 32;

/** Types of integers in metadata: u16 and i32, as llama.cpp writes these keys. */
const u16Entry = (key: string, value: number) =>
  Buffer.concat([text(key), u32(2), Buffer.from(Uint16Array.of(value).buffer)]);
const i32Entry = (key: string, value: number) => Buffer.concat([text(key), u32(5), u32(value)]);

/**
 * Cuts a file into parts.
 *
 * @param content - a GGUF file with the alignment 32
 * @param counts - tensors of each part
 */
export function splitGguf(content: Buffer, counts: readonly number[]): readonly Buffer[] {
  const header = parseGgufHeader(content, content.length, 'the file to split');
  const tensors = [...(header?.tensors.values() ?? [])];
  // metadata lie between the four numbers at the start and the description of the first tensor
  const metadata = content.subarray(24, content.indexOf(text(tensors[0]?.name ?? '')));
  return counts.map((count, part) => {
    const own = tensors.splice(0, count);
    let next = 0;
    const described = own.map(({ name, shape, byteOffset, byteLength }) => {
      const start = content.indexOf(text(name)) + text(name).length;
      // number of dimensions, dimensions and type stay
      const kind = content.subarray(start, start + 4 + 8 * shape.length + 4);
      const padded = Buffer.alloc(Math.ceil(byteLength / ALIGNMENT) * ALIGNMENT);
      content.copy(padded, 0, byteOffset, byteOffset + byteLength);
      const entry = Buffer.concat([text(name), kind, u64(next)]);
      next += padded.length;
      return { entry, padded };
    });
    const total = counts.reduce((sum, one) => sum + one, 0);
    const start = Buffer.concat([
      content.subarray(0, 8),
      u64(own.length),
      u64((part === 0 ? (header?.metadata.size ?? 0) : 0) + 3),
      ...(part === 0 ? [metadata] : []),
      u16Entry('split.no', part),
      u16Entry('split.count', counts.length),
      i32Entry('split.tensors.count', total),
      ...described.map(({ entry }) => entry),
    ]);
    const padding = Buffer.alloc(Math.ceil(start.length / ALIGNMENT) * ALIGNMENT - start.length);
    return Buffer.concat([start, padding, ...described.map(({ padded }) => padded)]);
  });
}

/** Name of a part. */
export function partName(stem: string, index: number, count: number): string {
  const digits = (number: number) => String(number).padStart(5, '0');
  return `${stem}-${digits(index + 1)}-of-${digits(count)}.gguf`;
}
