/**
 * Headers of files with random bytes changed: each gives a description that fits its file, or one MbokError. No crash, no
 * hang, no memory but in proportion to the header.
 */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { MbokError } from '../../lib/base/errors';
import { headerLength, LENGTH_BYTES, parseHeader } from '../../lib/io/safetensors_header';
import { parseGgufHeader } from '../../lib/models/gguf/header';
import { ModelSource } from '../../lib/models/source';
import { temporaryFolder } from '../helpers/folders';
import { ggufBytes, SMALL_LLAMA, u32, u64 } from '../helpers/gguf_writer';

const temporary = temporaryFolder();
const RUNS = 100_000;
/** Of one header; a pause of the garbage collector is in it. */
const MOST_MILLISECONDS = 30_000;
/** By which the process may grow: the garbage of many headers of 4 KB, but nothing of the lengths that they claim. */
const MOST_BYTES = 512 << 20;
const TERABYTE = 2 ** 40;

/** Numbers that stand at limits, for places where lengths, counts, types and offsets are. */
const LIMITS = [
  0n,
  1n,
  2n,
  9n,
  31n,
  32n,
  255n,
  65535n,
  65536n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 32n,
].concat([2n ** 33n, 2n ** 40n, 2n ** 52n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n]);

type Edit =
  | { readonly kind: 'byte' | 'cut' | 'remove' | 'repeat'; readonly at: number; readonly value: number }
  | { readonly kind: 'limit'; readonly at: number; readonly value: bigint };

const position = fc.nat({ max: 4095 });
const edit: fc.Arbitrary<Edit> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('byte' as const), at: position, value: fc.nat({ max: 255 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('limit' as const), at: position, value: fc.constantFrom(...LIMITS) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('cut', 'remove', 'repeat'),
      at: position,
      value: fc.nat({ max: 64 }),
    }),
  },
);
const edits = fc.array(edit, { minLength: 1, maxLength: 4 });

function edited(seed: Buffer, changes: readonly Edit[]): Buffer {
  let bytes = Buffer.from(seed);
  for (const { kind, at: anywhere, value } of changes) {
    if (bytes.length === 0) break;
    const at = anywhere % bytes.length;
    const part = bytes.subarray(at, at + Number(value));
    if (kind === 'byte') bytes[at] = value;
    else if (kind === 'limit') u64(value).copy(bytes, at);
    else if (kind === 'cut') bytes = bytes.subarray(0, at);
    else if (kind === 'remove') bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + value)]);
    else bytes = Buffer.concat([bytes.subarray(0, at), part, bytes.subarray(at)]);
  }
  return bytes;
}

/** Runs `parse` on every input; it may throw MbokErrors only, in bounded time and memory. Tells how many were read. */
function survives(seeds: readonly Buffer[], runs: number, parse: (bytes: Buffer, size: number) => void): number {
  let read = 0;
  const before = process.memoryUsage.rss();
  // the true size, or one in which any length fits
  const inputs = fc.tuple(fc.constantFrom(...seeds), edits, fc.boolean());
  fc.assert(
    fc.property(inputs, ([seed, changes, isHuge]) => {
      const bytes = edited(seed, changes);
      const start = performance.now();
      try {
        parse(bytes, isHuge ? TERABYTE : bytes.length);
        read++;
      } catch (error) {
        if (!(error instanceof MbokError)) throw error;
        if (!['MBOK_FORMAT', 'MBOK_UNSUPPORTED'].includes(error.code)) throw error;
      }
      if (performance.now() - start > MOST_MILLISECONDS) throw new Error('took too long');
      if (process.memoryUsage.rss() - before > MOST_BYTES) throw new Error('took too much memory');
    }),
    { numRuns: runs, seed: 20250501, endOnFailure: true },
  );
  return read;
}

const lists = ggufBytes({
  version: 2,
  metadata: [
    ['general.architecture', { text: 'llama' }],
    ['tokens', { texts: ['a', 'bc', 'def', ''] }],
    ['scores', { floats: [0, -1, -2, -3] }],
    ['flags', { raw: Buffer.concat([u32(7), u64(3), Buffer.of(1, 0, 1)]), type: 9 }],
    ['wide', { raw: Buffer.concat([u32(10), u64(2), u64(1), u64(2n ** 60n)]), type: 9 }],
    ['general.alignment', { u32: 64 }],
  ],
  tensors: [
    { name: 'a', shape: [2, 256], type: 'Q4_K' },
    { name: 'b', shape: [2, 3, 32], type: 'Q8_0' },
    { name: 'c', shape: [5], type: 'F16' },
  ],
  dataBytes: 1024,
});

function safetensorsSeed(tensors: Record<string, unknown>, dataBytes: number): Buffer {
  const json = Buffer.from(JSON.stringify(tensors));
  return Buffer.concat([u64(json.length), json, Buffer.alloc(dataBytes)]);
}

const SAFETENSORS = [
  safetensorsSeed(
    { __metadata__: { format: 'pt' }, 'a.weight': { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] } },
    24,
  ),
  safetensorsSeed(
    Object.fromEntries(
      Array.from({ length: 20 }, (_, i) => [
        `blocks.${i}`,
        { dtype: i % 2 ? 'F16' : 'BF16', shape: [4, 2], data_offsets: [16 * i, 16 * (i + 1)] },
      ]),
    ),
    320,
  ),
  safetensorsSeed({}, 0),
];

test(`GGUF: ${RUNS} changed headers`, () => {
  const seeds = [ggufBytes(SMALL_LLAMA), lists];
  for (const seed of seeds) expect(seed.length).toBeLessThan(4096);
  const read = survives(seeds, RUNS, (bytes, size) => {
    const header = parseGgufHeader(bytes, size, 'x.gguf');
    for (const { byteOffset, byteLength } of header?.tensors.values() ?? []) {
      if (byteOffset + byteLength > size) throw new Error('a tensor lies beyond the file');
    }
  });
  // changes of data and of values leave a header whole: both outcomes are exercised
  expect(read).toBeGreaterThan(RUNS / 20);
  expect(read).toBeLessThan(RUNS / 1.2);
}, 120_000);

test(`safetensors: ${RUNS} changed headers`, () => {
  for (const seed of SAFETENSORS) expect(seed.length).toBeLessThan(4096);
  const read = survives(SAFETENSORS, RUNS, (bytes, size) => {
    const length = headerLength(bytes.subarray(0, LENGTH_BYTES), size, 'x.safetensors');
    // what a file that has shrunk gives
    const json = bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length);
    const { tensors } = parseHeader(json, size, 'x.safetensors');
    for (const { byteOffset, byteLength } of tensors.values()) {
      if (byteOffset + byteLength > size) throw new Error('a tensor lies beyond the file');
    }
  });
  expect(read).toBeGreaterThan(RUNS / 200);
}, 120_000);

test('whole GGUF files with changed bytes open as models or give one MbokError', async () => {
  const path = join(temporary, 'model.gguf');
  const seed = ggufBytes(SMALL_LLAMA);
  let opened = 0;
  await fc.assert(
    fc.asyncProperty(edits, async (changes) => {
      await writeFile(path, edited(seed, changes));
      try {
        await using source = await ModelSource.open(path);
        for (const slice of source.loaded().slices) (await source.read(slice)).matrix.dispose();
        opened++;
      } catch (error) {
        if (!(error instanceof MbokError)) throw error;
      }
    }),
    { numRuns: 1000, seed: 20250501, endOnFailure: true },
  );
  expect(opened).toBeGreaterThan(50);
}, 120_000);
