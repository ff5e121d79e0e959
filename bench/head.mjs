/**
 * node bench/head.mjs [--isa avx2,avx512,amx] [--threads 1,2] [--shapes gemma,smollm] [--weights f16,i8]
 *                     [--precisions f32,bf16] [--uses evaluation,…] [--pairs 3]
 *
 * Measures the cost of a head with a large vocabulary in each of its uses, as a multiple of its limit. For products the
 * limit is the rate of a 2048 × 2048 × 2048 product in the same precision. For decode of one row it is the memory
 * bandwidth. Use and limit are measured in turn. The figure is the median ratio of CPU times of the pairs; for decode
 * it compares the best of 40 tokens with the best read. The losses are verified against float64 before anything is
 * timed.
 */

import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { measureLimits } from './limits.mjs';
import { addon, Graph, hasIsa, linear, Matrix, median, Plan, randomMatrix } from './measure.mjs';

const require = createRequire(import.meta.url);
const {
  headCrossEntropy,
  headDivergence,
  headStoredDivergence,
  headLikelihood,
  topTokens,
} = require('../dist/graph/operations/head_loss.js');
const { lossSeed } = require('../dist/graph/operations/training.js');
const { Sampler } = require('../dist/generate/sampler.js');

/** Vocabulary × hidden size. */
const SHAPES = { gemma: [262144, 640], llama: [128256, 2048], smollm: [49152, 576] };
const LARGE = 2048;
const KEPT = 64;

const list = (fallback) => ({ type: 'string', default: fallback });
const { values: given } = parseArgs({
  options: {
    isa: list('avx2,avx512,amx'),
    threads: list('1,2'),
    shapes: list('gemma,smollm'),
    weights: list('f16,i8'),
    precisions: list('f32,bf16'),
    uses: list(''),
    pairs: list('3'),
  },
});
const chosen = (name) => given[name].split(',').filter((item) => item !== '');

/** Creates random weights of about ±0.05, with scales if they are i8. */
function randomHead(type, rows, cols) {
  const weights = new Matrix({ rows, cols, type });
  const values = type === 'i8' ? new Int8Array(rows * cols) : new Uint16Array(rows * cols);
  for (let i = 0; i < values.length; i++) {
    const bits = Math.imul(i ^ (i >>> 15), 0x2c1b3c6d) >>> 12;
    values[i] = type === 'i8' ? bits : 0x2800 | (bits & 0x83ff) | ((bits & 0x400) << 5);
  }
  weights.write(values);
  const scales = type === 'i8' ? Matrix.from(new Float32Array(rows).fill(0.0004), { rows, cols: 1 }) : undefined;
  return { weights, scales, values };
}

/** Values of all F16 bit patterns. */
const HALVES = Float64Array.from({ length: 2 ** 16 }, (_, bits) => {
  const size = (1 + (bits & 0x3ff) / 1024) * 2 ** (((bits >> 10) & 31) - 15);
  return bits & 0x8000 ? -size : size;
});

/** Computes −log softmax of a row in float64. */
function referenceLoss(x, { values, scales }, cols, target) {
  const logits = new Float64Array(values.length / cols);
  for (let v = 0; v < logits.length; v++) {
    let sum = 0;
    for (let j = 0; j < cols; j++) {
      const w = values[v * cols + j];
      sum += x[j] * (scales === undefined ? HALVES[w] : w * Math.fround(0.0004));
    }
    logits[v] = sum;
  }
  const largest = logits.reduce((a, b) => Math.max(a, b));
  return largest + Math.log(logits.reduce((sum, z) => sum + Math.exp(z - largest), 0)) - logits[target];
}

function targetsOf(rows, vocabulary) {
  return Int32Array.from({ length: rows }, (_, i) => (Math.imul(i + 1, 2654435761) >>> 0) % vocabulary);
}

