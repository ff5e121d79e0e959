/** Weights in several safetensors files. */

import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { SafetensorsFile, type TensorSource, writeSafetensors } from '../../lib/io/safetensors';
import { Model } from '../../lib/model';
import { copyGolden, temporaryFolder } from '../helpers/folders';

const folder = temporaryFolder();
const ids = [1, 2, 3, 4, 5];

/** Copies the golden llama with its tensors distributed over `count` files. */
async function sharded(name: string, count: number): Promise<string> {
  const at = join(folder, name);
  mkdirSync(at);
  copyGolden('llama', at);
  await using file = await SafetensorsFile.open(join(at, 'model.safetensors'));
  const shards = Array.from({ length: count }, (): TensorSource[] => []);
  const places: Record<string, string> = {};
  for (const [index, { name: tensor, dtype, shape }] of [...file.tensors.values()].entries()) {
    shards[index % count]?.push({ name: tensor, dtype, shape, bytes: () => file.read(tensor) });
    places[tensor] = `model-${index % count}.safetensors`;
  }
  for (const [index, tensors] of shards.entries())
    await writeSafetensors(join(at, `model-${index}.safetensors`), tensors);
  writeFileSync(join(at, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: places }));
  rmSync(join(at, 'model.safetensors'));
  return at;
}

test('several files give the same model as one', async () => {
  const whole = join(folder, 'whole');
  mkdirSync(whole);
  await using one = await Model.load(copyGolden('llama', whole));
  await using three = await Model.load(await sharded('three', 3));
  expect((await three.logits(ids)).data).toEqual((await one.logits(ids)).data);
});

type Index = { weight_map: Record<string, unknown> };
const INDEX = 'model.safetensors.index.json';
const indexOf = (at: string) => JSON.parse(readFileSync(join(at, INDEX), 'utf8')) as Index;
const writeIndex = (at: string, index: unknown) => writeFileSync(join(at, INDEX), JSON.stringify(index));

/** Changes the shard of a tensor in the index. */
function place(at: string, tensor: string, shard: unknown): void {
  const index = indexOf(at);
  index.weight_map[tensor] = shard;
  writeIndex(at, index);
}

const NORM = 'model.norm.weight';
/** Returns the one of two shards that does not contain a tensor. */
const otherShard = (at: string, tensor: string) =>
  indexOf(at).weight_map[tensor] === 'model-0.safetensors' ? 'model-1.safetensors' : 'model-0.safetensors';

/** Adds tensors to a shard. */
async function addTo(at: string, shard: string, tensors: TensorSource[]): Promise<void> {
  const path = join(at, shard);
  await using file = await SafetensorsFile.open(path);
  const own = [...file.tensors.values()].map(({ name, dtype, shape }) => ({
    name,
    dtype,
    shape,
    bytes: () => file.read(name),
  }));
  await writeSafetensors(path, [...own, ...tensors]);
}

