/** Importances of outputs, computed block by block, against the gradients of the whole model in one graph. */

import { join } from 'node:path';
import { loadedSource } from '../../lib/compress/dense_source';
import { calibrationWalk } from '../../lib/compress/hidden_states';
import { importanceWindows, outputImportances } from '../../lib/compress/output_importances';
import { MemoryStateStore } from '../../lib/compress/state_store';
import { appendGradients } from '../../lib/graph/gradients';
import { Graph, type Tensor } from '../../lib/graph/graph';
import { headCrossEntropy } from '../../lib/graph/operations/head_loss';
import { lossSeed } from '../../lib/graph/operations/training';
import { Plan } from '../../lib/graph/plan';
import { coreOf, Model } from '../../lib/model';
import { GOLDEN } from '../helpers/folders';
import { relativeError } from '../helpers/random';

const LENGTH = 12;
const windows = [3, 50, 101].map((start) => Int32Array.from({ length: LENGTH }, (_, i) => (start + i * 37) % 160));

test.each(['llama', 'gemma3', 'opt', 'gpt2'])('%s: of every layer', async (family) => {
  await using model = await Model.load(join(GOLDEN, family));
  const core = coreOf(model);
  const source = loadedSource(core);
  const walk = calibrationWalk(source, { length: LENGTH, precision: 'f32' }, new MemoryStateStore(), undefined);
  const importances = await outputImportances(walk, windows);

  const graph = new Graph();
  const ids = graph.input('ids', { rows: 'tokens', cols: 1, type: 'i32' });
  const targets = graph.input('targets', { rows: 'tokens', cols: 1, type: 'i32' });
  const builder = core.builder(graph);
  const { finished } = core.build(builder, ids, LENGTH);
  const seed = lossSeed(graph);
  const loss = headCrossEntropy(core.family.head(builder, finished, core.config), targets, { seed });
  const gradients = appendGradients(loss, seed, { wanted: builder.linears.map(({ output }) => output) });
  for (const [i, gradient] of gradients.entries()) graph.output(String(i), gradient as Tensor);
  const rows = LENGTH * windows.length;
  await using plan = new Plan(graph, { maxRows: rows });
  const all = windows.flatMap((window) => [...window]);
  const results = await plan.run({
    inputs: {
      ids: Int32Array.from(all),
      targets: Int32Array.from(all, (_, i) => (i % LENGTH === LENGTH - 1 ? -1 : (all[i + 1] as number))),
    },
    scalars: { rows, sequenceLength: LENGTH },
  });
  expect([...importances.keys()].sort()).toEqual(builder.linears.map(({ module }) => module).sort());
  for (const [i, { module, output }] of builder.linears.entries()) {
    const gradient = results[String(i)] as Float32Array;
    const roots = Float64Array.from({ length: output.cols }, (_, j) =>
      Math.hypot(...Array.from({ length: rows }, (__, row) => gradient[row * output.cols + j] as number)),
    );
    const mean = roots.reduce((sum, value) => sum + value, 0) / roots.length;
    const expected = roots.map((value) => value / mean + 0.01);
    expect(relativeError(importances.get(module) as Float32Array, expected)).toBeLessThan(1e-4);
  }
});

test('as many windows as the tokens allow, spread over the text', () => {
  const many = Array.from({ length: 112 }, (_, i) => Int32Array.of(i));
  expect(importanceWindows(many, 1024).map(([id]) => id)).toEqual([0, 14, 28, 42, 56, 70, 84, 98]);
  expect(importanceWindows(many.slice(0, 3), 1024)).toHaveLength(3);
  expect(importanceWindows(many, 100_000)).toHaveLength(1);
});
