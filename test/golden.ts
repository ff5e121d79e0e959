/** Reads test/golden: values of another implementation in float64. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface GoldenTensor {
  readonly shape: readonly number[];
  /** As JavaScript numbers, whatever the stored type. */
  readonly data: Float64Array;
}

const READERS: Readonly<Record<string, { size: number; read: (view: DataView, at: number) => number }>> = {
  F64: { size: 8, read: (view, at) => view.getFloat64(at, true) },
  F32: { size: 4, read: (view, at) => view.getFloat32(at, true) },
  I64: { size: 8, read: (view, at) => Number(view.getBigInt64(at, true)) },
  I32: { size: 4, read: (view, at) => view.getInt32(at, true) },
  I8: { size: 1, read: (view, at) => view.getInt8(at) },
};

/** All tensors of test/golden/NAME, by name. A reader of its own, so that the library's is not its own judge. */
export function readGolden(name: string): (tensor: string) => GoldenTensor {
  const file = readFileSync(join(__dirname, 'golden', name));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  return (tensor) => {
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
}
