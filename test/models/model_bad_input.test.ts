/** External faults: each gives an MbokError with its code, and no process dies. */

import { mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MbokErrorCode } from '../../lib/base/errors';
import { binarize } from '../../lib/compress/binarize';
import { evaluatePerplexity } from '../../lib/eval/perplexity';
import { Model } from '../../lib/model';
import { finetune } from '../../lib/train/finetune';
import { changeConfig, changeWeights, copyGolden, GOLDEN, TINY_STORIES, temporaryFolder } from '../helpers/folders';

const folder = temporaryFolder();
const WEIGHT = 'model.layers.0.mlp.up_proj.weight';

/** Copies the golden LLaMA with a change. */
function spoiled(name: string, change: (folder: string) => void): string {
  const copy = join(folder, name);
  mkdirSync(copy);
  copyGolden('llama', copy);
  change(copy);
  return copy;
}

const reported = async (call: () => unknown): Promise<unknown> => {
  try {
    await call();
    return 'no error';
  } catch (error) {
    const { name, code, message } = error as { name?: string; code?: string; message?: string };
    return { name, code, explained: (message ?? '').length > 10 };
  }
};
const error = (code: MbokErrorCode) => ({ name: 'MbokError', code, explained: true });

describe('loading refuses', () => {
  const cases: [string, MbokErrorCode, (folder: string) => void][] = [
    ['a folder without a config', 'MBOK_IO', (at) => rmSync(join(at, 'config.json'))],
    ['a truncated file', 'MBOK_FORMAT', (at) => truncateSync(join(at, 'model.safetensors'), 100_000)],
    [
      'an index of several files that is none',
      'MBOK_FORMAT',
      (at) => renameSync(join(at, 'model.safetensors'), join(at, 'model.safetensors.index.json')),
    ],
    ['an empty file', 'MBOK_FORMAT', (at) => truncateSync(join(at, 'model.safetensors'), 0)],
    ['a header longer than the file', 'MBOK_FORMAT', (at) => changeWeights(at, ({ data }) => hugeHeader(data))],
    [
      'a header that is no JSON',
      'MBOK_FORMAT',
      (at) => changeWeights(at, () => Buffer.from('\x08\0\0\0\0\0\0\0nonsense')),
    ],
    ['a wrong type', 'MBOK_UNSUPPORTED', (at) => changeWeights(at, (parts) => retyped(parts, 'I32'))],
    ['an unknown type', 'MBOK_UNSUPPORTED', (at) => changeWeights(at, (parts) => retyped(parts, 'F3'))],
    ['a shape that does not fit the config', 'MBOK_SHAPE', (at) => changeConfig(at, { intermediate_size: 96 })],
    ['a tensor that is missing', 'MBOK_SHAPE', (at) => changeConfig(at, { num_hidden_layers: 3 })],
    ['a NaN weight', 'MBOK_NON_FINITE', (at) => changeWeights(at, withNaN)],
    ['an unknown family', 'MBOK_UNSUPPORTED', (at) => changeConfig(at, { architectures: ['BertForMaskedLM'] })],
    ['a config that is no JSON', 'MBOK_FORMAT', (at) => writeFileSync(join(at, 'config.json'), '{"architectures": [')],
    ['a config of gigabytes', 'MBOK_FORMAT', (at) => truncateSync(join(at, 'config.json'), 3e9)],
    [
      'a tokenizer of gigabytes',
      'MBOK_FORMAT',
      (at) => {
        writeFileSync(join(at, 'tokenizer.json'), '');
        truncateSync(join(at, 'tokenizer.json'), 3e9);
      },
    ],
    ['a negative size', 'MBOK_FORMAT', (at) => changeConfig(at, { hidden_size: -64 })],
    [
      'another quantization',
      'MBOK_UNSUPPORTED',
      (at) => changeConfig(at, { quantization_config: { quant_method: 'gptq' } }),
    ],
    [
      'a format version from the future',
      'MBOK_UNSUPPORTED',
      (at) => changeConfig(at, { quantization_config: { quant_method: 'mbok', format_version: 99, kernels: {} } }),
    ],
    ['a tokenizer that is none', 'MBOK_FORMAT', (at) => writeFileSync(join(at, 'tokenizer.json'), '{}')],
  ];
  test.each(cases)('%s: %s', async (name, code, change) => {
    expect(await reported(() => Model.load(spoiled(name.replace(/\W+/g, '-'), change)))).toEqual(error(code));
  });

  test('values that are not paths', async () => {
    expect(await reported(() => Model.load(''))).toEqual(error('MBOK_INVALID_ARGUMENT'));
    expect(await reported(() => Model.load(undefined as unknown as string))).toEqual(error('MBOK_INVALID_ARGUMENT'));
  });

  function hugeHeader(data: Buffer): Buffer {
    const prefix = Buffer.alloc(8);
    prefix.writeBigUInt64LE(2n ** 40n);
    return Buffer.concat([prefix, data]);
  }
  type Parts = Parameters<Parameters<typeof changeWeights>[1]>[0];
  function retyped({ header, data }: Parts, dtype: string): Parts {
    return { header: { ...header, [WEIGHT]: { ...(header[WEIGHT] as Parts['header'][string]), dtype } }, data };
  }
  function withNaN({ header, data }: Parts): Parts {
    const [start] = (header[WEIGHT] as Parts['header'][string]).data_offsets;
    const copy = Buffer.from(data);
    copy.writeFloatLE(Number.NaN, start + 40);
    return { header, data: copy };
  }
});

