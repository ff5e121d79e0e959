/** Malformed GGUF files: one MbokError each, naming the file and the fault. */

import { open, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MbokError } from '../../../lib/base/errors';
import { GgufFile } from '../../../lib/models/gguf/file';
import { ModelSource } from '../../../lib/models/source';
import { temporaryFolder } from '../../helpers/folders';
import { type GgufToWrite, ggufBytes, SMALL_LLAMA, text, u32, u64 } from '../../helpers/gguf_writer';

const temporary = temporaryFolder();
let files = 0;

async function file(bytes: Uint8Array): Promise<string> {
  const path = join(temporary, `${files++}.gguf`);
  await writeFile(path, bytes);
  return path;
}

const { metadata, tensors } = SMALL_LLAMA;
const whole = ggufBytes(SMALL_LLAMA);
const llama = (changes: GgufToWrite) => ggufBytes({ ...SMALL_LLAMA, ...changes });
/** Builds a file with one metadata value replaced or added. */
const withValue = (...entry: NonNullable<GgufToWrite['metadata']>[number]) =>
  llama({ metadata: [...metadata.filter(([key]) => key !== entry[0]), entry] });
const withTensor = (tensor: NonNullable<GgufToWrite['tensors']>[number]) =>
  llama({ tensors: [...tensors.filter(({ name }) => name !== tensor.name), tensor] });
const list = (type: number, length: number | bigint, ...values: Buffer[]) => ({
  raw: Buffer.concat([u32(type), u64(length), ...values]),
  type: 9,
});

test('the original of the malformed files opens', async () => {
  await using source = await ModelSource.open(await file(whole));
  expect(source.family.name).toBe('llama');
  expect(whole.length).toBeLessThan(4096);
  for (const slice of source.loaded().slices) (await source.read(slice)).matrix.dispose();
});

describe('a header that is', () => {
  test.each<[string, Uint8Array, string, RegExp]>([
    ['empty', Buffer.alloc(0), 'MBOK_FORMAT', /ends within its first four bytes: truncated/],
    ['of another format', Buffer.from('{"a":1}, and more of it'), 'MBOK_FORMAT', /does not begin with GGUF/],
    ['of version 1', llama({ version: 1 }), 'MBOK_UNSUPPORTED', /version 1; 2 and 3/],
    ['of a version to come', llama({ version: 4 }), 'MBOK_UNSUPPORTED', /version 4/],
    ['big endian', llama({ version: 0x03000000 }), 'MBOK_UNSUPPORTED', /big endian/],
    ['cut in its counts', whole.subarray(0, 12), 'MBOK_FORMAT', /ends within tensors: truncated/],
    ['cut in its metadata', whole.subarray(0, 200), 'MBOK_FORMAT', /more than fit its 200 bytes|truncated/],
    ['cut in its tensors', whole.subarray(0, 700), 'MBOK_FORMAT', /truncated|more than fit/],
    ['of absurdly many tensors', llama({ tensorCount: 2n ** 62n }), 'MBOK_FORMAT', /claims a size of 46116860/],
    ['of more tensors than fit', llama({ tensorCount: 60_000n }), 'MBOK_FORMAT', /claims 60000 tensors, more than fit/],
    ['of more metadata than fits', llama({ metadataCount: 1000n }), 'MBOK_FORMAT', /claims 1000 metadata entries/],
    [
      'with a text of absurd length',
      withValue('general.name', { raw: u64(2n ** 40n), type: 8 }),
      'MBOK_FORMAT',
      /claims 1099511627776 bytes in 'general.name'/,
    ],
    [
      'with a list of absurd length',
      withValue('x', list(6, 2n ** 34n)),
      'MBOK_FORMAT',
      /claims 17179869184 values in 'x', more than fit/,
    ],
    [
      'with lists of lists without end',
      withValue('x', list(9, 1, u32(9), u64(1), u32(9), u64(1), u32(9), u64(1), Buffer.alloc(64))),
      'MBOK_FORMAT',
      /'x' has a value of the unknown type 9/,
    ],
    ['with a value of no type', withValue('x', { raw: Buffer.alloc(8), type: 77 }), 'MBOK_FORMAT', /unknown type 77/],
    [
      'with metadata twice',
      llama({ metadata: [...metadata, ['llama.block_count', { u32: 1 }]] }),
      'MBOK_FORMAT',
      /metadata 'llama.block_count' twice/,
    ],
    [
      'with a key that is not UTF-8',
      Buffer.from(whole).fill(0xff, whole.indexOf('general.arch'), whole.indexOf('general.arch') + 3),
      'MBOK_FORMAT',
      /is not UTF-8/,
    ],
    [
      'with an odd alignment',
      withValue('general.alignment', { u32: 48 }),
      'MBOK_FORMAT',
      /'general.alignment' must be a power of two.*got 48/,
    ],
  ])('%s', async (_, bytes, code, message) => {
    const path = await file(bytes);
    const error = await GgufFile.open(path).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(MbokError);
    expect((error as MbokError).code).toBe(code);
    expect((error as MbokError).message).toMatch(message);
    expect((error as MbokError).message).toContain(path);
  });
});

