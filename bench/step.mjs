/** Times finetuning steps of the embedded model: tokens per second, and how long the event loop is blocked. */

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const require = createRequire(import.meta.url);
const { Model, binarize, finetune } = require('../dist/index.js');
const assets = join(import.meta.dirname, '..', 'assets', 'tiny-stories');

/** @returns {Promise<{tokensPerSecond: number, loopDelayP99: number}>} delay in milliseconds */
export async function timeSteps({ steps = 6, batch = 8, window = 256, precision = 'f32' } = {}) {
  const teacher = await Model.load(assets);
  const student = await binarize(teacher, { kernels: 2, method: 'refit' });
  const data = await readFile(join(assets, 'corpus', 'train.txt'), 'utf8');
  const times = [];
  const delay = monitorEventLoopDelay({ resolution: 1 });
  await finetune(student, {
    teacher,
    data,
    steps,
    batch,
    window,
    precision,
    train: ['scales', 'norms', 'embeddings'],
    onProgress: () => {
      times.push(performance.now());
      if (times.length === 1) delay.enable(); // compiling and planning are over
    },
  });
  delay.disable();
  student.dispose();
  teacher.dispose();
  const elapsed = (times.at(-1) - times[0]) / (times.length - 1) / 1000;
  return { tokensPerSecond: (batch * window) / elapsed, loopDelayP99: delay.percentile(99) / 1e6 };
}
