/** GGUF files with matrices in formats that q8 represents exactly. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { f32ToHalf } from '../../lib/io/half';
import { GgufFile } from '../../lib/models/gguf/file';
import { GGML_TYPES } from '../../lib/native/ggml_types';
import { GOLDEN } from './folders';
import { text, u32, u64 } from './gguf_writer';
import { Random } from './random';

export const EXACT = ['Q8_0', 'Q4_0', 'Q5_0', 'IQ4_NL'] as const;
export type ExactType = (typeof EXACT)[number];
/** Typical magnitude of a type's integers. */
const TYPICAL = { Q8_0: 74, Q4_0: 4.6, Q5_0: 9.2, IQ4_NL: 70 };

/** Writes a golden GGUF file to `folder`, with random blocks instead of its F16 matrices. */
export async function ggufWithBlocks(folder: string, family: string, type: ExactType): Promise<string> {
  const path = join(GOLDEN, 'gguf', `${family}.gguf`);
  const bytes = readFileSync(path);
  await using file = await GgufFile.open(path);
  const random = new Random(5);
  const start = Math.min(...[...file.tensors.keys()].map((name) => bytes.indexOf(text(name))));
  const infos: Buffer[] = [];
  const data: Buffer[] = [];
  let offset = 0;
  for (const tensor of file.tensors.values()) {
    const own = tensor.dtype === 'F16' ? type : tensor.dtype;
    const values = new Uint8Array(tensor.byteLength);
    await file.fill(tensor, 0, values);
    const size = tensor.shape.reduce((product, length) => product * length, 1);
    const stored = own === type ? randomBlocks(random, type, size / GGML_TYPES[type].elements) : Buffer.from(values);
    const padded = Buffer.concat([stored, Buffer.alloc((32 - (stored.length % 32)) % 32)]);
    const sizes = [...tensor.shape].reverse().map(u64);
    infos.push(text(tensor.name), u32(sizes.length), ...sizes, u32(GGML_TYPES[own].id), u64(offset));
    data.push(padded);
    offset += padded.length;
  }
  const header = Buffer.concat([bytes.subarray(0, start), ...infos]);
  const target = join(folder, `${family}-${type}.gguf`);
  writeFileSync(target, Buffer.concat([header, Buffer.alloc((32 - (header.length % 32)) % 32), ...data]));
  return target;
}

function randomBlocks(random: Random, type: ExactType, count: number): Buffer {
  const { bytes } = GGML_TYPES[type];
  const blocks = Buffer.from(Uint8Array.from({ length: count * bytes }, () => random.integer(0, 255)));
  for (let block = 0; block < count; block++) {
    const scale = (0.2 * random.normal()) / TYPICAL[type];
    blocks.writeUInt16LE(f32ToHalf(Float32Array.of(scale), 'F16')[0] as number, block * bytes);
  }
  return blocks;
}