describe('a tensor', () => {
  const name = 'output_norm.weight';
  test.each<[string, Uint8Array, string, RegExp]>([
    [
      'of an unsupported type',
      withTensor({ name, shape: [4], id: 16 }),
      'MBOK_UNSUPPORTED',
      /'output_norm.weight'.*IQ2_XXS/,
    ],
    ['of no type', withTensor({ name, shape: [4], id: 999 }), 'MBOK_UNSUPPORTED', /number 999/],
    ['of no dimension', withTensor({ name, shape: [] }), 'MBOK_FORMAT', /has 0 dimensions/],
    ['of many dimensions', withTensor({ name, shape: [1, 1, 1, 1, 4] }), 'MBOK_FORMAT', /has 5 dimensions/],
    ['without elements', withTensor({ name, shape: [0, 4] }), 'MBOK_FORMAT', /does not fit/],
    ['of half a block', withTensor({ name, shape: [4], type: 'Q4_1' }), 'MBOK_FORMAT', /blocks of 32/],
    [
      'of a size beyond all numbers',
      ggufBytes({ tensors: [{ name, shape: [2 ** 40, 2 ** 40, 2 ** 40], offset: 0 }], dataBytes: 64 }),
      'MBOK_FORMAT',
      /does not fit/,
    ],
    ['there twice', llama({ tensors: [...tensors, { name, shape: [4] }] }), 'MBOK_FORMAT', /is there twice/],
    ['over another', withTensor({ name, shape: [4], offset: 32 }), 'MBOK_FORMAT', /overlaps the tensor before it/],
    ['after a gap', withTensor({ name, shape: [4], offset: 8192 }), 'MBOK_FORMAT', /leaves a gap before it/],
    ['beyond the end', whole.subarray(0, -64), 'MBOK_FORMAT', /ends at byte \d+ of a file of \d+: truncated/],
    [
      'whose shape disagrees with the metadata',
      withTensor({ name, shape: [8] }),
      'MBOK_SHAPE',
      /'model.norm.weight' must be F32 \[4\] by the configuration, got F32 \[8\]/,
    ],
    ['that is missing', llama({ tensors: tensors.slice(0, -1) }), 'MBOK_SHAPE', /mlp.down_proj.weight' is missing/],
    [
      'that has no place',
      withTensor({ name: 'blk.0.ffn_gate_exps.weight', shape: [4] }),
      'MBOK_UNSUPPORTED',
      /'blk.0.ffn_gate_exps.weight' has no place/,
    ],
    [
      'whose rows are no heads',
      withTensor({ name: 'blk.0.attn_q.weight', shape: [6, 4] }),
      'MBOK_SHAPE',
      /'blk.0.attn_q.weight' cannot be F32 \[6, 4\]/,
    ],
  ])('%s', async (_, bytes, code, message) => {
    const path = await file(bytes);
    const open = async () => {
      await using source = await ModelSource.open(path);
      for (const slice of source.loaded().slices) (await source.read(slice)).matrix.dispose();
    };
    const error = await open().catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(MbokError);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) as string });
    expect((error as MbokError).message).toContain(path);
  });
});

