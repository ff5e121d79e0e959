/** Rotary settings that GGUF files store as factors of each pair's angle. */

import { withRopeFactors } from '../../../lib/models/gguf/rope_factors';
import { rotaryFrequencies } from '../../../lib/nn/rotary';

describe("Llama 3's settings are found from the factors", () => {
  test.each([
    ['Llama 3.1', 500000, 128, 8, 8192],
    ['Llama 3.2', 500000, 64, 32, 8192],
    ['a small model', 10000, 16, 4, 64],
  ])('%s', (_, theta, dimension, factor, originalPositions) => {
    const llama3 = { factor, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalPositions };
    const plain = rotaryFrequencies({ theta, dimension });
    const stretched = rotaryFrequencies({ theta, dimension, llama3 });
    const all = Float32Array.from(plain, (frequency, j) => frequency / (stretched[j] as number));
    expect(withRopeFactors({ rope_theta: theta }, { all }, 'x.gguf').rope_scaling).toEqual({
      rope_type: 'llama3',
      factor,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: originalPositions,
    });
  });

  test('other factors are refused', () => {
    const all = Float32Array.of(1, 3, 2, 8);
    expect(() => withRopeFactors({ rope_theta: 10000 }, { all }, 'x.gguf')).toThrow(
      /'x.gguf': the factors of tensor 'rope_freqs.weight' are not those of Llama 3/,
    );
  });
});

test("LongRoPE's two lists become a rope_scaling, as the decimals that they were", () => {
  const short = Float32Array.of(1, 1.02);
  const long = Float32Array.of(1.0800000429153442, 64.76);
  expect(withRopeFactors({ rope_theta: 10000 }, { short, long }, 'x.gguf')).toEqual({
    rope_theta: 10000,
    rope_scaling: { rope_type: 'longrope', short_factor: [1, 1.02], long_factor: [1.08, 64.76] },
  });
});

test("the metadata's factor of cosines and sines for LongRoPE is used", () => {
  const [short, long] = [Float32Array.of(1, 1.02), Float32Array.of(1, 2)];
  const config = { rope_theta: 10000, rope_scaling: { rope_type: 'longrope', attention_factor: 1.19 } };
  expect(withRopeFactors(config, { short, long }, 'x.gguf').rope_scaling).toEqual({
    rope_type: 'longrope',
    attention_factor: 1.19,
    short_factor: [1, 1.02],
    long_factor: [1, 2],
  });
});

test('without factors nothing changes', () => {
  expect(withRopeFactors({ rope_theta: 10000 }, {}, 'x.gguf')).toEqual({ rope_theta: 10000 });
});
