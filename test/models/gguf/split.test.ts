/** Models in several GGUF files give the same as in one; files that do not fit together are errors. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { MbokError } from '../../../lib/base/errors';
import { binarizeFolder } from '../../../lib/compress/binarize_folder';
import { Model } from '../../../lib/model';
import { inspect } from '../../../lib/models/inspect';
import { ModelSource } from '../../../lib/models/source';
import { digestOf } from '../../../lib/report/inputs';
import { GOLDEN, temporaryFolder } from '../../helpers/folders';
import { type GgufToWrite, ggufBytes, SMALL_LLAMA } from '../../helpers/gguf_writer';
import { partName, splitGguf } from '../../helpers/split_gguf';

const temporary = temporaryFolder();
const whole = join(GOLDEN, 'gguf/llama.gguf');
const TENSORS = 21;

/** Writes parts into a new folder. Returns the path of the first. */
function write(parts: readonly Buffer[]): string {
  const folder = mkdtempSync(join(temporary, 'split-'));
  for (const [i, part] of parts.entries()) writeFileSync(join(folder, partName('m', i, parts.length)), part);
  return join(folder, partName('m', 0, parts.length));
}

describe.each([
  ['two parts', [5, TENSORS - 5]],
  ['many parts', Array.from({ length: TENSORS }, () => 1)],
  ['a first part without tensors', [0, 10, TENSORS - 10]],
])('%s', (_, counts) => {
  let first: string;
  beforeAll(() => {
    first = write(splitGguf(readFileSync(whole), counts));
  });

  test('have the tensors and the tokenizer of the whole', async () => {
    await using expected = await ModelSource.open(whole);
    await using source = await ModelSource.open(first);
    expect(source.config).toEqual(expected.config);
    expect([...source.weights.tensors.keys()].sort()).toEqual([...expected.weights.tensors.keys()].sort());
    for (const name of expected.weights.tensors.keys()) {
      expect(await source.weights.read(name)).toEqual(await expected.weights.read(name));
    }
    expect(source.tokenizer?.encode('mbok')).toEqual(expected.tokenizer?.encode('mbok'));
  });

  test('have its logits', async () => {
    await using one = await Model.load(whole);
    await using other = await Model.load(first);
    expect((await other.logits([1, 2, 3, 4])).data).toEqual((await one.logits([1, 2, 3, 4])).data);
  });

  test('have its sizes but for the headers', async () => {
    const { bytes: ofWhole, parts: partsOfWhole, ...expected } = await inspect(whole);
    const { bytes, parts, bitsPerParameter: _, ...found } = await inspect(first);
    expect(found).toEqual({ ...expected, bitsPerParameter: undefined });
    expect(parts).toEqual({ ...partsOfWhole, other: partsOfWhole.other + bytes - ofWhole });
  });

  test('are converted to the same bits', async () => {
    const [one, other] = [join(first, '../one'), join(first, '../other')];
    await binarizeFolder(whole, one, { kernels: 2, method: 'svid' });
    await binarizeFolder(first, other, { kernels: 2, method: 'svid' });
    for (const name of ['model.safetensors', 'config.json', 'tokenizer.json']) {
      expect(readFileSync(join(other, name)).equals(readFileSync(join(one, name)))).toBe(true);
    }
  });
});

test('a report sees a change of any part', async () => {
  const first = write(splitGguf(readFileSync(whole), [5, TENSORS - 5]));
  const digest = () => digestOf(first, new AbortController().signal);
  const before = await digest();
  const last = join(first, '..', partName('m', 1, 2));
  const content = readFileSync(last);
  content.writeUInt8(content.readUInt8(content.length - 40) ^ 1, content.length - 40);
  writeFileSync(last, content);
  expect(await digest()).not.toBe(before);
});

type Metadata = NonNullable<GgufToWrite['metadata']>;

/** Describes the parts of a small model; `change` replaces those of one part. */
function smallParts(change: Readonly<Record<number, GgufToWrite>> = {}): readonly Buffer[] {
  const { metadata, tensors } = SMALL_LLAMA;
  const split = (number: number): Metadata => [
    ['split.no', { u32: number }],
    ['split.count', { u32: 3 }],
    ['split.tensors.count', { u32: tensors.length }],
  ];
  return [
    { metadata: [...metadata, ...split(0)], tensors: tensors.slice(0, 4) },
    { metadata: split(1), tensors: tensors.slice(4, 8) },
    { metadata: split(2), tensors: tensors.slice(8) },
  ].map((part, i) => ggufBytes({ ...part, ...change[i] }));
}

