/**
 * npm run bench:memory
 *
 * Measures the memory of finetuning. It runs two steps (cross-entropy, no teacher) on a random Boolean LLaMA with 154
 * million linear weights, which never exist densely. Native training and latent weights each run in a new process. The
 * planner's figures, known before the first step, are compared with the kernel's peak of anonymous memory. The
 * benchmark fails if they differ by more than 10 %, or if native state exceeds K + 16 bits per weight and O(m + n).
 */

import { execFileSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const KERNELS = 2;
const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  vocab_size: 4096,
  hidden_size: 1024,
  intermediate_size: 2816,
  num_hidden_layers: 12,
  num_attention_heads: 16,
  num_key_value_heads: 16,
  max_position_embeddings: 256,
  tie_word_embeddings: true,
};
const TOLERANCE = 0.1;

/** Returns the anonymous memory of this process in bytes. */
function anonymous() {
  const [, kilobytes] = /^RssAnon:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'latin1'));
  return Number(kilobytes) * 1024;
}

/** Creates a model with random bits, and with scales that preserve the size of activations. */
function randomModel() {
  const { BitMatrix, Matrix } = require('../dist/index.js');
  const { ModelCore } = require('../dist/models/model_core.js');
  const { llama } = require('../dist/models/llama.js');
  const { ConfigReader } = require('../dist/models/config_reader.js');
  const { modelParts, moduleOf } = require('../dist/models/parts.js');
  const { kernelsFormat } = require('../dist/structures/kernels.js');
  const specifications = llama.parameters(llama.config(new ConfigReader(CONFIG, 'bench')));
  const linears = specifications.filter(({ role }) => role === 'linear');
  const formats = new Map(linears.map(({ name }) => [moduleOf(name), kernelsFormat(KERNELS)]));
  const parameters = new Map();
  const constant = (rows, cols, value) => Matrix.from(new Float32Array(rows * cols).fill(value), { rows, cols });
  for (const { name, rows, cols, role, owner } of modelParts(specifications, formats)) {
    if (role === 'bits') {
      const matrix = new BitMatrix({ rows, cols });
      matrix.write(randomFillSync(new Uint8Array(matrix.byteLength)));
      parameters.set(name, { matrix, storage: 'bits' });
      continue;
    }
    const matrix = constant(rows, cols, role === 'scale' ? owner.cols ** -0.5 : 1);
    if (owner.role === 'embedding') matrix.write(new Float32Array(rows * cols).map(() => Math.random() - 0.5));
    parameters.set(name, { matrix, storage: 'F16' });
  }
  const parts = { json: CONFIG, place: 'bench', tokenizer: undefined, companions: new Map(), conversion: undefined };
  return new ModelCore({ ...parts, parameters, formats, use: 'training' });
}

/** Trains in this process and prints the measurements as JSON. */
async function measure(latent) {
  const { finetune } = require('../dist/index.js');
  const { modelOf } = require('../dist/model.js');
  require('../dist/native/addon.js').addon().info();
  globalThis.gc();
  const before = anonymous();
  const core = randomModel();
  globalThis.gc(); // the arrays that the model was filled from
  let peak = 0;
  // the event loop is free during a step, so this samples the peak
  const timer = setInterval(() => {
    peak = Math.max(peak, anonymous());
  }, 2);
  const data = Int32Array.from({ length: 2000 }, () => Math.random() * CONFIG.vocab_size);
  const collect = () => globalThis.gc();
  const { memory } = await finetune(modelOf(core), {
    data,
    steps: 2,
    batch: 1,
    window: 128,
    latent,
    onProgress: collect,
  });
  clearInterval(timer);
  const linear = core.linears.map(({ rows, cols }) => ({ weights: rows * cols, lines: rows + cols }));
  const sum = (key) => linear.reduce((total, entry) => total + entry[key], 0);
  console.log(JSON.stringify({ memory, peak: peak - before, weights: sum('weights'), lines: sum('lines') }));
}

function report(name, { memory, peak, weights }) {
  const mega = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  console.log(`${name}: ${(weights / 1e6).toFixed(1)} M linear weights, K = ${KERNELS}`);
  const { microBatch, recompute, overhead, ...planned } = memory;
  for (const [what, bytes] of Object.entries(planned)) console.log(`  ${what.padEnd(12)} ${mega(bytes).padStart(10)}`);
  const apart = peak / memory.total - 1;
  console.log(`  measured     ${mega(peak).padStart(10)}  (${apart < 0 ? '' : '+'}${(100 * apart).toFixed(1)} %)`);
  const bits = (8 * (memory.state + memory.gradients)) / weights;
  console.log(`  ${bits.toFixed(2)} bits a weight of state and gradients, besides the ${KERNELS} of the kernels\n`);
  return Math.abs(apart) <= TOLERANCE;
}

const mode = process.argv[2];
if (mode === 'native' || mode === 'latent') {
  await measure(mode === 'latent');
} else {
  let good = true;
  for (const name of ['native', 'latent']) {
    const output = execFileSync(process.execPath, ['--expose-gc', import.meta.filename, name], { encoding: 'utf8' });
    const result = JSON.parse(output);
    good = report(name, result) && good;
    // accumulator, then statistics, scale gradients and their moments: 4 + (3 · K) f32 numbers per row or column, and
    // norms
    const { memory, weights, lines } = result;
    const most = weights * 2 + lines * 4 * (2 + 3 * KERNELS) + 1e6;
    if (name === 'native') good = memory.state + memory.gradients <= most && good;
  }
  process.exitCode = good ? 0 : 1;
}
