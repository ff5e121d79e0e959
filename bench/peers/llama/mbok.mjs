/**
 * Contender: a Boolean model in mbok. It runs the loop of `generate` without a tokenizer, since random weights may end
 * a text anywhere.
 */

import { createRequire } from 'node:module';
import { secondsOf, serve } from '../serve.mjs';

const require = createRequire(import.meta.url);
const { ModelCore } = require('../../../dist/models/model_core.js');
const { Decoder } = require('../../../dist/generate/decoder.js');
const { Sampler } = require('../../../dist/generate/sampler.js');
const { arithmeticOf } = require('../../../dist/graph/arithmetic.js');

await serve(async ({ path, prompt, tokens, first }) => {
  const model = await ModelCore.load(path);
  const context = Math.max(prompt.length, tokens);
  const sampler = new Sampler({ temperature: 0 });
  const decoderOf = (precision) => {
    const decoder = new Decoder(model, { context, arithmetic: arithmeticOf({ precision }) });
    const forget = () => decoder.rewind(Int32Array.of(first));
    return {
      async prefill() {
        forget();
        sampler.sample(await decoder.append(Int32Array.from(prompt)));
      },
      async decode(count) {
        forget();
        for (let i = 0, token = first; i < count; i++)
          token = sampler.sample(await decoder.append(Int32Array.of(token)));
      },
    };
  };
  // int8 and bf16 decode in the same way
  const [int8, bf16, f32] = ['int8', 'bf16', 'f32'].map(decoderOf);
  await int8.decode(2); // reads the weights once
  const read = [...model.parameters].filter(([name]) => !name.includes('embed_tokens'));
  return {
    info: { readBytes: read.reduce((sum, [, matrix]) => sum + matrix.byteLength, 0) },
    measure: async () => ({
      prefill: prompt.length / (await secondsOf(int8.prefill)),
      prefillBf16: prompt.length / (await secondsOf(bf16.prefill)),
      decode: tokens / (await secondsOf(() => int8.decode(tokens))),
      decodeF32: tokens / (await secondsOf(() => f32.decode(tokens))),
    }),
  };
});