const entries = (number: number, count: number, tensors: number, ...more: Metadata): Metadata => [
  ['split.no', { u32: number }],
  ['split.count', { u32: count }],
  ['split.tensors.count', { u32: tensors }],
  ...more,
];

test('the small model of the faults opens', async () => {
  const first = write(smallParts());
  await using source = await ModelSource.open(first);
  expect(source.weights.tensors.size).toBe(SMALL_LLAMA.tensors.length);
  // an upper-case ending is kept in the names of the others
  const parts = smallParts();
  for (const [i, part] of parts.entries()) {
    writeFileSync(join(temporary, partName('U', i, 3).replace('.gguf', '.GGUF')), part);
  }
  await using _ = await ModelSource.open(join(temporary, 'U-00001-of-00003.GGUF'));
});

const { metadata, tensors } = SMALL_LLAMA;
test.each<[string, Readonly<Record<number, GgufToWrite>>, RegExp]>([
  [
    'a tensor twice',
    { 1: { tensors: tensors.slice(3, 8) } },
    /tensor 'blk.0.attn_q.weight' is in both '.*-00001-of-00003.gguf' and '.*-00002-of-00003.gguf'/,
  ],
  [
    'fewer tensors than are promised',
    { 2: { tensors: tensors.slice(9) } },
    /the 3 files have 10 tensors, but metadata 'split.tensors.count' is 11/,
  ],
  ['no number of tensors', { 0: { metadata: [...metadata, ...entries(0, 3, 11).slice(0, 2)] } }, /tensors.count/],
  [
    'another count',
    { 1: { metadata: entries(1, 4, 11) } },
    /-00002-of-00003.gguf' is not file 2 of the model of '.*-00001.*': its metadata 'split.count' is 4, and 3 there/,
  ],
  ['another number', { 2: { metadata: entries(1, 3, 11) } }, /is not file 3 of .*'split.no' is 1/],
  ['no number', { 1: { metadata: [] } }, /is not file 2 of .*'split.no' is undefined/],
  ['another number of tensors', { 1: { metadata: entries(1, 3, 12) } }, /'split.tensors.count' is 12, and 11 there/],
  [
    'a part of another model',
    { 1: { metadata: entries(1, 3, 11, ['general.architecture', { text: 'qwen2' }]) } },
    /'general.architecture' is "qwen2", and "llama" there/,
  ],
  [
    'a setting that the first lacks',
    { 2: { metadata: entries(2, 3, 11, ['llama.rope.freq_base', { f32: 5 }]) } },
    /'llama.rope.freq_base' is 5, and undefined there/,
  ],
  ['a count that is no number', { 0: { metadata: [...metadata, ['split.count', { text: '3' }]] } }, /got "3"/],
  ['a broken part', { 1: { magic: 'GGML' } }, /-00002-of-00003.gguf' is not a GGUF file/],
])('%s is MBOK_FORMAT', async (_, change, message) => {
  const error = await ModelSource.open(write(smallParts(change))).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(MbokError);
  expect(error).toMatchObject({ code: 'MBOK_FORMAT', message: expect.stringMatching(message) });
});

test('a missing part is MBOK_IO', async () => {
  const first = write(smallParts());
  rmSync(first.replace('00001-of', '00003-of'));
  await expect(ModelSource.open(first)).rejects.toMatchObject({
    code: 'MBOK_IO',
    message: expect.stringMatching(/a file of the split model '.*' is missing: .*-00003-of-00003.gguf/),
  });
});

test('a truncated part is MBOK_FORMAT', async () => {
  const parts = smallParts();
  const first = write([parts[0], (parts[1] as Buffer).subarray(0, -100), parts[2]] as Buffer[]);
  await expect(ModelSource.open(first)).rejects.toMatchObject({
    code: 'MBOK_FORMAT',
    message: expect.stringMatching(/-00002-of-00003.gguf.*truncated/),
  });
});

test.each([
  ['another part than the first', partName('m', 1, 3), /is file 2 of a model in 3 files: open the first/],
  ['a first part with another name', 'model.gguf', /its name must end with -00001-of-00003.gguf/],
])('%s is MBOK_INVALID_ARGUMENT', async (_, name, message) => {
  const first = write(smallParts());
  writeFileSync(join(first, '../model.gguf'), readFileSync(first));
  await expect(ModelSource.open(join(first, '..', name))).rejects.toMatchObject({
    code: 'MBOK_INVALID_ARGUMENT',
    message: expect.stringMatching(message),
  });
});