/** Uses of a head: the required products of rows × vocabulary × hidden size, the rows per run, and the output. */
const USES = {
  evaluation: { products: 1, rows: 2048, output: evaluate },
  tasks: { products: 1, rows: 256, output: evaluate },
  'teacher cache': { products: 1, rows: 2048, output: (head) => topTokens(head, KEPT)[0] },
  'cross-entropy': { products: 2, rows: 1024, output: (head, o) => headCrossEntropy(head, o.targets, o) },
  'kept teacher': { products: 2, rows: 1024, output: (head, o) => headStoredDivergence(head, o.kept, o) },
  teacher: { products: 3, rows: 1024, output: (head, o) => headDivergence(head, o.teacher(), o) },
  'trained head': {
    products: 3,
    rows: 1024,
    trains: true,
    output: (head, o) => headCrossEntropy(head, o.targets, o),
  },
};

function evaluate(head, { targets }) {
  return headLikelihood(head, targets).values;
}

const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

/** Measures the CPU seconds of a run. */
async function seconds(plan, rows) {
  const start = cpuSeconds();
  await plan.run({ scalars: { rows, sequenceLength: rows } });
  return cpuSeconds() - start;
}

/** Creates the plan of one use, with the matrices that it reads. */
function planOf({ output, rows, trains }, [vocabulary, hidden], head, precision) {
  const graph = new Graph({ precision });
  const matrices = [];
  const bind = (matrix) => {
    matrices.push(matrix);
    return graph.bind(matrix);
  };
  const weights = trains ? new Matrix({ rows: vocabulary, cols: hidden }) : head.weights;
  const bound = trains ? bind(weights) : graph.bind(weights);
  const scales = head.scales && !trains ? graph.bind(head.scales) : undefined;
  const modelHead = () => ({ states: bind(randomMatrix(rows, hidden, 3)), table: { weights: bound, scales }, cap: 0 });
  const ids = () => bind(Matrix.from(targetsOf(rows * KEPT, vocabulary), { rows, cols: KEPT }));
  const options = {
    seed: output === evaluate ? undefined : lossSeed(graph),
    targets: bind(Matrix.from(targetsOf(rows, vocabulary), { rows, cols: 1 })),
    teacher: modelHead,
    get kept() {
      const even = new Float32Array(rows * (KEPT + 1)).fill(-Math.log(KEPT + 1));
      return { stored: bind(Matrix.from(even, { rows, cols: KEPT + 1 })), ids: ids() };
    },
    accumulators: trains ? new Map([[bound, bind(new Matrix({ rows: vocabulary, cols: hidden }))]]) : undefined,
  };
  graph.output('result', output(modelHead(), options));
  const plan = new Plan(graph, { maxRows: rows });
  return {
    plan,
    dispose() {
      plan.dispose();
      for (const matrix of matrices) matrix.dispose();
    },
  };
}

/** Creates the limit of products: a product of size LARGE³. */
function largeProduct(precision) {
  const graph = new Graph({ precision });
  const [a, b] = [randomMatrix(LARGE, LARGE, 1), randomMatrix(LARGE, LARGE, 2)];
  linear(graph.bind(a), graph.bind(b));
  const plan = new Plan(graph, { maxRows: LARGE });
  return {
    plan,
    dispose() {
      plan.dispose();
      a.dispose();
      b.dispose();
    },
  };
}

async function timeProducts(use, shape, head, precision, pairs) {
  const { rows, products } = use;
  const [vocabulary, hidden] = shape;
  const { plan, dispose } = planOf(use, shape, head, precision);
  const large = largeProduct(precision);
  const [operations, ofLarge] = [products * 2 * rows * vocabulary * hidden, 2 * LARGE ** 3];
  const rates = [];
  for (let i = 0; i <= pairs; i++) {
    const limit = ofLarge / (await seconds(large.plan, LARGE));
    rates.push({ limit, rate: operations / (await seconds(plan, rows)) });
  }
  dispose();
  large.dispose();
  rates.shift(); // the first run touches fresh memory
  return {
    ratio: median(rates.map(({ limit, rate }) => limit / rate)),
    rate: median(rates.map(({ rate }) => rate)),
    limit: median(rates.map(({ limit }) => limit)),
    unit: 'FLOP/s',
  };
}

