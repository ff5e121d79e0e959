/**
 * The pieces below models: a network whose only layer has ±1 weights and ±1 inputs (BOLD) learns a hidden ±1 rule by
 * flipping bits where the Boolean signal says so. No latent weights, no straight-through estimator.
 */

import {
  appendGradients,
  BitMatrix,
  BooleanOptimizer,
  booleanLinear,
  Graph,
  hiddenLoss,
  lossSeed,
  Matrix,
  Plan,
} from 'mbok';

const [samples, inputs, outputs] = [256, 64, 8];
const signs = (count) => Int8Array.from({ length: count }, () => (Math.random() < 0.5 ? -1 : 1));

const x = BitMatrix.fromSigns(signs(samples * inputs), { rows: samples, cols: inputs });
const rule = BitMatrix.fromSigns(signs(outputs * inputs), { rows: outputs, cols: inputs });
const weights = BitMatrix.fromSigns(signs(outputs * inputs), { rows: outputs, cols: inputs });

const truth = new Graph();
truth.output('y', booleanLinear(truth.bind(x), truth.bind(rule)));
const { y } = await new Plan(truth).run();

const optimizer = new BooleanOptimizer({
  rows: outputs,
  cols: inputs,
  rule: 'lastKernel',
  normaliser: 'mean',
  decay: 0,
});
const graph = new Graph();
const kernels = graph.bind(weights);
const target = graph.bind(Matrix.from(y, { rows: samples, cols: outputs }));
const loss = hiddenLoss(booleanLinear(graph.bind(x), kernels), target, 'plain');
graph.output('loss', loss);
appendGradients(loss, lossSeed(graph), { booleans: new Map([[kernels, optimizer.target(graph)]]) });
const plan = new Plan(graph);
for (let step = 1; step <= 60; step++) {
  const results = await plan.run({ scalars: { flipRate: 0.1 * (1 - step / 60), step } });
  if (step % 10 === 0) console.log(`step ${step}: mean squared error ${results.loss[0].toFixed(2)}`);
}
