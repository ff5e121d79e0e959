/** Graphs, the memory planner and plans: their errors, and results that do not depend on memory planning. */

import { Graph, type Tensor } from '../../lib/graph/graph';
import { activation } from '../../lib/graph/operations/activation';
import { add } from '../../lib/graph/operations/add';
import { embedding } from '../../lib/graph/operations/embedding';
import { linear } from '../../lib/graph/operations/linear';
import { rmsNorm } from '../../lib/graph/operations/rms_norm';
import { scale } from '../../lib/graph/operations/weighted_sum';
import { Plan } from '../../lib/graph/plan';
import { layOutArena, tensorBytes } from '../../lib/graph/planner';
import { BitMatrix } from '../../lib/native/bit_matrix';
import { Matrix } from '../../lib/native/matrix';
import { Random } from '../helpers/random';

const COLS = 24;

/** Creates a random chain of operations that reuse earlier tensors. */
function randomGraph(seed: number): { graph: Graph; tensors: Tensor[] } {
  const random = new Random(seed);
  const graph = new Graph();
  const weight = Matrix.from(
    random.normals(COLS * COLS).map((value) => value / 5),
    { rows: COLS, cols: COLS },
  );
  const gain = Matrix.from(random.normals(COLS), { rows: 1, cols: COLS });
  const tensors = [graph.input('x', { rows: 'tokens', cols: COLS })];
  const pick = () => tensors[random.integer(Math.max(0, tensors.length - 4), tensors.length - 1)] as Tensor;
  for (let i = 0; i < 25; i++) {
    const make = [
      () => add(pick(), pick()),
      () => scale(pick(), random.normal()),
      () => activation(pick(), 'silu'),
      () => linear(pick(), graph.bind(weight)),
      () => rmsNorm(pick(), graph.bind(gain)),
    ][random.integer(0, 4)] as () => Tensor;
    tensors.push(make());
  }
  return { graph, tensors };
}

test('sharing memory between tensors changes no result', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    const shared = randomGraph(seed);
    shared.graph.output('last', shared.tensors.at(-1) as Tensor);
    const separate = randomGraph(seed);
    // the caller reads every tensor, so no memory is reused
    separate.tensors.slice(1).forEach((tensor, i, all) => {
      separate.graph.output(i === all.length - 1 ? 'last' : `tensor ${i}`, tensor);
    });
    const x = new Random(99).normals(5 * COLS);
    const [a, b] = await Promise.all(
      [shared, separate].map(({ graph }) =>
        new Plan(graph, { maxRows: 6 }).run({ inputs: { x }, scalars: { rows: 5 }, outputs: ['last'] }),
      ),
    );
    expect(a?.last).toEqual(b?.last);
  }
});

test('tensors alive at the same time never overlap, and the arena is smaller than their sum', () => {
  const { graph } = randomGraph(3);
  const { offsets, bytes } = layOutArena(graph, 10);
  let sum = 0;
  for (const tensor of offsets.keys()) sum += tensorBytes(tensor, 10);
  expect(bytes).toBeLessThan(sum);
  const alive = (tensor: Tensor): [number, number] => {
    const touched = graph.nodes.flatMap(({ inputs, outputs }, i) =>
      [...inputs, ...outputs].includes(tensor) ? [i] : [],
    );
    return [touched[0] as number, touched.at(-1) as number];
  };
  for (const [a, atA] of offsets)
    for (const [b, atB] of offsets) {
      if (a.id >= b.id) continue;
      const [[firstA, lastA], [firstB, lastB]] = [alive(a), alive(b)];
      const together = firstA < lastB && firstB < lastA; // touching at one operation is in place
      const disjoint = atA + tensorBytes(a, 10) <= atB || atB + tensorBytes(b, 10) <= atA;
      expect(!together || disjoint).toBe(true);
    }
});