/** Times decode: the head of one row as in generation, and sampling from its logits. */
async function timeDecode(sampling, shape, head, precision) {
  const graph = new Graph({ precision });
  const x = randomMatrix(1, shape[1], 5);
  const scales = head.scales && graph.bind(head.scales);
  graph.output('logits', linear(graph.bind(x), graph.bind(head.weights), undefined, scales));
  const plan = new Plan(graph, { maxRows: 1 });
  const sampler = sampling && new Sampler({ seed: 1, ...sampling });
  let logits = new Float32Array(0);
  const times = [];
  const limits = [measureLimits()];
  for (let i = 0; i < 40; i++) {
    const start = process.hrtime.bigint();
    ({ logits } = await plan.run({ scalars: { rows: 1, sequenceLength: 1 }, into: { logits } }));
    sampler?.sample(logits);
    times.push(Number(process.hrtime.bigint() - start) / 1e9);
  }
  limits.push(measureLimits());
  plan.dispose();
  x.dispose();
  const bytes = head.weights.byteLength;
  const limit = Math.max(...limits.map((l) => l.read_bytes_per_second));
  const rate = bytes / Math.min(...times);
  return { ratio: limit / rate, rate, limit, unit: 'B/s' };
}

const DECODES = {
  decode: undefined,
  'decode greedy': { temperature: 0 },
  'decode sampled': { temperature: 1 },
  'decode top-k top-p': { temperature: 0.8, topK: 40, topP: 0.95 },
};

async function verify(head, [, hidden], precision) {
  const { plan, dispose } = planOf({ ...USES.evaluation, rows: 40 }, [head.weights.rows, hidden], head, precision);
  const { result } = await plan.run({ scalars: { rows: 40, sequenceLength: 40 } });
  const x = randomMatrix(40, hidden, 3);
  const states = x.toFloat32();
  for (const row of [0, 39]) {
    const expected = referenceLoss(
      states.subarray(row * hidden, (row + 1) * hidden),
      head,
      hidden,
      targetsOf(40, head.weights.rows)[row],
    );
    const error = Math.abs(result[row] / expected - 1);
    if (!(error < (precision === 'f32' ? 1e-5 : 1e-2))) throw new Error(`loss ${result[row]}, expected ${expected}`);
  }
  x.dispose();
  dispose();
}

/** Measures with this process's instruction set and threads. */
async function measureAll() {
  const { isa, threads } = addon().info();
  const uses = chosen('uses');
  const wanted = (name) => uses.length === 0 || uses.includes(name);
  for (const name of chosen('shapes')) {
    const shape = SHAPES[name];
    for (const type of chosen('weights')) {
      const head = randomHead(type, ...shape);
      for (const precision of chosen('precisions')) {
        if (precision === 'bf16' && isa === 'avx2') continue;
        const row = (use, figures) => {
          const { ratio, rate, limit, unit } = figures;
          const giga = (value) => (value / 1e9).toFixed(1).padStart(7);
          console.log(
            `${isa.padEnd(6)} ${threads} ${name.padEnd(7)} ${type.padEnd(4)} ${precision.padEnd(5)} ${use.padEnd(24)}` +
              `${giga(rate)} of ${giga(limit)} G${unit.padEnd(6)} × ${ratio.toFixed(2)}`,
          );
        };
        await verify(head, shape, precision);
        for (const [use, work] of Object.entries(USES).filter(([use]) => wanted(use))) {
          if (work.trains && type !== 'f16') continue;
          row(use, await timeProducts(work, shape, head, precision, Number(given.pairs)));
        }
        if (precision !== 'f32') continue;
        for (const [use, sampling] of Object.entries(DECODES).filter(([use]) => wanted(use)))
          row(use, await timeDecode(sampling, shape, head, precision));
      }
      head.weights.dispose();
      head.scales?.dispose();
    }
  }
}

if (process.env.MBOK_ISA !== undefined) {
  await measureAll();
} else {
  const { cpu } = addon().info();
  console.log(`${cpu}, Node ${process.version}; achieved, limit, and the head's cost as a multiple of its limit`);
  for (const isa of chosen('isa').filter(hasIsa))
    for (const threads of chosen('threads')) {
      const env = { ...process.env, MBOK_ISA: isa, MBOK_THREADS: threads };
      execFileSync(process.execPath, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
        env,
        stdio: 'inherit',
      });
    }
}
