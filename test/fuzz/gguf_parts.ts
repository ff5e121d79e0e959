/** Decomposition of GGUF files, so that any part can be replaced, and hostile metadata. */

import { text, u32, u64 } from '../helpers/gguf_writer';
import type { Draw } from './draw';
import { hostileNumber, hostileString } from './hostile';

/** A metadata value in bytes; `type` is the number in front of it. */
export interface GgufValue {
  readonly raw: Buffer;
  readonly type: number;
}

export interface GgufTensorInfo {
  readonly name: string;
  /** Row-major. */
  readonly shape: readonly number[];
  /** Number of the element type. */
  readonly id: number;
  /** From the start of the data. */
  readonly offset: number;
}

export interface GgufParts {
  readonly metadata: readonly (readonly [string, GgufValue])[];
  readonly tensors: readonly GgufTensorInfo[];
  readonly data: Buffer;
}

const TYPE = { u8: 0, u32: 4, f32: 6, flag: 7, text: 8, list: 9, u64: 10 } as const;
/** Bytes of a value by the number of its type. */
const SIZES: Readonly<Record<number, number>> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
const ALIGNMENT = 32;

/** Decomposes a valid file of version 2 or 3. */
export function takeApart(file: Buffer): GgufParts {
  let at = 8;
  /** Advances by some bytes; returns the position before. */
  const pass = (bytes: number) => {
    at += bytes;
    return at - bytes;
  };
  const number32 = () => file.readUInt32LE(pass(4));
  const number64 = () => Number(file.readBigUInt64LE(pass(8)));
  const string = () => {
    const length = number64();
    return file.toString('utf8', pass(length), at);
  };
  const skip = (type: number): void => {
    if (type === TYPE.text) string();
    else if (type !== TYPE.list) pass(SIZES[type] as number);
    else {
      const inner = number32();
      for (let left = number64(); left > 0; left--) skip(inner);
    }
  };
  const counts = { tensors: number64(), metadata: number64() };
  const metadata = Array.from({ length: counts.metadata }, (): [string, GgufValue] => {
    const key = string();
    const type = number32();
    const start = at;
    skip(type);
    return [key, { raw: file.subarray(start, at), type }];
  });
  const tensors = Array.from({ length: counts.tensors }, (): GgufTensorInfo => {
    const name = string();
    const shape = Array.from({ length: number32() }, number64).reverse();
    return { name, shape, id: number32(), offset: number64() };
  });
  return { metadata, tensors, data: file.subarray(Math.ceil(at / ALIGNMENT) * ALIGNMENT) };
}

function f32(value: number): Buffer {
  return Buffer.from(Float32Array.of(value).buffer);
}

/** Returns an arbitrary value instead of the expected one. */
export function hostileMetadata(draw: Draw): GgufValue {
  const unsigned = (most: number) => Math.trunc(Math.min(most, Math.abs(hostileNumber(draw))));
  return draw.pick<() => GgufValue>([
    () => ({ type: TYPE.u32, raw: u32(unsigned(2 ** 32 - 1)) }),
    () => ({ type: TYPE.u32, raw: u32(unsigned(300)) }),
    () => ({ type: TYPE.u64, raw: u64(BigInt.asUintN(64, BigInt(unsigned(2 ** 64)))) }),
    () => ({ type: TYPE.f32, raw: f32(draw.pick([Number.NaN, Infinity, -Infinity, -1, 0, hostileNumber(draw)])) }),
    () => ({ type: TYPE.flag, raw: Buffer.of(draw.integer(0, 3)) }),
    () => ({ type: TYPE.text, raw: text(hostileString(draw)) }),
    () =>
      list(
        TYPE.u32,
        draw.several(0, 9, () => u32(unsigned(2 ** 32 - 1))),
      ),
    () =>
      list(
        TYPE.text,
        draw.several(0, draw.size(2000), () => text(draw.chance(0.9) ? 'a' : hostileString(draw))),
      ),
    () =>
      list(
        TYPE.f32,
        draw.several(0, draw.size(2000), () => f32(hostileNumber(draw))),
      ),
    () => list(TYPE.flag, Array(draw.size(1e5)).fill(Buffer.of(1))),
    () => list(TYPE.u64, Array(draw.size(1e4)).fill(u64(2n ** 60n))),
    // a count that exceeds the file
    () => ({
      type: TYPE.list,
      raw: Buffer.concat([u32(draw.integer(0, 13)), u64(unsigned(2 ** 53)), Buffer.alloc(16)]),
    }),
    () => nested(draw.size(1e4)),
    () => ({ type: draw.integer(0, 20), raw: Buffer.alloc(draw.size(64)) }),
  ])();
}

function list(type: number, values: readonly Buffer[]): GgufValue {
  return { type: TYPE.list, raw: Buffer.concat([u32(type), u64(values.length), ...values]) };
}

function nested(depth: number): GgufValue {
  const level = Buffer.concat([u32(TYPE.list), u64(1)]);
  return {
    type: TYPE.list,
    raw: Buffer.concat([...Array<Buffer>(depth).fill(level), u32(TYPE.u8), u64(1), Buffer.of(1)]),
  };
}