describe('metadata', () => {
  test.each<[string, Uint8Array, string, RegExp]>([
    [
      'without an architecture',
      llama({ metadata: metadata.slice(1) }),
      'MBOK_FORMAT',
      /'general.architecture' must be a string, got nothing/,
    ],
    [
      'of an unknown architecture',
      withValue('general.architecture', { text: 'mamba' }),
      'MBOK_UNSUPPORTED',
      /"mamba" is not supported; supported.*llama, smollm3, qwen2/,
    ],
    [
      'of an architecture that objects have',
      withValue('general.architecture', { text: 'constructor' }),
      'MBOK_UNSUPPORTED',
      /"constructor"/,
    ],
    [
      'without a size',
      llama({ metadata: metadata.filter(([key]) => key !== 'llama.embedding_length') }),
      'MBOK_FORMAT',
      /'llama.embedding_length' must be an integer of at least 1, got nothing/,
    ],
    [
      'with a text for a size',
      withValue('llama.embedding_length', { text: '4' }),
      'MBOK_FORMAT',
      /'llama.embedding_length' must be an integer.*got "4"/,
    ],
    [
      'with absurdly many blocks',
      withValue('llama.block_count', { u32: 2 ** 32 - 1 }),
      'MBOK_SHAPE',
      /'llama.block_count' is 4294967295, but the checkpoint has only \d+ tensors/,
    ],
    [
      'with no heads',
      withValue('llama.attention.head_count', { u32: 0 }),
      'MBOK_FORMAT',
      /'llama.attention.head_count' must be an integer of at least 1, got 0/,
    ],
    [
      'with an epsilon that is no number',
      withValue('llama.attention.layer_norm_rms_epsilon', { f32: Number.NaN }),
      'MBOK_FORMAT',
      /must be a finite number/,
    ],
    [
      'with heads that differ',
      withValue('llama.attention.head_count_kv', list(4, 2, u32(1), u32(2))),
      'MBOK_UNSUPPORTED',
      /differs from layer to layer/,
    ],
    [
      'with a rope scaling of no known kind',
      withValue('llama.rope.scaling.type', { text: 'yarn' }),
      'MBOK_UNSUPPORTED',
      /yarn/,
    ],
    [
      'with a tokenizer of no known kind',
      llama({
        metadata: [
          ...metadata,
          ['tokenizer.ggml.model', { text: 'bert' }],
          ['tokenizer.ggml.tokens', { texts: ['a'] }],
        ],
      }),
      'MBOK_UNSUPPORTED',
      /tokenizer 'bert' is not supported/,
    ],
    [
      'with more tokens than embeddings',
      llama({
        metadata: [
          ...metadata,
          ['tokenizer.ggml.model', { text: 'gpt2' }],
          ['tokenizer.ggml.pre', { text: 'gpt-2' }],
          ['tokenizer.ggml.tokens', { texts: ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i'] }],
        ],
      }),
      'MBOK_SHAPE',
      /8/,
    ],
  ])('%s', async (_, bytes, code, message) => {
    const path = await file(bytes);
    const error = await ModelSource.open(path).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(MbokError);
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) as string });
    expect((error as MbokError).message).toContain(temporary);
  });
});

test('a file of a terabyte whose header never ends is not read to its end', async () => {
  const path = await file(
    ggufBytes({ metadata: [['x', { raw: Buffer.concat([u32(8), u64(2n ** 36n), text('a')]), type: 9 }]] }),
  );
  await truncate(path, 2 ** 40);
  await expect(GgufFile.open(path)).rejects.toMatchObject({
    code: 'MBOK_FORMAT',
    message: expect.stringMatching(/header .* longer than 67108864 bytes/) as string,
  });
});

test('a file that shrinks after it was opened gives an error', async () => {
  const path = await file(whole);
  await using source = await ModelSource.open(path);
  await truncate(path, 900);
  const last = source.loaded().slices.at(-1);
  await expect(source.read(last as NonNullable<typeof last>)).rejects.toMatchObject({
    code: 'MBOK_FORMAT',
    message: expect.stringMatching(/truncated since it was opened/) as string,
  });
});

test('numbers that are not finite are reported with the tensor', async () => {
  const path = await file(whole);
  const handle = await open(path, 'r+');
  await handle.write(Buffer.from(Float32Array.of(Number.NaN).buffer), 0, 4, whole.length - 4);
  await handle.close();
  await using source = await ModelSource.open(path);
  const last = source.loaded().slices.find(({ part }) => part.name.endsWith('down_proj.weight'));
  await expect(source.read(last as NonNullable<typeof last>)).rejects.toMatchObject({
    code: 'MBOK_NON_FINITE',
    message: expect.stringMatching(/down_proj.weight/) as string,
  });
});

test('a missing file and a folder give different errors', async () => {
  await expect(ModelSource.open(join(temporary, 'none.gguf'))).rejects.toMatchObject({ code: 'MBOK_IO' });
  await expect(GgufFile.open(temporary)).rejects.toMatchObject({ code: 'MBOK_IO' });
});