test('a plan reports its memory before it runs', () => {
  const graph = new Graph();
  const x = graph.input('x', { rows: 'tokens', cols: 64 });
  const student = new Matrix({ rows: 32, cols: 64 });
  const teacher = new Matrix({ rows: 16, cols: 32 });
  graph.output('y', linear(linear(x, graph.bind(student)), graph.bind(teacher, 'teacher')));
  const { memory } = new Plan(graph, { maxRows: 8 });
  expect(memory).toMatchObject({ weights: 32 * 64 * 4, teacher: 16 * 32 * 4, gradients: 0, state: 0 });
  expect(memory.activations).toBe(8 * (64 + 32 + 16) * 4);
  expect(memory.total).toBe(memory.weights + memory.teacher + memory.activations + memory.scratch);
});

test('a plan reports the time of each operation', async () => {
  const graph = new Graph();
  const w = graph.bind(new Matrix({ rows: 256, cols: 256 }));
  const x = graph.input('x', { rows: 'tokens', cols: 256 });
  graph.output('y', scale(linear(linear(x, w), w), 2));
  const plan = new Plan(graph, { maxRows: 64 });
  expect([...plan.profile()]).toEqual([
    ['linear', 0],
    ['scale', 0],
  ]);
  const run = () => plan.run({ inputs: { x: new Float32Array(64 * 256) }, scalars: { rows: 64 } });
  await run();
  const once = plan.profile();
  expect(once.get('linear')).toBeGreaterThan(0);
  await run();
  expect(plan.profile().get('linear')).toBeGreaterThan(once.get('linear') as number);
  const flight = run();
  expect(() => plan.profile()).toThrow(expect.objectContaining({ code: 'MBOK_BUSY' }));
  await flight;
  plan.dispose();
  expect(() => plan.profile()).toThrow(expect.objectContaining({ code: 'MBOK_DISPOSED' }));
});

test('an operation that is still needed cannot be removed from a graph', () => {
  const { graph, tensors } = randomGraph(4);
  const needed = graph.nodes.filter(({ inputs }) => inputs.includes(tensors[0]))[0];
  const user = graph.nodes.find((node) => node.inputs.includes(needed?.outputs[0]));
  expect(user).toBeDefined();
  expect(() => graph.remove([needed as (typeof graph.nodes)[number]])).toThrow(/still needed/);
});