describe('a call refuses', () => {
  let model: Model;
  let plain: Model;
  let disposed: Model;
  let small: Model;
  const aborted = AbortSignal.abort();
  const valid = readFileSync(join(TINY_STORIES, 'corpus/valid.txt'), 'utf8');
  const ids = Int32Array.from({ length: 200 }, (_, i) => i % 150);

  beforeAll(async () => {
    model = await Model.load(TINY_STORIES);
    plain = await Model.load(join(GOLDEN, 'llama'));
    disposed = await Model.load(join(GOLDEN, 'llama'));
    disposed.dispose();
    small = await binarize(plain, { kernels: 1, method: 'svid' });
  });
  afterAll(() => {
    for (const each of [model, plain, small]) each.dispose();
  });

  const cases: [string, MbokErrorCode, () => unknown][] = [
    ['0 kernels', 'MBOK_INVALID_ARGUMENT', () => binarize(plain, { kernels: 0 })],
    ['17 kernels', 'MBOK_INVALID_ARGUMENT', () => binarize(plain, { kernels: 17 })],
    ['1.5 kernels', 'MBOK_INVALID_ARGUMENT', () => binarize(plain, { kernels: 1.5 })],
    ['an unknown method', 'MBOK_INVALID_ARGUMENT', () => binarize(plain, { kernels: 1, method: 'magic' as 'svid' })],
    ['a misspelt option', 'MBOK_INVALID_ARGUMENT', () => binarize(plain, { kernels: 1, metod: 'svid' } as never)],
    ['calibration without data', 'MBOK_INVALID_ARGUMENT', () => binarize(plain, { kernels: 1, method: 'calibrated' })],
    ['converting twice', 'MBOK_INVALID_ARGUMENT', () => binarize(small, { kernels: 1 })],
    ['an empty text', 'MBOK_INVALID_ARGUMENT', () => evaluatePerplexity(model, '')],
    ['a text of white space', 'MBOK_INVALID_ARGUMENT', () => evaluatePerplexity(model, ' \n')],
    ['a text shorter than a window', 'MBOK_INVALID_ARGUMENT', () => evaluatePerplexity(model, 'Hello.')],
    ['a window past the limit', 'MBOK_INVALID_ARGUMENT', () => evaluatePerplexity(model, valid, { window: 513 })],
    ['a window of one', 'MBOK_INVALID_ARGUMENT', () => evaluatePerplexity(model, valid, { window: 1 })],
    ['evaluated ids outside the vocabulary', 'MBOK_INVALID_ARGUMENT', () => evaluatePerplexity(plain, [1, 2, 160])],
    ['no ids', 'MBOK_INVALID_ARGUMENT', () => plain.logits([])],
    ['a negative id', 'MBOK_INVALID_ARGUMENT', () => plain.logits([1, -1])],
    ['an id outside the vocabulary', 'MBOK_INVALID_ARGUMENT', () => plain.logits([160])],
    ['a fractional id', 'MBOK_INVALID_ARGUMENT', () => plain.logits([1.5])],
    ['more ids than positions', 'MBOK_INVALID_ARGUMENT', () => plain.logits(new Int32Array(65))],
    ['text without a tokenizer', 'MBOK_NO_TOKENIZER', () => plain.generate('Once')],
    ['a text to evaluate without a tokenizer', 'MBOK_NO_TOKENIZER', () => evaluatePerplexity(plain, valid)],
    ['a prompt longer than the context', 'MBOK_INVALID_ARGUMENT', () => model.generate(valid.slice(0, 9000))],
    ['a negative temperature', 'MBOK_INVALID_ARGUMENT', () => model.generate('Once', { temperature: -1 })],
    ['topP of 0', 'MBOK_INVALID_ARGUMENT', () => model.generate('Once', { topP: 0 })],
    ['an empty stop string', 'MBOK_INVALID_ARGUMENT', () => model.generate('Once', { stop: '' })],
    ['no tokens to generate', 'MBOK_INVALID_ARGUMENT', () => model.generate('Once', { maxTokens: 0 })],
    ['finetuning a dense model', 'MBOK_INVALID_ARGUMENT', () => finetune(plain, { data: ids, window: 32, batch: 1 })],
    ['finetuning on less than a window', 'MBOK_INVALID_ARGUMENT', () => finetune(small, { data: [1, 2], window: 32 })],
    ['training past the limit', 'MBOK_INVALID_ARGUMENT', () => finetune(small, { data: ids, window: 65 })],
    ['a teacher of another shape', 'MBOK_SHAPE', () => finetune(small, { teacher: model, data: ids, window: 32 })],
    ['logits of a disposed model', 'MBOK_DISPOSED', () => disposed.logits([1])],
    ['generating with a disposed model', 'MBOK_DISPOSED', () => drain(disposedTiny())],
    ['evaluating a disposed model', 'MBOK_DISPOSED', () => evaluatePerplexity(disposed, ids, { window: 32 })],
    ['converting a disposed model', 'MBOK_DISPOSED', () => binarize(disposed, { kernels: 1 })],
    ['saving a disposed model', 'MBOK_DISPOSED', () => disposed.save(join(folder, 'never'))],
    ['loading when aborted', 'MBOK_ABORTED', () => Model.load(join(GOLDEN, 'llama'), { signal: aborted })],
    ['logits when aborted', 'MBOK_ABORTED', () => plain.logits([1], { signal: aborted })],
    ['generating when aborted', 'MBOK_ABORTED', () => model.generate('Once', { signal: aborted }).next()],
    ['evaluating when aborted', 'MBOK_ABORTED', () => evaluatePerplexity(plain, ids, { signal: aborted })],
    ['converting when aborted', 'MBOK_ABORTED', () => binarize(plain, { kernels: 1, signal: aborted })],
    ['finetuning when aborted', 'MBOK_ABORTED', () => finetune(small, { data: ids, window: 32, signal: aborted })],
    ['saving when aborted', 'MBOK_ABORTED', () => plain.save(join(folder, 'never'), { signal: aborted })],
    ['saving over a file', 'MBOK_IO', () => plain.save(__filename)],
  ];
  test.each(cases)('%s: %s', async (_, code, call) => {
    expect(await reported(call)).toEqual(error(code));
  });

  test('arguments that must be positive are named so', () => {
    expect(() => model.generate('Once', { topP: 0 })).toThrow(
      "'topP' must be a finite number above 0 and of at most 1",
    );
    expect(() => model.generate('Once', { repetitionPenalty: 0 })).toThrow('a finite number above 0, got 0');
  });

  async function* disposedTiny() {
    const other = await Model.load(TINY_STORIES);
    const generation = other.generate('Once upon');
    other.dispose();
    yield* generation;
  }
  async function drain(pieces: AsyncIterable<string>): Promise<void> {
    for await (const _ of pieces);
  }
});
