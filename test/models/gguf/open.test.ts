/**
 * GGUF files that llama.cpp's converter made from the golden checkpoints (matrices in F16): they give the same models.
 */

import { join } from 'node:path';
import { f32ToHalf, halfToF32 } from '../../../lib/io/half';
import { Model } from '../../../lib/model';
import { ModelSource } from '../../../lib/models/source';
import { readGolden } from '../../helpers/golden';
import { relativeError } from '../../helpers/random';

const FAMILIES = [
  'llama',
  'llama-bias',
  'llama-tied-rope3',
  'smollm3',
  'qwen2',
  'qwen3-tied',
  'gemma2',
  'gemma3',
  'phi3',
  'gpt2',
];
/** Tolerance of logits from weights with 11 significant bits. */
const TOLERANCE = 2e-3;

const goldenPath = (...names: string[]) => join(__dirname, '../../golden', ...names);

/** Rounds numbers to F16. */
const rounded = (values: Float32Array) => halfToF32(f32ToHalf(values, 'F16'), 'F16');

describe.each(FAMILIES)('%s', (family) => {
  const file = goldenPath('gguf', `${family}.gguf`);
  const folder = goldenPath(family);

  test('has the configuration and the weights of the checkpoint', async () => {
    await using expected = await ModelSource.open(folder);
    await using source = await ModelSource.open(file);
    expect(source.family.name).toBe(expected.family.name);
    expect(source.config).toEqual(expected.config);
    expect(source.specifications).toEqual(expected.specifications);
    for (const { name, role } of expected.specifications) {
      const entry = source.weights.tensors.get(name);
      expect(entry?.shape).toEqual(expected.weights.tensors.get(name)?.shape);
      const values = await expected.weights.readF32(name);
      const got = await source.weights.readF32(name);
      // the converter added 1 to Gemma's norms, and loading subtracts it, both with rounding
      const close = role === 'norm' ? relativeError(got, values) < 1e-6 : undefined;
      const exact = entry?.dtype === 'F32' ? values : rounded(values);
      const same = close ?? Buffer.from(got.buffer).equals(Buffer.from(exact.buffer));
      expect({ name, same }).toEqual({ name, same: true });
    }
  });

  test('computes its logits', async () => {
    const golden = readGolden(join(folder, 'golden.safetensors'));
    const { data, shape } = golden('input_ids');
    await using model = await Model.load(file);
    const { data: logits } = await model.logits(Int32Array.from(data.subarray(0, shape[1])));
    expect(relativeError(logits, golden('logits').data.subarray(0, logits.length))).toBeLessThan(TOLERANCE);
  });

  test('has a tokenizer', async () => {
    await using source = await ModelSource.open(file);
    const ids = source.tokenizer?.encode('mbok');
    expect(ids && source.tokenizer?.decode(ids)).toBe('mbok');
  });
});
