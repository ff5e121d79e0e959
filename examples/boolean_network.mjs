/**
 * The pieces below models: networks whose weights and activations are all ±1 (BOLD) learn to add by flipping bits where
 * the Boolean signal says so, with no latent weights behind them; beside them the same network in f32 and with latent
 * weights and a straight-through estimator (STE).
 *
 * The task: two noisy, shifted seven-segment digits in one picture; what is the last digit of their sum? No pixel
 * speaks for any answer, so a layer on its own cannot do better than chance.
 *
 *     node examples/boolean_network.mjs [steps] [seed]
 */

import {
  AdamW,
  activation,
  appendGradients,
  BitMatrix,
  BooleanOptimizer,
  booleanActivation,
  booleanLinear,
  crossEntropy,
  Graph,
  LatentWeights,
  linear,
  lossSeed,
  Matrix,
  Plan,
  scale,
} from 'mbok';

const [steps = 2000, seed = 1] = process.argv.slice(2).map(Number);
const [batch, held] = [256, 4096];
const [side, width, answers] = [16, 512, 10];
const pixels = side * side;

/** Mulberry32: uniform numbers in [0, 1). */
function randomNumbers(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Segments a to g of a digit of 12 × 6 pixels: top, left, height, width. */
const segments = {
  a: [0, 0, 2, 6],
  b: [0, 4, 7, 2],
  c: [5, 4, 7, 2],
  d: [10, 0, 2, 6],
  e: [5, 0, 7, 2],
  f: [0, 0, 7, 2],
  g: [5, 0, 2, 6],
};
const digits = ['abcdef', 'bc', 'abdeg', 'abcdg', 'bcfg', 'acdfg', 'acdefg', 'abc', 'abcdefg', 'abcdfg'];

/** Pictures of ±1, one a row, and their answers. */
function draw(count, random, noise = 0.05) {
  const below = (limit) => Math.floor(random() * limit);
  const x = new Float32Array(count * pixels).fill(-1);
  const y = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const picture = x.subarray(i * pixels, (i + 1) * pixels);
    for (const half of [0, side / 2]) {
      const [digit, down, right] = [below(10), below(5), below(3)];
      y[i] = (y[i] + digit) % answers;
      for (const name of digits[digit]) {
        const [top, left, rows, cols] = segments[name];
        for (let row = top + down; row < top + down + rows; row++) {
          const start = row * side + half + left + right;
          picture.fill(1, start, start + cols);
        }
      }
    }
    for (let p = 0; p < pixels; p++) if (random() < noise) picture[p] = -picture[p];
  }
  return { x, y };
}

/** [outputs, inputs] of every layer of a network with so many hidden layers. */
function layers(hidden) {
  const widths = [pixels, ...Array(hidden).fill(width), answers];
  return widths.slice(1).map((rows, i) => ({ rows, cols: widths[i] }));
}

/** f32 weights, ReLU, AdamW. */
function dense(hidden, random) {
  const weights = layers(hidden).map(({ rows, cols }) => {
    const bound = Math.sqrt(6 / cols); // He et al., arXiv 1502.01852
    return Matrix.from(
      Float32Array.from({ length: rows * cols }, () => (2 * random() - 1) * bound),
      { rows, cols },
    );
  });
  const optimizer = new AdamW(new Map(weights.map((matrix, i) => [`layer ${i}`, matrix])));
  return {
    forward: (x) => weights.reduce((h, w, i) => linear(i === 0 ? h : activation(h, 'relu'), h.graph.bind(w)), x),
    learn(loss) {
      const { graph } = loss;
      appendGradients(loss, lossSeed(graph), { accumulators: optimizer.accumulators(graph) });
      optimizer.step(graph);
    },
    scalars: (rate) => ({ learningRate: 4e-3 * rate }),
  };
}

/** ±1 weights and activations: popcounts all the way down. */
function bits(hidden, random) {
  const kernels = layers(hidden).map(({ rows, cols }) =>
    BitMatrix.fromSigns(
      Int8Array.from({ length: rows * cols }, () => (random() < 0.5 ? -1 : 1)),
      { rows, cols },
    ),
  );
  const forward = (x) => {
    let [h, fanIn] = [x, 1];
    for (const kernel of kernels) {
      const gradientFactor = Math.sqrt(2 / kernel.rows);
      h = booleanLinear(booleanActivation(h, { fanIn }), h.graph.bind(kernel), undefined, { gradientFactor });
      fanIn = kernel.cols;
    }
    // sums of n signs spread by √n: for a softmax every miss would be a clear one
    return scale(h, 1 / Math.sqrt(fanIn));
  };
  const learn = (loss, learners) => {
    const { graph } = loss;
    const booleans = new Map(kernels.map((kernel, i) => [graph.bind(kernel), learners[i].target(graph)]));
    appendGradients(loss, lossSeed(graph), { booleans });
  };
  return { kernels, forward, learn };
}

