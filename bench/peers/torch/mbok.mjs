/** Contender: a finetuning step in mbok, with natively flipped bits, and scales and norms trained by AdamW. */

import { createRequire } from 'node:module';
import { uniforms } from '../../measure.mjs';
import { serve } from '../serve.mjs';

const require = createRequire(import.meta.url);
const { Model, finetune } = require('../../../dist/index.js');

await serve(async ({ path, dense, teacher: wanted, batch, window, microBatch }) => {
  const student = await Model.load(path);
  const teacher = wanted ? await Model.load(dense) : undefined;
  const { vocabularySize } = student.config;
  const data = Int32Array.from(uniforms(4 * batch * window), (value) => ((value + 1) / 2) * vocabularySize);
  let recompute;
  return {
    info: {},
    measure: async () => {
      let rate = 0;
      await finetune(student, {
        ...(teacher && { teacher, gamma: 0 }), // KL alone, as the peer's loss
        data,
        steps: 2, // the first one touches fresh memory; the last one's rate stays
        ...{ batch, window, microBatch },
        precision: 'bf16',
        onMemory: (memory) => {
          recompute = memory.recompute;
        },
        onProgress: ({ tokensPerSecond }) => {
          rate = tokensPerSecond;
        },
      });
      const peakBytes = process.resourceUsage().maxRSS * 1024;
      return { seconds: (batch * window) / rate, peakBytes, recomputed: Number(recompute) };
    },
  };
});