describe('a graph or plan refuses', () => {
  const ready = () => {
    const graph = new Graph();
    const x = graph.input('x', { rows: 'tokens', cols: 3 });
    graph.output('y', scale(x, 2));
    return { graph, x, plan: new Plan(graph, { maxRows: 4 }) };
  };
  const x = new Float32Array(3);
  const CASES: readonly [string, string, () => unknown][] = [
    [
      'shapes that do not fit',
      'MBOK_SHAPE',
      () => {
        const { graph, x: input } = ready();
        return add(input, graph.bind(new Matrix({ rows: 2, cols: 3 })));
      },
    ],
    [
      'tensors of two graphs',
      'MBOK_INVALID_ARGUMENT',
      () => add(ready().x, new Graph().input('x', { rows: 'tokens', cols: 3 })),
    ],
    ['an input named twice', 'MBOK_INVALID_ARGUMENT', () => ready().graph.input('x', { rows: 1, cols: 1 })],
    ['a missing input', 'MBOK_INVALID_ARGUMENT', () => ready().plan.run()],
    ['an input of the wrong size', 'MBOK_SHAPE', () => ready().plan.run({ inputs: { x: new Float32Array(4) } })],
    ['an unknown output', 'MBOK_INVALID_ARGUMENT', () => ready().plan.run({ inputs: { x }, outputs: ['z'] })],
    [
      'more rows than planned',
      'MBOK_INVALID_ARGUMENT',
      () => ready().plan.run({ inputs: { x: new Float32Array(15) }, scalars: { rows: 5 } }),
    ],
    [
      'a sequence length that does not divide the rows',
      'MBOK_INVALID_ARGUMENT',
      () => ready().plan.run({ inputs: { x: new Float32Array(9) }, scalars: { rows: 3, sequenceLength: 2 } }),
    ],
    ['an aborted signal', 'MBOK_ABORTED', () => ready().plan.run({ inputs: { x }, signal: AbortSignal.abort() })],
    [
      'a second run at the same time',
      'MBOK_BUSY',
      () => {
        const { plan } = ready();
        return Promise.all([plan.run({ inputs: { x } }), plan.run({ inputs: { x } })]);
      },
    ],
    [
      'a disposed plan',
      'MBOK_DISPOSED',
      () => {
        const { plan } = ready();
        plan.dispose();
        return plan.run({ inputs: { x } });
      },
    ],
    [
      'a disposed matrix',
      'MBOK_DISPOSED',
      () => {
        const matrix = new Matrix({ rows: 1, cols: 1 });
        matrix.dispose();
        return matrix.toFloat32();
      },
    ],
    [
      'a token id outside the table',
      'MBOK_INVALID_ARGUMENT',
      () => {
        const graph = new Graph();
        const ids = graph.input('ids', { rows: 'tokens', cols: 1, type: 'i32' });
        graph.output('y', embedding(graph.bind(new Matrix({ rows: 2, cols: 3 })), ids));
        return new Plan(graph).run({ inputs: { ids: Int32Array.of(2) } });
      },
    ],
    ['more memory than there is', 'MBOK_OUT_OF_MEMORY', () => new Matrix({ rows: 2 ** 31, cols: 2 ** 18 })],
    ['data of the wrong size', 'MBOK_SHAPE', () => Matrix.from(new Float32Array(3), { rows: 2, cols: 2 })],
    ['NaN as a sign', 'MBOK_NON_FINITE', () => BitMatrix.fromSigns([Number.NaN], { rows: 1, cols: 1 })],
  ];
  test.each(CASES)('%s', async (_, code, act) => {
    await expect((async () => act())()).rejects.toMatchObject({ name: 'MbokError', code });
  });
});

test('bit matrices of every width preserve all elements through signs and packed rows', () => {
  for (const cols of [1, 7, 8, 9, 63, 64, 65, 130]) {
    const signs = new Random(cols).signs(3 * cols);
    const matrix = BitMatrix.fromSigns(signs, { rows: 3, cols });
    expect(matrix.toSigns()).toEqual(signs);
    expect(BitMatrix.fromPacked(matrix.toPacked(), { rows: 3, cols }).raw()).toEqual(matrix.raw());
  }
});

test('a disposed plan in flight ends the run with an error and frees its memory afterwards', async () => {
  const graph = new Graph();
  const w = graph.bind(new Matrix({ rows: 512, cols: 512 }));
  let x = graph.input('x', { rows: 'tokens', cols: 512 });
  for (let i = 0; i < 200; i++) x = linear(x, w);
  graph.output('y', x);
  const plan = new Plan(graph, { maxRows: 64 });
  const run = plan.run({ inputs: { x: new Float32Array(64 * 512) }, scalars: { rows: 64 } });
  plan.dispose();
  await expect(run).rejects.toMatchObject({ code: 'MBOK_DISPOSED' });
});

test('a refused run leaves the run in flight untouched', async () => {
  const graph = new Graph();
  const w = graph.bind(new Matrix({ rows: 512, cols: 512 }));
  // x is read last, long after the second run has been refused
  let slow = graph.bind(new Matrix({ rows: 64, cols: 512 }));
  for (let i = 0; i < 200; i++) slow = linear(slow, w);
  graph.output('slow', slow);
  graph.output('y', scale(graph.input('x', { rows: 1, cols: 8 }), 2));
  const plan = new Plan(graph);
  const first = plan.run({ inputs: { x: new Float32Array(8).fill(1) } });
  const controller = new AbortController();
  const second = plan.run({ inputs: { x: new Float32Array(8).fill(5) }, signal: controller.signal });
  controller.abort();
  await expect(second).rejects.toMatchObject({ code: 'MBOK_BUSY' });
  expect([...((await first).y as Float32Array)]).toEqual(Array(8).fill(2));
});
