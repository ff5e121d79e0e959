/** Contender: one row through a layer of few bits in ONNX Runtime. */

import { createRequire } from 'node:module';
import { median, uniforms, verify } from '../../measure.mjs';
import { secondsOf, serve } from '../serve.mjs';
import { matMulNBitsModel } from './model.mjs';

const { InferenceSession, Tensor } = createRequire(import.meta.url)('onnxruntime-node');

const BLOCKS = [128, 32];
const RUNS = 9;
/** Number of verified outputs, and their error bound. Inputs are rounded to 8 bits if the accuracy level allows it. */
const CHECKED = { rows: 256, error: 0.02 };

await serve(async ({ outputs, inputs, bits, accuracy, lookup, threads, bytes }) => {
  const options = {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
    ...(lookup && { extra: { mlas: { use_lut_gemm: '1' } } }),
  };
  const copies = Math.ceil(bytes / ((outputs * inputs * bits) / 8));
  const { session, model, block, refused } = await open({ outputs, inputs, bits, accuracy, copies }, options);
  const x = uniforms(inputs, 1);
  const feeds = { x: new Tensor('float32', x, [1, inputs]) };
  const { y0 } = await session.run(feeds);
  const rows = Math.min(CHECKED.rows, outputs);
  verify(
    'MatMulNBits',
    y0.data.subarray(0, rows),
    reference(x, model.first, { rows, inputs, bits, block }),
    CHECKED.error,
  );
  return {
    info: { block, refused, weightBytes: model.weightBytes },
    measure: async () => {
      const seconds = [];
      for (let i = 0; i < RUNS; i++) seconds.push(await secondsOf(() => session.run(feeds)));
      return { seconds: median(seconds) / copies };
    },
  };
});

/** Opens the largest block size that the runtime accepts, and records its errors for larger ones. */
async function open(shape, options) {
  const refused = [];
  for (const block of BLOCKS) {
    const model = matMulNBitsModel({ ...shape, block });
    try {
      const session = await InferenceSession.create(model.bytes, options);
      return { session, model, block, refused };
    } catch (error) {
      refused.push(`blocks of ${block}: ${error.message}`);
    }
  }
  throw new Error(refused.join('; '));
}

/** Computes the product in float64. Weights are (q − 2^(bits − 1)) · scale, with the lowest bits of a byte first. */
function reference(x, { packed, scales }, { rows, inputs, bits, block }) {
  const [perByte, mask, zero] = [8 / bits, (1 << bits) - 1, 1 << (bits - 1)];
  const y = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < inputs; i++) {
      const at = row * inputs + i;
      const q = (packed[Math.floor(at / perByte)] >> ((at % perByte) * bits)) & mask;
      y[row] += (q - zero) * scales[Math.floor(at / block)] * x[i];
    }
  }
  return y;
}
