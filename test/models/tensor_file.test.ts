import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SafetensorsFile, type TensorSource, writeSafetensors } from '../../lib/io/safetensors';
import { loadTensors, saveTensors } from '../../lib/models/tensor_file';
import { BitMatrix } from '../../lib/native/bit_matrix';
import { Matrix } from '../../lib/native/matrix';
import { GOLDEN, temporaryFolder } from '../helpers/folders';
import { Random } from '../helpers/random';

const folder = temporaryFolder();
const random = new Random(7);
const signs = (rows: number, cols: number) =>
  BitMatrix.fromSigns(
    Int8Array.from({ length: rows * cols }, () => (random.uniform() < 0.5 ? -1 : 1)),
    { rows, cols },
  );

function numbers(type: 'f32' | 'f16' | 'bf16' | 'i8', rows: number, cols: number): Matrix {
  const matrix = new Matrix({ rows, cols, type });
  const raw = matrix.raw();
  // bit patterns of finite numbers in every type
  for (let i = 0; i < raw.length; i++) raw[i] = type === 'f32' ? random.uniform() - 0.5 : random.integer(0, 100);
  matrix.write(raw);
  return matrix;
}

test('matrices of every type are read as they were saved, with their metadata', async () => {
  const path = join(folder, 'all.safetensors');
  const saved = new Map<string, Matrix>([
    ['0', signs(3, 13)],
    ['wide', signs(2, 200)],
    ['__proto__', signs(1, 1)],
    ['f32', numbers('f32', 5, 7)],
    ['f16', numbers('f16', 2, 3)],
    ['bf16', numbers('bf16', 4, 1)],
    ['i8', numbers('i8', 3, 3)],
    ['empty', new Matrix({ rows: 0, cols: 4 })],
  ]);
  const seen: number[] = [];
  const metadata = { '1': 'digits first', width: '64', empty: '' };
  await saveTensors(path, saved, { metadata, onProgress: ({ done }) => seen.push(done) });
  expect([seen[0], seen.at(-1)]).toEqual([0, 1]);
  const loaded = await loadTensors(path);
  expect(loaded.metadata).toEqual(metadata);
  expect([...loaded.tensors.keys()].sort()).toEqual([...saved.keys()].sort());
  for (const [name, matrix] of saved) {
    const again = loaded.tensors.get(name) as Matrix;
    expect([name, again.type, again.rows, again.cols]).toEqual([name, matrix.type, matrix.rows, matrix.cols]);
    expect(again instanceof BitMatrix).toBe(matrix instanceof BitMatrix);
    expect(again.raw()).toEqual(matrix.raw());
  }
  // the own file may be replaced, also where names that look like numbers come first in it
  await saveTensors(path, new Map([['one', numbers('f32', 1, 1)]]));
  expect([...(await loadTensors(path)).tensors.keys()]).toEqual(['one']);
});

test('checkpoints of others are read, and not replaced', async () => {
  const path = join(folder, 'model.safetensors');
  copyFileSync(join(GOLDEN, 'llama/model.safetensors'), path);
  const { tensors, metadata } = await loadTensors(path);
  await using file = await SafetensorsFile.open(path);
  expect(tensors.size).toBe(file.tensors.size);
  expect(metadata).toEqual(Object.fromEntries(file.metadata));
  const name = 'model.norm.weight';
  expect(tensors.get(name)?.toFloat32()).toEqual(await file.readF32(name));
  const before = readFileSync(path);
  await expect(saveTensors(path, tensors)).rejects.toMatchObject({ code: 'MBOK_IO' });
  expect(readFileSync(path)).toEqual(before);
});

test.each<[string, () => Map<string, Matrix>, string, RegExp]>([
  [
    'NaN',
    () => new Map([['w', Matrix.from(Float32Array.of(1, Number.NaN), { rows: 1, cols: 2 })]]),
    'MBOK_NON_FINITE',
    /'w'/,
  ],
  [
    'token ids',
    () => new Map([['ids', new Matrix({ rows: 1, cols: 1, type: 'i32' })]]),
    'MBOK_UNSUPPORTED',
    /'ids' is a i32/,
  ],
  [
    'bits without their class',
    () => new Map([['b', new Matrix({ rows: 1, cols: 1, type: 'bits' })]]),
    'MBOK_UNSUPPORTED',
    /BitMatrix/,
  ],
  [
    'a name of the format',
    () => new Map([['__metadata__', numbers('f32', 1, 1)]]),
    'MBOK_INVALID_ARGUMENT',
    /__metadata__/,
  ],
  [
    'a disposed matrix',
    () => {
      const gone = numbers('f32', 1, 1);
      gone.dispose();
      return new Map([['w', gone]]);
    },
    'MBOK_DISPOSED',
    /disposed/,
  ],
])('%s is refused, and the file stays', async (_, tensors, code, message) => {
  const path = join(folder, 'stays.safetensors');
  await saveTensors(path, new Map([['w', numbers('f32', 2, 2)]]));
  const before = readFileSync(path);
  await expect(saveTensors(path, tensors())).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  expect(readFileSync(path)).toEqual(before);
});

const packed = (dtype: TensorSource['dtype'], shape: readonly number[], bytes: number): TensorSource => ({
  name: 'b',
  dtype,
  shape,
  bytes: () => new Uint8Array(bytes),
});

test.each<[string, TensorSource, string, string]>([
  ['too few columns', packed('U8', [2, 2], 4), '{"b":8}', 'MBOK_FORMAT'],
  ['too many columns', packed('U8', [2, 2], 4), '{"b":17}', 'MBOK_FORMAT'],
  ['columns that are no number', packed('U8', [2, 2], 4), '{"b":"16"}', 'MBOK_FORMAT'],
  ['no columns', packed('U8', [2, 2], 4), '{"b":0}', 'MBOK_FORMAT'],
  ['columns of numbers', packed('F32', [2, 2], 16), '{"b":16}', 'MBOK_FORMAT'],
  ['columns of a vector', packed('U8', [2], 2), '{"b":8}', 'MBOK_FORMAT'],
  ['columns of a tensor that is not there', packed('U8', [2, 2], 4), '{"c":16}', 'MBOK_FORMAT'],
  ['columns that are no JSON', packed('U8', [2, 2], 4), '{', 'MBOK_FORMAT'],
  ['bytes without columns', packed('U8', [2, 2], 4), '{}', 'MBOK_UNSUPPORTED'],
])('a file with %s is refused', async (_, tensor, columns, code) => {
  const path = join(folder, 'hostile.safetensors');
  await writeSafetensors(path, [tensor], { mbok_columns: columns });
  await expect(loadTensors(path)).rejects.toMatchObject({ code });
});

test('a truncated file is refused', async () => {
  const path = join(folder, 'truncated.safetensors');
  await saveTensors(path, new Map([['w', numbers('f32', 8, 8)]]));
  writeFileSync(path, readFileSync(path).subarray(0, -1));
  await expect(loadTensors(path)).rejects.toMatchObject({ code: 'MBOK_FORMAT' });
});

test('a call that is aborted leaves the file as it is', async () => {
  const path = join(folder, 'aborted.safetensors');
  const controller = new AbortController();
  const onProgress = () => controller.abort();
  const saving = saveTensors(
    path,
    new Map([
      ['w', numbers('f32', 1, 1)],
      ['v', numbers('f32', 1, 1)],
    ]),
    {
      signal: controller.signal,
      onProgress,
    },
  );
  await expect(saving).rejects.toMatchObject({ code: 'MBOK_ABORTED' });
  await expect(loadTensors(path)).rejects.toMatchObject({ code: 'MBOK_IO' });
});
