/** Reader of test/golden: float64 values of another implementation. */

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

export interface GoldenTensor {
  readonly shape: readonly number[];
  /** Converted to JavaScript numbers from the stored type. */
  readonly data: Float64Array;
}

const READERS: Readonly<Record<string, { size: number; read: (view: DataView, at: number) => number }>> = {
  F64: { size: 8, read: (view, at) => view.getFloat64(at, true) },
  F32: { size: 4, read: (view, at) => view.getFloat32(at, true) },
  I64: { size: 8, read: (view, at) => Number(view.getBigInt64(at, true)) },
  I32: { size: 4, read: (view, at) => view.getInt32(at, true) },
  I8: { size: 1, read: (view, at) => view.getInt8(at) },
};

/** Returns a tensor by name; `names` lists all. */
export type Golden = ((tensor: string) => GoldenTensor) & { readonly names: readonly string[] };

/**
 * Reads all tensors of test/golden/NAME, or of the file at an absolute path. It does not use the library's reader,
 * which it serves to test.
 */
export function readGolden(name: string): Golden {
  const file = readFileSync(resolve(__dirname, '../golden', name));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const read = (tensor: string): GoldenTensor => {
    const entry = header[tensor];
    const reader = READERS[entry?.dtype ?? ''];
    if (entry === undefined || reader === undefined) throw new Error(`${name} has no readable tensor '${tensor}'`);
    const start = file.byteOffset + 8 + headerBytes + entry.data_offsets[0];
    const view = new DataView(file.buffer, start, entry.data_offsets[1] - entry.data_offsets[0]);
    const data = Float64Array.from({ length: view.byteLength / reader.size }, (_, i) =>
      reader.read(view, i * reader.size),
    );
    return { shape: entry.shape, data };
  };
  return Object.assign(read, { names: Object.keys(header).filter((key) => key !== '__metadata__') });
}

/** Number of projections per tensor in {@link projections}. */
export const PROJECTIONS = 32;

/**
 * Computes sums of the values with random signs, which are the same for all tensors of a size. Relative distances of
 * the 32 numbers estimate those of the tensors within about a quarter (Johnson and Lindenstrauss).
 */
export function projections(values: ArrayLike<number>): Float64Array {
  const sums = new Float64Array(PROJECTIONS);
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    // the bits of a hash of the index (murmur3's finalizer) are the signs
    let bits = i + 0x9e3779b9;
    bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
    bits ^= bits >>> 16;
    for (let k = 0; k < PROJECTIONS; k++) sums[k] = (sums[k] as number) + ((bits >>> k) & 1 ? value : -value);
  }
  return sums;
}
