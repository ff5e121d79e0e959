/**
 * Products of models, as fractions of their limits: the floating-point peak for dense and multi-Boolean products of
 * many rows, and the popcount peak for ±1 × ±1.
 */

import {
  booleanLinear,
  Graph,
  linear,
  multiBooleanLinear,
  Plan,
  randomBits,
  randomMatrix,
  secondsPerOperation,
  tiled,
  verify,
} from './measure.mjs';

const KERNELS = [1, 2, 4];

/** Evaluates an f32 graph of one operation. */
async function evaluate(rows, build) {
  const graph = new Graph();
  graph.output('y', build(graph));
  const plan = new Plan(graph, { maxRows: rows });
  const { y } = await plan.run({ scalars: { rows, sequenceLength: rows } });
  plan.dispose();
  return y;
}

/** Computes y = x wᵀ in float64 for a few rows, the reference of every timed product. */
function reference(x, w, rows, m, n) {
  const y = new Float64Array(rows * m);
  for (let r = 0; r < rows; r++)
    for (let i = 0; i < m; i++) {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += x[r * n + j] * w[i * n + j];
      y[r * m + i] = sum;
    }
  return y;
}

export function booleanOperands(kernels, m, n) {
  return {
    bits: randomBits(kernels * m, n, 3),
    sOut: randomMatrix(kernels, m, 4),
    sIn: randomMatrix(kernels, n, 5),
  };
}

/** Creates operands for decode: `copies` of them, whose bits lie in different memory. */
export async function tiledOperands(kernels, m, n, copies) {
  const { bits, sOut, sIn } = booleanOperands(kernels, m, n);
  const operands = [];
  for (let i = 0; i < copies; i++) operands.push([await tiled(bits, kernels), sOut, sIn]);
  bits.dispose();
  return operands;
}

function denseOf({ bits, sOut, sIn }, m, n) {
  const [signs, a, b] = [bits.toSigns(), sOut.toFloat32(), sIn.toFloat32()];
  const w = new Float64Array(m * n);
  for (let k = 0; k < sOut.rows; k++)
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) w[i * n + j] += a[k * m + i] * b[k * n + j] * signs[(k * m + i) * n + j];
  return w;
}

/** Verifies every product on a small odd shape against float64, before anything is timed. */
export async function verifyProducts() {
  const [rows, m, n] = [19, 37, 101];
  for (const count of [rows, 3]) {
    const x = randomMatrix(count, n, 1);
    const w = randomMatrix(m, n, 2);
    const dense = await evaluate(count, (graph) => linear(graph.bind(x), graph.bind(w)));
    verify('dense product', dense, reference(x.toFloat32(), w.toFloat32(), count, m, n), 1e-5);
    for (const kernels of KERNELS) {
      const operands = booleanOperands(kernels, m, n);
      const { bits, sOut, sIn } = operands;
      for (const matrix of [bits, await tiled(bits, kernels)]) {
        const y = await evaluate(count, (graph) =>
          multiBooleanLinear(graph.bind(x), graph.bind(matrix), graph.bind(sOut), graph.bind(sIn)),
        );
        verify('multi-Boolean product', y, reference(x.toFloat32(), denseOf(operands, m, n), count, m, n), 1e-5);
      }
    }
    const [a, b] = [randomBits(count, n, 6), randomBits(m, n, 7)];
    const y = await evaluate(count, (graph) => booleanLinear(graph.bind(a), graph.bind(b)));
    verify('Boolean product', y, reference(a.toSigns(), b.toSigns(), count, m, n), 0);
  }
}

export function emitter(precision, emit) {
  return Object.assign(emit, { precision });
}

/** @yields {{what: string, shape: string, seconds: number, rate: number, unit: string, fraction: number}} */
export async function* timeProducts(limits, { rows = 512, m = 2048, n = 2048 } = {}) {
  const shape = `${rows} × ${m} × ${n}`;
  const flops = 2 * rows * m * n;
  const entry = (what, seconds, work, unit, limit, size = shape) => ({
    what,
    shape: size,
    seconds,
    rate: work / seconds,
    unit,
    fraction: work / seconds / limit,
  });
  const x = randomMatrix(rows, n, 1);
  const w = randomMatrix(m, n, 2);
  const dy = randomMatrix(rows, m, 3);
  const precisions = limits.bf16_flops_per_second > 0 ? ['f32', 'bf16'] : ['f32'];
  for (const precision of precisions) {
    const peak = limits[`${precision}_flops_per_second`];
    const code = precision === 'bf16' ? 1 : 0;
    const dense = emitter(precision, (graph) => linear(graph.bind(x), graph.bind(w)));
    yield entry(`dense ${precision}`, await secondsPerOperation(dense, { rows }), flops, 'FLOP/s', peak);
    for (const kernels of KERNELS) {
      const { bits, sOut, sIn } = booleanOperands(kernels, m, n);
      const bind = (graph) => [bits, sOut, sIn].map((matrix) => graph.bind(matrix));
      // inference stores bits in tiles, training in rows
      for (const [what, matrix] of [
        ['prefill', await tiled(bits, kernels)],
        ['forward', bits],
      ]) {
        const product = emitter(precision, (graph) =>
          multiBooleanLinear(graph.bind(x), ...[matrix, sOut, sIn].map((operand) => graph.bind(operand))),
        );
        const seconds = await secondsPerOperation(product, { rows });
        yield entry(`${what} K=${kernels} ${precision}`, seconds, flops, 'FLOP/s', peak);
      }
      const input = emitter(precision, (graph) => {
        const dx = graph.create({ rows, cols: n, type: 'f32' });
        graph.emit('multi_boolean_gradient_input', [graph.bind(dy), ...bind(graph)], [dx], [code]);
      });
      yield entry(
        `gradient of x K=${kernels} ${precision}`,
        await secondsPerOperation(input, { rows }),
        flops,
        'FLOP/s',
        peak,
      );
      const scales = [randomMatrix(kernels, m, 6), randomMatrix(kernels, n, 7)];
      const signal = emitter(precision, (graph) => {
        const operands = [graph.bind(dy), graph.bind(x), ...bind(graph)];
        const outputs = [...scales.map((scale) => graph.bind(scale)), undefined];
        graph.emit('multi_boolean_signal', operands, outputs, [code, 0]);
      });
      yield entry(
        `gradient of scales K=${kernels} ${precision}`,
        await secondsPerOperation(signal, { rows }),
        flops,
        'FLOP/s',
        peak,
      );
    }
  }
  // AMX multiplies 8-bit tiles as bf16
  for (const kernels of limits.int8_flops_per_second > 0 && limits.isa !== 'amx' ? KERNELS : []) {
    const { bits, sOut, sIn } = booleanOperands(kernels, m, n);
    const tiles = await tiled(bits, kernels);
    const forward = emitter('int8', (graph) =>
      multiBooleanLinear(graph.bind(x), ...[tiles, sOut, sIn].map((matrix) => graph.bind(matrix))),
    );
    const seconds = await secondsPerOperation(forward, { rows });
    yield entry(`prefill K=${kernels} int8`, seconds, flops, 'FLOP/s', limits.int8_flops_per_second);
  }
  const [a, b] = [randomBits(rows, n, 6), randomBits(m, n, 7)];
  const boolean = emitter('f32', (graph) => booleanLinear(graph.bind(a), graph.bind(b)));
  yield entry(
    'Boolean × Boolean',
    await secondsPerOperation(boolean, { rows, copies: 4 }),
    rows * m * n,
    'bit/s',
    limits.popcount_bits_per_second,
  );
}
