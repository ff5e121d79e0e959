/** Every model family against transformers: logits, hidden states, loss and the gradient of every parameter. */

import { join } from 'node:path';
import { appendGradients } from '../lib/graph/gradients';
import { Graph } from '../lib/graph/graph';
import { crossEntropy } from '../lib/graph/operations/losses';
import { lossSeed, zeroAtFirst } from '../lib/graph/operations/training';
import { Plan } from '../lib/graph/plan';
import { Model } from '../lib/model';
import { Matrix } from '../lib/native/matrix';
import { readGolden } from './golden';
import { relativeError } from './random';

const FAMILIES = ['llama', 'llama-bias', 'llama-tied-rope3'];
const TOLERANCE = 1e-4;

describe.each(FAMILIES)('%s computes what transformers computes', (family) => {
  const golden = readGolden(`${family}/golden.safetensors`);
  const { data, shape } = golden('input_ids');
  const [sequences, length] = shape as [number, number];
  const ids = Int32Array.from(data);
  const rows = sequences * length;
  let model: Model;

  beforeAll(async () => {
    model = await Model.load(join(__dirname, 'golden', family));
  });
  afterAll(() => model.dispose());

  /** The outputs of one run over all sequences. */
  async function run(build: (graph: Graph) => void): Promise<Record<string, Float32Array>> {
    const graph = new Graph();
    build(graph);
    await using plan = new Plan(graph, { maxRows: rows });
    const targets = ids.map((_, i) => ((i + 1) % length === 0 ? -1 : (ids[i + 1] as number)));
    const inputs = { ids, targets };
    const used = Object.fromEntries([...graph.inputs.keys()].map((name) => [name, inputs[name as 'ids']]));
    return await plan.run({ inputs: used, scalars: { rows, sequenceLength: length } });
  }

  const column = { rows: 'tokens', cols: 1, type: 'i32' } as const;

  test('logits and every hidden state', async () => {
    const outputs = await run((graph) => {
      const builder = model.builder(graph);
      const { hiddenStates, finished } = model.build(builder, graph.input('ids', column));
      for (const [layer, state] of hiddenStates.entries()) graph.output(`hidden_states.${layer}`, state);
      graph.output('logits', model.family.head(builder, finished, model.config));
    });
    expect(Object.keys(outputs)).toHaveLength(model.config.layers + 2);
    for (const [name, values] of Object.entries(outputs)) {
      expect({ name, close: relativeError(values, golden(name).data) <= TOLERANCE }).toEqual({ name, close: true });
    }
  });

  test('loss and the gradient of every parameter', async () => {
    const gradients = new Map(
      [...model.parameters].map(([name, { rows, cols }]) => [name, new Matrix({ rows, cols })]),
    );
    const { loss } = await run((graph) => {
      const builder = model.builder(graph);
      const { finished } = model.build(builder, graph.input('ids', column));
      const logits = model.family.head(builder, finished, model.config);
      const value = crossEntropy(logits, graph.input('targets', column));
      graph.output('loss', value);
      const accumulators = new Map(
        [...gradients].map(([name, matrix]) => {
          const target = graph.bind(matrix, 'gradients');
          zeroAtFirst(target);
          return [builder.parameter(name), target] as const;
        }),
      );
      appendGradients(value, lossSeed(graph), { accumulators });
    });
    expect(relativeError(loss as Float32Array, golden('loss').data)).toBeLessThanOrEqual(TOLERANCE);
    for (const [name, matrix] of gradients) {
      const error = relativeError(matrix.toFloat32(), golden(`grad.${name}`).data);
      expect({ name, close: error <= TOLERANCE }).toEqual({ name, close: true });
    }
  });

  test('logits() of one sequence', async () => {
    const { data: logits, shape: extent } = await model.logits(ids.subarray(0, length));
    expect(extent).toEqual([length, model.config.vocabularySize]);
    expect(relativeError(logits, golden('logits').data.subarray(0, logits.length))).toBeLessThanOrEqual(TOLERANCE);
  });
});