/** Bits that flip where their signal says so. */
function flipped(hidden, random) {
  const { kernels, forward, learn } = bits(hidden, random);
  const optimizers = kernels.map(
    ({ rows, cols }) => new BooleanOptimizer({ rows, cols, rule: 'lastKernel', normalizer: 'mean' }),
  );
  return {
    forward,
    learn: (loss) => learn(loss, optimizers),
    scalars: (rate) => ({ flipRate: 0.1 * rate }),
  };
}

/** The same bits and signals, but as signs of f32 weights that Adam moves. */
function straightThrough(hidden, random) {
  const { kernels, forward, learn } = bits(hidden, random);
  const latents = kernels.map((kernel) => new LatentWeights(kernel, 1));
  return {
    forward,
    learn(loss) {
      learn(loss, latents);
      for (const latent of latents) latent.step(loss.graph);
    },
    scalars: (rate) => ({ learningRate: 3e-3 * rate }),
  };
}

const median = (numbers) => numbers.sort((a, b) => a - b)[numbers.length >> 1];

/** Trains on pictures seen once each. The speed is that of the median step, without the drawing of pictures. */
async function train(network) {
  const graph = new Graph();
  const scores = network.forward(graph.input('x', { rows: 'tokens', cols: pixels }));
  const loss = crossEntropy(scores, graph.input('y', { rows: 'tokens', cols: 1, type: 'i32' }));
  network.learn(loss);
  const plan = new Plan(graph, { maxRows: batch });
  const random = randomNumbers(seed);
  const times = [];
  for (let step = 1; step <= steps; step++) {
    const inputs = draw(batch, random);
    const cosine = 0.5 * (1 + Math.cos((Math.PI * (step - 1)) / steps));
    const start = performance.now();
    await plan.run({ inputs, scalars: { rows: batch, step, ...network.scalars(cosine) } });
    times.push(performance.now() - start);
  }
  const { weights, gradients, state } = plan.memory;
  plan.dispose();
  return { perSecond: (1000 * batch) / median(times), weights, state: gradients + state };
}

/** Accuracy on held-out pictures; speed is the median of a few runs over all of them. */
async function evaluate(network, { x, y }) {
  const graph = new Graph();
  graph.output('scores', network.forward(graph.input('x', { rows: held, cols: pixels })));
  const plan = new Plan(graph);
  const times = [];
  let scores;
  for (let run = 0; run < 11; run++) {
    const start = performance.now();
    ({ scores } = await plan.run({ inputs: { x } }));
    times.push(performance.now() - start);
  }
  plan.dispose();
  const right = y.filter((answer, i) => {
    const row = scores.subarray(i * answers, (i + 1) * answers);
    return row.indexOf(Math.max(...row)) === answer;
  });
  return { accuracy: right.length / held, perSecond: (1000 * held) / median(times) };
}

const networks = [
  ['f32, no hidden layer', dense, 0],
  ['f32, AdamW, 3 hidden layers', dense, 3],
  ['STE, Adam, 3 hidden layers', straightThrough, 3],
  ['flipped bits, 1 hidden layer', flipped, 1],
  ['flipped bits, 2 hidden layers', flipped, 2],
  ['flipped bits, 3 hidden layers', flipped, 3],
];
const test = draw(held, randomNumbers(seed + 1e6));
const row = (...cells) => console.log(cells.map((cell, i) => (i ? cell.padStart(13) : cell.padEnd(30))).join(''));
const thousands = (number) => `${(number / 1000).toFixed(0)} k`;
row('', 'accuracy', 'trained / s', 'inferred / s', 'weights', 'their state');
for (const [name, make, hidden] of networks) {
  const network = make(hidden, randomNumbers(seed + 2e6));
  const trained = await train(network);
  const { accuracy, perSecond } = await evaluate(network, test);
  const speeds = [trained.perSecond, perSecond].map(thousands);
  const bytes = [trained.weights, trained.state].map((size) => `${thousands(size)}B`);
  row(name, `${(100 * accuracy).toFixed(1)} %`, ...speeds, ...bytes);
}
