/** Safetensors files whose tensors are written at fixed positions, in any order, over several processes. */

import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { linkOrCopy } from '../../lib/io/atomic';
import { PlacedSafetensors } from '../../lib/io/placed_safetensors';
import { type TensorHead, type TensorSource, writeSafetensors } from '../../lib/io/safetensors';
import { temporaryFolder } from '../helpers/folders';

const folder = temporaryFolder();
let files = 0;
const fresh = () => join(folder, `${++files}.safetensors`);

const HEADS: readonly TensorHead[] = [
  { name: 'bits', dtype: 'U8', shape: [3, 4] },
  { name: 'scales', dtype: 'F16', shape: [3, 2] },
  { name: 'norm', dtype: 'F32', shape: [4] },
];
const METADATA = { format: 'pt' };

/** Creates a tensor with bytes that differ between tensors, in pieces. */
function filled(head: TensorHead, bytes: number, pieces = 1): TensorSource {
  const first = head.name.charCodeAt(0);
  const data = Uint8Array.from({ length: bytes }, (_, i) => first + i);
  const length = Math.ceil(bytes / pieces);
  return {
    ...head,
    *bytes() {
      for (let done = 0; done < bytes; done += length) yield data.subarray(done, done + length);
    },
  } as TensorSource;
}
const [bits, scales, norm] = [
  filled(HEADS[0] as TensorHead, 12, 5),
  filled(HEADS[1] as TensorHead, 12),
  filled(HEADS[2] as TensorHead, 16, 3),
];

test('give the same file as sequential writing, also when a later process continues', async () => {
  const [placed, straight] = [fresh(), fresh()];
  await writeSafetensors(straight, [bits, scales, norm], METADATA);
  {
    await using file = await PlacedSafetensors.create(placed, HEADS, METADATA);
    await file.write(bits);
    await file.sync();
  }
  expect(statSync(placed).size).toBe(statSync(straight).size);
  {
    await using file = await PlacedSafetensors.open(placed, HEADS);
    await file.write(norm);
    await file.write(scales);
    expect(await file.reader.read('scales')).toEqual(
      new Uint8Array([...(scales.bytes() as Iterable<Uint8Array>)][0] as Uint8Array),
    );
  }
  expect(readFileSync(placed)).toEqual(readFileSync(straight));
});

test.each([0, 1, 4, 5, 8])('accept the start of a tensor, except its first %i bytes', async (skip) => {
  const path = fresh();
  await using file = await PlacedSafetensors.create(path, HEADS, METADATA);
  await file.write(filled({ name: 'bits', dtype: 'U8', shape: [2, 4] }, 8, 3), skip);
  const expected = Array.from({ length: 12 }, (_, i) => (i >= skip && i < 8 ? 'b'.charCodeAt(0) + i : 0));
  expect([...(await file.reader.read('bits'))]).toEqual(expected);
});

test('protect tensors from excess bytes, and cannot be continued as another file', async () => {
  const path = fresh();
  await using file = await PlacedSafetensors.create(path, HEADS, METADATA);
  const tooLarge = { name: 'bits', dtype: 'U8', shape: [13] } as const;
  await expect(file.write(filled(tooLarge, 13))).rejects.toMatchObject({ code: 'MBOK_SHAPE' });
  await expect(file.write(filled(HEADS[1] as TensorHead, 20))).rejects.toMatchObject({ code: 'MBOK_SHAPE' });
  await expect(file.write(filled({ ...HEADS[0], name: 'other' } as TensorHead, 12))).rejects.toMatchObject({
    code: 'MBOK_FORMAT',
  });
  for (const name of ['bits', 'norm']) expect((await file.reader.read(name)).every((byte) => byte === 0)).toBe(true);
  for (const heads of [HEADS.slice(1), [...HEADS.slice(1), { ...HEADS[0], shape: [4, 3] } as TensorHead]]) {
    await expect(PlacedSafetensors.open(path, heads)).rejects.toMatchObject({ code: 'MBOK_FORMAT' });
  }
  appendFileSync(path, 'x');
  await expect(PlacedSafetensors.open(path, HEADS)).rejects.toMatchObject({ code: 'MBOK_FORMAT' });
  await expect(PlacedSafetensors.open(`${path}-none`, HEADS)).rejects.toMatchObject({ code: 'MBOK_IO' });
});

test('a complete file gets a second name, or on another file system a copy', async () => {
  const [from, to] = [fresh(), fresh()];
  writeFileSync(from, 'content');
  await linkOrCopy(from, to);
  expect(statSync(to).ino).toBe(statSync(from).ino);
  await expect(linkOrCopy(`${from}-none`, fresh())).rejects.toMatchObject({ code: 'MBOK_IO' });
  if (!existsSync('/dev/shm') || statSync('/dev/shm').dev === statSync(folder).dev) return;
  const elsewhere = mkdtempSync('/dev/shm/mbok-');
  try {
    await linkOrCopy(from, join(elsewhere, 'copy'));
    expect(readFileSync(join(elsewhere, 'copy'), 'utf8')).toBe('content');
  } finally {
    rmSync(elsewhere, { recursive: true });
  }
});