let count = 0;
describe('inconsistent files are refused by one error:', () => {
  test.each<[string, string, RegExp, (at: string) => void | Promise<void>]>([
    ['a missing file', 'MBOK_IO', /model-1\.safetensors.*ENOENT/, (at) => rmSync(join(at, 'model-1.safetensors'))],
    [
      'a truncated file',
      'MBOK_FORMAT',
      /model-1.*truncated/,
      (at) => truncateSync(join(at, 'model-1.safetensors'), 5000),
    ],
    ['an empty file', 'MBOK_FORMAT', /model-0.*too few/, (at) => truncateSync(join(at, 'model-0.safetensors'), 0)],
    [
      'a file with more at its end',
      'MBOK_FORMAT',
      /model-0.*belong to no tensor/,
      (at) => appendFileSync(join(at, 'model-0.safetensors'), 'x'),
    ],
    [
      'a folder in the place of a file',
      'MBOK_IO',
      /model-0.*EISDIR/,
      (at) => {
        rmSync(join(at, 'model-0.safetensors'));
        mkdirSync(join(at, 'model-0.safetensors'));
      },
    ],
    [
      'a tensor that its file lacks',
      'MBOK_SHAPE',
      /index\.json: tensor 'model\.norm\.weight' is missing/,
      (at) => place(at, NORM, otherShard(at, NORM)),
    ],
    ['a tensor that the index lacks', 'MBOK_SHAPE', /model\.norm\.weight/, (at) => place(at, NORM, undefined)],
    [
      'a tensor that two files have',
      'MBOK_FORMAT',
      /'model\.norm\.weight' is in both 'model-\d\.safetensors' and/,
      (at) =>
        addTo(at, otherShard(at, NORM), [{ name: NORM, dtype: 'F32', shape: [1], bytes: () => new Uint8Array(4) }]),
    ],
    [
      'a tensor of another shape than the configuration says',
      'MBOK_SHAPE',
      /model\.norm\.weight/,
      async (at) => {
        place(at, NORM, 'model-2.safetensors');
        await writeSafetensors(join(at, 'model-2.safetensors'), [
          { name: NORM, dtype: 'F32', shape: [3], bytes: () => new Uint8Array(12) },
        ]);
        await removeFrom(at, NORM);
      },
    ],
    [
      'an index that is cut off',
      'MBOK_FORMAT',
      /index\.json' is not valid JSON/,
      (at) => truncateSync(join(at, INDEX), 100),
    ],
    [
      'an index without a map',
      'MBOK_FORMAT',
      /index\.json' has no 'weight_map'/,
      (at) => writeIndex(at, { metadata: {} }),
    ],
    ['an index whose map is a list', 'MBOK_FORMAT', /has no 'weight_map'/, (at) => writeIndex(at, { weight_map: [] })],
    [
      'an index without tensors',
      'MBOK_SHAPE',
      /'num_hidden_layers' is 2, but the checkpoint has only 0 tensors/,
      (at) => writeIndex(at, { weight_map: {} }),
    ],
    [
      'a name that leads up',
      'MBOK_FORMAT',
      /places tensor 'model\.norm\.weight' in "\.\.\/elsewhere\.safetensors"/,
      (at) => place(at, NORM, '../elsewhere.safetensors'),
    ],
    [
      'a name that is a path',
      'MBOK_FORMAT',
      /in "\/etc\/passwd", not a file name/,
      (at) => place(at, NORM, '/etc/passwd'),
    ],
    [
      'a name that is a folder below',
      'MBOK_FORMAT',
      /in "a\/b\.safetensors"/,
      (at) => place(at, NORM, 'a/b.safetensors'),
    ],
    ['a name that is the folder above', 'MBOK_FORMAT', /in "\.\."/, (at) => place(at, NORM, '..')],
    ['a name that is the folder itself', 'MBOK_FORMAT', /in "\."/, (at) => place(at, NORM, '.')],
    [
      'a name of Windows that leads up',
      'MBOK_FORMAT',
      /not a file name/,
      (at) => place(at, NORM, '..\\elsewhere.safetensors'),
    ],
    ['a name with a zero byte', 'MBOK_FORMAT', /not a file name/, (at) => place(at, NORM, 'model-0.safetensors\0')],
    ['a name that is empty', 'MBOK_FORMAT', /in "", not a file name/, (at) => place(at, NORM, '')],
    ['a name that is a number', 'MBOK_FORMAT', /in 5, not a file name/, (at) => place(at, NORM, 5)],
    ['a name that is too long', 'MBOK_IO', /ENAMETOOLONG/, (at) => place(at, NORM, 'x'.repeat(1000))],
    [
      'more files than there are',
      'MBOK_IO',
      /ENOENT/,
      (at) =>
        writeIndex(at, {
          weight_map: Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`t${i}`, `shard-${i}.safetensors`])),
        }),
    ],
  ])('%s', async (_, code, message, damage) => {
    const at = await sharded(`bad${count++}`, 2);
    await damage(at);
    const before = openFiles();
    await expect(Model.load(at)).rejects.toMatchObject({
      name: 'MbokError',
      code,
      message: expect.stringMatching(message),
    });
    expect(openFiles()).toBe(before);
  });
});

/** Removes a tensor from the first two shards. */
async function removeFrom(at: string, tensor: string): Promise<void> {
  for (const shard of ['model-0.safetensors', 'model-1.safetensors']) {
    const path = join(at, shard);
    await using file = await SafetensorsFile.open(path);
    if (!file.tensors.has(tensor)) continue;
    const kept = [...file.tensors.values()].filter(({ name }) => name !== tensor);
    await writeSafetensors(
      path,
      kept.map(({ name, dtype, shape }) => ({ name, dtype, shape, bytes: () => file.read(name) })),
    );
  }
}

/** Counts the open files of this process. */
function openFiles(): number {
  return existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : 0;
}

test('tensors beyond the first 4 GiB of a file are read correctly', async () => {
  const path = join(folder, 'large.safetensors');
  const first = 2 ** 32 + 4096;
  const json = {
    first: { dtype: 'U8', shape: [first / 4096, 4096], data_offsets: [0, first] },
    second: { dtype: 'F32', shape: [2], data_offsets: [first, first + 8] },
  };
  const header = Buffer.from(JSON.stringify(json));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  // the data in between is a hole, which takes no disk space
  const file = openSync(path, 'w');
  writeSync(file, Buffer.concat([length, header]));
  writeSync(file, Buffer.from(Float32Array.of(1.5, -2).buffer), 0, 8, 8 + header.length + first);
  closeSync(file);
  await using opened = await SafetensorsFile.open(path);
  expect(await opened.readF32('second')).toEqual(Float32Array.of(1.5, -2));
  rmSync(path);
});
