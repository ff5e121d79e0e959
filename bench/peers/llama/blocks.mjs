/**
 * Random weights in ggml's block types. Speed does not depend on the values, so only layouts and scales must be right.
 * The layouts are those of ggml-common.h.
 */

import { randomFillSync } from 'node:crypto';
import { createRequire } from 'node:module';
import { uniforms } from '../../measure.mjs';

const require = createRequire(import.meta.url);
const { f32ToHalf } = require('../../../dist/io/half.js');

/** Bytes of the pool of random weights, from which tensors take each row at a random offset. */
const POOL_BYTES = 1 << 24;

/** `id` in GGUF; `weights` and `bytes` per block; `scales`: offsets of its F16 scales. All other bytes are bits. */
export const TYPES = {
  F32: { id: 0, weights: 1, bytes: 4 },
  F16: { id: 1, weights: 1, bytes: 2 },
  Q4_0: { id: 2, weights: 32, bytes: 18, scales: [0] },
  Q8_0: { id: 8, weights: 32, bytes: 34, scales: [0] },
  Q2_K: { id: 10, weights: 256, bytes: 84, scales: [80, 82] },
  Q3_K: { id: 11, weights: 256, bytes: 110, scales: [108] },
  Q4_K: { id: 12, weights: 256, bytes: 144, scales: [0, 2] },
  IQ2_XXS: { id: 16, weights: 256, bytes: 66, scales: [0] },
  IQ3_XXS: { id: 18, weights: 256, bytes: 98, scales: [0] },
  IQ1_S: { id: 19, weights: 256, bytes: 50, scales: [0] },
  TQ1_0: { id: 34, weights: 256, bytes: 54, scales: [52] },
  TQ2_0: { id: 35, weights: 256, bytes: 66, scales: [64] },
  Q1_0: { id: 41, weights: 128, bytes: 18, scales: [0] },
  Q2_0: { id: 42, weights: 64, bytes: 18, scales: [0] },
};

export const bitsOf = (type) => (8 * TYPES[type].bytes) / TYPES[type].weights;

/** Scale 2^-10 in F16, which makes products of thousands of inputs about 1 for numbers of a few units. */
const SCALE = 0x1400;
/** Half range for a standard deviation of 1/64, as usual for 4096 inputs. */
const HALF_RANGE = Math.sqrt(3) / 64;

/** Returns a function that fills whole rows of `cols` weights with random blocks of `type`. */
export function randomRows(type, cols) {
  const { weights, bytes } = TYPES[type];
  if (cols % weights !== 0) throw new Error(`${type} has blocks of ${weights} weights, a row has ${cols}`);
  const pool = poolOf(type);
  const rowBytes = (cols / weights) * bytes;
  const places = (pool.length - rowBytes) / bytes;
  return {
    rowBytes,
    fill(target) {
      for (let at = 0; at < target.length; at += rowBytes) {
        const from = Math.floor(Math.random() * places) * bytes;
        pool.copy(target, at, from, from + rowBytes);
      }
    },
  };
}

const pools = new Map();

function poolOf(type) {
  if (!pools.has(type)) pools.set(type, type === 'F16' ? halfPool() : blockPool(TYPES[type]));
  return pools.get(type);
}

function halfPool() {
  const values = uniforms(POOL_BYTES / 2).map((value) => value * HALF_RANGE);
  return Buffer.from(f32ToHalf(values, 'F16').buffer);
}

function blockPool({ bytes, scales }) {
  const pool = randomFillSync(Buffer.alloc(Math.floor(POOL_BYTES / bytes) * bytes));
  for (let block = 0; block < pool.length; block += bytes) {
    for (const offset of scales) pool.writeUInt16LE(SCALE, block + offset);
  }
  return pool;
}
