/** BOLD's linear layer and activation against golden values, through the graph and its gradients. */

import { appendGradients } from '../../lib/graph/gradients';
import { Graph } from '../../lib/graph/graph';
import { booleanActivation, booleanLinear } from '../../lib/graph/operations/boolean_linear';
import { Plan } from '../../lib/graph/plan';
import { BitMatrix } from '../../lib/native/bit_matrix';
import { Matrix } from '../../lib/native/matrix';
import { readGolden } from '../helpers/golden';
import { Random, relativeError } from '../helpers/random';

const golden = readGolden('bold_linear.safetensors');
const bits = (name: string) => {
  const { data, shape } = golden(name);
  return BitMatrix.fromSigns(data, { rows: shape[0] as number, cols: shape[1] as number });
};
const [rows, m] = golden('y').shape as [number, number];
const n = golden('x').shape[1] as number;

describe('the Boolean linear layer equals the golden values', () => {
  test('forward, exactly', async () => {
    const graph = new Graph();
    graph.output('y', booleanLinear(graph.bind(bits('x')), graph.bind(bits('w'))));
    const { y } = await new Plan(graph, { maxRows: rows }).run({ scalars: { rows } });
    expect([...(y as Float32Array)]).toEqual([...golden('y').data]);
  });

  test('gradients of a real upstream signal', async () => {
    const graph = new Graph();
    const [x, w] = [graph.bind(bits('x')), graph.bind(bits('w'))];
    const z = graph.bind(Matrix.from(Float32Array.from(golden('z_real').data), { rows, cols: m }));
    const signal = new Matrix({ rows: m, cols: n });
    const target = { kind: 'dense', signal: graph.bind(signal), kernel: 0 } as const;
    const y = booleanLinear(x, w);
    const [dx] = appendGradients(y, z, { booleans: new Map([[w, target]]), wanted: [x] });
    graph.output('dx', dx as NonNullable<typeof dx>);
    const results = await new Plan(graph, { maxRows: rows }).run({ scalars: { rows } });
    expect(relativeError(results.dx as Float32Array, golden('grad_x_real').data)).toBeLessThan(1e-6);
    expect(relativeError(signal.toFloat32(), golden('grad_w_real').data)).toBeLessThan(1e-6);
  });

  test('gradients of a Boolean upstream signal, exactly', async () => {
    const graph = new Graph();
    const [x, w, z] = [bits('x'), bits('w'), bits('z_bool')].map((matrix) => graph.bind(matrix));
    const dx = graph.create({ rows, cols: n, type: 'f32' });
    const q = new Matrix({ rows: m, cols: n });
    graph.emit('boolean_linear_gradient_input_boolean', [z, w], [dx], [1]);
    graph.emit('boolean_linear_signal_boolean', [z, x], [graph.bind(q)]);
    graph.output('dx', dx);
    const results = await new Plan(graph, { maxRows: rows }).run({ scalars: { rows } });
    expect([...(results.dx as Float32Array)]).toEqual([...golden('grad_x_bool').data]);
    expect([...q.toFloat32()]).toEqual([...golden('grad_w_bool').data]);
  });
});

test('the Boolean activation is TRUE from the threshold on and passes signals through the slope of tanh', async () => {
  const [count, fanIn, threshold] = [5 * 67, 30, 0.5];
  const s = new Random(1).normals(count).map((value) => value * 8);
  s[0] = threshold;
  const graph = new Graph();
  const input = graph.input('s', { rows: 5, cols: 67 });
  const activated = booleanActivation(input, { fanIn, threshold });
  const weights = new Random(2).signs(67 * 3);
  const y = booleanLinear(activated, graph.bind(BitMatrix.fromSigns(weights, { rows: 3, cols: 67 })));
  const upstream = new Random(3).normals(15);
  const [ds] = appendGradients(y, graph.bind(Matrix.from(upstream, { rows: 5, cols: 3 })), { wanted: [input] });
  graph.output('y', y);
  graph.output('ds', ds as NonNullable<typeof ds>);
  const results = await new Plan(graph).run({ inputs: { s } });
  const alpha = Math.PI / (2 * Math.sqrt(3 * fanIn));
  const expectedY = new Float64Array(15);
  const expectedDs = Float64Array.from(s, (value, index) => {
    const [row, col] = [Math.floor(index / 67), index % 67];
    let sum = 0;
    for (let i = 0; i < 3; i++) {
      const weight = weights[i * 67 + col] as number;
      (expectedY[row * 3 + i] as number) += (value >= threshold ? 1 : -1) * weight;
      sum += (upstream[row * 3 + i] as number) * weight;
    }
    return sum * (1 - Math.tanh(alpha * (value - threshold)) ** 2);
  });
  expect([...(results.y as Float32Array)]).toEqual([...expectedY]);
  expect(relativeError(results.ds as Float32Array, expectedDs)).toBeLessThan(1e-5);
});
